"""The Battle page as a voter meets it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from results.store import open_store
from tests.browser.conftest import Arena, start_arena
from tests.browser.wire import Wire

pytestmark = pytest.mark.browser

ANSWER = 150_000  # milliseconds for two answers of a real model on a busy machine


def query(data_dir: Path, sql: str) -> list[dict[str, object]]:
    """Read the database while the arena owns it."""
    with open_store(data_dir) as store:
        rows: list[dict[str, object]] = store.query(sql).to_pylist()
    return rows


def send(page: Page, prompt: str) -> None:
    page.locator("#prompt textarea").fill(prompt)
    page.locator("#send").click()


def expect_votable(page: Page, timeout: float = 60_000) -> None:
    expect(page.locator("#vote-a")).to_be_enabled(timeout=timeout)


def answers(page: Page) -> list[str]:
    return [page.locator(f"#chat-{side} .bot").last.inner_text() for side in ("a", "b")]


@pytest.fixture(scope="module")
def ok_arena(scripted_arena: Callable[..., Arena]) -> Arena:
    return scripted_arena("ok", "korean")


@pytest.mark.model
def test_a_blind_vote_on_the_real_model(page: Page, model_data_dir: Path) -> None:
    # Short answers: on two busy cores this model needs minutes for the 256 tokens that it may take.
    (model_data_dir / "arena.toml").write_text("[battle]\nmax_tokens = 24\n")
    arena = start_arena(model_data_dir)
    try:
        with Wire(arena.port) as wire:
            page.goto(wire.url)
            expect(page.locator("#demo")).to_contain_text("English only")
            page.locator(".suggestion").first.click()
            expect(page.locator("#prompt textarea")).to_have_value("What is the capital of France?")
            page.locator("#send").click()
            expect_votable(page, ANSWER)
            assert any("Paris" in answer for answer in answers(page))
            page.keyboard.press("1")
            expect(page.locator("#undo")).to_be_visible()

            before_reveal = wire.bytes_so_far().lower()
            assert b"content-encoding" not in before_reveal
            assert b"paris" in before_reveal
            for name in (b"smollm", b"135m-", b"embedded:", b"version_key", b"selection_probability"):
                assert name not in before_reveal, name

            page.locator("#reveal").click()
            expect(page.locator("#status")).to_contain_text("smollm2-135m")
            assert b"smollm" in wire.bytes_so_far().lower()
        vote = query(
            model_data_dir,
            "SELECT verdict, excluded, selection_policy AS policy, c.selection_probability AS p "
            "FROM comparisons c JOIN battles b ON b.id = c.battle_id",
        )
        assert vote == [{"verdict": "a", "excluded": None, "policy": "uniform", "p": pytest.approx(1 / 12)}]
        generations = query(model_data_dir, "SELECT rendered_prompt, prompt_tokens FROM generations")
        assert len(generations) == 2
        for row in generations:
            assert "<|im_start|>user\nWhat is the capital of France?<|im_end|>" in str(row["rendered_prompt"])
        page.goto(f"{arena.url}leaderboard")
        expect(page.locator(".board tbody tr")).to_have_count(2)
    finally:
        arena.stop()


def test_undo_vote_again_and_the_names_come_by_themselves(page: Page, ok_arena: Arena) -> None:
    page.goto(ok_arena.url)
    send(page, "hello")
    expect_votable(page)
    page.locator("#vote-b").click()
    page.locator("#undo").click()
    expect_votable(page)
    expect(page.locator("#undo")).to_be_hidden()
    page.locator("#vote-tie").click()
    expect(page.locator("#status")).to_contain_text("take it back")
    expect(page.locator("#status")).to_contain_text(re.compile("contestant-.*contestant-"), timeout=60_000)
    expect(page.locator("#undo")).to_be_hidden()
    page.locator("#new").click()
    expect(page.locator("#prompt textarea")).to_be_enabled()
    verdicts = query(ok_arena.data_dir, "SELECT verdict FROM comparisons WHERE excluded IS NULL")
    assert {"verdict": "tie"} in verdicts
    assert {"verdict": "b"} not in verdicts


def test_a_second_prompt_and_keys_while_typing(page: Page, ok_arena: Arena) -> None:
    page.goto(ok_arena.url)
    send(page, "first question")
    expect_votable(page)
    box = page.locator("#prompt textarea")
    box.click()
    page.keyboard.type("1 2 3")
    expect(box).to_have_value("1 2 3")
    expect(page.locator("#undo")).to_be_hidden()
    page.keyboard.press("Enter")
    expect(page.locator("#chat-a .user")).to_have_count(2)
    expect_votable(page)
    expect(box).to_have_value("")
    page.keyboard.press("4")
    expect(page.locator("#undo")).to_be_visible()
    page.locator("#reveal").click()


def test_reloading_the_page_keeps_the_battle(page: Page, ok_arena: Arena) -> None:
    page.goto(ok_arena.url)
    send(page, "stay with me")
    expect_votable(page)
    said = answers(page)
    page.reload()
    expect_votable(page)
    assert answers(page) == said
    page.locator("#vote-a").click()
    page.reload()
    expect(page.locator("#undo")).to_be_visible()
    page.locator("#reveal").click()
    expect(page.locator("#status")).to_contain_text("contestant-")


def test_a_failed_side_is_said_and_does_not_count(page: Page, scripted_arena: Callable[..., Arena]) -> None:
    arena = scripted_arena("ok", "garbage")
    with Wire(arena.port) as wire:
        page.goto(wire.url)
        send(page, "hello")
        expect_votable(page, 40_000)
        expect(page.locator("#status")).to_contain_text("will not count")
        page.locator("#vote-a").click()
        expect(page.locator("#undo")).to_be_visible()
        seen = wire.bytes_so_far()
        assert b"contestant-" not in seen
        assert b"not json" not in seen
        page.locator("#reveal").click()
        expect(page.locator("#status")).to_contain_text("does not count")
    assert query(arena.data_dir, "SELECT excluded FROM comparisons") == [{"excluded": "failed_side"}]
    page.goto(f"{arena.url}leaderboard")
    expect(page.locator("#board")).to_contain_text("a model failed to answer (1)")


def test_stop_and_an_unreachable_vote_while_answering(
    page: Page, scripted_arena: Callable[..., Arena]
) -> None:
    arena = scripted_arena("slow:1", "slow:2")
    page.goto(arena.url)
    send(page, "take your time")
    expect(page.locator("#chat-a .bot")).to_contain_text("capital")
    expect(page.locator("#vote-a")).to_be_disabled()
    page.keyboard.press("1")
    page.locator("#stop").click()
    expect_votable(page)
    expect(page.locator("#chat-a")).to_contain_text("Stopped.")
    states = query(arena.data_dir, "SELECT DISTINCT finish_reason FROM generations")
    assert states == [{"finish_reason": "cancelled"}]
    assert query(arena.data_dir, "SELECT count(*) AS n FROM votes") == [{"n": 0}]


@pytest.fixture
def korean_phone(chromium: Browser) -> Iterator[Page]:
    context = chromium.new_context(
        locale="ko-KR", viewport={"width": 390, "height": 844}, color_scheme="dark"
    )
    yield context.new_page()
    context.close()


def test_korean_on_a_dark_phone(korean_phone: Page, ok_arena: Arena) -> None:
    page = korean_phone
    elsewhere: list[str] = []
    problems: list[str] = []
    page.on(
        "request",
        lambda r: None if r.url.startswith((ok_arena.url, "data:", "blob:")) else elsewhere.append(r.url),
    )
    page.on("console", lambda m: problems.append(m.text) if m.type == "error" else None)
    page.goto(ok_arena.url)
    expect(page.locator("#page-title")).to_contain_text("어느 답이 더 낫습니까")
    assert page.evaluate("document.documentElement.lang") == "ko"
    send(page, "대한민국의 수도는 어디인가요?")
    expect_votable(page)
    assert any("대한민국의 수도는 서울입니다." in answer for answer in answers(page))
    expect(page.locator("#vote-tie")).to_have_text("비긴다 (3)")
    page.locator("#vote-tie").click()
    expect(page.locator("#status")).to_contain_text("투표가 저장되었습니다")
    page.locator("#reveal").click()
    expect(page.locator("#status")).to_contain_text("당신의 판정: 비긴다")
    assert problems == []  # before leaving the page, which aborts what it was still reading
    page.goto(f"{ok_arena.url}leaderboard")
    expect(page.locator(".board tbody tr")).to_have_count(2)
    for path in ("", "leaderboard"):
        page.goto(ok_arena.url + path)
        expect(page.locator("#page-title")).to_be_visible()
        wide = page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
        assert wide <= 0, f"/{path} is {wide} pixels too wide"
    page.locator("#language").click()
    expect(page.locator("#page-title")).to_contain_text("Leaderboard")
    assert elsewhere == []


def test_nobody_answers_for_another_voter(chromium: Browser, ok_arena: Arena) -> None:
    first, second = chromium.new_context(locale="en-US"), chromium.new_context(locale="en-US")
    one, two = first.new_page(), second.new_page()
    one.goto(ok_arena.url)
    send(one, "mine")
    expect_votable(one)
    two.goto(ok_arena.url)
    expect(two.locator("#prompt textarea")).to_be_enabled()
    expect(two.locator("#chat-a .user")).to_have_count(0)
    first.close()
    second.close()
