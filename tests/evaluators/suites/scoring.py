"""One answer scored, for the tests of scorers."""

from __future__ import annotations

from typing import Any

from evaluators.suites.scorers import Answer, Case, Scored, scorer_named


def scored(name: str, answer: str, options: dict[str, Any] | None = None, **fields: Any) -> Scored:
    scorer = scorer_named(name)
    offered = {"labels": fields["labels"]} if "labels" in fields else {}
    case = Case(
        fields=scorer.fields.model_validate(fields),
        options=scorer.options.model_validate(options or {}),
        language=fields.get("language", ""),
        item=fields,
        offered=offered,
        allow_code=True,
    )
    return scorer.score(Answer(text=answer), case)


def metric(name: str, answer: str, options: dict[str, Any] | None = None, **fields: Any) -> float | None:
    found = scored(name, answer, options, **fields)
    return found.metrics[scorer_named(name).metrics[0]]
