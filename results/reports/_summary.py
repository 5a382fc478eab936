"""The summary in words: sentences chosen by what the data say, never written beforehand."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from results.decisions import HOPELESS
from results.reports._decide import Lead
from results.reports._model import Report
from results.reports._numbers import level_of, percent, points
from results.reports._texts import Texts

_NAMED = 5
_FEW = 30
_BUSY = 0.2
_SHARED = 1.5


@dataclass(frozen=True)
class Summary:
    """Sentences: how things stand, what would decide what is open, and what is not known."""

    standing: tuple[str, ...]
    deciding: tuple[str, ...]
    unknown: tuple[str, ...]


def summarise(report: Report, t: Texts) -> Summary:
    """The summary of a report in the language of `t`."""
    if not report.votes:
        left_out = sum(each.n for each in report.excluded)
        why = t("summary.none_of_filter", n=left_out) if left_out else t("summary.none")
        return Summary((why, t("summary.how")), (), ())
    if report.lead is None:
        return Summary((t("summary.unrated"),), (), tuple(_unknown(report, t)))
    return Summary(
        tuple(_standing(report, report.lead, t)),
        tuple(_deciding(report.lead, t)),
        tuple(_unknown(report, t)) or (t("unknown.nothing"),),
    )


def _standing(report: Report, lead: Lead, t: Texts) -> Iterator[str]:
    row = next(row for row in report.rows if row.model == lead.name)
    level = level_of(report.query.level)
    figures = {
        "leader": lead.name,
        "level": level,
        "rating": points(row.rating or 0.0),
        "lower": points(row.lower or 0.0),
        "upper": points(row.upper or 0.0),
    }
    still_open = lead.open
    if still_open:
        names = _listed([rival.name for rival in still_open], t)
        yield t.number("summary.open", len(still_open), names=names, **figures)
        if len(still_open) < len(lead.rivals):
            yield t("summary.ahead", n=len(lead.rivals) - len(still_open), total=len(lead.rivals))
    else:
        yield t.number("summary.clear", len(lead.rivals), **figures)
    second = lead.rivals[0]
    yield t(
        "summary.second", second=second.name, share=percent(second.probability),
        lower=percent(second.lower), upper=percent(second.upper), level=level,
    )  # fmt: skip
    yield t("summary.chance", leader=lead.name, chance=percent(lead.chance))
    others = [f"{name} ({percent(chance)})" for name, chance in lead.chances if name != lead.name]
    if others:
        yield t("summary.others_chance", list=", ".join(others[:3]))


def _deciding(lead: Lead, t: Texts) -> Iterator[str]:
    if not lead.open:
        yield t("decide.done")
        return
    reachable = [rival for rival in lead.open if rival.more_votes is not None]
    hopeless = [rival.name for rival in lead.open if rival.more_votes is None]
    if reachable:
        # The nearest in rating is the one a reader asks about first; the costliest bounds them all.
        near = reachable[0]
        last = max(reachable, key=lambda rival: rival.more_votes or 0)
        yield t(
            "decide.next", leader=lead.name, rival=near.name, more=_rounded(near.more_votes or 0),
            direct=_rounded(near.direct_battles or 0),
        )  # fmt: skip
        if last is not near:
            yield t("decide.worst", rival=last.name, more=_rounded(last.more_votes or 0))
    if hopeless:
        yield t.number("decide.hopeless", len(hopeless), names=_listed(hopeless, t), times=HOPELESS)
    if reachable:
        yield t("decide.if")


def _unknown(report: Report, t: Texts) -> Iterator[str]:
    unrated = [row.model for row in report.rows if row.rating is None]
    if unrated:
        yield t.number("unknown.unrated", len(unrated), names=_listed(unrated, t))
    met, pairs = pairs_met(report)
    if met < pairs:
        yield t("unknown.unmet", n=pairs - met, total=pairs)
    few = [row.model for row in report.rated_rows if row.votes < _FEW]
    if few:
        yield t.number("unknown.few", len(few), names=_listed(few, t), least=_FEW)
    voters = report.voters
    if voters is not None and voters.busiest > _BUSY:
        yield t("unknown.busiest", share=percent(voters.busiest))
    if voters is not None and voters.unnamed:
        yield t("unknown.unnamed", n=voters.unnamed)
    mean = report.votes / max(report.facts.battles, 1)
    if mean > _SHARED:
        yield t("unknown.shared", mean=f"{mean:.1f}")
    position = report.position
    if position is not None and (position.lower > 0 or position.upper < 0):
        side = "A" if position.value > 0 else "B"
        yield t("unknown.position", side=side, points=points(abs(position.value)))
    if not report.history:
        yield t("unknown.times")
    if report.query.source != "human":
        yield t("unknown.judges_only" if report.query.source == "judge" else "unknown.mixed")


def pairs_met(report: Report) -> tuple[int, int]:
    """How many pairs of rated models have met, and how many pairs there are."""
    rows = report.rated_rows
    met = int(np.count_nonzero(np.triu(report.counts_of(rows).games, 1)))
    return met, len(rows) * (len(rows) - 1) // 2


def _listed(names: Sequence[str], t: Texts) -> str:
    shown = list(names[:_NAMED])
    if len(names) > _NAMED:
        shown.append(t("summary.more", n=len(names) - _NAMED))
    return ", ".join(shown)


def _rounded(n: int) -> int:
    """Two significant digits, upwards: more would be false precision."""
    if n < 100:
        return n
    step = int(10 ** (len(str(n)) - 2))
    return -(-n // step) * step
