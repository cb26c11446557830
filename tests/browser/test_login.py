"""The dashboard of an API that requires tokens."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect
from pydantic import SecretStr

from shoal.settings import Settings
from tests.browser.conftest import WAIT_MS, Watch
from tests.conftest import SubmitClip

expect.set_options(timeout=WAIT_MS)


@pytest.fixture
def api_settings(settings: Settings) -> Settings:
    token = SecretStr("a-token-of-some-length")
    return settings.model_copy(update={"api_tokens": (token,)})


def test_a_token_opens_the_dashboard_once(
    page: Page, watch: Watch, submit_clip: SubmitClip
) -> None:
    job_id = submit_clip()
    page.goto(f"/ui/videos/{job_id}")
    page.fill("[name=token]", "wrong")
    page.get_by_role("button", name="Log in").click()
    expect(page.locator("main")).to_contain_text("Invalid or revoked token.")
    page.fill("[name=token]", "a-token-of-some-length")
    page.get_by_role("button", name="Log in").click()
    expect(page).to_have_url(re.compile(f"/ui/videos/{job_id}$"))
    expect(page.locator("#connection")).to_have_text("live")
    page.get_by_role("button", name="Cancel").click()
    page.get_by_role("button", name="Cancel video").click()
    expect(page.locator("#head .badge")).to_have_text("cancelled")
    page.get_by_role("button", name="Log out").click()
    expect(page.locator("h1")).to_have_text("Log in")
    page.goto("/ui")
    expect(page.locator("h1")).to_have_text("Log in")
    watch.faults.clear()  # Chromium's note of the refusal
