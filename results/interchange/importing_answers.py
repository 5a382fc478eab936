"""Files of answers become battles: answers of two models to the same prompt, on which people can vote and judges
can judge."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import combinations
from pathlib import Path
from typing import Literal, NamedTuple, get_args

import pyarrow as pa
from pydantic import BaseModel, ConfigDict

from results.ids import named_id
from results.interchange.answer_rows import (
    Answer,
    AnswerReader,
    NoAnswer,
    Question,
    format_of_answers,
    read_questions,
)
from results.interchange.errors import BadFile
from results.interchange.keys import answered_battle_id
from results.interchange.reading import BadRow, content_files, open_rows
from results.interchange.rejects import Reject, Rejects
from results.interchange.votes import IMPORTED, Unusable
from results.records import ModelVersionRecord, now
from results.store import Store
from results.store.answered_battles import ANSWERED_SCHEMA, add_answered_battles

Pairs = Literal["all", "sampled"]

MOST_BATTLES = 1_000_000
"""More battles than this are not made at once: `pairs="sampled"` makes fewer."""

_BATCH = 5_000
_QUESTIONS = ("question.jsonl", "questions.jsonl")


class AnswersSummary(BaseModel):
    """What became of files of answers. `answers` of `models` to `prompts` gave battles, of which `added` are new
    and `known` were there already; `left_out` says why other answers gave none. `rejects` are the first bad
    rows, `rejects_file` has all of them. `named_by_file` are models that only a file's name told."""

    model_config = ConfigDict(frozen=True)

    files: int
    rows: int
    answers: int
    models: tuple[str, ...]
    prompts: int
    added: int
    known: int
    left_out: dict[str, int]
    rejected: int
    rejects: tuple[Reject, ...] = ()
    rejects_file: str | None = None
    named_by_file: tuple[str, ...] = ()


class _Known(NamedTuple):
    """A model version of an answer."""

    key: int
    model: str
    digest: str


def import_answers(
    store: Store,
    paths: Sequence[Path],
    *,
    pairs: Pairs = "all",
    per_prompt: int = 1,
    seed: int = 0,
    format: str = "auto",
    questions: Path | None = None,
    model: str | None = None,
    category: str | None = None,
    language: str | None = None,
    rejects: Path | None = None,
    progress: Callable[[str, int, int], None] = lambda phase, position, size: None,
) -> AnswersSummary:
    """Make battles without votes of answers in files (or folders of files) that answer the same prompts.

    Of each prompt all pairs of models meet once, or with `pairs="sampled"` `per_prompt` of them, drawn by `seed`.
    Which answer stands on side a is decided by a hash of prompt and models, about evenly. A battle's id comes from
    what meets in it: importing again adds nothing, and other files may add pairs. `questions` holds the prompts of
    FastChat's and Arena-Hard's answers (else question.jsonl beside the answers or one folder up). `model` names the
    model of rows that name none (else the file's name does); a name `model@number` of the store means that version.
    `category` and `language` are of rows that have none.

    Raises BadFile for files that cannot be used at all, or that give no battle, and StoreError.
    """
    if pairs not in get_args(Pairs):
        raise BadFile(f"--pairs {pairs}: there are {', '.join(get_args(Pairs))}")
    if per_prompt < 1:
        raise BadFile("--per-prompt must be at least 1")
    files = [file for path in paths for file in _files(path)]
    if not files:
        raise BadFile(
            f"{', '.join(map(str, paths))}: has no file of answers (.jsonl, .json, .csv, .parquet, .arrow)"
        )
    bad = Rejects(rejects)
    try:
        found = _Found(bad, model, progress)
        asked = read_questions(questions) if questions is not None else None
        for file in files:
            found.read(file, format, asked)
    finally:
        rejects_file = bad.close()
    drawn = _drawn(found, pairs, per_prompt, seed)
    total = sum(len(each) for _, each, _ in drawn)
    if total > MOST_BATTLES:
        raise BadFile(
            f"these answers would make {total:,} battles, more than {MOST_BATTLES:,}: use --pairs sampled and "
            "--per-prompt N, or fewer files"
        )
    if not total:
        raise BadFile(_nothing(found, bad))
    versions = _versions(store, found.models)
    policy = None if pairs == "all" else "sampled"
    rows = _rows(
        found, drawn, versions, category or "", language or "", lambda n: progress("writing", n, total)
    )
    added, known = add_answered_battles(store, rows, policy=policy)
    left_out = Counter(found.left_out)
    alone = sum(1 for by_model in found.answers.values() if len(by_model) < 2)
    if alone:
        left_out["answered by one model alone"] = alone
    return AnswersSummary(
        files=len(files),
        rows=found.rows,
        answers=sum(map(len, found.answers.values())) - alone,
        models=tuple(sorted(found.models)),
        prompts=len(found.answers) - alone,
        added=added,
        known=known,
        left_out=dict(left_out.most_common()),
        rejected=bad.count,
        rejects=tuple(bad.first),
        rejects_file=rejects_file,
        named_by_file=tuple(sorted(found.named_by_file)),
    )


class _Found:
    """The answers of all files: `answers` by what was asked, and by model."""

    def __init__(self, bad: Rejects, model: str | None, progress: Callable[[str, int, int], None]) -> None:
        self.answers: dict[tuple[tuple[str, str], ...], dict[str, Answer]] = {}
        self.models: set[str] = set()
        self.named_by_file: set[str] = set()
        self.left_out: Counter[str] = Counter()
        self.rows = 0
        self._bad, self._model, self._progress = bad, model, progress

    def read(self, file: Path, format: str, questions: dict[str, Question] | None) -> None:
        """Read one file. Raises BadFile."""
        with open_rows(file) as rows:
            kind = format_of_answers(file.name, rows.columns, format)
            if kind == "model-answers" and questions is None:
                questions = read_questions(_questions_near(file))
            reader = AnswerReader(kind, questions or {})
            for number, row in enumerate(rows, start=1):
                self.rows += 1
                if number % 1000 == 0:
                    self._progress(f"reading {file.name}", rows.position, rows.size)
                if isinstance(row, BadRow):
                    self._bad.add(row)
                    continue
                try:
                    self._keep(reader.read(row.values), file)
                except NoAnswer:
                    self.left_out["no answer"] += 1
                except Unusable as error:
                    self._bad.add(BadRow(row.line, f"{file.name}: {error}", row.values))

    def _keep(self, answer: Answer, file: Path) -> None:
        name = answer.model or self._model
        if name is None:
            name = file.stem
            self.named_by_file.add(name)
        by_model = self.answers.setdefault(answer.asked, {})
        if name in by_model:
            # Several samples of one prompt: the first stands, as in our own exports.
            self.left_out["the model answered before"] += 1
            return
        by_model[name] = answer
        self.models.add(name)


_Drawn = list[tuple[tuple[tuple[str, str], ...], list[tuple[str, str]], float | None]]


def _drawn(found: _Found, pairs: Pairs, per_prompt: int, seed: int) -> _Drawn:
    """Of each prompt the pairs of models that meet, and the probability of drawing an ordered one."""
    drawn: _Drawn = []
    for asked, by_model in found.answers.items():
        possible = list(combinations(sorted(by_model), 2))
        probability = None
        if pairs == "sampled" and possible:
            taken = min(per_prompt, len(possible))
            probability = taken / len(possible) / 2
            possible = random.Random(f"{seed}:{asked}").sample(possible, taken)  # noqa: S311 - a draw, no secret
        if possible:
            drawn.append((asked, possible, probability))
    return drawn


def _rows(
    found: _Found, drawn: _Drawn, versions: dict[str, _Known], category: str, language: str,
    progress: Callable[[int], None],
) -> Iterator[pa.Table]:  # fmt: skip
    time, done = now().replace(tzinfo=None), 0
    rows: list[tuple[object, ...]] = []
    for asked, pairs, probability in drawn:
        by_model = found.answers[asked]
        for first, second in pairs:
            prompt = by_model[first].prompt
            # Sides do not depend on the seed, so that a sample is part of what "all" gives.
            swapped = named_id("side", repr(asked), first, second).int & 1
            names = (second, first) if swapped else (first, second)
            known = [versions[name] for name in names]
            said = [by_model[name].conversation for name in names]
            sides = [(each.model, each.digest, text) for each, text in zip(known, said, strict=True)]
            rows.append(
                (
                    answered_battle_id(prompt, sides),
                    prompt,
                    known[0].key,
                    known[1].key,
                    *said,
                    next((a.category for a in by_model.values() if a.category), category),
                    next((a.language for a in by_model.values() if a.language), language),
                    probability,
                    time,
                )
            )
        if len(rows) >= _BATCH:
            yield _table(rows)
            done += len(rows)
            progress(done)
            rows = []
    if rows:
        yield _table(rows)
        progress(done + len(rows))


def _table(rows: Sequence[tuple[object, ...]]) -> pa.Table:
    return pa.table([list(column) for column in zip(*rows, strict=True)], schema=ANSWERED_SCHEMA)


def _versions(store: Store, names: set[str]) -> dict[str, _Known]:
    """The version of each name: the one of that label (name@number) if the store has it, else the model of that
    name as imports know it."""
    labelled = {version.label: version for version in store.model_versions()}
    found = {
        name: _Known(labelled[name].version_key, labelled[name].model, labelled[name].digest)
        for name in names
        if name in labelled
    }
    others = sorted(names - found.keys())
    records = [ModelVersionRecord(model=name, digest=IMPORTED, owner="import") for name in others]
    refs = store.upsert_model_versions(records) if records else []
    return found | {
        name: _Known(ref.version_key, name, IMPORTED) for name, ref in zip(others, refs, strict=True)
    }


def _files(path: Path) -> list[Path]:
    if not path.exists():
        raise BadFile(f"{path}: cannot be read (No such file or directory)")
    return [file for file in content_files(path) if path.is_file() or file.name not in _QUESTIONS]


def _questions_near(file: Path) -> Path:
    """FastChat keeps question.jsonl one folder above model_answer/."""
    for folder in (file.parent, file.parent.parent):
        for name in _QUESTIONS:
            if (folder / name).is_file():
                return folder / name
    raise BadFile(
        f"{file.name}: holds answers by question_id, and no question.jsonl lies beside it or one folder up; "
        "name the file of questions with --questions"
    )


def _nothing(found: _Found, bad: Rejects) -> str:
    if bad.count and not found.answers:
        first = bad.first[0]
        return f"none of {found.rows:,} rows can be used (line {first.line}: {first.reason})"
    return (
        f"no two models answer the same prompt: {len(found.answers):,} prompts, models: "
        f"{', '.join(sorted(found.models)[:10]) or 'none'}. Give the files of several models together"
    )
