"""The Training page in a browser: form and file in step, a real training of four steps, its files, and the queue."""

from __future__ import annotations

import io
import json
import re
import zipfile
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from results.store import open_store
from tests.browser.conftest import Arena
from tests.trainers.tiny_models import ROWS
from trainers.datasets import add_dataset

pytestmark = pytest.mark.browser

TRAINED = 240_000  # milliseconds for a training process on a busy machine

RECIPE = """\
name: student
base: tiny
dataset: numbers
optimiser:
  learning_rate: 0.005
  batch_size: 2
  gradient_accumulation: 1
  max_steps: 4
evaluation:
  every_steps: 2
checkpoint_every: 2
"""


@pytest.fixture
def dataset(training_arena: Arena, tmp_path: Path) -> str:
    file = tmp_path / "numbers.jsonl"
    rows = (json.dumps(row, ensure_ascii=False) for row in ROWS["chat"])
    file.write_text("\n".join(rows) + "\n", "utf-8")
    with open_store(training_arena.data_dir) as store:
        return add_dataset(store, file, "numbers", licence="mit", held_out_share=0.25).dataset.label


def visit(page: Page, arena: Arena) -> None:
    page.goto(f"{arena.url}training")
    expect(page.locator("#queue")).to_contain_text(re.compile("training|학습", re.IGNORECASE))
    page.get_by_role("tab", name=re.compile("New training|새 학습")).click()


def write(page: Page, text: str) -> None:
    page.locator("#yaml .cm-content").fill(text)


def name_of(page: Page) -> Locator:
    return page.locator("#field-name input, #field-name textarea").first


def yaml_of(page: Page) -> str:
    return "\n".join(page.locator("#yaml .cm-line").all_inner_texts())


def test_form_and_file_are_in_step_and_errors_name_the_key(
    page: Page, training_arena: Arena, dataset: str
) -> None:
    page.goto(f"{training_arena.url}datasets?dataset={dataset}")
    page.get_by_role("link", name="Train a model on it").click()
    expect(page.locator("#yaml")).to_contain_text(f"dataset: {dataset}")
    expect(page.locator("#field-dataset input")).to_have_value(dataset)
    visit(page, training_arena)
    state = page.locator("#recipe-state")
    name_of(page).fill("학생 하나")
    page.keyboard.press("Tab")
    expect(page.locator("#yaml")).to_contain_text("name: 학생 하나")
    expect(state).to_contain_text("base:")
    page.locator("#field-base input").click()
    page.get_by_role("option", name="tiny", exact=True).click()
    page.locator("#field-dataset input").click()
    page.get_by_role("option", name=dataset, exact=True).click()
    expect(state).to_contain_text("This is a whole recipe")
    page.locator("#preset input").click()
    page.get_by_role("option", name="lora-small", exact=True).click()
    expect(page.locator("#yaml")).to_contain_text("learning_rate: 0.0005")
    assert "name: 학생 하나" in yaml_of(page)
    page.locator("#section-optimiser button").first.click()
    expect(page.locator("#field-optimiser-batch_size input")).to_have_value("8")

    write(page, RECIPE.replace("batch_size", "batch_sise"))
    expect(state).to_contain_text("optimiser.batch_sise: unknown key")
    expect(state).to_contain_text("batch_size")
    expect(page.locator("#field-optimiser-batch_size input")).to_have_value("8")  # the form stays what it was
    write(page, RECIPE)
    expect(page.locator("#field-optimiser-batch_size input")).to_have_value("2")
    expect(
        page.locator("#field-optimiser-max_steps input, #field-optimiser-max_steps textarea")
    ).to_have_value("4")
    page.locator("#field-optimiser-batch_size input").fill("3")
    expect(page.locator("#yaml")).to_contain_text("batch_size: 3")
    assert "max_steps: 4" in yaml_of(page)
    expect(name_of(page)).to_have_value("student")

    page.locator("#estimate").click()
    answer = page.locator("#answer")
    expect(answer).to_contain_text("It fits here", timeout=60_000)
    expect(answer.locator("tr", has_text="qlora")).to_be_visible()
    write(page, RECIPE.replace("dataset: numbers", "dataset: numbrs"))
    page.locator("#start").click()
    expect(answer).to_contain_text("there is no dataset 'numbrs'")


def test_a_training_starts_is_watched_survives_a_reload_and_leaves_its_files(
    page: Page, training_arena: Arena, dataset: str
) -> None:
    visit(page, training_arena)
    write(page, RECIPE)
    expect(page.locator("#recipe-state")).to_contain_text("whole recipe")
    expect(name_of(page)).to_have_value("student")
    page.locator("#start").click()
    expect(page.locator("#job-message")).to_contain_text("student was queued")
    # A second one waits, can be stopped at once, and resumed.
    page.get_by_role("tab", name="New training").click()
    write(page, RECIPE.replace("student", "second"))
    expect(page.locator("#recipe-state")).to_contain_text("whole recipe")
    expect(name_of(page)).to_have_value("second")
    page.locator("#start").click()
    expect(page.locator("#job-message")).to_contain_text("second was queued")
    detail = page.locator("#job-detail")
    expect(detail.locator("h2")).to_contain_text("second waiting")
    page.locator("#cancel").click()
    expect(detail.locator("h2")).to_contain_text("second stopped")
    expect(page.locator("#resume")).to_be_enabled()

    page.reload()
    page.locator("#queue").get_by_role("link", name="student").click()
    expect(detail.locator("h2")).to_contain_text("student done", timeout=TRAINED)
    expect(detail).to_contain_text("student@1 is on the roster")
    expect(page.locator("#queue tr", has_text="student").locator("td").nth(1)).to_have_text("4")
    figure = detail.locator("figure", has_text="Loss by step").locator("svg")
    assert re.search(r"Loss [\d.]+ → [\d.]+; Held-out loss", figure.get_attribute("aria-label") or "")
    page.locator("#job-log button").first.click()
    expect(page.locator("#log pre")).to_contain_text("trainers INFO done")

    files = page.locator("#files a")
    names = files.all_inner_texts()
    assert {"recipe.yaml", "README.md", "metrics.jsonl", "adapter_model.safetensors"} <= set(names)
    with page.expect_download() as begun:
        page.locator("#files a", has_text="recipe.yaml").click()
    assert "name: student" in Path(begun.value.path()).read_text("utf-8")
    with page.expect_download() as begun:
        page.locator("#zip").click()
    with zipfile.ZipFile(io.BytesIO(Path(begun.value.path()).read_bytes())) as archive:
        assert archive.testzip() is None
        assert sorted(archive.namelist()) == sorted(names)
    page.get_by_role("link", name="Try it").click()
    expect(page.locator("#model input")).to_have_value("student")


def test_korean_on_a_phone(chromium: Browser, training_arena: Arena) -> None:
    context = chromium.new_context(locale="ko-KR", viewport={"width": 390, "height": 844})
    page = context.new_page()
    visit(page, training_arena)
    page.locator("#section-lora button").first.click()
    expect(page.locator("#section-lora")).to_contain_text("선형 모듈")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.get_by_role("tab", name="학습 보기").click()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    untranslated = re.findall(r"\btraining\.\w+", page.locator("main").inner_text())
    assert not set(untranslated) - {"training.json", "training.log"}  # an artifact's files
    context.close()
