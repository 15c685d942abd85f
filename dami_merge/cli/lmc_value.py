"""The result of `dami-merge check-lmc` as a JSON value and as a CSV file."""

import csv
import io
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from dami_merge.harmless import csv_cell

if TYPE_CHECKING:
    from dami_merge.connectivity.check import Check
    from dami_merge.connectivity.dial import Dial
    from dami_merge.connectivity.difference import DifferenceReport
    from dami_merge.connectivity.path import PathReport
    from dami_merge.connectivity.report import WeightsReport
    from dami_merge.connectivity.rounding import RoundingReport


def lmc_value(check: "Check") -> dict[str, object]:
    """Return the result as a JSON value; `path` and `difference` are null if they were not requested."""
    from dami_merge.connectivity.advice import answers, next_steps

    path, difference = check.path, check.difference
    return {
        "passes": check.passes,
        "connected": check.weights.connected,
        "answers": [asdict(answer) for answer in answers(check)],
        "next": list(next_steps(check)),
        **asdict(check.weights),
        "path": None if path is None else _path_value(path),
        "difference": None if difference is None else _difference_value(difference),
        "rounding": None if check.rounding is None else _rounding_value(check.rounding),
    }


def _rounding_value(rounding: "RoundingReport") -> dict[str, object]:
    from dami_merge.lambdas import fraction_text

    return {
        "dtype": rounding.dtype,
        "sampled_elements": rounding.sampled_elements,
        "identical": rounding.identical,
        "eaten": rounding.eaten,
        "survival": [
            {"lambda": fraction_text(each.lam), "kept": each.kept, "noise": each.noise}
            for each in rounding.survival
        ],
    }


def _difference_value(difference: "DifferenceReport") -> dict[str, object]:
    return {
        "spectra": [
            {
                "tensor": each.tensor,
                "module": each.module,
                "shape": list(each.shape),
                "rows": each.rows,
                "energy": {
                    str(rank): share for rank, share in zip(difference.ranks, each.energy, strict=True)
                },
            }
            for each in difference.spectra
        ],
    }


def _path_value(path: "PathReport") -> dict[str, object]:
    from dami_merge.lambdas import fraction_text

    return {
        "texts": path.texts,
        "tokens": path.tokens,
        "points": [{"lambda": fraction_text(point.lam), "loss": point.loss} for point in path.points],
        "steps": [
            {
                "from": fraction_text(step.start),
                "to": fraction_text(step.stop),
                "cosine": list(step.cosine),
                "cka": list(step.cka),
            }
            for step in path.steps
        ],
        "barrier": path.barrier,
        "barrier_above_line": path.barrier_above_line,
        "barrier_lambda": fraction_text(path.barrier_lam),
        "abruptness": path.abruptness,
        "same_basin": path.same_basin,
        "smooth": path.smooth,
        "monotone": path.monotone,
        "dial": None if path.dial is None else _dial_value(path.dial),
    }


def _dial_value(dial: "Dial") -> dict[str, object]:
    from dami_merge.lambdas import fraction_text

    rise = dial.steepest
    return {
        "kind": dial.kind,
        "temperature": dial.temperature,
        "apart": dial.apart,
        "steepest": {
            "from": fraction_text(rise.start),
            "to": fraction_text(rise.stop),
            "part": rise.part,
            "prompts": dial.flips_within(rise),
        },
        "span": [fraction_text(lam) for lam in dial.span],
        "points": [
            {"lambda": fraction_text(lam), "share": share, "turned": turned}
            for lam, share, turned in zip(dial.lambdas, dial.share, (0, *dial.flips), strict=True)
        ],
        "prompts": [
            {**asdict(start), "turns": None if lam is None else fraction_text(lam)}
            for start, lam in zip(dial.starts, dial.turns, strict=True)
        ],
        "answers": {
            "lambdas": [fraction_text(lam) for lam in dial.written_lambdas],
            "share": list(dial.written_share),
            "prompts": [asdict(each) for each in dial.written],
        },
    }


def write_csv(report: "WeightsReport", path: Path) -> None:
    """Write a header and one line per tensor; the file is written completely or not at all.

    Names are written as `csv_cell` makes them harmless; `--json` holds them exactly.
    """
    from dami_merge.files import write_durable

    text = io.StringIO(newline="")
    lines = csv.writer(text)
    facts = list(asdict(report.tensors[0].similarity)) if report.tensors else []
    lines.writerow(["tensor", "layer", "module", "matrix", *facts])
    for tensor in report.tensors:
        values = asdict(tensor.similarity).values()
        names = map(csv_cell, (tensor.name, tensor.layer, tensor.module))
        lines.writerow([*names, int(tensor.matrix), *values])
    write_durable(path, text.getvalue().encode())
