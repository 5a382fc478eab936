"""What `arena judge` prints."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from rich.markup import escape
from rich.table import Table

from arena.cli._common import console, output, print_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from evaluators.judge import JudgePlan, JudgeReport, JudgeSummary, JuryReport
    from results.agreement import Share
    from results.calibration import Calibration
    from results.grade_means import ModelGrades
    from results.judge_agreement import JudgeAgreement, Raters
    from results.judge_bias import Usability
    from results.store.judging import Standing

REASONS = {
    "few": "too few pairs to tell",
    "fine": "usable",
    "order": "its verdict follows the order of the answers, not the answers",
    "unparsed": "most of its replies hold no verdict",
    "no_winner": "it never tells answers apart",
}


_FEW = "(few)"


def print_data(data: Any) -> None:
    """Dataclasses and records as JSON; what is not a number is null."""
    from pydantic_core import to_jsonable_python

    print_json(to_jsonable_python(data, inf_nan_mode="null"))


def share(value: Share | None, digits: int = 2) -> str:
    """A number with its interval, or with a mark where there are too few for one (see `_tell_few`)."""
    if value is None or math.isnan(value.value):
        return "-"
    if value.lower is None or value.upper is None:
        return f"{value.value:.{digits}f} {_FEW}"
    return f"{value.value:.{digits}f} [{value.lower:.{digits}f}, {value.upper:.{digits}f}]"


def _tell_few(*told: Share | None) -> None:
    """What the mark says, where one of these numbers has it."""
    if any(_FEW in share(each) for each in told):
        output.print(f"{_FEW}: too few for an interval", highlight=False, style="dim")


def usability(standing: Usability | Standing) -> str:
    """Whether a judge can be used, in words."""
    reason = REASONS.get(standing.reason, standing.reason)
    if standing.usable is None:
        return f"[yellow]not known: {reason}[/]"
    return "[green]usable[/]" if standing.usable else f"[bold red]UNUSABLE: {reason}[/]"


def tell_plan(plan: JudgePlan) -> None:
    """What a run will ask, before it asks."""
    told = plan.estimate
    console.print(
        f"[bold]{escape(plan.judge.name)}[/]: {len(plan.subjects):,} battles, {told.questions:,} questions to ask "
        f"({told.cached:,} are answered already)",
        highlight=False,
    )
    for reason, n in plan.left_out.items():
        console.print(f"  {n:,} battles left out: {escape(reason)}", highlight=False)
    if not told.questions:
        return
    tokens = (
        f"about {told.prompt_tokens:,} tokens in, {told.completion_low:,} to {told.completion_high:,} out"
    )
    cost = "no price is known for it"
    if told.cost_low is not None and told.cost_high is not None:
        cost = f"{told.cost_low:.4f} to {told.cost_high:.4f} {told.currency}"
    elif plan.judge.contestant.spec.kind == "local":
        cost = "a local model: no cost but time"
    console.print(f"  {tokens}; {cost}", highlight=False)


def tell_nothing(plan: JudgePlan) -> None:
    """That there is nothing to ask a judge, and where to look."""
    if plan.left_out:
        why = "no battle of the selection can be judged this way"
    else:
        why = "no battle matches, or all that match are judged: see `arena battles list`, and --battles all"
    console.print(f"  Nothing to judge: {why}.", highlight=False)


def tell_report(report: JudgeReport) -> None:
    """How one judge's run ended."""
    counts = ", ".join(f"{report.statuses.get(status, 0)} {word}" for status, word in _STATUSES)
    asked = report.asked
    console.print(
        f"[bold]{escape(report.judge)}[/]: {counts}. {asked.asked:,} replies ({asked.retried:,} asked twice), "
        f"{asked.cached:,} taken over, {report.tokens:,} tokens"
        + (f", cost {report.cost:.4f}" if report.cost else "")
        + ".",
        highlight=False,
    )
    for kind, message in asked.errors.items():
        console.print(f"  [red]{kind}[/]: {escape(message)}", highlight=False)
    if report.kin:
        console.print(
            f"  {report.kin:,} of these battles have a model of the judge's own family: `arena judge show` says "
            "whether it prefers its kind.",
            highlight=False,
        )
    console.print(f"  {usability(report.standing)}", highlight=False)
    if report.standing.usable is False:
        console.print("  Its judgments stay outside the ratings.", highlight=False)


_STATUSES = (
    ("verdict", "verdicts"), ("inconsistent", "inconsistent (ties)"), ("unparsed", "unparsed"), ("refused", "refused"),
    ("failed", "failed"),
)  # fmt: skip


def tell_jury(report: JuryReport) -> None:
    """What a jury decided."""
    left = f" Left out as unusable: {', '.join(report.left_out)}." if report.left_out else ""
    console.print(
        f"[bold]{escape(report.judge)}[/]: {report.statuses.get('verdict', 0)} verdicts "
        f"({report.unanimous} unanimous), {report.statuses.get('unparsed', 0)} without.{escape(left)}",
        highlight=False,
    )


def print_summary(told: JudgeSummary) -> None:
    """Everything known of a judge."""
    judge = told.judge
    if judge.mode is None:
        output.print(
            f"[bold]{escape(judge.name)}[/]: {judge.judgments:,} imported verdicts"
            + (f", {judge.grades:,} imported grades" if judge.grades else "")
            + ". How it came to them is not known here; `arena judge agreement` sets verdicts against people's.",
            highlight=False,
        )
        _print_grades(told.grades)
        _tell_few(*(each.mean for each in told.grades))
        return
    output.print(f"[bold]{escape(judge.name)}[/]  {usability(told.standing)}", highlight=False)
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for what, value in (*_counts(told), *_biases(told), *_spent(told)):
        table.add_row(what, escape(value))
    output.print(table)
    _print_grades(told.grades)
    if told.win_rates:
        rates = Table("model", "battles", "win rate", "at equal length", box=None, pad_edge=False)
        for each in told.win_rates:
            control = each.control
            rates.add_row(
                escape(each.model), str(control.battles), f"{control.raw:.2f}", share(control.controlled)
            )
        output.print(rates)
    _tell_few(
        *(each.mean for each in told.grades),
        *(each.control.controlled for each in told.win_rates),
        told.orders.first_slot_share if told.orders else None,
        told.verbosity.slope if told.verbosity else None,
        *((told.kinship.judge, told.kinship.difference) if told.kinship else ()),
    )


def _counts(told: JudgeSummary) -> Iterator[tuple[str, str]]:
    """What came of battles and replies (a jury has none of its own)."""
    for status, word in _STATUSES:
        yield f"battles: {word}", f"{told.outcomes.get(status, 0):,}"
    if told.judge.mode != "jury":
        readings = ", ".join(f"{n:,} {reading}" for reading, n in sorted(told.readings.items()))
        yield "replies", f"{readings or 'none'}; {told.retried:,} asked twice, {told.cached:,} taken over"
        yield "with probabilities", f"{told.with_probabilities:,}"


def _biases(told: JudgeSummary) -> Iterator[tuple[str, str]]:
    """What moves the judge beside the answers."""
    if (orders := told.orders) is not None:
        yield (
            "both orders",
            f"{orders.pairs:,} pairs: {orders.kept:,} kept their winner, {orders.followed:,} followed the slot, "
            f"{orders.ties:,} ties, {orders.mixed:,} mixed; {orders.inconsistent:,} inconsistent",
        )
        yield "first slot wins", f"{share(orders.first_slot_share)} (0.50 is no bias)"
        yield "decided by order", f"{share(orders.order_share)} of pairs with a winner in both orders"
    if (labels := told.labels) is not None:
        yield "slot by itself", f"{share(labels.slot)} on {labels.battles} battles shown all four ways"
        yield "label A by itself", share(labels.label)
    if (verbosity := told.verbosity) is not None:
        people = f"; people there: {share(verbosity.people)}" if verbosity.people else ""
        yield "names the longer", f"{share(verbosity.longer)}{people}"
        yield "slope of length", f"{share(verbosity.slope)} (log odds; 0 is none)"
    if (kin := told.kinship) is not None:
        yield "own family", f"score {share(kin.judge)} on {kin.battles} battles with one of its models"
        yield "against people", f"{share(kin.difference)} on {kin.with_people} battles that people judged too"
    elif told.judge.mode != "jury":
        yield "own family", "no battle with one of its models and one that is none"


def _spent(told: JudgeSummary) -> Iterator[tuple[str, str]]:
    if told.judge.mode != "jury":
        yield "tokens", f"{told.prompt_tokens:,} in, {told.completion_tokens:,} out"
    if told.cost is not None:
        yield "cost", f"{told.cost:.4f}"


def _print_grades(graded: Sequence[ModelGrades]) -> None:
    """Means by model, turn and criterion; replies without a grade beside them."""
    if not graded:
        return
    from results.grade_means import all_grades

    turns = sorted({turn for each in graded for turn in each.by_turn})
    criteria = list(dict.fromkeys(name for each in graded for name in each.by_criterion))
    table = Table(box=None, pad_edge=False)
    table.add_column("model", overflow="fold")
    shown = [f"turn {turn}" for turn in turns] if len(turns) > 1 else []
    for title in ("answers", "mean grade", *shown, *criteria, "unparsed"):
        table.add_column(title, justify="right")
    for each in graded:
        by_turn = [_mean(each.by_turn.get(turn)) for turn in turns] if shown else []
        table.add_row(
            escape(each.model), f"{each.answers:,}", share(each.mean), *by_turn,
            *(_mean(each.by_criterion.get(name)) for name in criteria), f"{each.unparsed:,}",
        )  # fmt: skip
    output.print(table)
    lowest, highest = min(each.lowest for each in graded), max(each.highest for each in graded)
    whole = all_grades(graded)
    output.print(
        f"All models: mean {_mean(whole.mean)} over {whole.answers:,} answers, {whole.unparsed:,} unparsed. "
        f"Grades from {lowest:g} to {highest:g}; unparsed replies are in no mean. Intervals take the answers to one "
        "question as one.",
        highlight=False,
        style="dim",
    )


def _mean(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def print_agreement(found: list[JudgeAgreement]) -> None:
    """Agreement of judges with people, by category, and what it means.

    A row for each measure: beside each other their intervals do not fit a terminal of 80 columns.
    """
    for judge in dict.fromkeys(each.judge for each in found):
        mine = [each for each in found if each.judge == judge]
        output.print(_agreement_table(judge, mine))
        for each in mine:
            if not each.category:
                output.print(sentence(each), highlight=False)
        _tell_few(*(each.with_people.agreement for each in mine), *(each.gap for each in mine))
        output.print()


def _agreement_table(judge: str, found: Sequence[JudgeAgreement]) -> Table:
    table = Table(box=None, pad_edge=False, title=escape(judge), title_justify="left", title_style="bold")
    table.add_column("", overflow="fold", max_width=18)
    for name in ("judge and person", "two people", "difference"):
        table.add_column(name, no_wrap=True)
    for each in found:
        mine, people = each.with_people, each.people
        table.add_row(f"[bold]{escape(each.category or 'all')}[/]", f"[dim]{mine.battles:,} battles[/]")
        rows: tuple[tuple[str, Callable[[Raters], Share], str], ...] = (
            ("agreement", lambda raters: raters.agreement, share(each.gap)),
            ("same winner", lambda raters: raters.same_winner, ""),
            ("kappa", lambda raters: raters.kappa, ""),
            ("alpha", lambda raters: raters.alpha, ""),
        )
        for name, of, gap in rows:
            table.add_row(f"  {name}", share(of(mine)), share(of(people) if people else None), gap)
    return table


def sentence(told: JudgeAgreement) -> str:
    """Whether this judge can stand in for a person, with the numbers."""
    mine = told.with_people
    who = f"[bold]{escape(told.judge)}[/]"
    begin = (
        f"{who} agrees with a person in {share(told.with_people.agreement)} of verdicts ({mine.battles:,} battles on "
        f"{mine.items:,} items, {mine.votes:,} votes"
    )
    if told.people is None or told.gap is None:
        return (
            f"{begin}). No battle has two votes, so how well people agree with each other is not known: "
            "whether it can replace a person cannot be said."
        )
    begin += f"); two people agree in {share(told.people.agreement)}."
    side = "less" if told.gap.value < 0 else "more"
    points = f"{abs(told.gap.value) * 100:.0f} points {side} often than a second person"
    within = f"{told.margin * 100:.0f} points"
    match told.replaces:
        case "yes":
            end = f"It can replace one more person here: it agrees {points}, and surely within {within}."
        case "no":
            end = f"It cannot replace people here: it agrees {points}, surely by more than {within}."
        case _:
            end = (
                f"Undecided: it agrees {points} ({share(told.gap)}), and these battles do not tell whether that is "
                f"within {within}."
            )
    return f"{begin} {end}"


def print_calibration(judge: str, told: Calibration) -> None:
    """What a judge's probabilities are worth."""
    output.print(
        f"[bold]{escape(judge)}[/] on {told.battles:,} battles ({told.items:,} items), {told.method} map, checked on "
        "held-out items",
        highlight=False,
    )
    table = Table("", "as they came", "mapped", box=None, pad_edge=False)
    table.add_row("Brier score", share(told.raw, 3), share(told.mapped, 3))
    table.add_row("calibration error", f"{told.error_raw:.3f}", f"{told.error_mapped:.3f}")
    output.print(table)
    output.print(
        f"gain {share(told.gain, 3)}; always saying the average scores {told.base:.3f}", highlight=False
    )
    _tell_few(told.gain)
    bins = Table("judge says", "people say", "battles", box=None, pad_edge=False)
    for each in told.bins:
        bins.add_row(f"{each.predicted:.2f}", f"{each.people:.2f}", f"{each.battles:,}")
    output.print(bins)
    output.print("map: " + "  ".join(f"{x:.1f}->{y:.2f}" for x, y in told.knots), highlight=False)
