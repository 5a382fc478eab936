"""The Leaderboard page as its readers meet it."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Browser, Page, expect

from results.interchange import import_votes
from results.leaderboard import leaderboard
from results.store import open_store
from tests.browser.conftest import Arena

pytestmark = pytest.mark.browser

NAMES = ("한빛-7B", "누리-3B", "Orca Mini", '<img src=x onerror="window.hacked=1">&')


def votes(folder: Path, n: int, seed: int, source: str) -> Path:
    """Votes of the last 400 hours in which the first of `NAMES` is best and the last worst; answers differ in
    length."""
    begin = time.time() - 400 * 3600
    rng = np.random.default_rng(seed)
    file = folder / f"{source}.jsonl"
    with file.open("w", encoding="utf-8") as out:
        for k in range(n):
            a, b = (int(x) for x in rng.choice(4, 2, replace=False))
            words = [int(w) for w in rng.integers(10, 90, 2)]
            gap = 0.6 * (b - a) + (words[0] - words[1]) / sum(words)
            won = "tie" if rng.random() < 0.2 else "ab"[bool(rng.random() > 1 / (1 + np.exp(-gap)))]
            row = {
                "id": k, "model_a": NAMES[a], "model_b": NAMES[b], "winner": won, "timestamp": begin + k * 3600,
                "language": ("ko", "en")[k % 2], "prompt": f"질문 {k % 20} <script>window.hacked=1</script>",
            }  # fmt: skip
            for side, count in zip("ab", words, strict=True):
                row[f"conversation_{side}"] = [{"role": "assistant", "content": "낱말 " * count}]
            out.write(json.dumps(row, ensure_ascii=False) + "\n")
    return file


@pytest.fixture(scope="module")
def voted_arena(scripted_arena: Callable[..., Arena], tmp_path_factory: pytest.TempPathFactory) -> Arena:
    arena = scripted_arena("ok", "korean")
    folder = tmp_path_factory.mktemp("votes")
    with open_store(arena.data_dir) as store:
        import_votes(store, votes(folder, 400, 0, "human"))
        judged = votes(folder, 200, 1, "judge")
        import_votes(store, judged, source="judge", fixed={"judge": "심판"})
    return arena


def choose(page: Page, dropdown: str, option: str) -> None:
    page.locator(f"#{dropdown} input").click()
    page.get_by_role("option", name=option).click()


def view(page: Page, label: str) -> None:
    page.locator("#view label", has_text=label).click()


def test_filters_change_the_board_and_the_address_shares_the_view(page: Page, voted_arena: Arena) -> None:
    page.goto(f"{voted_arena.url}leaderboard")
    rows = page.locator(".board tbody tr")
    expect(rows).to_have_count(4)
    expect(rows.first).to_contain_text("한빛-7B")
    expect(page.locator(".board caption")).to_contain_text("Side A is worth")
    choose(page, "filter-language", "ko")
    expect(page.locator(".board caption")).to_contain_text("Votes: 200.")
    expect(page).to_have_url(re.compile(r"/leaderboard\?language=ko$"))
    page.locator("#filter-style input").check()
    expect(page.locator(".board caption")).to_contain_text(re.compile(r"What style is worth: length \+\d"))
    expect(page).to_have_url(re.compile(r"/leaderboard\?language=ko&style=1$"))
    said = page.locator(".board").inner_text()

    page.goto(page.url)
    expect(page.locator(".board caption")).to_contain_text("What style is worth")
    assert page.locator(".board").inner_text() == said
    expect(page.locator("#filter-style input")).to_be_checked()
    expect(page.locator("#filter-language input")).to_have_value("ko")
    page.locator("#filter-style input").uncheck()
    expect(page.locator(".board caption")).not_to_contain_text("style")
    choose(page, "filter-method", "Elo (online)")
    expect(page).to_have_url(re.compile("method=elo"))
    expect(page.locator("#filter-style input")).to_be_disabled()


def test_a_pair_and_the_battles_behind_it(page: Page, voted_arena: Arena) -> None:
    page.goto(f"{voted_arena.url}leaderboard")
    view(page, "All pairs")
    expect(page.locator(".heat tbody td a")).to_have_count(12)
    page.get_by_role("link", name=re.compile("^누리-3B against Orca Mini")).focus()
    page.keyboard.press("Enter")
    expect(page.locator(".headline")).to_contain_text("누리-3B beats Orca Mini with probability")
    expect(page.locator("#first input")).to_have_value("누리-3B")
    expect(page.locator("td.prompt").first).to_contain_text("질문")
    with open_store(voted_arena.data_dir) as store:
        row = next(row for row in leaderboard(store).models if row.model == "누리-3B")
        assert row.votes > 0
    choose(page, "second", "한빛-7B")
    expect(page.locator(".headline")).to_contain_text("누리-3B beats 한빛-7B")
    expect(page).to_have_url(re.compile("view=duel&a=.*&b="))
    assert page.evaluate("window.hacked") is None


def test_over_time_and_people_beside_judges(page: Page, voted_arena: Arena) -> None:
    page.goto(f"{voted_arena.url}leaderboard?view=time")
    expect(page.locator(".chart polyline")).to_have_count(4)
    expect(page.locator(".legend li").first).to_contain_text("한빛-7B")
    page.locator("summary").click()
    expect(page.locator("details tbody tr")).to_have_count(4)
    view(page, "People and judges")
    expect(page.locator(".board tbody tr")).to_have_count(4)
    expect(page.locator(".lb p.note")).to_contain_text("people and judges disagree")


def test_what_changed_since_another_time(page: Page, voted_arena: Arena) -> None:
    page.goto(f"{voted_arena.url}leaderboard?view=changes&since=1")
    expect(page.locator(".board tbody tr")).to_have_count(4)
    expect(page.locator("#filter-since input")).to_have_value("yesterday")
    expect(page.locator(".lb p.note")).to_contain_text("400 now")
    choose(page, "filter-since", "a year ago")
    expect(page).to_have_url(re.compile("view=changes&since=365$"))
    expect(page.locator("#board")).to_contain_text("Fewer than two models were rated before")
    choose(page, "filter-method", "Elo (online)")
    expect(page.locator("#board")).to_contain_text("plain Bradley-Terry alone")
    view(page, "Ratings")
    expect(page.locator("#filter-since")).to_be_hidden()


def test_a_mistaken_address_gives_the_plain_board(page: Page, voted_arena: Arena) -> None:
    page.goto(f"{voted_arena.url}leaderboard?view=x&method=best&source=%00&ties=1&language=zz&a=none&style=2")
    expect(page.locator(".board tbody tr")).to_have_count(4)
    expect(page.locator(".board caption")).to_contain_text("Votes: 400.")


@pytest.fixture
def korean_phone(chromium: Browser) -> Iterator[Page]:
    context = chromium.new_context(
        locale="ko-KR", viewport={"width": 390, "height": 844}, color_scheme="dark"
    )
    yield context.new_page()
    context.close()


def test_every_view_fits_a_korean_phone_and_fetches_nothing_elsewhere(
    korean_phone: Page, voted_arena: Arena
) -> None:
    page = korean_phone
    elsewhere: list[str] = []
    problems: list[str] = []
    page.on(
        "request",
        lambda r: None if r.url.startswith((voted_arena.url, "data:", "blob:")) else elsewhere.append(r.url),
    )
    page.on("pageerror", lambda error: problems.append(str(error)))
    for name, words in {
        "board": "A 자리의 이점", "pairs": "칸은 행의 모델이", "duel": "이길 확률은", "time": "점마다 그 시각",
        "changes": "같은 평균에 놓고", "judges": "같은 평균으로",
    }.items():  # fmt: skip
        page.goto(f"{voted_arena.url}leaderboard?view={name}")
        expect(page.locator("#board")).to_contain_text(words)
        wide = page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
        assert wide <= 0, f"{name} is {wide} pixels too wide"
        assert page.evaluate("window.hacked") is None
    assert elsewhere == []
    assert problems == []
