"""Runs: many models through many suites, sample by sample, so that a run which was stopped goes on where it was."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from uuid import UUID

from arena.engines.base import Engine, EngineError, OverContext
from arena.roster import Contestant
from evaluators.suites.answering import Answered, Ask, answered, ask_of, is_final
from evaluators.suites.at_work import alone
from evaluators.suites.definition import Request, Suite
from evaluators.suites.errors import NeedsLoglikelihood, SuiteError
from evaluators.suites.plan import RunOptions, chosen_items, plan_of
from evaluators.suites.results_of import suite_result_records
from evaluators.suites.scorers import Answer, Grade
from results.ids import new_id
from results.store import Store
from results.store.suites import (
    AnswerRecord,
    SampleRecord,
    StoredSuiteRun,
    SuiteRunRecord,
    begin_run,
    end_run,
    known_answers,
    known_samples,
    record_results,
    record_samples,
    sample_id,
)

log = logging.getLogger(__name__)

BATCH = 64
"""Samples of stored answers that are committed together. One that a model has just made is committed at once."""
GRADED_TOGETHER = 8
"""Answers that a judge is asked about at the same time."""
JUDGED = "rubric"


@dataclass
class Progress:
    """How far a run has come, in samples. `reused` were taken from the store, `errors` have no answer, `over_context`
    have none because their prompt is longer than the model reads."""

    total: int = 0
    done: int = 0
    reused: int = 0
    errors: int = 0
    over_context: int = 0
    model: str = ""
    suite: str = ""


@dataclass
class RunOutcome:
    """How a run ended. `failed` says why a model was given up, by label; `made` answers came from models now."""

    run: StoredSuiteRun
    progress: Progress
    made: int = 0
    failed: dict[str, str] = field(default_factory=dict)

    @property
    def complete(self) -> bool:
        """Whether every sample has its answer."""
        return not self.failed and self.progress.errors == 0


@dataclass(frozen=True)
class Engines:
    """Where the engines of a run come from. `opened` gives the one of a model (it may take long: it is awaited), and
    `closed` is told when the run is done with it."""

    opened: Callable[[Contestant], Awaitable[Engine]]
    closed: Callable[[Contestant, Engine], Awaitable[None]]


@dataclass(frozen=True)
class _Work:
    suite: Suite
    request: Request
    ask: Ask
    sample: UUID
    repeat: int


@dataclass(frozen=True)
class _Job:
    """What all parts of a run work with."""

    store: Store
    engines: Engines
    options: RunOptions
    judge: Grade | None
    on_progress: OnProgress
    more: More | None
    run: StoredSuiteRun
    progress: Progress

    @property
    def fresh(self) -> str:
        """The name under which this run's answers are its own."""
        return str(self.run.id) if self.options.fresh else ""


OnProgress = Callable[[Progress], None]
More = Callable[[StoredSuiteRun, Contestant, Engine, Progress], Awaitable[int]]
DEFAULTS = RunOptions()


def scored_by(suite: Suite, options: RunOptions) -> str:
    """What a sample's score stands for: the suite's scorer, and the judge where there is one. Scores of different
    ones are never compared."""
    if suite.definition.scorer != JUDGED:
        return suite.task_version
    return f"{suite.task_version}/{options.judge}"


def check_run(suites: Sequence[Suite], options: RunOptions, *, judged: bool) -> None:
    """Refuse before any model is loaded what cannot end well; `judged`: there is a judge. Raises SuiteError."""
    for suite in suites:
        if suite.definition.scorer == "code" and not options.allow_code:
            raise SuiteError(
                f'{suite.name} runs programs that a model wrote. That is off: read "Code" in docs/suites.md, then '
                "give --allow-code"
            )
        if suite.definition.scorer == JUDGED and not judged:
            raise SuiteError(f"{suite.name} is graded by a judge: name a model with --judge")
        items = chosen_items(suite, options)
        if not items:
            categories = (
                ", ".join(sorted({item.category for item in suite.items if item.category})) or "no name"
            )
            raise SuiteError(
                f"{suite.name} has no items in the languages and categories that were chosen: there are languages "
                f"{', '.join(suite.languages) or 'of no name'}; categories {categories}"
            )
        suite.check(items)


async def run_suites(
    store: Store,
    engines: Engines,
    contestants: list[Contestant],
    suites: list[Suite],
    options: RunOptions = DEFAULTS,
    *,
    judge: Grade | None = None,
    on_progress: OnProgress = lambda progress: None,
    tasks: dict[str, str] | None = None,
    more: More | None = None,
) -> RunOutcome:
    """Run every model through every suite and store samples and results.

    A run of the same plan that was not finished is resumed: no sample is made twice, and samples without an answer
    are tried again. Answers are taken from the store where the same model version was asked the same before (unless
    `options.fresh`). Each model is opened once. A model that cannot answer at all is given up, the others go on; so is
    one of several that cannot score text where a suite needs it.
    `more` is awaited with each open engine after its suites (lm-eval's `tasks`, known by name and hash) and gives the
    number of answers made.

    Raises:
        SuiteError: something about suites or options; NeedsLoglikelihood where the only model cannot score text.
        StoreError: the store cannot be written.
    """
    # Two names of one version are one model.
    contestants = list({each.version.version_key: each for each in contestants}.values())
    await asyncio.to_thread(check_run, suites, options, judged=judge is not None)
    # In threads, here and below: rendering thousands of prompts takes seconds, in which a server would answer nobody.
    plan = await asyncio.to_thread(plan_of, contestants, suites, tasks or {}, options)
    with alone(store.data_dir, plan.hash):
        record = SuiteRunRecord(id=new_id(), name=options.name, plan=plan.as_json(), plan_hash=plan.hash)
        run = await asyncio.to_thread(begin_run, store, record)
        outcome = RunOutcome(run, Progress())
        state, note = "failed", ""
        try:
            job = _Job(store, engines, options, judge, on_progress, more, run, outcome.progress)
            await _run(job, contestants, suites, outcome)
            state = "done" if outcome.complete else "failed"
            note = "; ".join(f"{label}: {reason}" for label, reason in outcome.failed.items())
        except asyncio.CancelledError:
            state, note = "stopped", "stopped by the user"
            raise
        except (SuiteError, EngineError) as error:
            note = str(error)
            raise
        finally:
            end_run(store, run.id, state, note)  # type: ignore[arg-type]  # one of its three states
        return outcome


async def _run(job: _Job, contestants: list[Contestant], suites: list[Suite], outcome: RunOutcome) -> None:
    store, progress = job.store, job.progress
    done = await asyncio.to_thread(known_samples, store, job.run.id)
    works = {
        each.version.label: await asyncio.to_thread(lambda of: list(_works(job, of, suites)), each)
        for each in contestants
    }
    progress.total = sum(len(each) for each in works.values())
    for contestant in contestants:
        label = progress.model = contestant.version.label
        left = []
        for work in works[label]:
            if work.sample in done and done[work.sample] in (None, OverContext.kind):
                progress.done += 1
                progress.reused += 1
            else:
                left.append(work)
        job.on_progress(progress)
        try:
            outcome.made += await _one_model(job, contestant, left)
        except (EngineError, NeedsLoglikelihood) as error:
            if isinstance(error, NeedsLoglikelihood) and len(contestants) == 1:
                raise
            outcome.failed[label] = str(error)
            log.warning("%s is given up: %s", label, error)
        for suite in suites:
            results = await asyncio.to_thread(suite_result_records, store, job.run.id, suite)
            await asyncio.to_thread(record_results, store, results)


async def _one_model(job: _Job, contestant: Contestant, left: list[_Work]) -> int:
    """Do what is left of one model; gives how many answers it made."""
    if not left and job.more is None:
        return 0
    # With `fresh`, an answer's identity holds the run: only its own answers are known.
    known = await asyncio.to_thread(known_answers, job.store, [work.ask.id for work in left])
    recorder = _Recorder(job, contestant)
    needs_engine = job.more is not None or any(work.ask.id not in known for work in left)
    engine = await job.engines.opened(contestant) if needs_engine else None
    made = 0
    try:
        asks = [work.ask for work in left]
        async with aclosing(_answers(contestant, engine, asks, known)) as results:
            try:
                async for place, result in results:
                    made += result.new
                    await recorder.add(left[place], result)
            finally:
                # Also when the run is stopped: what was answered is kept.
                await asyncio.shield(recorder.flush())
        if job.more is not None and engine is not None:
            made += await job.more(job.run, contestant, engine, job.progress)
    finally:
        if engine is not None:
            await asyncio.shield(job.engines.closed(contestant, engine))
    return made


async def _answers(
    contestant: Contestant, engine: Engine | None, asks: list[Ask], known: dict[UUID, AnswerRecord]
) -> AsyncGenerator[tuple[int, Answered], None]:
    if engine is None:
        for place, ask in enumerate(asks):
            yield place, Answered(known[ask.id])
        return
    async with aclosing(answered(contestant, engine, asks, known)) as results:
        async for each in results:
            yield each


def _works(job: _Job, contestant: Contestant, suites: list[Suite]) -> Iterator[_Work]:
    options, key = job.options, contestant.version.version_key
    for suite in suites:
        for item in chosen_items(suite, options):
            request = suite.request(item)
            for repeat in range(options.samples):
                ask = ask_of(
                    contestant, request.ask, seed=options.seed, repeat=repeat, dtype=options.dtype, fresh=job.fresh
                )  # fmt: skip
                sample = sample_id(job.run.id, key, suite.name, item.id, repeat)
                yield _Work(suite, request, ask, sample, repeat)


class _Recorder:
    """Scores answers of one model and commits them with their samples, a few at a time."""

    def __init__(self, job: _Job, contestant: Contestant) -> None:
        self._job, self._contestant = job, contestant
        self._waiting: list[tuple[_Work, Answered]] = []

    async def add(self, work: _Work, result: Answered) -> None:
        """Take an answer. What a model has made is committed at once: whatever kills this process then costs no
        second answer."""
        self._waiting.append((work, result))
        if work.suite.definition.scorer == JUDGED:
            if result.new and result.answer is not None:
                await asyncio.to_thread(record_samples, self._job.store, (), [result.answer])
            if len(self._waiting) >= GRADED_TOGETHER:
                await self.flush()
        elif result.new or len(self._waiting) >= BATCH:
            await self.flush()

    async def flush(self) -> None:
        """Score and commit what waits."""
        waiting = list(self._waiting)
        if not waiting:
            return
        # In threads: a judge or a program under test may take its time.
        samples = await asyncio.gather(
            *(asyncio.to_thread(self._sample, work, result) for work, result in waiting)
        )
        answers = [result.answer for _, result in waiting if result.new and result.answer is not None]
        await asyncio.to_thread(record_samples, self._job.store, samples, answers)
        # Only now: a flush that is cancelled on the way is made again, and storing twice adds nothing.
        del self._waiting[: len(waiting)]
        progress = self._job.progress
        for (work, result), sample in zip(waiting, samples, strict=True):
            progress.done += 1
            progress.reused += result.error is None and not result.new
            progress.errors += sample.error_kind not in (None, OverContext.kind)
            progress.over_context += sample.error_kind == OverContext.kind
            progress.suite = work.suite.name
        self._job.on_progress(progress)

    def _sample(self, work: _Work, result: Answered) -> SampleRecord:
        suite, item = work.suite, work.request.item
        sample = SampleRecord(
            id=work.sample,
            run_id=self._job.run.id,
            version_key=self._contestant.version.version_key,
            suite=suite.name,
            suite_version=scored_by(suite, self._job.options),
            item=item.id,
            item_hash=item.digest,
            repeat=work.repeat,
            language=item.language,
            category=item.category,
            group=item.group,
            answer_id=None if result.answer is None else result.answer.id,
        )
        if result.error is not None:
            zero = {suite.score_metric: 0.0} if is_final(result.error) else {}
            return sample.model_copy(
                update={
                    "error_kind": result.error.kind,
                    "error": str(result.error),
                    "metrics": zero,
                    "score": 0.0 if zero else None,
                }
            )
        assert result.answer is not None
        answer = Answer(
            text=result.answer.text or "",
            choices=result.answer.choices or (),
            finish_reason=result.answer.finish_reason,
        )
        try:
            scored = suite.score(
                work.request, answer, allow_code=self._job.options.allow_code, judge=self._job.judge
            )
        except EngineError as error:
            # The answer is there; only its judge could not be asked. It is tried again, and is no grade until then.
            log.warning("%s, item %s: the judge: %s: %s", suite.name, item.id, error.kind, error)
            return sample.model_copy(update={"error_kind": f"judge_{error.kind}", "error": str(error)})
        return sample.model_copy(
            update={
                "metrics": scored.metrics,
                "detail": scored.detail,
                "score": scored.metrics.get(suite.score_metric),
            }
        )
