"""A comparison of trainings as one offline HTML file: a table and figures, with what was not measured left blank."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

from jinja2 import Environment, PackageLoader, select_autoescape
from markupsafe import Markup

from arena.engines.memory import in_words
from results.figures import FIGURE_CSS, Bar, Curve, Figure, bar_plot, curve_plot
from trainers.comparing import Row
from trainers.wording import time_in_words

Measured = Mapping[UUID, Sequence[Mapping[str, Any]]]
"""What each job measured at each step (`trainers.jobs.metrics`)."""

MOST_CURVES = 12
"""Curves that one figure can tell apart."""


def comparison_curves(rows: Sequence[Row], measured: Measured) -> list[Figure]:
    """Loss and held-out loss by step, of the variants that came out best where there are many."""
    done = [row for row in rows if row.state == "done"]
    best = sorted(done, key=lambda row: row.quality.get("loss", float("inf")))[:MOST_CURVES]
    shown = [row for row in done if row in best]
    of_all = "" if len(shown) == len(done) else f", the best {MOST_CURVES} of {len(done)}"

    def figure(title: str, key: str) -> Figure:
        curves = []
        for row in shown:
            found = [
                (float(line["step"]), float(line[key])) for line in measured.get(row.job, ()) if key in line
            ]
            if len(found) > 1:
                steps, values = zip(*found, strict=True)
                curves.append(Curve(row.label, steps, values))
        return curve_plot(curves, width=720, height=280, title=f"{title}{of_all}")

    made = [figure("Held-out loss by step", "eval_loss"), figure("Training loss by step", "loss")]
    return [each for each in made if each.body]


def comparison_figures(rows: Sequence[Row]) -> list[Figure]:
    """Bars of held-out loss, time, memory and trained parameters, and for each suite what was forgotten."""
    done = [row for row in rows if row.state == "done"]

    def figure(title: str, value: Callable[[Row], float | None], words: Callable[[float], str]) -> Figure:
        values = [(row.label, value(row)) for row in done]
        bars = [Bar(name, found, "" if found is None else words(found)) for name, found in values]
        return bar_plot(bars, title=title)

    made = [
        figure(
            "Held-out loss after training (lower is better)",
            lambda row: row.quality.get("loss"),
            "{:.4f}".format,
        ),
        figure(
            "Time in minutes",
            lambda row: None if row.seconds is None else row.seconds / 60,
            lambda minutes: time_in_words(minutes * 60),
        ),
        figure(
            "Peak memory in GiB",
            lambda row: None if row.memory is None else row.memory / 2**30,
            "{:.2f} GiB".format,
        ),
        figure(
            "Trained parameters in millions",
            lambda row: (row.trained_parameters or 0) / 1e6,
            "{:.3f} M".format,
        ),
    ]
    for suite in dict.fromkeys(each.suite for row in done for each in row.forgetting):
        bars = []
        for row in done:
            found = next((each for each in row.forgetting if each.suite == suite), None)
            if found is not None:
                text = f"{found.difference:+.3f} ({found.lower:+.3f} – {found.upper:+.3f})"
                bars.append(Bar(row.label, found.difference, text, found.lower, found.upper))
        made.append(bar_plot(bars, title=f"{suite}: after minus before, with 95% interval"))
    return made


def write_comparison(
    rows: Sequence[Row], title: str, file: Path, *, about: str = "", measured: Measured | None = None
) -> Path:
    """Write the report; `about` stands under its title. Raises OSError."""
    environment = Environment(
        loader=PackageLoader("trainers", "templates"), autoescape=select_autoescape(default=True)
    )
    drawn = [*comparison_figures(rows), *comparison_curves(rows, measured or {})]
    figures = [(figure.title, Markup(figure.svg(standalone=False))) for figure in drawn]  # noqa: S704 - ours
    page = environment.get_template("comparison.html").render(
        title=title,
        about=about,
        time=time_in_words,
        memory=in_words,
        rows=rows,
        figures=figures,
        css=Markup(FIGURE_CSS),  # noqa: S704 - ours
    )
    part = file.with_name(f".making-{file.name}")
    part.write_text(page, encoding="utf-8")
    part.replace(file)
    return file
