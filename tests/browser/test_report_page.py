"""The report as people get it: made by the command, opened in a browser without a network."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from results.store import open_store
from tests.results.reports_made import HOSTILE, fill

pytestmark = pytest.mark.browser


def arena_report(*options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "arena.cli.main", "report", *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    with open_store(folder / "data") as store:
        fill(store, folder)
    return folder / "data"


@pytest.fixture(scope="module", params=["en", "ko"])
def report(request: pytest.FixtureRequest, data: Path) -> Path:
    out = data.parent / f"{request.param}.html"
    done = arena_report("--out", str(out), "--data", str(data), "--language", request.param, "--seed", "4")
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert "412 comparisons, 8 models" in " ".join(done.stderr.split())
    return out


@pytest.fixture(params=["light", "dark"])
def opened(request: pytest.FixtureRequest, chromium: Browser, report: Path) -> Iterator[Page]:
    context = chromium.new_context(color_scheme=request.param, viewport={"width": 1280, "height": 900})
    page = context.new_page()
    asked: list[str] = []
    said: list[str] = []
    page.on("request", lambda each: asked.append(each.url))
    page.on("console", lambda message: said.append(message.text))
    page.on("dialog", lambda dialog: said.append(dialog.message))
    page.goto(report.as_uri())
    yield page
    assert asked == [report.as_uri()]
    assert said == []
    context.close()


def test_it_fits_every_width_and_shows_hostile_names_as_text(opened: Page) -> None:
    for width in (1280, 768, 360):
        opened.set_viewport_size({"width": width, "height": 800})
        assert opened.evaluate("document.documentElement.scrollWidth") == width
        shown = opened.locator("#ratings figure svg:visible")
        expect(shown).to_have_count(1)
        # Letters of figures stay readable: drawn at no less than nine tenths of their size.
        box = shown.bounding_box()
        assert box is not None
        assert box["width"] / float(shown.get_attribute("width") or 0) > 0.9
    expect(opened.locator("#ratings tbody th", has_text=HOSTILE)).to_have_count(1)
    assert opened.locator("img").count() == 0


def test_ink_stands_out_from_paper(opened: Page) -> None:
    lightness = opened.evaluate(
        """() => ['color', 'backgroundColor'].map(name => {
            const channels = getComputedStyle(document.body)[name].match(/[0-9.]+/g).slice(0, 3).map(Number);
            const [r, g, b] = channels.map(c => (c /= 255) <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
            return 0.2126 * r + 0.7152 * g + 0.0722 * b;
        })"""
    )
    low, high = sorted(lightness)
    assert (high + 0.05) / (low + 0.05) > 7
    dark = opened.evaluate("matchMedia('(prefers-color-scheme: dark)').matches")
    assert (lightness[0] > lightness[1]) == dark


def test_the_keyboard_reaches_the_summary_the_sections_and_the_tables(opened: Page) -> None:
    opened.keyboard.press("Tab")
    skip = opened.locator(".skip")
    expect(skip).to_be_focused()
    expect(skip).to_be_in_viewport()
    opened.keyboard.press("Tab")
    expect(opened.locator("nav a").first).to_be_focused()
    # Whatever scrolls sideways can be focused and has a name.
    for region in opened.locator(".scroll").all():
        assert region.get_attribute("tabindex") == "0"
        assert region.get_attribute("aria-label")


def test_it_prints_on_a_few_pages_with_light_ground(opened: Page) -> None:
    printed = opened.pdf(format="A4")
    assert printed.startswith(b"%PDF")
    assert 3 <= printed.count(b"/Type /Page\n") + printed.count(b"/Type /Page ") <= 25
    opened.emulate_media(media="print")
    assert opened.evaluate("getComputedStyle(document.body).color") == "rgb(0, 0, 0)"
    expect(opened.locator("nav")).to_be_hidden()


def test_its_numbers_can_be_saved(opened: Page, tmp_path: Path) -> None:
    with opened.expect_download() as download:
        opened.get_by_role("link", name="palaestra-pairs.csv").click()
    download.value.save_as(tmp_path / "pairs.csv")
    lines = (tmp_path / "pairs.csv").read_text(encoding="utf-8-sig").splitlines()
    assert lines[0] == "model_a,model_b,a_won,ties,b_won"
    assert len(lines) > 20


def test_bad_wishes_are_refused_with_advice(data: Path, tmp_path: Path) -> None:
    for options, said in (
        (["--out", str(tmp_path)], "is a folder"),
        (["--out", str(tmp_path / "none" / "r.html")], "there is no folder"),
        (["--out", str(tmp_path / "r.html"), "--category", "codin"], "Did you mean 'coding'?"),
        (["--out", str(tmp_path / "r.html"), "--judge", "심판-1"], "add --source judge"),
        (["--out", str(tmp_path / "r.html"), "--language", "fr"], "fr"),
    ):
        done = arena_report("--data", str(data), *options)
        assert done.returncode == 2, done.stderr
        assert said in " ".join(done.stderr.split())
    assert list(tmp_path.iterdir()) == []


def test_a_store_without_votes_gets_a_report_that_says_so(tmp_path: Path) -> None:
    with open_store(tmp_path / "data"):
        pass
    done = arena_report("--out", str(tmp_path / "r.html"), "--data", str(tmp_path / "data"))
    assert done.returncode == 0
    assert "nothing to compare yet" in done.stderr
    assert "There is nothing to compare yet" in (tmp_path / "r.html").read_text(encoding="utf-8")
