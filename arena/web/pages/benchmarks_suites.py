"""The Benchmarks page's suites: what there is, and a file of one's own cases made into one."""

from __future__ import annotations

import asyncio
import zipfile
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import gradio as gr

from arena.web._frame import PageContext
from arena.web._i18n import i18n, locale_of, text
from arena.web._templates import render
from arena.web.operators import NotOperator, require
from arena.web.pages.benchmarks_views import problem_html, suites_html
from evaluators.suites.catalogue import all_suites, suite_folders
from evaluators.suites.definition import Suite
from evaluators.suites.errors import SuiteError
from evaluators.suites.own import add_suite
from evaluators.suites.scorers import SCORERS

FILES = [".csv", ".tsv", ".xlsx", ".json", ".jsonl"]
LARGEST_FILE = 20 * 2**20
LARGEST_SHEET = 10 * LARGEST_FILE
"""Bytes of a spreadsheet once it is unpacked."""
AUTO = ""
# Programs of models are run from the command line alone, by who has read what that means.
_OFFERED = tuple(name for name in SCORERS if name != "code")

Updates = dict[Any, Any]


@dataclass(frozen=True)
class SuiteParts:
    """The components that show suites; `updates` fills them."""

    context: PageContext
    shown: gr.HTML
    form: gr.Column
    scorer: gr.Dropdown

    def components(self) -> list[Any]:
        """Those that `updates` changes."""
        return [self.shown, self.form, self.scorer]

    def updates(self, locale: str, operator: bool) -> Updates:
        """What they show to this reader. Reads suites from disk."""
        suites, broken = known_suites(self.context)
        scorers = [(text(locale, "benchmarks.scorer.auto"), AUTO), *((name, name) for name in _OFFERED)]
        return {
            self.shown: suites_html(locale, suites, broken if operator else {}),
            self.form: gr.update(visible=operator),
            self.scorer: gr.update(choices=scorers, value=AUTO),
        }


def known_suites(context: PageContext) -> tuple[list[Suite], dict[str, str]]:
    """All suites and why others cannot be run, as `all_suites` gives them; read again only where a file has changed,
    since that takes half a second of CPU."""
    folders = suite_folders(context.store.data_dir).values()
    files = [file.stat() for folder in folders for file in sorted(folder.iterdir())]
    return _read(context.store.data_dir, tuple((file.st_mtime_ns, file.st_size) for file in files))


@lru_cache(maxsize=2)
def _read(data_dir: Path, stamps: tuple[tuple[int, int], ...]) -> tuple[list[Suite], dict[str, str]]:
    return all_suites(data_dir)


def suite_choices(context: PageContext) -> list[tuple[str, str]]:
    """Suites to choose from, with their items and languages; not those that run programs."""
    suites, _ = known_suites(context)
    return [
        (f"{suite.name} ({len(suite.items)}; {', '.join(suite.languages) or '–'})", suite.name)
        for suite in suites
        if suite.definition.scorer in _OFFERED
    ]


def suite_languages(context: PageContext) -> list[str]:
    """The languages that items of any suite have, sorted."""
    suites, _ = known_suites(context)
    return sorted({language for suite in suites for language in suite.languages})


def lay_out_suites(context: PageContext, chooser: gr.Dropdown) -> SuiteParts:
    """The list and the form; an added suite joins the choices of `chooser`."""
    shown = gr.HTML(elem_id="suite-list")
    with gr.Column(visible=False, elem_id="add-suite") as form:
        gr.Markdown(f"## {i18n('benchmarks.upload')}")
        gr.Markdown(i18n("benchmarks.upload.intro"))
        with gr.Row():
            file = gr.File(
                label=i18n("benchmarks.upload.file"), file_types=FILES, type="filepath", elem_id="suite-file",
                height=140, min_width=220,
            )  # fmt: skip
            with gr.Column(min_width=220):
                name = gr.Textbox(
                    label=i18n("benchmarks.upload.name"), info=i18n("benchmarks.upload.name.info"), max_length=80,
                    elem_id="suite-name",
                )  # fmt: skip
                scorer = gr.Dropdown(
                    [AUTO],
                    value=AUTO,
                    label=i18n("benchmarks.scorer"),
                    elem_id="suite-scorer",
                    filterable=False,
                )
                replace = gr.Checkbox(label=i18n("benchmarks.upload.replace"), elem_id="suite-replace")
        add = gr.Button(
            i18n("benchmarks.upload.button"), variant="primary", elem_id="suite-add", min_width=160
        )
        told = gr.HTML(elem_id="suite-told")
    parts = SuiteParts(context, shown, form, scorer)

    async def take(
        path: str | None, suite_name: str, chosen: str, instead: bool, request: gr.Request
    ) -> Updates:
        locale = locale_of(request)

        def work() -> Updates:
            require(request)
            if path is None:
                raise SuiteError(text(locale, "benchmarks.upload.none"))
            suite = _added(context, locale, Path(path), suite_name.strip(), chosen, instead)
            suites, broken = known_suites(context)
            return {
                shown: suites_html(locale, suites, broken),
                told: render("benchmarks_added.html", locale, suite=suite),
                chooser: gr.update(choices=suite_choices(context)),
                file: None,
            }

        try:
            return await asyncio.to_thread(work)
        except (SuiteError, NotOperator) as error:
            return {told: problem_html(locale, str(error))}

    add.click(
        take, [file, name, scorer, replace], [shown, told, chooser, file],
        concurrency_limit=None, api_visibility="private", show_progress_on=[told],
    )  # fmt: skip
    return parts


def _added(context: PageContext, locale: str, path: Path, name: str, scorer: str, replace: bool) -> Suite:
    """The suite of an uploaded file, which is deleted. Raises SuiteError, naming the file as its owner does."""
    try:
        if path.suffix.lower() not in FILES:
            raise SuiteError(text(locale, "benchmarks.upload.kind", kinds=", ".join(FILES)))
        if path.stat().st_size > LARGEST_FILE or _unpacked(path) > LARGEST_SHEET:
            raise SuiteError(text(locale, "benchmarks.upload.large", most=LARGEST_FILE // 2**20))
        return add_suite(
            path, context.store.data_dir, name=name or None, scorer=scorer or None, replace=replace
        )
    except SuiteError as error:
        raise SuiteError(str(error).replace(str(path), path.name)) from None
    finally:
        path.unlink(missing_ok=True)


def _unpacked(path: Path) -> int:
    """How large a spreadsheet is once it is unpacked: a small one can hold gigabytes."""
    if path.suffix.lower() != ".xlsx":
        return 0
    try:
        with zipfile.ZipFile(path) as packed:
            return sum(each.file_size for each in packed.infolist())
    except zipfile.BadZipFile:
        raise SuiteError(f"{path}: not readable as a spreadsheet") from None
