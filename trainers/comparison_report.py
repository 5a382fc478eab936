"""A comparison of trainings as one offline HTML file: a table and figures, with what was not measured left blank."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from jinja2 import Environment, PackageLoader, select_autoescape
from markupsafe import Markup

from results.figures import FIGURE_CSS, Bar, Figure, bar_plot
from trainers.comparing import Row


def comparison_figures(rows: Sequence[Row]) -> list[Figure]:
    """Bars of held-out loss, time, memory and trained parameters, and for each suite what was forgotten."""
    done = [row for row in rows if row.state == "done"]

    def figure(title: str, value: Callable[[Row], float | None], text: str) -> Figure:
        values = [(row.label, value(row)) for row in done]
        bars = [Bar(name, found, "" if found is None else text.format(found)) for name, found in values]
        return bar_plot(bars, title=title)

    made = [
        figure(
            "Held-out loss after training (lower is better)", lambda row: row.quality.get("loss"), "{:.4f}"
        ),
        figure(
            "Time in minutes", lambda row: None if row.seconds is None else row.seconds / 60, "{:.1f} min"
        ),
        figure(
            "Peak memory in GiB", lambda row: None if row.memory is None else row.memory / 2**30, "{:.2f} GiB"
        ),
        figure("Trained parameters in millions", lambda row: (row.trained_parameters or 0) / 1e6, "{:.3f} M"),
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


def write_comparison(rows: Sequence[Row], title: str, file: Path) -> Path:
    """Write the report. Raises OSError."""
    environment = Environment(
        loader=PackageLoader("trainers", "templates"), autoescape=select_autoescape(default=True)
    )
    figures = [(figure.title, Markup(figure.svg(standalone=False))) for figure in comparison_figures(rows)]  # noqa: S704 - ours
    page = environment.get_template("comparison.html").render(
        title=title,
        rows=rows,
        figures=figures,
        css=Markup(FIGURE_CSS),  # noqa: S704 - ours
    )
    part = file.with_name(f".making-{file.name}")
    part.write_text(page, encoding="utf-8")
    part.replace(file)
    return file
