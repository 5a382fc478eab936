"""Which questions a judge is asked about its subjects, each with an id that is the same in every run."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal
from uuid import UUID

from evaluators.judge.judges import Judge
from evaluators.judge.prompts import BadJudgePrompts, JudgePrompt, ShownTurn, show
from evaluators.judge.subjects import Subject
from prompt_formats.conversation import Conversation
from results.ids import named_id
from results.records import Side

LEAST_PROBES = 10
NO_REFERENCE = "no reference answer is known"


@dataclass(frozen=True)
class Question:
    """One question to a judge. Pairs: which side stands in the first slot, and its label there. Grades: whose
    answer. `cache_key` hashes judge, messages and sampling: equal questions have one reply."""

    id: UUID
    cache_key: str
    subject: Subject
    turn: int
    prompt: JudgePrompt
    conversation: Conversation
    side: Side | None = None
    first: Side | None = None
    first_label: Literal["A", "B"] | None = None

    @property
    def characters(self) -> int:
        """The length of what the judge reads."""
        return sum(len(message.content) for message in self.conversation.messages)


@dataclass(frozen=True)
class Questions:
    """All questions, and why subjects are left out (a reason and how many)."""

    asked: tuple[Question, ...]
    left_out: dict[str, int]


def make_questions(judge: Judge, subjects: Sequence[Subject]) -> Questions:
    """Every subject's questions: a pair in both orders (and, of a fixed sample, with swapped labels as well); grades
    for each side's answer, turn by turn in mode single and once for the whole in mode rubric."""
    options = judge.options
    questions: list[Question] = []
    left_out: dict[str, int] = {}
    probed = _probes(subjects, options.probe)
    for subject in subjects:
        if options.mode == "reference" and not subject.has_reference:
            left_out[NO_REFERENCE] = left_out.get(NO_REFERENCE, 0) + 1
            continue
        try:
            if options.mode in ("pairwise", "reference"):
                questions += _pair(judge, subject, subject.battle_id in probed)
            else:
                questions += _grades(judge, subject)
        except BadJudgePrompts as error:
            left_out[str(error)] = left_out.get(str(error), 0) + 1
    return Questions(tuple(questions), left_out)


def _probes(subjects: Sequence[Subject], share: float) -> set[UUID]:
    """The sample that is shown with swapped labels: always the same battles of a selection."""
    if share <= 0:
        return set()
    wanted = max(LEAST_PROBES, math.ceil(share * len(subjects)))
    return set(
        sorted((subject.battle_id for subject in subjects), key=lambda each: each.bytes[::-1])[:wanted]
    )


def _pair(judge: Judge, subject: Subject, probe: bool) -> list[Question]:
    options = judge.options
    reference = options.mode == "reference"
    prompt = options.prompts.choose(options.mode, subject.language, len(subject.turns), reference=reference)
    labels: tuple[Literal["A", "B"], ...] = ("A", "B") if probe and prompt.labels_swap else ("A",)
    found = []
    sides: tuple[Side, ...] = ("a", "b")
    for label in labels:
        for first in sides:
            shown = [
                ShownTurn(
                    question=turn.question,
                    reference=turn.reference if reference else "",
                    first=turn.answer_a if first == "a" else turn.answer_b,
                    second=turn.answer_b if first == "a" else turn.answer_a,
                )
                for turn in subject.turns
            ]
            conversation = show(options.prompts, prompt, shown, first_label=label)
            found.append(
                _question(judge, subject, prompt, conversation, len(shown), first=first, first_label=label)
            )
    return found


def _grades(judge: Judge, subject: Subject) -> list[Question]:
    options = judge.options
    found = []
    last = len(subject.turns)
    sides: tuple[Side, ...] = ("a", "b")
    for side in sides:
        for turn in range(1, last + 1) if options.mode == "single" else (last,):
            reference = options.references and any(each.reference for each in subject.turns[:turn])
            shown = [
                ShownTurn(
                    question=each.question,
                    reference=each.reference if reference else "",
                    answer=each.answer_a if side == "a" else each.answer_b,
                )
                for each in subject.turns[:turn]
            ]
            prompt = options.prompts.choose(options.mode, subject.language, turn, reference=reference)
            conversation = show(options.prompts, prompt, shown, criteria=options.rubric.criteria)
            found.append(_question(judge, subject, prompt, conversation, turn, side=side))
    return found


def _question(
    judge: Judge, subject: Subject, prompt: JudgePrompt, conversation: Conversation, turn: int,
    *, side: Side | None = None, first: Side | None = None, first_label: Literal["A", "B"] | None = None,
) -> Question:  # fmt: skip
    key = hashlib.sha256(
        json.dumps(
            [judge.digest, conversation.as_chat(), judge.sampling.model_dump(exclude_none=True), first_label],
            ensure_ascii=False, sort_keys=True,
        ).encode()
    ).hexdigest()  # fmt: skip
    own = named_id(
        "judge call",
        str(subject.battle_id),
        judge.name,
        str(turn),
        side or first or "",
        first_label or "",
        key,
    )
    return Question(own, key, subject, turn, prompt, conversation, side, first, first_label)
