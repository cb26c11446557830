"""Pages of an API with tokens: the login, and what each scope shows."""

from __future__ import annotations

import re
from collections.abc import Iterator

import httpx
import pytest
from playwright.sync_api import Page, expect

from shoal.client import Client
from shoal.settings import Settings
from tests.browser.conftest import WAIT_MS, Watch
from tests.running import Processes, eventually
from tests.serving import write_video

expect.set_options(timeout=WAIT_MS)

ADMIN = "an-admin-token-of-some-length"


@pytest.fixture(scope="module")
def client(processes: Processes, settings: Settings) -> Iterator[Client]:
    processes.start("api", SHOAL_API_TOKENS=ADMIN)
    with Client(f"http://127.0.0.1:{settings.api_port}", token=ADMIN) as client:
        eventually(lambda: is_up(client.url), "the API with a token")
        yield client


def is_up(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz").is_success
    except httpx.TransportError:
        return False


@pytest.fixture(scope="module")
def job(client: Client, settings: Settings) -> str:
    return client.submit(write_video(settings).as_uri(), ["person"]).id


def log_in(page: Page, token: str) -> None:
    page.fill("[name=token]", token)
    page.get_by_role("button", name="Log in").click()


@pytest.mark.parametrize(
    "address", ["/docs", "/rq", "/rq/queued", "/ui/videos?state=queued", "/videos/{job}/results"]
)
def test_a_login_leads_to_where_one_wanted_to_go(
    page: Page, watch: Watch, job: str, address: str
) -> None:
    wanted = address.format(job=job)
    page.goto(wanted)
    log_in(page, ADMIN)
    expect(page).to_have_url(re.compile(re.escape(wanted) + "$"))
    if address == "/docs":
        page.get_by_role("link", name="Shoal", exact=False).first.click()
        expect(page).to_have_url(re.compile("/ui$"))
    watch.faults.clear()  # a page of JSON has no icon


@pytest.mark.parametrize("address", ["//evil.example", "/docs.evil.example", "/uploads/x"])
def test_a_login_leads_to_no_other_place(page: Page, job: str, address: str) -> None:
    page.goto(f"/ui/login?to={address}")
    log_in(page, ADMIN)
    expect(page).to_have_url(re.compile("/ui$"))


def test_a_scope_shows_what_it_allows(page: Page, client: Client, job: str) -> None:
    expected = {
        "read": (0, 0, 0),
        "submit": (0, 1, 1),
        "admin": (1, 1, 1),
    }
    for scope, counts in expected.items():
        secret = client.create_token(f"scope-{scope}", scope).secret
        page.context.clear_cookies()
        page.goto("/ui")
        log_in(page, secret)
        expect(page).to_have_url(re.compile("/ui$"))
        buttons = {
            "/ui": "#pause",
            f"/ui/videos/{job}": "#cancel",
            "/ui/videos": "[data-bulk=cancel]",
        }
        for (address, button), count in zip(buttons.items(), counts, strict=True):
            page.goto(address)
            expect(page.locator(f"{button}:visible")).to_have_count(count)
        new = page.get_by_role("link", name="New", exact=True)
        expect(new).to_have_count(0 if scope == "read" else 1)


def test_a_pause_shows_on_every_page(page: Page, client: Client, job: str) -> None:
    page.goto("/ui/videos")
    log_in(page, ADMIN)
    expect(page.locator("#paused")).to_be_empty()
    client.pause()
    expect(page.locator("#paused")).to_contain_text("The queue is paused.")
    for address in ("/ui/new", "/ui/rules", f"/ui/videos/{job}", "/rq"):
        page.goto(address)
        expect(page.locator("#paused")).to_contain_text("The queue is paused.")
    page.goto("/ui/videos")
    client.resume()
    expect(page.locator("#paused")).to_be_empty()


def test_a_revoked_token_leads_to_the_login(
    page: Page, client: Client, watch: Watch, job: str
) -> None:
    secret = client.create_token("revoked", "read").secret
    page.goto(f"/ui/videos/{job}")
    log_in(page, secret)
    expect(page.locator("#connection")).to_have_text("live")
    client.revoke_token("revoked")
    expect(page.locator("h1")).to_have_text("Log in")
    watch.faults.clear()  # Chromium's note of the refusal
