"""Battles of a script on the Battle page: from `arena battles run` to the vote and the leaderboard."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from results.store import open_store
from tests.browser.conftest import Arena
from tests.browser.wire import Wire

pytestmark = pytest.mark.browser


def query(data_dir: Path, sql: str) -> list[dict[str, object]]:
    with open_store(data_dir) as store:
        rows: list[dict[str, object]] = store.query(sql).to_pylist()
    return rows


@pytest.fixture(scope="module")
def prepared_arena(scripted_arena: Callable[..., Arena]) -> Arena:
    """An arena with two battles that the command line prepared; the store is the running server's."""
    arena = scripted_arena("ok", "korean")
    prompts = arena.data_dir / "prompts.jsonl"
    prompts.write_text(
        '{"prompt": "What is the capital of France?"}\n{"turns": ["안녕?", "수도는 어디야?"]}\n',
        encoding="utf-8",
    )
    command = [
        sys.executable, "-m", "arena.cli.main", "battles", "run", "--data", str(arena.data_dir),
        "--prompts", str(prompts), "--models", "contestant-ok contestant-korean",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    told = " ".join(done.stderr.split())
    assert "2 battles" in told
    assert "Vote on prepared battles" in told
    return arena


def test_a_prepared_battle_from_the_command_line_to_the_leaderboard(
    page: Page, prepared_arena: Arena
) -> None:
    with Wire(prepared_arena.port) as wire:
        page.goto(wire.url)
        expect(page.locator("#prepared")).to_have_text("Vote on prepared battles (2)")
        page.locator("#prepared").click()
        expect(page.locator("#vote-a")).to_be_enabled()
        expect(page.locator("#chat-a .bot").last).not_to_be_empty()
        expect(page.locator("#chat-b .bot").last).not_to_be_empty()
        expect(page.locator("#prompt textarea")).to_be_disabled()
        page.locator("#vote-b").click()
        page.locator("#undo").click()
        expect(page.locator("#vote-a")).to_be_enabled()
        page.locator("#vote-a").click()
        expect(page.locator("#undo")).to_be_visible()
        assert b"contestant-" not in wire.bytes_so_far()
        page.locator("#reveal").click()
        expect(page.locator("#status")).to_contain_text(re.compile("contestant-.*contestant-"))
        page.locator("#next-prepared").click()
        expect(page.locator("#status")).not_to_contain_text("contestant-")
        expect(page.locator("#vote-tie")).to_be_enabled()
        page.locator("#vote-tie").click()
        page.locator("#reveal").click()
        expect(page.locator("#status")).to_contain_text("You voted tie")
        page.locator("#next-prepared").click()
        expect(page.get_by_text("You have voted on all prepared battles")).to_be_visible()
    votes = query(
        prepared_arena.data_dir,
        "SELECT v.verdict, v.excluded, b.mode FROM votes v JOIN battles b ON b.id = v.battle_id ORDER BY v.time",
    )
    assert [(row["excluded"], row["mode"]) for row in votes] == [(None, "script")] * 2
    assert [row["verdict"] for row in votes] in (["a", "tie"], ["b", "tie"])
    assert query(prepared_arena.data_dir, "SELECT sum(n)::INT AS n FROM pair_counts") == [{"n": 2}]
    page.goto(f"{prepared_arena.url}leaderboard")
    # A vote that could still be taken back moves nothing that others see.
    expect(page.locator("#board")).to_contain_text(re.compile("contestant-|no votes"))


def test_in_korean_on_a_phone(chromium: Browser, prepared_arena: Arena) -> None:
    context = chromium.new_context(
        locale="ko-KR", viewport={"width": 390, "height": 844}, color_scheme="dark"
    )
    page = context.new_page()
    page.goto(prepared_arena.url)
    expect(page.locator("#prepared")).to_have_text("준비된 배틀에 투표하기 (2)")
    page.locator("#prepared").click()
    expect(page.locator("#vote-tie")).to_be_enabled()
    assert page.evaluate("document.documentElement.scrollWidth - window.innerWidth") <= 0
    page.locator("#next-prepared").click()
    expect(page.locator("#vote-tie")).to_be_enabled()
    page.locator("#vote-both_bad").click()
    page.locator("#reveal").click()
    expect(page.locator("#status")).to_contain_text("당신의 판정: 둘 다 나쁘다")
    page.locator("#new").click()
    expect(page.locator("#prepared")).to_have_text("준비된 배틀에 투표하기 (1)")
    context.close()
