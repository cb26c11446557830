"""Debian's Chromium, or whichever Playwright finds, for tests and screenshots."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, Playwright

NAMES = ("chromium", "chromium-browser", "google-chrome")


def path() -> str | None:
    """The browser on the PATH, if there is one."""
    return next((found for name in NAMES if (found := shutil.which(name))), None)


@contextmanager
def launched(playwright: Playwright) -> Iterator[Browser]:
    # Its sandbox needs rights that a container does not give; the pages are our own.
    browser = playwright.chromium.launch(executable_path=path(), args=["--no-sandbox"])
    try:
        yield browser
    finally:
        browser.close()
