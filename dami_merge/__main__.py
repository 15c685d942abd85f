"""`python -m dami_merge` is `dami-merge`. Ctrl-C is handled before the command line is imported."""

from dami_merge.cli.interrupt import arm


def start() -> None:
    """Run the program."""
    arm()
    from dami_merge.cli.main import main

    main()


if __name__ == "__main__":
    start()
