"""Whether a page fits its window."""

from __future__ import annotations

from playwright.sync_api import Page

from tests.running import eventually


def fits(page: Page, width: int, what: str = "the page") -> None:
    """Nothing is cut at the side, as soon as the page has taken the size of its window."""
    eventually(
        lambda: page.evaluate("document.documentElement.scrollWidth") <= width,
        f"{what} to fit {width} pixels",
        timeout_s=60,
    )
