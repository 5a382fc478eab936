"""A suite: its YAML, its items, and the request and case that each item becomes."""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Literal

import yaml
from jinja2 import StrictUndefined, Template, TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from arena.engines.base import GenerationRequest, Sampling, ScoreRequest
from evaluators.suites.errors import SuiteError
from evaluators.suites.items import Item, explained, read_items
from evaluators.suites.scorers import Answer, Case, Grade, Scored, Scorer, scorer_named
from evaluators.suites.scorers.calls import CallFields, offered_tools
from evaluators.suites.scorers.choice import lettered
from prompt_formats import Conversation, InvalidInput

ByLanguage = str | dict[str, str]
TOOLS = "tools.jsonl"
MOST_LETTERS = 80
NAMES = f"letters, digits, - and _, at most {MOST_LETTERS}, beginning with a letter or digit"


ASKED = "asked"
"""Where a judge finds what the model was asked, beside the item's own fields."""
_NEEDS_MORE = ("code", "rubric")
"""Scorers that cannot be tried on an empty answer: they would run it, or ask a judge."""


class Generating(BaseModel):
    """How answers are generated."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_tokens: int = Field(default=256, ge=1)
    temperature: float = Field(default=0, ge=0, le=5)
    top_p: float | None = Field(default=None, gt=0, le=1)
    top_k: int | None = Field(default=None, ge=1)
    stop: tuple[str, ...] = ()

    def sampling(self) -> Sampling:
        """As engines take it."""
        return Sampling(**self.model_dump(exclude={"stop"}, exclude_none=True))


class Definition(BaseModel):
    """A suite's YAML (docs/suites.md)."""

    model_config = ConfigDict(frozen=True, extra="forbid", coerce_numbers_to_str=True)

    suite: str
    version: str = "1"
    title: ByLanguage = ""
    description: ByLanguage = ""
    kind: Literal["extraction", "expansion"] | None = None
    licence: str | None = None
    tags: tuple[str, ...] = ()
    scorer: str
    metrics: tuple[str, ...] = ()
    prompt: ByLanguage | None = None
    system: ByLanguage | None = None
    examples: dict[str, tuple[dict[str, Any], ...]] = {}
    generation: Generating = Generating()
    labels: tuple[str, ...] = ()
    label_sets: dict[str, tuple[str, ...] | dict[str, tuple[str, ...]]] = {}  # pydantic copies it
    scorer_options: dict[str, Any] = {}

    @field_validator("suite")
    @classmethod
    def _is_a_name(cls, name: str) -> str:
        # A name is a folder's name and a word of commands.
        name = unicodedata.normalize("NFC", name)
        if len(name) > MOST_LETTERS or not re.fullmatch(r"[^\W_][\w-]*", name):
            raise ValueError(f"'{name}' cannot be a suite's name: {NAMES}")
        return name

    @model_validator(mode="after")
    def _known_names(self) -> Definition:
        scorer = scorer_named(self.scorer)
        scorer.options.model_validate(self.scorer_options)
        known = {*scorer.metrics, *scorer.over_suite}
        unknown = [metric for metric in self.metrics if metric not in known]
        if unknown:
            raise ValueError(
                f"scorer {self.scorer} has no metric {unknown[0]}; it has {', '.join(sorted(known))}"
            )
        if self.examples and self.prompt is None:
            raise ValueError("examples are asked as the items are: give a prompt")
        for language, examples in self.examples.items():
            if not all(isinstance(each.get("answer"), str) for each in examples):
                raise ValueError(f"examples, {language}: each needs an answer (a text)")
        return self


@dataclass(frozen=True)
class Request:
    """What one item asks of a model, and what its scorer is given beside the answer."""

    item: Item
    ask: GenerationRequest | ScoreRequest
    offered: dict[str, Any]


@dataclass(frozen=True)
class Suite:
    """A suite that can be run."""

    definition: Definition
    items: tuple[Item, ...]
    folder: Path
    origin: Literal["starter", "own"] = "own"
    tools: Mapping[str, dict[str, Any]] | None = None

    @property
    def name(self) -> str:
        """The suite's name."""
        return self.definition.suite

    @cached_property
    def scorer(self) -> Scorer:
        """The suite's scorer."""
        return scorer_named(self.definition.scorer)

    @cached_property
    def metrics(self) -> tuple[str, ...]:
        """All metrics, the suite's score first."""
        every = (*self.scorer.metrics, *self.scorer.over_suite)
        named = self.definition.metrics
        return (*named, *(metric for metric in every if metric not in named))

    @property
    def score_metric(self) -> str:
        """The metric of single samples that is the suite's score."""
        return next(metric for metric in self.metrics if metric in self.scorer.metrics)

    @property
    def languages(self) -> list[str]:
        """The languages of its items, sorted."""
        return sorted({item.language for item in self.items if item.language})

    @cached_property
    def task_version(self) -> str:
        """The definition's version with a hash of all that makes a score of an answer: scorer, options, labels."""
        shaping = {
            "scorer": self.definition.scorer,
            "code": self.scorer.version,
            "options": self.definition.scorer_options,
            "labels": self.definition.labels,
            "sets": self.definition.label_sets,
            "score": self.score_metric,
        }
        text = json.dumps(shaping, sort_keys=True, ensure_ascii=False, default=list)
        return f"{self.definition.version}+{hashlib.sha256(text.encode()).hexdigest()[:12]}"

    @cached_property
    def digest(self) -> str:
        """SHA-256 over the whole suite: definition, items, functions."""
        content = [
            self.definition.model_dump(mode="json"), self.scorer.version, [item.digest for item in self.items],
            dict(self.tools or {}),
        ]  # fmt: skip
        return hashlib.sha256(json.dumps(content, sort_keys=True, ensure_ascii=False).encode()).hexdigest()

    def request(self, item: Item) -> Request:
        """What an item asks of a model. Raises SuiteError where the prompt needs a field that the item lacks."""
        offered = self._offered(item)
        conversation = self._conversation(item, {**item.values, **offered})
        if self.scorer.asks == "choices":
            choices = tuple(item.values["choices"])
            return Request(item, ScoreRequest(conversation=conversation, continuations=choices), offered)
        generating = self.definition.generation
        ask = GenerationRequest(
            conversation=conversation, sampling=generating.sampling(), stop=generating.stop
        )
        return Request(item, ask, offered)

    def score(
        self, request: Request, answer: Answer, *, allow_code: bool = False, judge: Grade | None = None
    ) -> Scored:
        """The metrics of an answer. Raises SuiteError for what the item, the options or the run lack."""
        item = request.item
        case = Case(
            fields=self.scorer.fields.model_validate(item.values),
            options=self._options,
            language=item.language,
            item={**item.values, ASKED: _last_words(request.ask)},
            offered=request.offered,
            allow_code=allow_code,
            judge=judge,
        )
        try:
            return self.scorer.score(answer, case)
        except ValueError as error:
            raise SuiteError(f"{self.name}, item {item.id}: {error}") from error

    def check(self, items: Iterable[Item]) -> None:
        """Raise SuiteError for the first item that cannot be asked or scored: a prompt's missing field, a schema that
        is none, a scorer without what it compares with."""
        for item in items:
            request = self.request(item)
            if self.scorer.asks == "text" and self.definition.scorer not in _NEEDS_MORE:
                self.score(request, Answer())

    @cached_property
    def _options(self) -> Any:
        return self.scorer.options.model_validate(self.definition.scorer_options)

    def _conversation(self, item: Item, values: dict[str, Any]) -> Conversation:
        system = _in_language(self.definition.system, item.language)
        prompt = _in_language(self.definition.prompt, item.language)
        try:
            messages = [] if system is None else [{"role": "system", "content": _rendered(system, values)}]
            if prompt is not None:
                for example in self._examples(item):
                    messages.append({"role": "user", "content": _rendered(prompt, {**values, **example})})
                    messages.append({"role": "assistant", "content": example["answer"]})
                messages.append({"role": "user", "content": _rendered(prompt, values)})
            elif item.messages is not None:
                messages.extend(dict(message) for message in item.messages)
            elif item.input is not None:
                messages.append({"role": "user", "content": item.input})
            else:
                raise SuiteError(
                    f"{self.name}, item {item.id}: the suite has no prompt, and the item no input"
                )
            return Conversation.from_chat(messages)
        except (TemplateError, InvalidInput) as error:
            raise SuiteError(f"{self.name}, item {item.id}: the prompt cannot be made: {error}") from error

    def _examples(self, item: Item) -> list[dict[str, Any]]:
        """The examples in the item's language, of its category or of none."""
        found = self.definition.examples.get(item.language, ())
        return [each for each in found if each.get("category", item.category) == item.category]

    def _offered(self, item: Item) -> dict[str, Any]:
        offered: dict[str, Any] = {}
        labels = self._labels(item)
        if labels:
            offered["labels"] = list(labels)
        if "choices" in item.values:
            offered["lettered"] = lettered(item.values["choices"])
        if self.tools is not None and self.scorer.fields is CallFields:
            try:
                tools = offered_tools(self.tools, CallFields.model_validate(item.values), item.id)
            except ValueError as error:
                raise SuiteError(f"{self.name}, item {item.id}: {error}") from error
            offered["tools_json"] = "\n".join(json.dumps(tool, ensure_ascii=False) for tool in tools)
        return offered

    def _labels(self, item: Item) -> tuple[str, ...]:
        own = item.values.get("labels")
        if own:
            return tuple(own)
        sets = self.definition.label_sets
        if not sets:
            return self.definition.labels
        name = item.values.get("label_set", item.category)
        if name not in sets:
            raise SuiteError(
                f"{self.name}, item {item.id}: label_sets has no '{name}' (there are {', '.join(sets)})"
            )
        chosen = sets[name]
        if not isinstance(chosen, dict):
            return chosen
        if item.language not in chosen:
            raise SuiteError(
                f"{self.name}, item {item.id}: label set '{name}' has no language '{item.language}'"
            )
        return chosen[item.language]


def load_suite(path: Path, origin: Literal["starter", "own"] = "own") -> Suite:
    """The suite of a folder (or of a YAML file in it), every item checked against scorer and prompt.

    Raises:
        SuiteError: naming file and place of what is missing, unknown or wrong.
    """
    file = _definition_file(path)
    try:
        raw = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise SuiteError(f"{file}: cannot be read: {error}") from error
    if not isinstance(raw, dict):
        raise SuiteError(f"{file}: expected keys such as suite, scorer, prompt")
    try:
        definition = Definition.model_validate(raw)
    except ValidationError as error:
        raise SuiteError(f"{file}: {explained(error)}") from error
    files = sorted(file.parent.glob("items*.jsonl"))
    if not files:
        raise SuiteError(f"{file.parent}: there are no items: items.jsonl, or items_en.jsonl and so on")
    scorer = scorer_named(definition.scorer)
    items = [item for each in files for item in read_items(each, scorer.fields)]
    twice = {item.id for item in items} if len({item.id for item in items}) < len(items) else set()
    if twice:
        seen: set[str] = set()
        double = next(item.id for item in items if item.id in seen or seen.add(item.id))  # type: ignore[func-returns-value]
        raise SuiteError(f"{file.parent}: the id '{double}' stands in two files")
    suite = Suite(definition, tuple(items), file.parent, origin, _tools(file.parent))
    for item in items:
        suite.request(item)
    return suite


def _definition_file(path: Path) -> Path:
    if path.is_file():
        return path
    named = path / f"{path.name}.yaml"
    if named.is_file():
        return named
    found = sorted(path.glob("*.yaml"))
    if len(found) != 1:
        raise SuiteError(f"{path}: expected one YAML file, found {len(found)}")
    return found[0]


def _tools(folder: Path) -> dict[str, dict[str, Any]] | None:
    path = folder / TOOLS
    if not path.is_file():
        return None
    tools: dict[str, dict[str, Any]] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), start=1):
        if not line.strip():
            continue
        try:
            tool = json.loads(line)
            name = tool["name"]
        except (ValueError, KeyError, TypeError) as error:
            raise SuiteError(f"{path}, line {number}: no function definition with a name: {error}") from error
        if name in tools:
            raise SuiteError(f"{path}, line {number}: the function '{name}' stands twice")
        tools[name] = tool
    return tools


def _last_words(ask: GenerationRequest | ScoreRequest) -> str:
    """The text of a request's conversation, its system prompt and examples aside."""
    conversation = ask.conversation
    return "" if conversation is None or not conversation.messages else conversation.messages[-1].content


def _in_language(text: ByLanguage | None, language: str) -> str | None:
    if text is None or isinstance(text, str):
        return text
    if language in text:
        return text[language]
    return text.get("en") or next(iter(text.values()), None)


@cache
def _template(source: str) -> Template:
    environment = ImmutableSandboxedEnvironment(
        undefined=StrictUndefined, autoescape=False, keep_trailing_newline=False
    )
    return environment.from_string(source)


def _rendered(source: str, values: dict[str, Any]) -> str:
    return _template(source).render(values)
