"""The exact numbers of a report as CSV files inside it."""

from __future__ import annotations

import base64
import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from results.ratings import A_WON, B_WON, TIE

if TYPE_CHECKING:
    from results.reports._agreement import Share
    from results.reports._model import Group, Report

_FORMULA = ("=", "+", "-", "@", "\t", "\r")


@dataclass(frozen=True)
class Download:
    """A CSV file: `key` says in the texts what it holds."""

    key: str
    rows: int
    content: str

    @property
    def name(self) -> str:
        return f"palaestra-{self.key}.csv"

    @property
    def href(self) -> str:
        """The file as a data: URL. The byte order mark makes spreadsheets read Korean as UTF-8."""
        encoded = base64.b64encode(self.content.encode("utf-8-sig")).decode()
        return f"data:text/csv;charset=utf-8;base64,{encoded}"


def downloads(report: Report) -> tuple[Download, ...]:
    """The files that the report has numbers for."""
    row_fields = (
        "rank", "rank_best", "rank_worst", "model", "rating", "lower", "upper", "votes", "wins", "losses", "ties",
        "status",
    )  # fmt: skip
    found = [_file("ratings", row_fields, ([getattr(row, f) for f in row_fields] for row in report.rows))]
    names, cells = report.rated.names, report.rated.counts.cells
    pairs = [
        (names[a], names[b], *(int(cells[a, b, k]) for k in (A_WON, TIE, B_WON)))
        for a, b in np.argwhere(cells.sum(axis=2))
    ]
    found.append(_file("pairs", ("model_a", "model_b", "a_won", "ties", "b_won"), pairs))
    if report.lead:
        found.append(_file(
            "leader",
            ("leader", "model", "gap", "probability", "lower", "upper", "decided", "more_votes", "direct_battles"),
            ((report.lead.name, r.name, r.gap, r.probability, r.lower, r.upper, r.decided, r.more_votes,
              r.direct_battles) for r in report.lead.rivals),
        ))  # fmt: skip
    if report.history:
        found.append(_file("history", ("model", "time", "rating"), (
            (line.name, time.isoformat(sep=" ", timespec="seconds"), value)
            for line in report.history for time, value in zip(line.times, line.values, strict=True)
        )))  # fmt: skip
    for key, groups in (("categories", report.categories), ("languages", report.languages)):
        if groups:
            found.append(_file(key, ("group", *row_fields), _of_groups(groups, row_fields)))
    if report.style:
        fields = ("name", "value", "error", "lower", "upper", "p_value")
        found.append(_file("style", fields, ([getattr(e, f) for f in fields] for e in report.style.effects)))
        found.append(_file(
            "style-ratings", row_fields, ([getattr(row, f) for f in row_fields] for row in report.style.rows)
        ))  # fmt: skip
    if report.agreement:
        found.append(_file(
            "agreement",
            ("judge", "battles", "votes", "agreement", "lower", "upper", "kappa", "kappa_lower", "kappa_upper",
             "same_winner", "same_winner_lower", "same_winner_upper"),
            ((each.judge or "", each.battles, each.votes, *_share(each.agreement), *_share(each.kappa),
              *_share(each.same_winner)) for each in report.agreement),
        ))  # fmt: skip
    if report.excluded:
        found.append(_file("excluded", ("reason", "source", "n"), (
            (each.reason, each.source, each.n) for each in report.excluded
        )))  # fmt: skip
    if report.speed:
        fields = ("name", "answers", "failed", "first_token", "duration", "tokens_per_second")
        found.append(_file("speed", fields, ([getattr(each, f) for f in fields] for each in report.speed)))
    if report.choice:
        found.append(_file(
            "choice",
            ("model", "share", "lower", "upper", "standing", "bytes_on_disk", "parameters", "quantisation", "licence",
             "tokens_per_second", "first_token", "cost_per_1000", "currency"),
            ((o.name, o.share, o.lower, o.upper, o.standing, o.facts.bytes_on_disk, o.facts.parameters,
              o.facts.quantisation, o.facts.licence, o.facts.tokens_per_second, o.facts.first_token,
              o.facts.cost_per_1000, o.facts.currency) for o in report.choice.options),
        ))  # fmt: skip
    if report.suites:
        columns = ("name", "items", "score", "error", "shared", "behind", "lower", "upper", "clear")
        found.append(_file("suites", ("suite", *columns), (
            (view.suite, *(getattr(each, f) for f in columns)) for view in report.suites for each in view.scores
        )))  # fmt: skip
    return tuple(file for file in found if file.rows)


def _share(share: Share | None) -> tuple[float | None, float | None, float | None]:
    return (None, None, None) if share is None else (share.value, share.lower, share.upper)


def _of_groups(groups: tuple[Group, ...], fields: Sequence[str]) -> Iterable[Sequence[Any]]:
    for group in groups:
        for row in group.rows:
            yield [group.name, *(getattr(row, field) for field in fields)]


def _file(key: str, fields: Sequence[str], rows: Iterable[Sequence[Any]]) -> Download:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(fields)
    count = 0
    for row in rows:
        writer.writerow([_cell(value) for value in row])
        count += 1
    return Download(key, count, text.getvalue())


def _cell(value: Any) -> Any:
    # A spreadsheet would run a name like "=cmd()"; a leading apostrophe makes it text.
    if isinstance(value, str) and value.startswith(_FORMULA):
        return "'" + value
    return value
