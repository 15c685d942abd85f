"""Make the pictures of the README with the commands that the README shows.

    python tools/pictures.py

`frontier.svg` and `accuracy.svg` are figures of `dami-merge report` after a sweep of the bundled pair.
`check-lmc.png` shows the top of the page of `dami-merge check-lmc --html` in headless Chromium. Prints how
long the sweep took.
"""

import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click
from playwright.sync_api import sync_playwright

PICTURES = Path(__file__).parent / "pictures"
SHOWN = ("frontier", "accuracy")
WIDTH, HEIGHT = 1000, 1180


def run(folder: Path, *arguments: str) -> None:
    """One command of the README, in a folder of its own."""
    click.echo("$ dami-merge " + " ".join(arguments))
    subprocess.run([sys.executable, "-m", "dami_merge", *arguments], cwd=folder, check=True)


def screenshot(page_file: Path, picture: Path) -> None:
    """The top of a page as a reader sees it."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
        page.goto(page_file.as_uri())
        page.wait_for_function("document.documentElement.dataset.drawn === 'yes'")
        page.screenshot(path=picture)
        browser.close()


@click.command(help=__doc__)
def main() -> None:
    PICTURES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run(folder, "check-lmc", "--texts", "bundled", "--html", "pair.html")
        screenshot(folder / "pair.html", PICTURES / "check-lmc.png")
        run(folder, "grid")
        began = time.monotonic()
        run(folder, "sweep")
        click.echo(f"the sweep took {time.monotonic() - began:.0f} s")
        run(folder, "report", "grid", "--figures", "figures")
        for figure in SHOWN:
            shutil.copy(folder / "figures" / f"{figure}.svg", PICTURES)


if __name__ == "__main__":
    main()
