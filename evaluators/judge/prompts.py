"""Judge prompts: ours (YAML with Jinja), and other projects' files as they are (`foreign`)."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml
from jinja2 import StrictUndefined, TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from prompt_formats.conversation import Conversation

M = TypeVar("M", bound=BaseModel)

PromptMode = Literal["pairwise", "reference", "single", "rubric"]
Verdicts = Literal["brackets", "identifiers", "patterns", "ranking"]


class BadJudgePrompts(Exception):
    """Judge prompts or a rubric cannot be used; the message names file, entry and what would be right."""


class Criterion(BaseModel):
    """One thing that an answer is graded on. Weights are relative to each other."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(min_length=1, max_length=60, pattern=r"^[^\[\]:\n]+$")
    description: str = Field(min_length=1)
    weight: float = Field(default=1.0, gt=0)
    lowest: int = 1
    highest: int = 10

    @model_validator(mode="after")
    def _scale(self) -> Criterion:
        if self.lowest >= self.highest:
            raise ValueError("lowest must be less than highest")
        return self


class Rubric(BaseModel):
    """Criteria with weights."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(min_length=1)
    criteria: tuple[Criterion, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _names(self) -> Rubric:
        names = [criterion.name.casefold() for criterion in self.criteria]
        if len(set(names)) != len(names):
            raise ValueError("two criteria have one name")
        return self


class JudgePrompt(BaseModel):
    """One prompt. `language` '' is for all languages; `turns`: for one-turn items (1), longer ones (2), or all (0).

    `syntax` says how `template` (and `system`) is filled: `jinja` (ours), or `fields`, names in single braces
    (FastChat's and AlpacaEval's; nothing inside an answer is read as a field). How the verdict stands in a reply:
    `brackets` ([[A]], [[B]], [[C]], grades [[n]]), `identifiers` (the first word is one of two names),
    `patterns` (two regular expressions), or `ranking` (a list of models with ranks); `marks` are those of the first
    and second slot.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    mode: PromptMode
    language: str = ""
    turns: Literal[0, 1, 2] = 0
    with_reference: bool = False
    system: str = ""
    template: str = Field(min_length=1)
    retry: str = ""
    syntax: Literal["jinja", "fields"] = "jinja"
    verdicts: Verdicts = "brackets"
    marks: tuple[str, str] = ("A", "B")
    lowest: int = 1
    highest: int = 10

    @property
    def is_pair(self) -> bool:
        """Whether it shows two answers."""
        return self.mode in ("pairwise", "reference")

    @property
    def labels_swap(self) -> bool:
        """Whether labels can be given to slots freely."""
        return self.syntax == "jinja" and self.is_pair


class PromptSet(BaseModel):
    """Prompts that belong together. `explain`: whether the judge gives reasons before its verdict (ours only).

    `begun`: how every reply is begun for the judge, so that it has to give a verdict; only engines that render prompts
    themselves can.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(min_length=1)
    licence: str = ""
    explain: bool = True
    begun: str = ""
    prompts: tuple[JudgePrompt, ...] = Field(min_length=1)

    @property
    def digest(self) -> str:
        """SHA-256 over everything."""
        return hashlib.sha256(self.model_dump_json(exclude={"licence"}).encode()).hexdigest()

    def choose(self, mode: PromptMode, language: str, turns: int, *, reference: bool = False) -> JudgePrompt:
        """The prompt for an item: of its language, else English, else of all languages; with a reference where there
        is one and such a prompt exists. Raises BadJudgePrompts where the set has none."""
        fitting = [
            prompt
            for prompt in self.prompts
            if self._serves(prompt, mode, reference) and prompt.turns in (0, 1 if turns == 1 else 2)
        ]
        for wanted in (language, "en", ""):
            for prompt in sorted(fitting, key=lambda each: each.with_reference != reference):
                if prompt.language == wanted:
                    return prompt
        several = "several turns" if turns > 1 else "one turn"
        raise BadJudgePrompts(f"the prompts '{self.name}' hold none for mode {mode} and {several}")

    @staticmethod
    def _serves(prompt: JudgePrompt, mode: PromptMode, reference: bool) -> bool:
        if prompt.with_reference and not reference:
            return False
        # FastChat calls a pairwise prompt with a reference pairwise.
        return prompt.mode == mode or (
            mode == "reference" and prompt.mode == "pairwise" and prompt.with_reference
        )


@dataclass(frozen=True)
class ShownTurn:
    """One request with what is to be judged: `answer` alone, or `first` and `second` by slot."""

    question: str
    reference: str = ""
    answer: str = ""
    first: str = ""
    second: str = ""


def own_prompts(*, explain: bool = True, forced: bool = False) -> PromptSet:
    """Palaestra's own set, English and Korean, for every mode. Without `explain` the judge gives nothing but its
    verdict; with `forced` its reply is begun for it as well (not for rubrics, whose replies have several lines)."""
    found = _own()
    if forced:
        return found.model_copy(
            update={"explain": False, "begun": "Verdict: [[", "name": f"{found.name}-forced"}
        )
    return found if explain else found.model_copy(update={"explain": False, "name": f"{found.name}-brief"})


@cache
def _own() -> PromptSet:
    text = (files("evaluators.judge") / "prompts" / "palaestra.yaml").read_text(encoding="utf-8")
    return PromptSet.model_validate(yaml.safe_load(text))


def load_prompts(path: Path) -> PromptSet:
    """A prompt set of a file: our YAML, FastChat's judge_prompts.jsonl, or AlpacaEval's prompt .txt (with its
    configs.yaml beside it or one folder up, where there is one). Raises BadJudgePrompts."""
    from evaluators.judge.foreign_prompts import alpaca_prompts, fastchat_prompts

    text = _text_of(path)
    if path.suffix in (".yaml", ".yml"):
        return _checked(PromptSet, path, text)
    if path.suffix in (".jsonl", ".json"):
        return fastchat_prompts(path, text)
    return alpaca_prompts(path, text)


def load_rubric(path: Path | None = None) -> Rubric:
    """A rubric of a YAML file (`name`, `criteria`: name, description, weight, lowest, highest); without a path the
    general one. Raises BadJudgePrompts."""
    if path is None:
        text = (files("evaluators.judge") / "prompts" / "rubric_general.yaml").read_text(encoding="utf-8")
        return Rubric.model_validate(yaml.safe_load(text))
    text = _text_of(path)
    return _checked(Rubric, path, text)


def _text_of(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise BadJudgePrompts(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise BadJudgePrompts(f"{path}: not UTF-8 (byte {error.start:,}): save it as UTF-8") from error


def show(
    prompts: PromptSet,
    prompt: JudgePrompt,
    turns: Sequence[ShownTurn],
    *,
    first_label: str = "A",
    criteria: Sequence[Criterion] = (),
) -> Conversation:
    """The conversation that asks the judge. Raises BadJudgePrompts where the prompt cannot show these turns."""
    second_label = "B" if first_label == "A" else "A"
    if prompt.syntax == "fields":
        fields = _fields(turns, prompt.is_pair)
        system, user = _fill(prompt.system, fields), _fill(prompt.template, fields)
    else:
        values = {
            "turns": turns,
            "first": first_label,
            "second": second_label,
            "lowest": prompt.lowest,
            "highest": prompt.highest,
            "criteria": criteria,
            "explain": prompts.explain,
        }
        system, user = _render(prompt.system, values), _render(prompt.template, values)
    conversation = Conversation()
    if system.strip():
        conversation = conversation.add("system", system.strip())
    return conversation.add("user", user.strip())


def ask_again(
    prompt: JudgePrompt, conversation: Conversation, reply: str, criteria: Sequence[Criterion]
) -> Conversation:
    """The conversation that asks a second time, more tightly, after a reply that could not be read."""
    if prompt.retry:
        values = {"lowest": prompt.lowest, "highest": prompt.highest, "criteria": criteria}
        tighter = _render(prompt.retry, values)
    elif prompt.verdicts == "brackets" and prompt.is_pair:
        tighter = "Reply with exactly one of [[A]], [[B]] or [[C]] and nothing else."
    elif prompt.verdicts == "brackets":
        tighter = f"Reply with one number from {prompt.lowest} to {prompt.highest} in double brackets and nothing else."
    else:
        tighter = "Your reply could not be read. Reply in exactly the form that was asked for, and with nothing else."
    # An empty reply would be no message that every server takes.
    return conversation.add("assistant", reply.strip() or "...").add("user", tighter)


_ENVIRONMENT = ImmutableSandboxedEnvironment(
    undefined=StrictUndefined, trim_blocks=False, keep_trailing_newline=False
)
_FIELD = re.compile(r"\{\{|\}\}|\{(\w+)\}")


def _render(template: str, values: Mapping[str, Any]) -> str:
    try:
        return _ENVIRONMENT.from_string(template).render(values)
    except TemplateError as error:
        raise BadJudgePrompts(f"a judge prompt cannot be filled: {error}") from error


def _fill(template: str, fields: Mapping[str, str]) -> str:
    """As str.format would, in one pass and with plain names only. Braces around anything else stay: AlpacaEval's
    prompts hold JSON."""

    def value(found: re.Match[str]) -> str:
        name = found.group(1)
        if name is None:
            return found.group(0)
        if name not in fields:
            raise BadJudgePrompts(
                f"the prompt asks for {{{name}}}, which this item does not have (it has: {', '.join(fields)})"
            )
        return fields[name]

    return _FIELD.sub(value, template)


def _fields(turns: Sequence[ShownTurn], pair: bool) -> dict[str, str]:
    """The names that FastChat's and AlpacaEval's prompts use."""
    fields = {"question": turns[0].question, "instruction": turns[0].question}
    if pair:
        fields |= {"answer_a": turns[0].first, "answer_b": turns[0].second}
        fields |= {"output_1": turns[0].first, "output_2": turns[0].second}
    else:
        fields |= {"answer": turns[0].answer}
    for number, turn in enumerate(turns, start=1):
        fields[f"question_{number}"] = turn.question
        fields[f"ref_answer_{number}"] = turn.reference
        if pair:
            fields |= {f"answer_a_{number}": turn.first, f"answer_b_{number}": turn.second}
        else:
            fields[f"answer_{number}"] = turn.answer
    return fields


def _checked(kind: type[M], path: Path, text: str) -> M:
    try:
        return kind.model_validate(yaml.safe_load(text))
    except yaml.YAMLError as error:
        raise BadJudgePrompts(f"{path}: not valid YAML: {error}") from error
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, problem['loc'])) or 'file'}: {problem['msg']}" for problem in error.errors()
        )
        raise BadJudgePrompts(f"{path}: {problems}") from error
