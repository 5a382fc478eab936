"""The Benchmarks page in a browser: a suite uploaded, run, stopped, taken up again, compared, its samples looked at."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import Arena, start_arena

pytestmark = pytest.mark.browser

RUN = 60_000  # milliseconds for a small run on a busy machine
PARIS, SEOUL = "The capital of France is Paris.", "대한민국의 수도는 서울입니다."
LATE_ITEMS = 120


def write_cases(folder: Path) -> None:
    """Eight questions that one model answers, four that the other does, and one file with a mistake in line 3."""
    english = [f"Question {n}?,{PARIS},geography" for n in range(8)]
    korean = [f"질문 {n}?,{SEOUL},지리" for n in range(4)]
    (folder / "capitals.csv").write_text(
        "\n".join(["question,answer,category", *english, *korean]) + "\n", encoding="utf-8"
    )
    (folder / "broken.jsonl").write_text(
        '{"question": "하나?", "answer": "1"}\n{"question": "둘?", "answer": "2"}\n{"question": \n',
        encoding="utf-8",
    )
    lines = [{"question": f"Late {n}?", "answer": PARIS} for n in range(LATE_ITEMS)]
    (folder / "many.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")


@pytest.fixture(scope="module")
def arena(scripted_server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Arena]:
    data_dir = tmp_path_factory.mktemp("benchmarks")
    write_cases(data_dir)
    models = "".join(
        f'[[models]]\nname = "{name}"\nkind = "openai"\nsource = "{mode}"\nbase_url = "{scripted_server}/v1"\n'
        for name, mode in (("paris", "ok:bench"), ("seoul", "korean:bench"), ("late", "late:bench"))
    )
    (data_dir / "arena.toml").write_text("embedded = false\n" + models, encoding="utf-8")
    started = start_arena(data_dir)
    yield started
    started.stop()


def pick(page: Page, field: str, *values: str) -> None:
    """Choose in a dropdown of several, by keyboard."""
    box = page.locator(f"{field} input")
    for value in values:
        box.click()
        box.fill(value)
        page.get_by_role("option", name=value).first.click()
    page.keyboard.press("Escape")


def choose(page: Page, field: str, value: str) -> None:
    page.locator(f"{field} input").click()
    page.get_by_role("option", name=value).first.click()


def tab(page: Page, name: str) -> None:
    page.get_by_role("tab", name=name, exact=True).click()


def upload(page: Page, file: Path) -> None:
    tab(page, "Suites")
    page.locator("#suite-file input[type=file]").set_input_files(file)
    expect(page.locator("#suite-file")).to_contain_text(file.stem)
    page.locator("#suite-add").click()


def state(page: Page) -> str:
    return page.locator("#work .state").inner_text()


def test_upload_run_compare_and_samples(page: Page, arena: Arena) -> None:
    page.goto(f"{arena.url}benchmarks")
    expect(page.locator("#results")).to_contain_text("No model has been through a suite yet")
    tab(page, "Suites")
    expect(page.locator("#suite-list")).to_contain_text("arithmetic")

    # A file that is wrong adds nothing, and is told by its name and line; a kind that is no suite is refused.
    upload(page, arena.data_dir / "broken.jsonl")
    expect(page.locator("#suite-told [role=alert]")).to_contain_text("broken.jsonl, line 3")
    expect(page.locator("#suite-told")).not_to_contain_text("/tmp")
    assert not (arena.data_dir / "suites" / "broken").exists()
    page.reload()
    upload(page, arena.data_dir / "capitals.csv")
    expect(page.locator("#suite-told")).to_contain_text("capitals: 12 items")
    expect(page.locator("#suite-list")).to_contain_text("capitals")

    # Nothing chosen is said.
    tab(page, "Runs")
    page.locator("#start-run").click()
    expect(page.locator("#work [role=alert]")).to_contain_text("Choose at least one model")

    pick(page, "#models", "paris", "seoul")
    pick(page, "#suites", "capitals")
    page.locator("#limit input").fill("0")
    page.locator("#start-run").click()
    expect(page.locator("#work .state")).to_have_text("done", timeout=RUN)
    results = page.locator("#results")
    expect(results.get_by_role("row").filter(has_text="paris@1").first).to_contain_text("0.667 ± ")
    expect(results.get_by_role("row").filter(has_text="seoul@1").first).to_contain_text("0.333 ± ")

    # Two models, paired: eight right against four of twelve is no proof.
    tab(page, "Compare and samples")
    choose(page, "#first", "paris@1")
    choose(page, "#second", "seoul@1")
    expect(page.locator("#comparison")).to_contain_text("inconclusive")
    expect(page.locator("#comparison")).to_contain_text("-0.333 [")

    # Samples: all twelve over two pages; where the second is better there are four, with both answers.
    choose(page, "#samples-suite", "capitals")
    shown = page.locator("#samples-shown")
    expect(shown.locator("article")).to_have_count(10)
    page.locator("#samples-next").click()
    expect(shown.locator("article")).to_have_count(2)
    choose(page, "#samples-show", "where the second is better")
    expect(shown.locator("article")).to_have_count(4)
    first = shown.locator("article").first
    expect(first).to_contain_text("질문")
    expect(first.locator(".answer").nth(0)).to_contain_text("✗ wrong")
    expect(first.locator(".answer").nth(0).locator("pre").first).to_have_text(PARIS)
    expect(first.locator(".answer").nth(1)).to_contain_text("✓ right")
    expect(first.locator(".answer").nth(1).locator("pre").first).to_have_text(SEOUL)


def test_stopped_after_a_reload_and_taken_up_again(page: Page, arena: Arena, scripted_server: str) -> None:
    page.goto(f"{arena.url}benchmarks")
    upload(page, arena.data_dir / "many.jsonl")
    expect(page.locator("#suite-told")).to_contain_text(f"many: {LATE_ITEMS} items")
    tab(page, "Runs")
    pick(page, "#models", "late")
    pick(page, "#suites", "many")
    page.locator("#limit input").fill("0")
    page.locator("#start-run").click()
    expect(page.locator("#work .figures-of-work")).to_contain_text(f"/ {LATE_ITEMS}", timeout=RUN)
    expect(page.locator("#work .figures-of-work")).to_contain_text("left", timeout=RUN)

    # The run goes on while nobody looks, and a page that comes back shows it.
    page.reload()
    expect(page.locator("#work .state")).to_have_text("at work")
    page.locator("#stop-run").click()
    expect(page.locator("#work .state")).to_have_text("stopped", timeout=RUN)
    expect(page.locator("#resume-run")).to_be_visible()

    page.locator("#resume-run").click()
    expect(page.locator("#work .state")).to_have_text("done", timeout=RUN)
    expect(page.locator("#results")).to_contain_text("1.000")
    expect(page.locator("#resume-run")).to_be_hidden()
    # Answers that were stored are not asked for again: only those in the air when it was stopped.
    asked = httpx.get(f"{scripted_server}/seen/late:bench", trust_env=False).json()["requests"]
    assert LATE_ITEMS <= asked < 2 * LATE_ITEMS


def test_korean_on_a_phone(chromium: Browser, arena: Arena) -> None:
    context = chromium.new_context(
        locale="ko-KR", viewport={"width": 390, "height": 844}, color_scheme="dark", is_mobile=True
    )
    page = context.new_page()
    page.goto(f"{arena.url}benchmarks")
    expect(page.locator("#page-title")).to_contain_text("벤치마크")
    expect(page.locator("#start-run")).to_have_text("실행 시작")
    expect(page.locator("#header a[aria-current=page]")).to_have_text("벤치마크")
    # Wide tables scroll inside; the page does not.
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    context.close()


def test_others_than_the_operator_see_results_alone(page: Page, arena: Arena) -> None:
    from typer.testing import CliRunner

    from arena.cli.main import app as commands

    made = CliRunner().invoke(
        commands, ["tokens", "create", "chief", "--scope", "operator", "--data", str(arena.data_dir)]
    )
    assert made.exit_code == 0, made.output
    page.goto(f"{arena.url}benchmarks")
    expect(page.locator("#operator-only")).to_be_visible()
    expect(page.locator("#new-run")).to_be_hidden()
    expect(page.locator("#which-run")).to_be_visible()
    tab(page, "Compare and samples")
    expect(page.locator("#samples-box")).to_be_hidden()
    tab(page, "Suites")
    expect(page.locator("#suite-list")).to_contain_text("arithmetic")
    expect(page.locator("#add-suite")).to_be_hidden()
    refused = httpx.post(
        f"{arena.url}gradio_api/upload",
        files={"files": ("x.csv", b"question,answer\n1,2\n")},
        trust_env=False,
    )
    assert refused.status_code == 403
