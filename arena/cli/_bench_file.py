"""A run's YAML: models, suites and a judge, pinned where they must not change unseen; and its summary."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from arena.cli._bench_run import Wanted, run_wanted
from arena.cli._common import BadInput, console
from evaluators.suites.items import explained
from evaluators.suites.plan import RunOptions


def _in_quotes(given: Any) -> Any:
    """A digest of digits alone is a number to YAML, and would be another one as text."""
    if isinstance(given, int | float):
        raise ValueError("write the digest in quotes")
    return given


Digest = Annotated[str | None, BeforeValidator(_in_quotes), Field(min_length=8)]


class PinnedModel(BaseModel):
    """A model of a run's file, written as its name alone or with a digest (or its beginning): the run is refused where
    the model has another one."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str
    digest: Digest = None

    @model_validator(mode="before")
    @classmethod
    def _name_alone(cls, given: Any) -> Any:
        return {"model": given} if isinstance(given, str) else given


class PinnedSuite(BaseModel):
    """A suite of a run's file, in the same way; a suite's digest is over its definition and all its items."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    suite: str
    digest: Digest = None

    @model_validator(mode="before")
    @classmethod
    def _name_alone(cls, given: Any) -> Any:
        return {"suite": given} if isinstance(given, str) else given


class RunFile(BaseModel):
    """A run's YAML: models and suites, options of the command, and where the summary is written."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(min_length=1)
    models: tuple[PinnedModel, ...] = Field(min_length=1)
    suites: tuple[PinnedSuite, ...] = Field(min_length=1)
    limit: int | None = None
    samples: int = 1
    seed: int = 0
    languages: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    few_shot: int | None = None
    judge: PinnedModel | None = None
    dtype: str = "auto"
    allow_code: bool = False
    chat_template: bool = True
    datasets: Path | None = None
    summary: Path | None = None

    def options(self) -> RunOptions:
        """The run's options. Raises ValidationError."""
        plain = self.model_dump(include=set(RunOptions.model_fields) & set(RunFile.model_fields))
        return RunOptions.model_validate({**plain, "judge": self.judge and self.judge.model})


def run_file(
    file: Path, data: Path, config: Path | None, *, chat_template: bool, datasets: Path | None
) -> tuple[dict[str, Any], bool]:
    """Run what a YAML file says; gives the summary with the change since the last run of its name, and whether every
    answer came. The summary is written as JSON as well. Paths in the file are relative to it.

    Raises:
        BadInput: the file cannot be read, says something unknown, or what it pins has changed.
        SuiteError: a suite cannot be run.
    """
    try:
        said = RunFile.model_validate(yaml.safe_load(file.read_text(encoding="utf-8")))
        options = said.options()
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise BadInput(f"{file}: cannot be read: {error}") from error
    except ValidationError as error:
        raise BadInput(f"{file}: {explained(error)}") from error
    suites = [_beside(file, each.suite) for each in said.suites]
    mirror = datasets or (None if said.datasets is None else file.parent / said.datasets)
    wanted = Wanted(
        [each.model for each in said.models],
        suites,
        options,
        said.chat_template and chat_template,
        mirror,
        model_pins=_pins(said.models, [each.model for each in said.models])
        | _pins([said.judge] if said.judge else [], [said.judge.model] if said.judge else []),
        suite_pins=_pins(said.suites, suites),
    )
    target = file.parent / (said.summary or f"{file.stem}-summary.json")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(f"{file}: the summary cannot be written to {target}: {error}") from error
    summary, complete = run_wanted(wanted, data, config, with_change=True)
    partial = target.with_name(f"new-{target.name}")
    text = json.dumps(summary, ensure_ascii=False, indent=2, default=str)
    partial.write_text(text + "\n", encoding="utf-8")
    partial.replace(target)
    console.print(f"Summary: {target}", markup=False, highlight=False)
    return summary, complete


def _beside(file: Path, word: str) -> str:
    """A suite's word, or the path of what lies beside the run's file under that name."""
    return str(file.parent / word) if (file.parent / word).exists() else word


def _pins(entries: Sequence[PinnedModel | PinnedSuite], words: Sequence[str]) -> dict[str, str]:
    return {word: entry.digest for entry, word in zip(entries, words, strict=True) if entry.digest}
