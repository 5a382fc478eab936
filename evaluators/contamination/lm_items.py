"""Items of lm-eval's tasks as contamination checks take suites: what is asked, and the answers."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from evaluators.suites.definition import Definition, Suite
from evaluators.suites.errors import SuiteError
from evaluators.suites.items import Item
from evaluators.suites.lm_tasks import PREFIX, LmTask, task_manager
from results.store import Store
from results.store.suites import suite_runs


class LmItem(Item):
    """A document of an lm-eval task, known by lm-eval's own hash of it, as samples of its runs are."""

    doc_hash: str

    @property
    def digest(self) -> str:
        """lm-eval's hash of the document."""
        return self.doc_hash


def tasks_run(store: Store) -> list[str]:
    """The names of lm-eval's tasks that runs of this store had, as `lm:NAME`."""
    named = (str(each["suite"]) for run in suite_runs(store) for each in run.plan.get("suites", []))
    return list(dict.fromkeys(name for name in named if name.startswith(PREFIX)))


def task_suites(task: LmTask) -> list[Suite]:
    """What a task asks: its documents that are scored, with their prompt (without few-shot examples), choices and
    target. Raises SuiteError where the data set cannot be read."""
    try:
        loaded = task_manager(task).load([task.spec])["tasks"]
        return [_suite(name, each) for name, each in loaded.items()]
    except (FileNotFoundError, ConnectionError, OSError) as error:
        raise SuiteError(
            f"the items of {PREFIX}{task.name} cannot be read ({type(error).__name__}: "
            f"{' '.join(str(error).split())[:200]}): lm-eval loads them from the hub. Offline, mirror its data set and "
            'give --datasets FOLDER (docs/suites.md, "Data without the hub"), or fetch it once where there is a network'
        ) from error


def _suite(name: str, task: Any) -> Suite:
    items = tuple(_item(task, number, document) for number, document in enumerate(_documents(task)))
    # Names of lm-eval's may hold what names of ours may not.
    definition = Definition.model_construct(suite=PREFIX + name, scorer="exact")
    return Suite(definition, items, Path())


def _documents(task: Any) -> Iterator[dict[str, Any]]:
    yield from task.eval_docs


def _item(task: Any, number: int, document: dict[str, Any]) -> LmItem:
    from lm_eval.utils import handle_non_serializable, hash_string

    # As lm_eval.evaluator names the documents of its samples.
    told = json.dumps(document, indent=2, default=handle_non_serializable, ensure_ascii=False)
    asked = _text(task.doc_to_text(document))
    choices = _texts(task.doc_to_choice(document)) if task.config.doc_to_choice is not None else []
    target = task.doc_to_target(document)
    answers = [] if isinstance(target, int) else _texts(target)
    fields = {"input": asked, "choices": choices, "answers": answers}
    given = {name: value for name, value in fields.items() if value}
    return LmItem.model_validate({"id": str(number), "doc_hash": hash_string(told), **given})


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _texts(value: Any) -> list[str]:
    many: Sequence[Any] = value if isinstance(value, list | tuple) else [value]
    return [each for each in many if isinstance(each, str)]
