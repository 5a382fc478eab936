"""What the Judge page shows: HTML of estimates, reports, judges, agreement and biases."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial

from arena.web._i18n import text
from arena.web._templates import render
from arena.web.pages.judge_runs import Judged
from evaluators.judge import JudgePlan, JudgeSummary
from evaluators.judge.planning import NO_REFERENCE
from evaluators.judge.running import UNFINISHED, WITHOUT_TEXTS
from evaluators.judge.stored import KnownJudge
from results.agreement import Share
from results.calibration import Calibration
from results.grade_means import all_grades
from results.judge_agreement import NO_CATEGORY, JudgeAgreement

REASONS = ("few", "fine", "order", "unparsed", "no_winner")
STATUSES = ("verdict", "inconsistent", "unparsed", "refused", "failed")
LEFT_OUT = {UNFINISHED: "unfinished", WITHOUT_TEXTS: "without_texts", NO_REFERENCE: "no_reference"}


def estimate_html(locale: str, plans: Sequence[JudgePlan]) -> str:
    """What judges would be asked, and what that costs."""
    rows = [
        {"plan": plan, "cost": _cost(locale, plan), "left_out": _reasons(locale, plan.left_out)}
        for plan in plans
    ]
    return render("judge_estimate.html", locale, rows=rows)


def report_html(locale: str, judged: Judged | None) -> str:
    """How judging ended; '' where none has."""
    if judged is None:
        return ""
    return render(
        "judge_report.html", locale, judged=judged, statuses=STATUSES, standing=partial(standing, locale),
        left=partial(_reasons, locale),
    )  # fmt: skip


def judges_html(locale: str, judges: Sequence[KnownJudge], chosen: str | None) -> str:
    """All judges, with whether they can be used."""
    return render("judge_list.html", locale, judges=judges, chosen=chosen, reason=partial(reason, locale))


def summary_html(locale: str, told: JudgeSummary, *, with_cost: bool) -> str:
    """Everything known of one judge: standing, verdicts, biases, cost."""
    return render(
        "judge_summary.html", locale, told=told, share=share, statuses=STATUSES, with_cost=with_cost,
        standing=standing(locale, told.standing.usable, told.standing.reason), whole=all_grades(told.grades),
    )  # fmt: skip


def agreement_html(locale: str, found: Sequence[JudgeAgreement]) -> str:
    """How a judge agrees with people, by category, beside how people agree with each other."""
    whole = next((each for each in found if not each.category), None)
    return render(
        "judge_agreement.html", locale, found=found, share=share, table=whole.with_people.table if whole else (),
        sentence=sentence(locale, whole) if whole else "", category=partial(_category, locale),
    )  # fmt: skip


def _category(locale: str, name: str) -> str:
    if name == NO_CATEGORY:
        return text(locale, "judge.no_category")
    return name or text(locale, "judge.every")


def calibration_html(locale: str, told: Calibration | None) -> str:
    """What a judge's probabilities are worth against votes; None where too few battles have both."""
    better = "" if told is None else "better" if told.raw.value < told.base else "worse"
    return render("judge_calibration.html", locale, told=told, share=share, better=better)


def share(value: Share | None, digits: int = 2) -> str:
    """A number with its interval."""
    if value is None or math.isnan(value.value):
        return "–"
    if value.lower is None or value.upper is None:
        return f"{value.value:.{digits}f}"
    return f"{value.value:.{digits}f} [{value.lower:.{digits}f}, {value.upper:.{digits}f}]"


def standing(locale: str, usable: bool | None, code: str) -> tuple[str, str]:
    """A class for the style, and whether a judge can be used, in words."""
    kind = {True: "usable", False: "unusable", None: "unknown"}[usable]
    return kind, text(locale, f"judge.standing.{kind}", reason=reason(locale, code))


def reason(locale: str, code: str) -> str:
    """Why a judge can or cannot be used."""
    return text(locale, f"judge.reason.{code}") if code in REASONS else code


def sentence(locale: str, told: JudgeAgreement) -> str:
    """Whether this judge can stand in for a person, with the numbers."""
    mine = told.with_people
    begin = text(
        locale, "judge.sentence.begin", judge=told.judge, share=share(mine.agreement), battles=f"{mine.battles:,}",
        votes=f"{mine.votes:,}",
    )  # fmt: skip
    if told.people is None or told.gap is None:
        return f"{begin} {text(locale, 'judge.sentence.no_ceiling')}"
    ceiling = text(locale, "judge.sentence.ceiling", share=share(told.people.agreement))
    side = text(locale, "judge.sentence.less" if told.gap.value < 0 else "judge.sentence.more")
    end = text(
        locale, f"judge.sentence.{told.replaces}", points=f"{abs(told.gap.value) * 100:.0f}", side=side,
        margin=f"{told.margin * 100:.0f}", gap=share(told.gap),
    )  # fmt: skip
    return f"{begin} {ceiling} {end}"


def _cost(locale: str, plan: JudgePlan) -> str:
    told = plan.estimate
    if told.cost_low is not None and told.cost_high is not None:
        return f"{told.cost_low:.4f} – {told.cost_high:.4f} {told.currency}"
    local = plan.judge.contestant.spec.kind == "local"
    return text(locale, "judge.cost.local" if local else "judge.cost.unknown")


def _reasons(locale: str, left_out: dict[str, int]) -> list[str]:
    said = {
        key: text(locale, f"judge.left_out.{LEFT_OUT[key]}") if key in LEFT_OUT else key for key in left_out
    }
    return [text(locale, "judge.left_out", n=f"{n:,}", reason=said[key]) for key, n in left_out.items()]
