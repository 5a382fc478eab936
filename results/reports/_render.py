"""A report as one HTML page: texts of one language, figures as inline SVG, tables, and CSV files in links."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from markupsafe import Markup

from results.decisions import HOPELESS
from results.figures import (
    FIGURE_CSS,
    Figure,
    Interval,
    count_map,
    interval_plot,
    line_plot,
    win_rate_map,
)
from results.leaderboard_facts import size_text
from results.reports._choice import Option, Resource
from results.reports._csv import downloads
from results.reports._model import Example, Group, Report
from results.reports._numbers import level_of, percent, points
from results.reports._summary import summarise
from results.reports._texts import Language, Texts

WIDE, NARROW = 760.0, 344.0
_PLOTTED = 30
_MAPPED, _MAPPED_NARROW = 24, 9
_RIVALS = 15
_GROUP_ROWS = 20
_OPEN = 3


def render(report: Report, *, language: Language = "en", title: str | None = None) -> str:
    """The page, self-contained: it loads nothing and runs no script."""
    t = Texts(language)
    return _templates().get_template("report.html").render(
        report=report,
        t=t,
        title=title or t("title"),
        language=language,
        css=Markup(_css() + FIGURE_CSS),  # noqa: S704 - our own files
        summary=summarise(report, t),
        level=level_of(report.query.level),
        filters=_filters(report, t),
        sections=_sections(report),
        ratings=_ratings(report, t) if report.rows else None,
        maps=_maps(report, t) if len(report.rated_rows) > 1 else None,
        history=_history(report, t) if report.history else None,
        groups=[(c, g) for c, g in (("category", report.categories), ("language", report.languages)) if g],
        group_rows=report.rated_rows[:_GROUP_ROWS],
        in_group=_in_group,
        rivals=report.lead.rivals[:_RIVALS] if report.lead else (),
        hopeless=HOPELESS,
        agreement=_agreement(report, t),
        choice=_choice(report, t),
        size=size_text,
        position=_position(report, t),
        without_texts=sum(not example.has_texts for example in report.examples),
        lines_of=_lines_of,
        downloads=downloads(report),
        exp=math.exp,
        points=points,
        percent=percent,
        excluded_as=lambda reason: _excluded_as(reason, t),
    )  # fmt: skip


@cache
def _templates() -> Environment:
    return Environment(
        loader=PackageLoader("results.reports", "templates"),
        autoescape=select_autoescape(default=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


@cache
def _css() -> str:
    return files("results.reports").joinpath("templates/report.css").read_text(encoding="utf-8")


def _sections(report: Report) -> list[str]:
    there = {
        "summary": True,
        "ratings": bool(report.rows),
        "rivals": report.lead is not None,
        "pairs": len(report.rated_rows) > 1,
        "history": bool(report.history),
        "groups": bool(report.categories or report.languages),
        "style": report.style is not None,
        "choice": report.choice is not None,
        "suites": bool(report.suites),
        "agreement": bool(report.agreement),
        "quality": bool(report.votes or report.excluded),
        "speed": bool(report.speed),
        "examples": bool(report.examples),
        "methods": True,
    }
    return [name for name, shown in there.items() if shown]


def _filters(report: Report, t: Texts) -> str:
    query = report.query
    parts = [t(f"source.{query.source}")]
    if query.judge is not None:
        parts.append(t("filter.judge", judge=query.judge))
    if query.category is not None:
        parts.append(t("filter.category", category=query.category))
    return " · ".join(parts)


def _both(draw: Callable[[float], Figure]) -> dict[str, Markup | None]:
    """A figure drawn for a page and for a phone, so that its letters are readable on both."""
    return {name: _inline(draw(width)) for name, width in (("wide", WIDE), ("narrow", NARROW))}


def _inline(figure: Figure) -> Markup:
    return Markup(figure.svg(standalone=False))  # noqa: S704 - figures escape their texts


def _ratings(report: Report, t: Texts) -> dict[str, Any]:
    shown = [row for row in report.rows if row.rating is not None or row.lower or row.upper][:_PLOTTED]
    level = level_of(report.query.level)
    title = (
        t("ratings.plot", level=level)
        if len(shown) == len(report.rows)
        else t("ratings.plot_of", level=level, n=len(shown), total=len(report.rows))
    )
    rated = report.rated_rows
    described = t(
        "ratings.describe", first=rated[0].model, rating=points(rated[0].rating or 0.0),
        last=rated[-1].model, last_rating=points(rated[-1].rating or 0.0),
    ) if rated else ""  # fmt: skip
    rows = [Interval(row.model, row.rating, row.lower, row.upper) for row in shown]
    return {
        "title": title,
        "figure": _both(lambda width: interval_plot(rows, width=width, title=title, description=described))
        if rows
        else None,
    }


def _maps(report: Report, t: Texts) -> dict[str, Any]:
    rows = report.rated_rows[:_MAPPED]
    names = [row.model for row in rows]
    counts = report.counts_of(rows)
    wins, games = counts.wins + counts.ties / 2, counts.games
    played = games.sum(axis=1)
    rates = np.divide(wins.sum(axis=1), played, out=np.zeros(len(names)), where=played > 0)
    a, b = (int(i) for i in np.unravel_index(int(np.triu(games).argmax()), games.shape))
    total, everyone = len(names) * (len(names) - 1) // 2, len(report.rated_rows)
    met = int(np.count_nonzero(np.triu(games, 1)))
    # A large map cannot be drawn legibly for a phone; there the wide one scrolls.
    drawn = (
        _both if len(names) <= _MAPPED_NARROW else lambda draw: {"wide": _inline(draw(WIDE)), "narrow": None}
    )
    return {
        "rates": drawn(lambda width: win_rate_map(
            names, wins, games, width=width, title=t("pairs.rates"),
            description=t("pairs.describe_rates", met=met, total=total, best=names[int(rates.argmax())],
                          rate=percent(float(rates.max()))),
        )),
        "counts": drawn(lambda width: count_map(
            names, games, width=width, title=t("pairs.counts"),
            description=t("pairs.describe_counts", a=names[a], b=names[b], n=int(games[a, b]), unmet=total - met),
        )),
        "note": t("pairs.first", n=len(names), total=everyone) if len(names) < everyone else "",
    }  # fmt: skip


def _history(report: Report, t: Texts) -> dict[str, Markup | None]:
    moved = []
    for line in report.history:
        known = [value for value in line.values if value is not None]
        if known:
            moved.append(t("history.moved", name=line.name, start=points(known[0]), end=points(known[-1])))
    times = report.history[0].times
    described = t(
        "history.describe", first=f"{times[0]:%Y-%m-%d}", last=f"{times[-1]:%Y-%m-%d}", list="; ".join(moved)
    )
    return _both(
        lambda width: line_plot(
            report.history, width=width, title=t("history.plot"), description=described,
            height=340 if width == WIDE else 300,
        )
    )  # fmt: skip


def _in_group(group: Group, model: str) -> Any:
    return next((row for row in group.rows if row.model == model and row.rating is not None), None)


def _agreement(report: Report, t: Texts) -> list[str]:
    """What the table of agreement comes to, a sentence for each judge."""
    people = next((each for each in report.agreement if each.judge is None), None)
    if people is None:
        return []
    sentences = []
    for each in report.agreement:
        if each.judge is None:
            continue
        gap = people.agreement.value - each.agreement.value
        key = "less" if gap > 0 else "more"
        sentences.append(
            t(
                f"agreement.says_{key}", judge=each.judge, people=percent(people.agreement.value),
                theirs=percent(each.agreement.value), gap=f"{100 * abs(gap):.0f}",
            )
        )  # fmt: skip
    return sentences


def _choice(report: Report, t: Texts) -> list[str]:
    """What to take, a sentence or two for each resource."""
    if report.choice is None:
        return []
    figures = {"leader": report.choice.leader, "loss": f"{100 * report.query.acceptable_loss:g}"}
    sentences = []
    for pick in report.choice.picks:
        resource = pick.resource
        if pick.cheapest is None:
            said = t(f"choice.none_{resource}", **figures)
        else:
            key = "leader" if pick.cheapest.standing == "leader" else "good"
            said = t(
                f"choice.{key}_{resource}",
                model=pick.cheapest.name,
                use=_use(pick.cheapest, resource),
                **figures,
            )
        if pick.still_open:
            names = ", ".join(f"{o.name} ({_use(o, resource)})" for o in pick.still_open[:_OPEN])
            said += " " + t.number("choice.open", len(pick.still_open), names=names)
        if pick.unknown:
            said += " " + t.number("choice.unknown", pick.unknown)
        sentences.append(said)
    return sentences


def _use(option: Option, resource: Resource) -> str:
    value = option.of(resource)
    if resource == "memory":
        return size_text(value, "B")
    return f"{value:.2f} s" if resource == "latency" else f"{value:.3g} {option.facts.currency}"


def _position(report: Report, t: Texts) -> str:
    position = report.position
    if position is None:
        return t("quality.position_none")
    clear = position.lower > 0 or position.upper < 0
    side, bounds = ("A", (position.lower, position.upper)) if position.value >= 0 else (
        "B", (-position.upper, -position.lower)
    )  # fmt: skip
    share = 1 / (1 + 10 ** (-position.value / 400))
    return t(
        "quality.position_yes" if clear else "quality.position_no",
        side=side, points=f"{abs(position.value):.1f}", lower=f"{bounds[0]:.1f}", upper=f"{bounds[1]:.1f}",
        level=level_of(report.query.level), share=percent(share),
    )  # fmt: skip


def _lines_of(example: Example) -> Sequence[tuple[str, str, tuple[Any, ...]]]:
    return (("A", example.name_a, example.side_a), ("B", example.name_b, example.side_b))


def _excluded_as(reason: str, t: Texts) -> str:
    """A reason in words: `screened:burst` is "marked by screening (burst)"; an unknown one stays as it is."""
    kind, _, detail = reason.partition(":")
    if not t.has(f"excluded.{kind}"):
        return reason.replace("_", " ")
    return t(f"excluded.{kind}") + (f" ({detail.replace('_', ' ')})" if detail else "")
