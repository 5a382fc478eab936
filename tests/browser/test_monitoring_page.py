"""The Monitoring page in a browser, on an arena that answers calls of its API."""

from __future__ import annotations

import re
from collections.abc import Callable

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect

from arena.api.tokens import issue
from results.store import open_store
from results.store.tokens import add_token
from tests.browser.conftest import Arena

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def arena(scripted_arena: Callable[..., Arena]) -> Arena:
    started = scripted_arena("korean", "error-inside")
    for model in ("contestant-korean", "contestant-korean", "contestant-error-inside"):
        asked = {"model": model, "messages": [{"role": "user", "content": "수도는?"}]}
        httpx.post(f"{started.url}v1/chat/completions", json=asked, timeout=60, trust_env=False)
    return started


def test_figures_of_calls_errors_and_the_machine(page: Page, arena: Arena) -> None:
    page.goto(f"{arena.url}monitor")
    calls = page.get_by_role("region", name="Calls by model")
    row = calls.locator("tr", has_text="contestant-korean@1")
    expect(row.locator("td").first).to_have_text("2")
    expect(row).to_contain_text(re.compile(r"\d\.\d\d / \d\.\d\d"))
    expect(page.get_by_role("region", name="The newest errors")).to_contain_text("GPU on fire")
    expect(page.get_by_role("region", name="Engines")).to_contain_text("contestant-korean")
    expect(page.get_by_role("region", name="The machine", exact=True)).to_contain_text(
        re.compile(r"GB / [\d.]+ GB")
    )
    expect(page.locator("#monitoring")).to_contain_text("Open battles: 0.")


def test_it_refreshes_by_itself_and_keeps_its_place(page: Page, arena: Arena) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    page.goto(f"{arena.url}monitor")
    calls = page.get_by_role("region", name="Calls by model")
    calls.focus()
    calls.evaluate("table => { table.scrollLeft = 120; }")
    told = page.locator("#monitoring .note").first
    before = told.inner_text()
    expect(told).not_to_have_text(before, timeout=60_000)
    expect(calls).to_be_focused()
    assert calls.evaluate("table => table.scrollLeft") == 120
    page.locator("#refreshing input").uncheck()


def test_korean_in_the_dark_and_nothing_for_who_is_no_operator(chromium: Browser, arena: Arena) -> None:
    context = chromium.new_context(
        locale="ko-KR", viewport={"width": 390, "height": 844}, color_scheme="dark"
    )
    page = context.new_page()
    page.goto(f"{arena.url}monitor")
    expect(page.locator("#monitoring")).to_contain_text("모델별 호출")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    with open_store(arena.data_dir) as store:
        add_token(store, issue("ops", "operator")[0])
    page.goto(f"{arena.url}monitor")
    expect(page.get_by_role("alert")).to_contain_text("/operator")
    expect(page.locator("#monitoring")).to_contain_text("모델이 2개 있습니다")
    assert "contestant" not in page.locator("main").inner_text()
    page.goto(f"{arena.url}models")
    expect(page.locator(".card")).to_have_count(2)
    expect(page.locator("#filter-loaded")).to_be_hidden()
    expect(page.locator("#add-model")).to_be_hidden()
    page.goto(f"{arena.url}models?model=contestant-korean")
    expect(page.locator("#model-details")).to_contain_text("보내는 메시지")
    expect(page.locator("#actions")).to_be_hidden()
    context.close()
