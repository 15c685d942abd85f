"""`python -m dami_merge` is `dami-merge`."""

from dami_merge.cli.main import main

if __name__ == "__main__":
    main()
