"""Write the bundled pair's questions.

    python tools/write_questions.py                # into dami_merge/data/tiny

`train`, `validation` and `test` have equally many questions of every skill and size, in turns, so that
the first part of a file has so too. `heldout` has a skill that these three do not have. `paraphrased` asks
the test questions in another form. `questions` is the beginning of `test`. None was trained on;
`tiny_pair.splits` says how they are drawn.
"""

from pathlib import Path

import click
from tiny_pair.splits import question_files

DEFAULT_OUTPUT = Path(__file__).resolve().parent.parent / "dami_merge" / "data" / "tiny"


@click.command(context_settings={"show_default": True})
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    default=DEFAULT_OUTPUT,
    help="Folder to write to.",
)
@click.option("--seed", default=0, help="Seed of the draw.")
def main(*, output: Path, seed: int) -> None:
    """Write a file of JSON Lines for every set of questions."""
    for name, lines in question_files(seed).items():
        (output / f"{name}.jsonl").write_text("".join(lines), encoding="utf-8")
        click.echo(f"{output / name}.jsonl: {len(lines)} questions")


if __name__ == "__main__":
    main()
