"""Multiple choice, by loglikelihood or by letter, and classification into labels."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import Self

from pydantic import Field, model_validator

from evaluators.suites.scorers.base import Answer, Case, Fields, NoOptions, Scored, ScoredItem, Scorer
from evaluators.suites.scorers.text import contains, normalised, plain

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


class Choices(Fields):
    """`choices` and `target`: the right one, as its text or as its index from 0."""

    choices: tuple[str, ...] = Field(min_length=2, max_length=len(LETTERS))
    target: int | str

    @model_validator(mode="after")
    def _target_is_a_choice(self) -> Self:
        if isinstance(self.target, str) and self.target not in self.choices:
            raise ValueError(f"target '{self.target}' is none of the choices")
        if isinstance(self.target, int) and not 0 <= self.target < len(self.choices):
            raise ValueError(
                f"target {self.target} is no index of {len(self.choices)} choices (they count from 0)"
            )
        return self

    @property
    def index(self) -> int:
        """The right choice's index."""
        return self.choices.index(self.target) if isinstance(self.target, str) else self.target


def by_loglikelihood(answer: Answer, case: Case) -> Scored:
    """`acc`: the right choice is the likeliest; `acc_norm`: by log-probability per character (as in lm-eval)."""
    logprobs = [logprob for logprob, _, _ in answer.choices]
    per_character = [
        logprob / max(len(choice), 1) for logprob, choice in zip(logprobs, case.fields.choices, strict=True)
    ]
    right = case.fields.index
    best, best_norm = logprobs.index(max(logprobs)), per_character.index(max(per_character))
    return Scored(
        {"acc_norm": float(best_norm == right), "acc": float(best == right)},
        {"read": case.fields.choices[best], "target": case.fields.choices[right]},
    )


def lettered(choices: Sequence[str]) -> str:
    """The choices as lines `A. ...`, for prompts."""
    return "\n".join(f"{letter}. {choice}" for letter, choice in zip(LETTERS, choices, strict=False))


def letter_of(text: str, choices: Sequence[str]) -> int | None:
    """The index of the choice that an answer names: by its letter, else by its text; None where it names none or
    several."""
    letters = LETTERS[: len(choices)]
    text = plain(text).strip()
    patterns = (
        rf"^[\s\"'(\[*]*([{letters}])(?:[.):,\]*\"']|번|\s*$|\s*\n)",
        rf"(?:answer|option|choice)\s*(?:is|:)?\s*[\"'(\[*]*([{letters}])(?![A-Za-z])",
        rf"(?:정답|답)\s*(?:은|는|:)?\s*[\"'(\[*]*([{letters}])(?![A-Za-z])",
        rf"(?<![A-Za-z])\(([{letters}])\)",
    )
    for pattern in patterns:
        found = {
            match.upper() for match in re.findall(pattern, text, re.IGNORECASE if "answer" in pattern else 0)
        }
        if len(found) == 1:
            return letters.index(found.pop())
    named = [index for index, choice in enumerate(choices) if contains(text, choice)]
    return named[0] if len(named) == 1 else None


def by_letter(answer: Answer, case: Case) -> Scored:
    """`accuracy`: the answer names the right choice; `answered`: it names one at all."""
    read = letter_of(answer.text, case.fields.choices)
    choices = case.fields.choices
    return Scored(
        {"accuracy": float(read == case.fields.index), "answered": float(read is not None)},
        {"read": None if read is None else choices[read], "target": choices[case.fields.index]},
    )


class Label(Fields):
    """`target`: the right label; `labels` of the item's own, where the suite has none."""

    target: str
    labels: tuple[str, ...] = ()


NO_LABEL = "(none)"


def label_of(text: str, labels: Sequence[str]) -> str | None:
    """The label that an answer gives: the whole answer, else its first line, else the only label it mentions."""
    by_form = {normalised(label): label for label in labels}
    stripped = text.strip()
    first_line = stripped.split("\n", 1)[0]
    for part in (stripped, first_line, first_line.rsplit(":", 1)[-1]):
        if normalised(part) in by_form:
            return by_form[normalised(part)]
    for part in (first_line, stripped):
        # A label inside a longer one ("very good", "good") is not named by it.
        named = [label for label in labels if contains(part, label)]
        named = [one for one in named if not any(one != other and contains(other, one) for other in named)]
        if len(named) == 1:
            return named[0]
    return None


def label(answer: Answer, case: Case) -> Scored:
    """1 where the answer gives the right label. `detail` holds both, for F1 and the confusion matrix."""
    labels = case.offered.get("labels") or case.fields.labels
    if not labels:
        raise ValueError(
            "scorer label: the suite names no labels (labels, label_sets) and neither does the item"
        )
    read = label_of(answer.text, labels)
    return Scored(
        {"accuracy": float(read == case.fields.target)}, {"read": read, "target": case.fields.target}
    )


def f1_by_label(rows: Sequence[ScoredItem]) -> dict[str, tuple[float, int]]:
    """For each label F1 and how often it is right; an answer without a label counts as a miss of the right one."""
    read = Counter(row.scored.detail.get("read") for row in rows)
    target = Counter(row.scored.detail["target"] for row in rows)
    hits = Counter(row.scored.detail["target"] for row in rows if row.scored.metrics["accuracy"] == 1)
    return {name: (2 * hits[name] / (read[name] + count), count) for name, count in target.items()}


def macro_f1(rows: Sequence[ScoredItem]) -> float | None:
    """The mean F1 of the labels that occur."""
    scores = [f1 for f1, _ in f1_by_label(rows).values()]
    return sum(scores) / len(scores) if scores else None


def weighted_f1(rows: Sequence[ScoredItem]) -> float | None:
    """The mean F1 of the labels, weighted by how often each is right."""
    scores = f1_by_label(rows).values()
    total = sum(count for _, count in scores)
    return sum(f1 * count for f1, count in scores) / total if total else None


def confusion(pairs: Sequence[tuple[str, str | None]]) -> dict[str, dict[str, int]]:
    """How often each (right label, label given) occurs; `NO_LABEL` where the answer gave none."""
    table: dict[str, dict[str, int]] = {}
    for (target, read), count in sorted(Counter((t, r or NO_LABEL) for t, r in pairs).items()):
        table.setdefault(target, {})[read] = count
    return table


SCORERS = (
    Scorer("choice", Choices, NoOptions, ("acc_norm", "acc"), by_loglikelihood, asks="choices"),
    Scorer("choice_letter", Choices, NoOptions, ("accuracy", "answered"), by_letter),
    Scorer(
        "label", Label, NoOptions, ("accuracy",), label,
        over_suite={"macro_f1": macro_f1, "weighted_f1": weighted_f1},
    ),
)  # fmt: skip
