"""Every page of the web app and the report under axe-core: names, labels, landmarks and contrast, in light and dark.

What axe calls serious or critical by WCAG 2 A and AA fails. The rule of contrast is asked again in the dark; the other
rules do not depend on colours.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import platformdirs
import pytest
from playwright.sync_api import Browser, Page, expect

from results.reports import ReportQuery, write_report
from results.store import open_store
from tests.browser.conftest import Arena, start_arena
from tests.results.reports_made import fill

pytestmark = pytest.mark.browser

VERSION = "4.14.1"
TAGS = ["wcag2a", "wcag2aa"]
GRAVE = ("serious", "critical")
STILL = "*, *::before, *::after { transition: none !important; animation: none !important }"

# What Gradio's own widgets bring and we cannot change: (rule, selector of the element) -> why.
GRADIO: dict[tuple[str, str], str] = {}

# The address of each page, and what is there when it is complete.
PAGES = {
    "": "#prompt textarea",
    "leaderboard": "#board table.board",
    "leaderboard?view=pairs": "#board table.heat",
    "leaderboard?view=duel": "#decision",
    "leaderboard?view=time": "#board svg.chart",
    "leaderboard?view=judges": "#board table.board",
    "playground": "#send",
    "benchmarks": "#bench-tabs",
    "judge": "#judge-summary h2",
    "models": ".models .card",
    "monitor": "#monitoring .monitoring",
    "datasets": "#datasets-tabs",
    "training": "#training-tabs",
    "operator": "h1",
}

RUN = """
async ([values, tags, known]) => {
    const runOnly = values ? {type: "rule", values} : {type: "tag", values: tags};
    const found = await axe.run(document, {runOnly, resultTypes: ["violations"]});
    const isKnown = (rule, node) => known.some(
        ([name, selector]) => name === rule && document.querySelector(node.target[0])?.matches(selector));
    return found.violations.flatMap(({id, impact, nodes}) => nodes.filter(node => !isKnown(id, node)).map(
        node => ({rule: id, impact, target: node.target.join(" "), html: node.html.slice(0, 200),
                  why: node.failureSummary})));
}
"""


def missing(reason: str) -> None:
    """In CI a missing download is a failure, on a user's machine the tests are not run."""
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def axe() -> str:
    """The script of axe-core from npm, downloaded once for this user."""
    folder = Path(platformdirs.user_cache_dir("palaestra")) / f"axe-core-{VERSION}"
    script = folder / "axe.min.js"
    if not script.is_file():
        npm = shutil.which("npm")
        if npm is None:
            missing("npm is not installed: pages not checked with axe-core")
        folder.mkdir(parents=True, exist_ok=True)
        command = [str(npm), "pack", f"axe-core@{VERSION}", "--silent"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=240, check=False)
        if done.returncode != 0:
            missing(f"npm pack axe-core failed (no network?): {done.stderr[-300:]}")
        archive = folder / done.stdout.split()[-1]
        with tarfile.open(archive) as tar:
            source = tar.extractfile("package/axe.min.js")
            assert source is not None
            part = folder / f"axe.min.js.{os.getpid()}.part"
            part.write_bytes(source.read())
            part.rename(script)
        archive.unlink(missing_ok=True)
    return script.read_text(encoding="utf-8")


@dataclass
class Site:
    """A running arena that has something of everything to show, and its reports by language."""

    arena: Arena
    reports: dict[str, Path]


@pytest.fixture(scope="module")
def site(scripted_server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("accessible")
    reports = {language: folder / f"{language}.html" for language in ("en", "ko")}
    with open_store(folder / "data") as store:
        fill(store, folder)
        for language, path in reports.items():
            write_report(store, path, ReportQuery(seed=4), language=language)  # type: ignore[arg-type]
    entries = "".join(
        f'[[models]]\nname = "contestant-{mode}"\nkind = "openai"\nsource = "{mode}"\n'
        f'base_url = "{scripted_server}/v1"\n'
        for mode in ("ok", "slow")
    )
    (folder / "data" / "arena.toml").write_text(f"embedded = false\n{entries}", encoding="utf-8")
    arena = start_arena(folder / "data")
    yield Site(arena, reports)
    arena.stop()


@pytest.fixture(scope="module")
def tab(chromium: Browser) -> Iterator[Page]:
    """One page for all: a new one for each address costs a second."""
    context = chromium.new_context(locale="en-US", viewport={"width": 1280, "height": 900})
    yield context.new_page()
    context.close()


def check(page: Page, axe: str, where: str) -> list[str]:
    """The grave violations of the page as it stands, in light and dark."""
    page.add_style_tag(content=STILL)
    page.evaluate(axe)
    known = [list(each) for each in GRADIO]
    told = []
    for theme, rules in (("light", None), ("dark", ["color-contrast"])):
        page.emulate_media(color_scheme=theme)  # type: ignore[arg-type]
        found: list[dict[str, Any]] = page.evaluate(RUN, [rules, TAGS, known])
        told += [
            f"{where} ({theme}): {each['rule']} at {each['target']}\n  {each['html']}\n  {each['why']}"
            for each in found
            if each["impact"] in GRAVE
        ]
    page.emulate_media(color_scheme="light")
    return told


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path or "battle")
def test_pages_keep_the_rules(site: Site, tab: Page, axe: str, path: str) -> None:
    tab.emulate_media(color_scheme="light")
    tab.goto(site.arena.url + path)
    expect(tab.locator(PAGES[path]).first).to_be_visible(timeout=60_000)
    found = check(tab, axe, path or "battle")
    assert not found, "\n".join(found)


@pytest.mark.parametrize("language", ["en", "ko"])
def test_reports_keep_the_rules(site: Site, tab: Page, axe: str, language: str) -> None:
    tab.emulate_media(color_scheme="light")
    tab.goto(site.reports[language].as_uri())
    assert tab.locator("html").get_attribute("lang") == language
    found = check(tab, axe, f"report {language}")
    assert not found, "\n".join(found)


@pytest.mark.parametrize("width", [1280, 390])
def test_the_header_keeps_its_rows(site: Site, tab: Page, width: int) -> None:
    """The name and the language in one row, all pages in the next; the open page is in view."""
    tab.set_viewport_size({"width": width, "height": 800})
    tab.goto(site.arena.url + "training")
    links = tab.get_by_role("navigation").get_by_role("link")
    expect(links).to_have_count(9, timeout=60_000)
    tops = {round(box["y"]) for link in links.all() if (box := link.bounding_box()) is not None}
    assert len(tops) == 1
    brand, language = (tab.locator(name).bounding_box() for name in ("#brand", "#language"))
    assert brand is not None
    assert language is not None
    assert language["y"] < brand["y"] + brand["height"] < min(tops)
    expect(tab.locator("#pages a[aria-current=page]")).to_be_in_viewport(ratio=1)
    assert tab.evaluate("document.documentElement.scrollWidth") == width
    tab.set_viewport_size({"width": 1280, "height": 900})
