"""The rows of a rollouts file as one value: a sequence, columns, CSV, pandas and polars DataFrames."""

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, overload

from dami_merge.evaluation.rollout import Rollout
from dami_merge.harmless import csv_cell
from dami_merge.optional import needed

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl


class Rollouts(Sequence[Rollout]):
    """Every sample of a sweep, in the order of the file.

    Example:
        >>> rollouts = Rollouts([])
        >>> len(rollouts), list(rollouts.columns())[:4]
        (0, ['question', 'group', 'lambda', 'fraction'])
    """

    def __init__(self, rows: Iterable[Rollout]) -> None:
        self._rows = tuple(rows)

    @overload
    def __getitem__(self, index: int) -> Rollout: ...
    @overload
    def __getitem__(self, index: slice) -> "Rollouts": ...
    def __getitem__(self, index: int | slice) -> "Rollout | Rollouts":
        """One row, or some of them."""
        return Rollouts(self._rows[index]) if isinstance(index, slice) else self._rows[index]

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[Rollout]:
        return iter(self._rows)

    def __eq__(self, other: object) -> bool:
        """Equal rows in the same order."""
        return self._rows == tuple(other) if isinstance(other, Rollouts | tuple | list) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._rows)

    def __repr__(self) -> str:
        return f"Rollouts of {len(self._rows)} samples"

    def columns(self) -> dict[str, list[object]]:
        """Columns by name, one value for each row.

        `lambda` is λ as a float, `fraction` is λ exactly (`3/10`); the others are the fields of `Rollout`.
        """
        names = [name for name in Rollout.__struct_fields__ if name != "fraction"]
        fields = {name: [getattr(row, name) for row in self._rows] for name in names}
        exact: dict[str, list[object]] = {
            "lambda": [float(row.lam) for row in self._rows],
            "fraction": [row.fraction for row in self._rows],
        }
        first = {name: fields.pop(name) for name in ("question", "group")}
        return first | exact | fields

    def to_pandas(self) -> "pd.DataFrame":
        """A pandas DataFrame of `columns`.

        Raises:
            DamiMergeError: pandas is not installed.
        """
        frame: pd.DataFrame = needed("pandas", "a pandas DataFrame").DataFrame(self.columns())
        return frame

    def to_polars(self) -> "pl.DataFrame":
        """A polars DataFrame of `columns`.

        Raises:
            DamiMergeError: polars is not installed.
        """
        library = needed("polars", "a polars DataFrame")
        frame: pl.DataFrame = library.DataFrame(self.columns(), infer_schema_length=None)
        return frame

    def to_csv(self) -> str:
        """CSV of `columns` with a header; None is empty, true and false are 1 and 0.

        Texts are written as `csv_cell` makes them harmless for terminals and spreadsheets; the rollouts file
        holds the exact texts.
        """
        text = io.StringIO(newline="")
        lines = csv.writer(text, lineterminator="\n")
        columns = self.columns()
        lines.writerow(columns)
        lines.writerows([_cell(value) for value in row] for row in zip(*columns.values(), strict=True))
        return text.getvalue()


def _cell(value: object) -> object:
    if isinstance(value, str):
        return csv_cell(value)
    return int(value) if isinstance(value, bool) else value
