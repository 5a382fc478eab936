"""The Datasets page in a browser: a file with bad rows, a good one as a model sees it, votes, and removing."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from evaluators.suites.catalogue import all_suites
from tests.browser.conftest import Arena
from tests.trainers.tiny_models import ROWS

pytestmark = pytest.mark.browser


def visit(page: Page, arena: Arena, address: str = "datasets") -> None:
    page.goto(f"{arena.url}{address}")
    expect(page.locator("#datasets")).to_contain_text(re.compile("dataset|데이터셋", re.IGNORECASE))


def test_a_file_with_bad_rows_then_a_good_one_as_the_model_sees_it(
    page: Page, training_arena: Arena, tmp_path: Path
) -> None:
    visit(page, training_arena)
    page.get_by_role("tab", name="Add a file").click()
    page.locator("#add").click()
    expect(page.locator("#added")).to_contain_text("Choose a file first")

    bad = tmp_path / "숫자.jsonl"
    lines = [json.dumps(row, ensure_ascii=False) for row in ROWS["chat"]]
    bad.write_text(
        "\n".join([lines[0], '{"prompt": "", "response": "x"}', "{broken", lines[1]]) + "\n", "utf-8"
    )
    page.locator("#file input[type=file]").set_input_files(bad)
    expect(page.locator("#file")).to_contain_text("숫자")
    page.locator("#add").click()
    told = page.locator("#added")
    expect(told).to_contain_text("2 of 4 rows cannot be used, and nothing was added")
    expect(told.locator("tbody tr").nth(0)).to_contain_text(re.compile(r"^2.*prompt"))
    expect(told.locator("tbody tr").nth(1)).to_contain_text(re.compile(r"^3"))
    expect(page.locator("#datasets")).not_to_contain_text("숫자")

    good = tmp_path / "sums.jsonl"
    good.write_text("\n".join([*lines, lines[0]]) + "\n", "utf-8")
    page.locator("#file input[type=file]").set_input_files(good)
    expect(page.locator("#file")).to_contain_text("sums")
    page.locator("#set-licence input, #set-licence textarea").first.fill("mit")
    page.locator("#add").click()
    expect(told).to_contain_text("sums@1 was added: 24 rows")
    expect(told).to_contain_text("1 · Duplicates left out")
    expect(page.locator("#datasets tbody tr", has_text="sums@1")).to_contain_text("mit")

    told.get_by_role("link", name="Look at sums@1").click()
    shown = page.locator("#dataset")
    expect(shown).to_contain_text("Rows 1 to 5 of 24")
    expect(shown).to_contain_text("0 더하기 1은?")
    for fact in ("Licence", "mit", "Duplicates", "Different words", "mean", "sums.jsonl"):
        expect(shown).to_contain_text(fact)
    assert "24 rows" in (shown.locator("svg.fig").get_attribute("aria-label") or "")

    page.locator("#set-model input").click()
    page.get_by_role("option", name="tiny", exact=True).click()
    expect(shown.locator("pre.rendered").first).to_contain_text("<|im_start|>user")
    trained = shown.locator("pre.rendered").first.locator("mark.trained")
    expect(trained).to_contain_text("답은 1")
    assert "더하기" not in trained.inner_text()
    expect(shown).to_contain_text("bold, underlined and green")
    expect(shown).to_contain_text("Tokens a row under tiny@1")
    # Not by colour alone.
    style = trained.evaluate("e => [getComputedStyle(e).textDecorationLine, getComputedStyle(e).fontWeight]")
    assert style == ["underline", "700"]
    page.locator("#after").click()
    expect(shown).to_contain_text("Rows 6 to 10 of 24")
    expect(shown).to_contain_text("5 더하기 1은?")


def test_a_dataset_of_votes_is_built_and_taken_off_the_list(page: Page, training_arena: Arena) -> None:
    visit(page, training_arena)
    page.get_by_role("tab", name="Build from votes").click()
    page.locator("#build").click()
    built = page.locator("#built")
    expect(built).to_contain_text("cannot be a name")
    page.locator("#votes-name input, #votes-name textarea").first.fill("점심")
    page.locator("#set-votes_kind input").click()
    page.get_by_role("option", name="winner and loser").click()
    page.locator("#build").click()
    expect(built).to_contain_text("점심@1 was built: 1 rows of 1 battles")
    page.get_by_role("tab", name="Look", exact=True).click()
    shown = page.locator("#dataset")
    expect(shown).to_contain_text("Preferred")
    expect(shown).to_contain_text("김치찌개요!")
    expect(shown).to_contain_text("한빛@1")

    page.locator("#remove").click()
    page.locator("#sure").click()
    expect(page.locator("#datasets")).not_to_contain_text("점심@1")


def test_a_check_against_test_suites_flags_rows(page: Page, training_arena: Arena, tmp_path: Path) -> None:
    (item, *_) = all_suites(training_arena.data_dir)[0][0].items
    file = tmp_path / "seen.jsonl"
    rows = [{"prompt": "처음 보는 물음", "response": "답"}, {"prompt": str(item.input), "response": "x"}]
    file.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
    visit(page, training_arena)
    page.get_by_role("tab", name="Add a file").click()
    page.locator("#file input[type=file]").set_input_files(file)
    expect(page.locator("#file")).to_contain_text("seen")
    page.locator("#add").click()
    expect(page.locator("#added")).to_contain_text("seen@1 was added: 2 rows")
    visit(page, training_arena, "datasets?dataset=seen@1")
    shown = page.locator("#dataset")
    expect(shown).to_contain_text("not checked yet")
    page.locator("#check").click()
    expect(page.locator("#checking")).to_contain_text(re.compile("seen@1.*done", re.DOTALL), timeout=90_000)
    expect(page.locator("#stop-check")).to_be_hidden()
    expect(shown.locator("article.row", has_text="Row 2").locator(".flag")).to_contain_text(str(item.id))
    expect(shown.locator("article.row", has_text="Row 1").locator(".flag")).to_have_count(0)
    expect(page.locator("#datasets tbody tr", has_text="seen@1")).not_to_contain_text("not checked")


def test_korean_on_a_phone(chromium: Browser, training_arena: Arena) -> None:
    context = chromium.new_context(locale="ko-KR", viewport={"width": 390, "height": 844})
    page = context.new_page()
    visit(page, training_arena)
    for tab in ("파일 추가", "투표에서 만들기", "살펴보기"):
        page.get_by_role("tab", name=tab, exact=True).click()
        assert page.evaluate("document.documentElement.scrollWidth") <= 390, tab
    assert not re.search(r"\bdatasets\.\w+", page.locator("main").inner_text())
    context.close()
