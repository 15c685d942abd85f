"""A headless Chromium without a network, as a page's reader has it."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


SCREENS = pytest.mark.parametrize(
    ("width", "dark"), [(width, dark) for width in (360, 1200) for dark in (False, True)]
)


@dataclass
class Opened:
    """A page, drawn, and everything it complained of or asked for."""

    page: Page
    console: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def complaints(self, file: Path) -> list[str]:
        """What a reader would see go wrong: words on the console, requests, a page wider than the screen."""
        found = [*self.console, *(request for request in self.requests if request != file.as_uri())]
        return [*found, "wider than the screen"] if self.wider_than_the_screen else found

    @property
    def wider_than_the_screen(self) -> bool:
        """Whether a reader would have to scroll sideways."""
        wide: bool = self.page.evaluate("document.documentElement.scrollWidth > window.innerWidth")
        return wide


class Reader:
    """Opens pages of this disk."""

    def __init__(self, browser: Browser) -> None:
        self._browser = browser

    def without_scripts(self, file: Path) -> Page:
        """Open as somebody whose browser runs no scripts."""
        page = self._browser.new_context(java_script_enabled=False, offline=True).new_page()
        page.goto(file.as_uri())
        return page

    def open(self, file: Path, *, width: int = 1200, dark: bool = False) -> Opened:
        """Open, and wait until every figure is drawn."""
        context = self._browser.new_context(
            viewport={"width": width, "height": 900},
            color_scheme="dark" if dark else "light",
            offline=True,
        )
        opened = Opened(context.new_page())
        opened.page.on("console", lambda message: opened.console.append(message.text))
        opened.page.on("pageerror", lambda error: opened.console.append(str(error)))
        opened.page.on("request", lambda request: opened.requests.append(request.url))
        opened.page.goto(file.as_uri())
        opened.page.wait_for_function("document.documentElement.dataset.drawn === 'yes'", timeout=60_000)
        return opened


@pytest.fixture(scope="session")
def reader() -> Iterator[Reader]:
    """Skipped where there is no Chromium; .ci/run installs one."""
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine")
    flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=flags)
        yield Reader(browser)
        browser.close()
