"""What the Benchmarks page shows: HTML of work, results, comparisons, samples and suites."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from arena.web._i18n import text
from arena.web._templates import render
from arena.web._work import Work
from evaluators.suites.breakdowns import by_difficulty, by_metric
from evaluators.suites.comparing import Comparison
from evaluators.suites.definition import Suite
from evaluators.suites.items import DIFFICULTIES
from evaluators.suites.side_by_side import SamplePair, asked

PAGE_SIZE = 10
Row = dict[str, Any]


@dataclass(frozen=True)
class Shown:
    """One item as it is laid out."""

    pair: SamplePair
    messages: list[tuple[str, str]]
    expected: str


def work_html(locale: str, work: Work | None, error: str = "") -> str:
    """Long work with its progress and the time left; `error` says why something was not begun."""
    return render(
        "work.html",
        locale,
        work=work,
        error=error,
        left=_left(work),
        took=_time(work.seconds if work else None),
    )


def problem_html(locale: str, message: str) -> str:
    """What went wrong, for people."""
    return render("work.html", locale, work=None, error=message, left="", took="")


def results_html(locale: str, summary: dict[str, Any] | None) -> str:
    """A run's results with their standard errors; `summary` is `run_summary`'s."""
    if summary is None:
        return render("benchmarks_none.html", locale)
    languages = sorted({row["language"] for row in summary["results"] if row["language"]})
    divided = summary.get("difficulties", [])
    return render(
        "benchmarks_results.html", locale, run=summary, languages=languages, estimate=_estimate,
        rows=_grouped(by_metric(summary["results"])),
        levels=[level for level in DIFFICULTIES if any(row["difficulty"] == level for row in divided)],
        difficulties=_grouped(by_difficulty(divided)),
        confusions=_grouped(summary.get("confusions", ())),
    )  # fmt: skip


def comparison_html(locale: str, found: Comparison) -> str:
    """Two sides compared, with better, worse or inconclusive said for each suite."""
    return render("benchmarks_compare.html", locale, found=found)


def samples_html(
    locale: str,
    pairs: Sequence[SamplePair],
    page: int,
    suite: Suite | None,
    sides: Sequence[str],
    known: Sequence[Mapping[str, set[str]]],
) -> str:
    """One page of samples, the answers of both sides beside each other. `known` says for each side by item hash how its
    model came to know the item before."""
    begin = page * PAGE_SIZE
    shown = []
    for pair in pairs[begin : begin + PAGE_SIZE]:
        messages, expected = asked(suite, pair) if suite is not None else ([], None)
        shown.append(Shown(pair, messages, _expected(locale, expected)))
    return render(
        "benchmarks_samples.html", locale, shown=shown, sides=sides, known=known, total=len(pairs), begin=begin,
        end=min(begin + PAGE_SIZE, len(pairs)), json=_json,
    )  # fmt: skip


def suites_html(locale: str, suites: Sequence[Suite], broken: dict[str, str]) -> str:
    """All suites with their items, languages, scorer and licence; those that cannot be run with the reason."""
    rows = [
        {
            "suite": suite,
            "title": _in(locale, suite.definition.title) or suite.name,
            "description": _in(locale, suite.definition.description).replace("`", ""),
            "languages": {
                language: sum(item.language == language for item in suite.items)
                for language in suite.languages
            },
        }
        for suite in suites
    ]
    return render("benchmarks_suites.html", locale, rows=rows, broken=broken)


def _grouped(rows: Sequence[Row]) -> list[tuple[str, str, list[Row]]]:
    """Rows that follow each other of one suite and model, together."""
    return [(*key, list(part)) for key, part in groupby(rows, lambda row: (row["suite"], row["model"]))]


def _estimate(row: Row | None) -> str:
    if row is None or row["value"] is None:
        return "–"
    if row["stderr"] is None:
        return f"{row['value']:.3f}"
    return f"{row['value']:.3f} ± {row['stderr']:.3f}"


def _left(work: Work | None) -> str:
    return _time(work.left) if work is not None and work.running else ""


def _time(seconds: float | None) -> str:
    if seconds is None:
        return ""
    whole = round(seconds)
    hours, minutes = whole // 3600, whole // 60 % 60
    return f"{hours}:{minutes:02}:{whole % 60:02}" if hours else f"{minutes}:{whole % 60:02}"


def _in(locale: str, words: Any) -> str:
    if isinstance(words, dict):
        return str(words.get(locale) or words.get("en") or next(iter(words.values()), ""))
    return str(words or "")


def _expected(locale: str, value: Any) -> str:
    """What a right answer is, in one line; lists of texts as people write them."""
    if value is None or isinstance(value, str):
        return value or ""
    if value == []:
        return text(locale, "benchmarks.expected.none")
    if isinstance(value, list | tuple) and all(isinstance(each, str) for each in value):
        return " / ".join(value)
    return json.dumps(value, ensure_ascii=False)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=1, default=str)
