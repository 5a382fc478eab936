"""lm-eval's tasks beside our own suites: found by name or file, run through `EngineLM`, stored as samples."""

from __future__ import annotations

import asyncio
import difflib
import hashlib
import json
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from importlib.metadata import version
from numbers import Real
from pathlib import Path
from typing import Any

from arena.engines.base import Engine, GenerationRequest, ScoreRequest
from arena.roster import Contestant
from evaluators.suites.answering import Answered, answered, ask_of
from evaluators.suites.errors import SuiteError
from evaluators.suites.plan import RunOptions
from evaluators.suites.running import BATCH, OnProgress, Progress
from results.store import Store
from results.store.suites import (
    ALL_LANGUAGES,
    SampleRecord,
    StoredSuiteRun,
    SuiteResultRecord,
    known_answers,
    record_results,
    record_samples,
    sample_id,
)

PREFIX = "lm:"


@dataclass(frozen=True)
class LmTask:
    """One task (or group) of lm-eval: what its `TaskManager` is to load, and a hash of that."""

    name: str
    spec: str | dict[str, Any]
    digest: str
    include: tuple[Path, ...] = ()
    defaults: bool = False


@dataclass
class LmOptions:
    """How lm-eval's tasks are run. `mirror` is a folder of data sets (see `mirrored`)."""

    chat_template: bool = True
    mirror: Path | None = None
    few_shot: int | None = None
    seen: dict[str, Any] = field(default_factory=dict)


def find_task(word: str, data_dir: Path | None = None, mirror: Path | None = None) -> LmTask:
    """The lm-eval task of a YAML file (with the key `task`), of DATA/tasks, or built into lm-eval.

    The built-in ones are only looked through where nothing else has the name: that takes 15 seconds.

    Raises:
        SuiteError: there is none.
    """
    path = Path(word).expanduser()
    name = word.removeprefix(PREFIX)
    if path.suffix in (".yaml", ".yml") and path.is_file():
        return _task(_loaded(path), path, (path.parent,), defaults=False, mirror=mirror)
    own = (data_dir / "tasks",) if data_dir is not None and (data_dir / "tasks").is_dir() else ()
    for defaults in (False, True):
        if not own and not defaults:
            continue
        manager = _manager(own, defaults=defaults)
        entry = manager.task_index.get(name)
        if entry is None:
            continue
        if entry.yaml_path is None or name not in manager.all_subtasks:
            if mirror is not None:
                raise SuiteError(
                    f"{name} is a group of lm-eval's tasks: with mirrored data sets, name its tasks one by one"
                )
            return LmTask(name, name, _digest(name), own, defaults)
        return _task(_loaded(entry.yaml_path), entry.yaml_path, own, defaults=defaults, mirror=mirror)
    near = difflib.get_close_matches(name, manager.task_index, n=3)
    meant = f"did you mean {' or '.join(f'lm:{each}' for each in near)}? " if near else ""
    raise SuiteError(
        f"there is no suite and no lm-eval task '{name}': {meant}(`arena bench list` shows the suites)"
    )


def task_manager(task: LmTask) -> Any:
    """lm-eval's `TaskManager` that knows a task."""
    return _manager(task.include, defaults=task.defaults)


def mirrored(config: Mapping[str, Any], mirror: Path) -> dict[str, Any]:
    """The configuration of a task with its data set taken from a folder instead of the hub.

    The data set `openai/gsm8k`, configuration `main`, is looked for in `MIRROR/openai/gsm8k/main`, then in
    `MIRROR/openai/gsm8k`: a folder with `train.*`, `test.*` ... as JSONL, CSV or Parquet (or a clone of the data
    set's repository). Raises SuiteError naming the folders.
    """
    path, name = config.get("dataset_path"), config.get("dataset_name")
    if not path or path in ("json", "csv", "parquet", "text"):
        return dict(config)
    places = [mirror / str(path) / str(name)] if name else []
    places.append(mirror / str(path))
    found = next((place for place in places if place.is_dir()), None)
    if found is None:
        looked = " and ".join(str(place) for place in places)
        raise SuiteError(
            f"the data set {path} of task {config.get('task')} is not mirrored: looked in {looked}"
        )
    whole = found == places[-1] and (found / "README.md").exists()
    return {**config, "dataset_path": str(found.resolve()), "dataset_name": name if whole else None}


async def run_tasks(
    store: Store,
    run: StoredSuiteRun,
    contestant: Contestant,
    engine: Engine,
    tasks: Sequence[LmTask],
    options: RunOptions,
    lm_options: LmOptions,
    progress: Progress,
    on_progress: OnProgress,
) -> int:
    """Run lm-eval's tasks on one model and store samples and results; gives how many answers were made.

    Answers are stored as they come, so that a run that was stopped asks for none of them again.
    Raises EngineError, SuiteError and NeedsLoglikelihood.
    """
    loop = asyncio.get_running_loop()
    made = 0

    async def answer_all(requests: Sequence[GenerationRequest | ScoreRequest]) -> list[Answered]:
        nonlocal made
        fresh = str(run.id) if options.fresh else ""
        asks = [
            ask_of(contestant, each, seed=options.seed, dtype=options.dtype, fresh=fresh) for each in requests
        ]
        known = await asyncio.to_thread(known_answers, store, [ask.id for ask in asks])
        progress.total += len(asks)
        results: list[Answered | None] = [None] * len(asks)
        waiting = []
        try:
            async with aclosing(answered(contestant, engine, asks, known)) as stream:
                async for place, result in stream:
                    results[place] = result
                    progress.done += 1
                    progress.reused += result.error is None and not result.new
                    if result.new and result.answer is not None:
                        made += 1
                        waiting.append(result.answer)
                    # A text is dear, scores come many at a time.
                    if len(waiting) >= (1 if isinstance(asks[place].ask, GenerationRequest) else BATCH):
                        await asyncio.to_thread(record_samples, store, [], waiting)
                        waiting = []
                        on_progress(progress)
        finally:
            await asyncio.shield(asyncio.to_thread(record_samples, store, [], waiting))
        on_progress(progress)
        assert all(result is not None for result in results)
        return [result for result in results if result is not None]

    def answer(requests: Sequence[GenerationRequest | ScoreRequest]) -> list[Answered]:
        return asyncio.run_coroutine_threadsafe(answer_all(requests), loop).result()

    for task in tasks:
        progress.suite = task.name
        from evaluators.suites.lm import EngineLM  # lm-eval takes two seconds to import

        lm = EngineLM(contestant.version.label, answer)
        found = await asyncio.to_thread(evaluate, lm, task, options, lm_options)
        samples, results = _records(run, contestant, found, lm, task)
        for first in range(0, len(samples), 500):
            await asyncio.to_thread(record_samples, store, samples[first : first + 500])
        await asyncio.to_thread(record_results, store, results)
    return made


def evaluate(lm: Any, task: LmTask, options: RunOptions, lm_options: LmOptions) -> dict[str, Any]:
    """lm-eval's own results (`simple_evaluate`) of a task, for any of its `LM`s."""
    from lm_eval.evaluator import simple_evaluate

    try:
        found = simple_evaluate(
            model=lm,
            tasks=[task.spec],
            task_manager=task_manager(task),
            num_fewshot=lm_options.few_shot,
            limit=options.limit,
            bootstrap_iters=0,
            log_samples=True,
            apply_chat_template=lm_options.chat_template,
            torch_random_seed=None,
            confirm_run_unsafe_code=options.allow_code,
        )
    except (FileNotFoundError, ConnectionError, OSError) as error:
        raise SuiteError(
            f"the data of the lm-eval task {task.name} could not be had ({type(error).__name__}: "
            f"{' '.join(str(error).split())[:200]}). Without the hub, mirror its data set and give --datasets FOLDER "
            "(docs/suites.md)"
        ) from error
    if found is None:
        raise SuiteError(f"lm-eval gave no results for {task.name}")
    return dict(found)


def _manager(include: Sequence[Path], *, defaults: bool) -> Any:
    from lm_eval.tasks import TaskManager

    return TaskManager(include_path=[str(path) for path in include] or None, include_defaults=defaults)


def _loaded(path: Path) -> dict[str, Any]:
    from lm_eval.tasks._yaml_loader import load_yaml

    try:
        return dict(load_yaml(path, resolve_func=True, recursive=True))
    except (OSError, ValueError, ImportError, AttributeError) as error:
        raise SuiteError(f"{path}: lm-eval cannot read this task: {error}") from error


def _task(
    config: dict[str, Any], path: Path, include: tuple[Path, ...], *, defaults: bool, mirror: Path | None
) -> LmTask:
    name = config.get("task")
    if not isinstance(name, str):
        raise SuiteError(f"{path}: an lm-eval task has the key `task`, one of our suites the key `suite`")
    config = {key: value for key, value in config.items() if key not in ("tag", "include")}
    if mirror is not None:
        config = mirrored(config, mirror)
    return LmTask(name, config, _digest(name, path.read_text(encoding="utf-8")), include, defaults)


def _digest(*parts: str) -> str:
    text = "\0".join((version("lm-eval"), *parts))
    return hashlib.sha256(text.encode()).hexdigest()


def _records(
    run: StoredSuiteRun, contestant: Contestant, found: dict[str, Any], lm: Any, task: LmTask
) -> tuple[list[SampleRecord], list[SuiteResultRecord]]:
    samples: list[SampleRecord] = []
    results: list[SuiteResultRecord] = []
    key = contestant.version.version_key
    for name, logged in (found.get("samples") or {}).items():
        suite = PREFIX + name
        version_text = f"{found.get('versions', {}).get(name, '')}+{task.digest[:12]}"
        metrics: dict[int, dict[str, float | None]] = defaultdict(dict)
        first: dict[int, dict[str, Any]] = {}
        for sample in logged:
            first.setdefault(sample["doc_id"], sample)
            for metric in sample["metrics"]:
                metrics[sample["doc_id"]][f"{metric},{sample['filter']}"] = _number(sample.get(metric))
        values = found["results"].get(name, {})
        names = [each for each in values if "," in each and "_stderr," not in each]
        score = names[0] if names else ""
        for doc_id, sample in first.items():
            prompt = str(sample["arguments"][0][0])
            lost = prompt in lm.over_context
            samples.append(
                SampleRecord(
                    id=sample_id(run.id, key, suite, str(doc_id), 0),
                    run_id=run.id,
                    version_key=key,
                    suite=suite,
                    suite_version=version_text,
                    item=str(doc_id),
                    item_hash=str(sample["doc_hash"]),
                    answer_id=lm.answer_ids.get(prompt),
                    score=metrics[doc_id].get(score),
                    metrics=metrics[doc_id],
                    detail={"target": _plain(sample["target"]), "filtered": _plain(sample["filtered_resps"])},
                    error_kind="over_context" if lost else None,
                    error="the prompt does not fit the model's context" if lost else None,
                )
            )
        for metric in names:
            stem, _, filter_name = metric.partition(",")
            results.append(
                SuiteResultRecord(
                    run_id=run.id,
                    version_key=key,
                    suite=suite,
                    suite_version=version_text,
                    language=ALL_LANGUAGES,
                    metric=metric,
                    value=_number(values[metric]),
                    stderr=_number(values.get(f"{stem}_stderr,{filter_name}")),
                    items=len(first),
                    samples=len(first),
                    errors=0,
                    is_score=metric == score,
                )
            )
    return samples, results


def _number(value: Any) -> float | None:
    """A plain number of NumPy's or Python's; None for everything else ("N/A", pairs that are aggregated later)."""
    if isinstance(value, bool | Real) or (hasattr(value, "item") and getattr(value, "ndim", 1) == 0):
        number = float(value)
        return number if math.isfinite(number) else None
    return None


def _plain(value: Any) -> Any:
    """What JSON can hold, of values that may be NumPy's."""
    return json.loads(
        json.dumps(value, default=lambda each: each.item() if hasattr(each, "item") else str(each))
    )
