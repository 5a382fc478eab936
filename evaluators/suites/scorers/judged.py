"""Grades by a judge: the run gives a callable, this gives it the item and the answer."""

from __future__ import annotations

from evaluators.suites.scorers.base import Answer, Case, Fields, NoOptions, Scored, Scorer


class RubricFields(Fields):
    """`rubric`: what the judge is to look at; the suite's judge may have its own."""

    rubric: str | None = None


def rubric(answer: Answer, case: Case) -> Scored:
    """The judge's grade from 0 to 1. One that could not be parsed is no grade: the metric is None, `unparsed` 1."""
    if case.judge is None:
        raise ValueError("scorer rubric: this suite is graded by a judge: name one with --judge")
    grade, said = case.judge(case.item, answer.text)
    return Scored({"grade": grade, "unparsed": float(grade is None)}, said)


SCORERS = (Scorer("rubric", RubricFields, NoOptions, ("grade", "unparsed"), rubric),)
