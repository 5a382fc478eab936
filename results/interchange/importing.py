"""Importing votes and judgments from a file: mapped, checked, given their ids, and handed to the store."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
from pydantic import BaseModel, ConfigDict

from results.ids import named_id
from results.interchange.dialects import Dialect, Skipped, detect
from results.interchange.errors import BadFile
from results.interchange.fields import FIELDS, Columns, choose_columns
from results.interchange.importing_grades import GradesAdded, check_judges, import_grades
from results.interchange.keys import KeyedVote, Numbering, keyed, voter_id
from results.interchange.pseudonyms import Pseudonyms
from results.interchange.reading import BadRow, content_files, open_rows
from results.interchange.rejects import Reject, Rejects
from results.interchange.votes import Unusable, Vote, vote_reader
from results.records import ImportRecord, ModelVersionRecord, Source
from results.store import IMPORT_SCHEMA, Store

_CHUNK_ROWS = 20_000
_CHUNK_TEXT = 64 * 1024 * 1024


class ImportSummary(BaseModel):
    """What became of a file. `known` rows were in the store already; `rejects` are the first bad rows,
    `rejects_file` has all of them. After a strict import with bad rows `refused` is true, and nothing was
    imported. `skipped` rows are fine and hold no verdict (a log's chats). Of files of a judge's pairs in both orders
    `inconsistent` are those whose orders disagree, which are ties. Of files of single grades
    `grades` are all grades, `grades_added` the new ones, and `unparsed` the replies in which there was none."""

    model_config = ConfigDict(frozen=True)

    file: str
    rows: int
    added: int
    known: int
    rejected: int
    rejects: tuple[Reject, ...] = ()
    rejects_file: str | None = None
    refused: bool = False
    format: str = "votes"
    skipped: int = 0
    inconsistent: int = 0
    grades: int = 0
    grades_added: int = 0
    unparsed: int = 0


class Progress(NamedTuple):
    """How far an import is: `position` of `size` (bytes, or rows of a Parquet file) in `phase`."""

    phase: str
    position: int
    size: int
    rows: int
    rejected: int


def import_votes(
    store: Store,
    path: Path,
    *,
    source: Source | None = None,
    format: str = "auto",
    mapping: Mapping[str, str] | None = None,
    fixed: Mapping[str, str] | None = None,
    strict: bool = False,
    rejects: Path | None = None,
    progress: Callable[[Progress], None] = lambda _: None,
) -> ImportSummary:
    """Import a CSV, JSONL, JSON or Parquet file (or a folder of them) of votes (`source` human) or a judge's
    verdicts (judge).

    `format` is "votes" (the usual schema), one of `results.interchange.dialects`, or "auto", which recognises
    them by their columns unless there is a `mapping`; `source` may be left to the format.
    `mapping` says which column is which field and `fixed` gives a field one value for all rows
    (`results.interchange.fields`). Bad rows go to the file `rejects`, good ones are imported; with `strict`
    nothing is, if there is a bad row. A comparison's id is the v5 UUID of source, original row and the row's
    occurrence number, so that importing again adds nothing and equal rows are kept. A battle's id comes from
    what was compared alone (`results.interchange.keys`). An interrupted import leaves nothing and can be run
    again.

    Single grades (`mt-bench-single`) become comparisons of models that were graded on one question, and are stored as
    they are as well (`results.judge_grades`).

    Raises BadFile where the file or the mapping cannot be used at all.
    """
    if not path.exists():
        raise BadFile(f"{path}: cannot be read (No such file or directory)")
    with open_rows(path) as opened:
        has = opened.columns
    dialect = detect(path.name, has, "votes" if format == "auto" and mapping else format)
    if dialect is None:
        columns = choose_columns(has, mapping=mapping or {}, fixed=fixed or {}, source=source or "human")
    else:
        if mapping:
            raise BadFile(
                f"--map is for files in the usual schema; {dialect.name} files have columns of their own"
            )
        if source not in (None, dialect.source):
            raise BadFile(f"{path.name}: {dialect.name} files hold verdicts of --source {dialect.source}")
        given = [name for name in FIELDS if name not in (fixed or {})]
        columns = choose_columns(given, mapping={}, fixed=fixed or {}, source=dialect.source)
    source = columns.source
    if rejects is not None and rejects.resolve() == path.resolve():
        raise BadFile(f"--rejects {rejects}: is the file to be imported itself; name another")
    bad = Rejects(rejects)
    file = _File(path, columns, dialect, Pseudonyms(store.data_dir) if dialect is not None else str)
    name = dialect.name if dialect is not None else "votes"
    graded = GradesAdded(0, 0, 0)
    if dialect is not None and dialect.grades:
        check_judges(store, path, columns.fixed)
    try:
        if strict:
            rows = sum(1 for _ in _votes(file, bad, progress, "checking"))
            if bad.count:
                return ImportSummary(
                    file=path.name, rows=rows + bad.count, added=0, known=0, rejected=bad.count,
                    rejects=tuple(bad.first), rejects_file=bad.close(), refused=True, format=name,
                    skipped=file.skipped, inconsistent=file.inconsistent,
                )  # fmt: skip
        record = ImportRecord(
            id=named_id("import", _content_digest(path), columns.describe(), *([name] if dialect else [])),
            path=str(path),
            source=source,
            judge=columns.fixed.get("judge") if source == "judge" else None,
        )
        votes = _votes(file, bad, progress, "importing")
        outcome = store.import_comparisons(record, _batches(store, votes, record.created_at))
        # The store does not read again what it has; the bad rows are still worth telling.
        for _ in votes:
            pass
        if dialect is not None and dialect.grades:
            graded = import_grades(store, record.id, path, columns.fixed)
    finally:
        rejects_file = bad.close()
    return ImportSummary(
        file=path.name,
        rows=outcome.added + outcome.known + bad.count,
        added=outcome.added,
        known=outcome.known,
        rejected=bad.count,
        rejects=tuple(bad.first),
        rejects_file=rejects_file,
        format=name,
        skipped=file.skipped,
        inconsistent=file.inconsistent,
        grades=graded.grades,
        grades_added=graded.added,
        unparsed=graded.unparsed,
    )


@dataclass
class _File:
    """What is imported, and how it is read; `skipped` and `inconsistent` are known after reading."""

    path: Path
    columns: Columns
    dialect: Dialect | None
    pseudonym: Callable[[str], str]
    skipped: int = 0
    inconsistent: int = 0


def _votes(
    file: _File, bad: Rejects, progress: Callable[[Progress], None], phase: str
) -> Iterator[KeyedVote]:
    """The good rows of a file; bad ones go to `bad`."""
    read = vote_reader(file.columns)
    file.skipped = file.inconsistent = 0
    number = 0
    with open_rows(file.path) as source:
        rows = source if file.dialect is None else file.dialect.rows(iter(source), file.pseudonym)
        for number, row in enumerate(rows, start=1):
            if number % 1000 == 0:
                progress(Progress(phase, source.position, source.size, number, bad.count))
            if isinstance(row, BadRow):
                bad.add(row)
                continue
            if isinstance(row, Skipped):
                file.skipped += 1
                continue
            try:
                vote = keyed(row, read(row.values))
            except Unusable as error:
                bad.add(BadRow(row.line, str(error), row.values))
                continue
            file.inconsistent += row.inconsistent
            yield vote
        progress(Progress(phase, source.size, source.size, number, bad.count))


def _batches(store: Store, votes: Iterator[KeyedVote], default_time: datetime) -> Iterator[pa.RecordBatch]:
    numbering = Numbering(store)
    version_keys: dict[tuple[str, str], int] = {}
    voters: dict[str, str] = {}
    chunk: list[KeyedVote] = []
    size = 0
    for vote in votes:
        chunk.append(vote)
        size += vote.size
        if len(chunk) >= _CHUNK_ROWS or size >= _CHUNK_TEXT:
            yield _batch(store, chunk, numbering, version_keys, voters, default_time)
            chunk, size = [], 0
    if chunk:
        yield _batch(store, chunk, numbering, version_keys, voters, default_time)


def _batch(
    store: Store, chunk: list[KeyedVote], numbering: Numbering, version_keys: dict[tuple[str, str], int],
    voters: dict[str, str], default_time: datetime,
) -> pa.RecordBatch:  # fmt: skip
    votes = [each.vote for each in chunk]
    _know_versions(store, votes, version_keys)
    for voter in {vote.voter for vote in votes if vote.voter is not None} - voters.keys():
        voters[voter] = str(voter_id(voter))
    ids, battles = numbering.ids_of(chunk)
    return pa.record_batch(
        [
            ids,
            battles,
            [vote.prompt for vote in votes],
            [version_keys[vote.model_a, vote.digest_a] for vote in votes],
            [version_keys[vote.model_b, vote.digest_b] for vote in votes],
            [None if vote.voter is None else voters[vote.voter] for vote in votes],
            [vote.judge for vote in votes],
            [vote.verdict for vote in votes],
            [(vote.time or default_time).replace(tzinfo=None) for vote in votes],
            [vote.category for vote in votes],
            [vote.language for vote in votes],
            [vote.conversation_a for vote in votes],
            [vote.conversation_b for vote in votes],
        ],
        schema=IMPORT_SCHEMA,
    )


def _know_versions(store: Store, votes: list[Vote], keys: dict[tuple[str, str], int]) -> None:
    new: Counter[tuple[str, str]] = Counter()
    for vote in votes:
        new[vote.model_a, vote.digest_a] += 1
        new[vote.model_b, vote.digest_b] += 1
    unknown = [key for key in new if key not in keys]
    records = [ModelVersionRecord(model=model, digest=digest, owner="import") for model, digest in unknown]
    if records:
        found = store.upsert_model_versions(records)
        keys.update(zip(unknown, (ref.version_key for ref in found), strict=True))


def _content_digest(path: Path) -> str:
    digests = []
    for each in content_files(path):
        with each.open("rb") as file:
            digests.append(hashlib.file_digest(file, "sha256").hexdigest())
    return digests[0] if path.is_file() else hashlib.sha256("".join(digests).encode()).hexdigest()
