"""What all pages share: theme, style, scripts, the header with its links, and what a page is given to work with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.resources import files

import gradio as gr
from gradio.components.navbar import Navbar
from starlette.routing import BaseRoute

from arena.battle import BattleService
from arena.config import Settings
from arena.engines.observed import Telemetry
from arena.engines.pool import EnginePool
from arena.matchmaking import Changeable
from arena.roster import Roster
from arena.web._i18n import i18n
from arena.web._work import Works
from arena.web.voters import VoterCookies
from results.store import Store


@dataclass(frozen=True)
class PageContext:
    """What the pages of one arena work with.

    Engines come from `engines` (null where an app only shows what was stored), observed by `telemetry`:
    `telemetry.observed(engines.get(spec), "name@3", "page")`. Long work is started in `works`. `matchmaking` is what
    battles are drawn by, whose boost operators may set.
    """

    settings: Settings
    store: Store
    roster: Roster
    battles: BattleService
    cookies: VoterCookies
    engines: EnginePool | None = None
    telemetry: Telemetry = field(default_factory=Telemetry)
    works: Works = field(default_factory=Works)
    matchmaking: Changeable | None = None


@dataclass(frozen=True)
class Page:
    """One page: `path` ('' for the first), `name` (its key in the texts `nav.*`), what lays it out, and routes of its
    own (for downloads, which ask `arena.web.operators` themselves)."""

    path: str
    name: str
    build: Callable[[PageContext], None]
    routes: Callable[[PageContext], Sequence[BaseRoute]] = lambda _: ()


def theme() -> gr.themes.Base:
    """System fonts only: nothing is fetched from outside."""
    fonts = ["system-ui", "-apple-system", "Segoe UI", "Noto Sans KR", "Noto Sans CJK KR", "sans-serif"]
    soft = gr.themes.Soft(
        primary_hue="indigo",
        secondary_hue="slate",
        neutral_hue="slate",
        radius_size="md",
        font=fonts,
        font_mono=["ui-monospace", "Menlo", "Consolas", "Noto Sans Mono CJK KR", "monospace"],
    )
    # Where Soft's own colours stand out by less than 4.5 to 1 (WCAG 2 AA).
    links = {"link_text_color": "*primary_700", "link_text_color_dark": "*primary_300"}
    for state in ("hover", "active", "visited"):
        links |= {
            f"link_text_color_{state}": "*primary_700",
            f"link_text_color_{state}_dark": "*primary_300",
        }
    return soft.set(
        body_text_color_subdued="*neutral_600",
        body_text_color_subdued_dark="*neutral_300",
        block_info_text_color="*neutral_600",
        block_info_text_color_dark="*neutral_300",
        block_title_text_color="*primary_700",
        block_label_text_color="*primary_800",
        block_label_background_fill_dark="*primary_700",
        input_placeholder_color="*neutral_500",
        input_placeholder_color_dark="*neutral_300",
        color_accent="*primary_600",
        button_primary_background_fill="*primary_600",
        button_primary_background_fill_hover="*primary_700",
        button_primary_background_fill_dark="*primary_600",
        button_primary_background_fill_hover_dark="*primary_700",
        button_secondary_background_fill_hover_dark="*primary_700",
        # Soft's fields and boxes have shadows alone, which a white page hardly shows.
        input_border_width="1px",
        input_border_color="*neutral_400",
        input_border_color_dark="*neutral_500",
        checkbox_border_color="*neutral_500",
        checkbox_border_color_dark="*neutral_400",
        button_border_width="1px",
        button_secondary_border_color="*neutral_300",
        button_secondary_border_color_dark="*neutral_600",
        checkbox_label_background_fill_selected="*primary_600",
        checkbox_label_background_fill_selected_dark="*primary_700",
        **links,
    )


def static_text(name: str) -> str:
    """A file of `arena/web/static`."""
    return files("arena.web").joinpath("static", name).read_text(encoding="utf-8")


def header(pages: tuple[Page, ...], current: Page) -> None:
    """The name of the app, links to its pages and the language link."""
    # Gradio's own bar cannot be translated.
    Navbar(visible=False)
    with gr.Column(elem_id="header", min_width=0):
        with gr.Row(elem_id="top"):
            gr.HTML('<a id="brand" href="./">Palaestra</a>', min_width=100, padding=False)
            gr.HTML(
                f'<a id="language" class="nav" href="./{current.path}">{i18n("nav.language")}</a>',
                min_width=60,
                padding=False,
            )
        # Of several texts in one component the browser would translate the first alone.
        with gr.Row(elem_id="pages"):
            for page in pages:
                here = ' aria-current="page"' if current is page else ""
                label = i18n(f"nav.{page.name}")
                gr.HTML(
                    f'<a class="nav" href="./{page.path}"{here}>{label}</a>',
                    min_width=60,
                    padding=False,
                )
