"""Datasets built from the arena: what people and judges said, as conversations to imitate, pairs to prefer, or
answers that were wanted or not."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from arena._language import language_of
from arena.roster.licences import Lineage
from results.interchange import export_preferences
from results.interchange.reading import Row as FileRow
from results.interchange.reading import open_rows
from results.store import Store
from results.store.datasets import DatasetRecord, StoredDataset, add_dataset_version
from trainers.datasets.files import held_out, read_rows, write_rows
from trainers.datasets.rows import ChatRow, KtoRow, PreferenceRow, Row, Split
from trainers.datasets.statistics import statistics

VotedKind = Literal["chat", "preference", "kto"]

_EXPORT: dict[VotedKind, str] = {"chat": "openai-chat", "preference": "dpo", "kto": "kto"}


class VoteFilter(BaseModel):
    """Which battles become rows. Votes that screening took out never count.

    `agreement` is the least share of a battle's verdicts that the winner must have exceeded, `least_verdicts` the
    least number of them. Empty sets let everything through; `models` are the names (without version) that wrote the
    answers. With `commercial`, only answers of models whose licences (and their parents' and data's) allow commercial
    use are taken.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: Literal["human", "judge", "all"] = "human"
    agreement: float = Field(default=0.5, ge=0.5, lt=1)
    least_verdicts: int = Field(default=1, ge=1)
    categories: frozenset[str] = frozenset()
    languages: frozenset[str] = frozenset()
    models: frozenset[str] = frozenset()
    commercial: bool = False


class Built(BaseModel):
    """A dataset built from battles, and how many battles or rows were left out, by reason."""

    model_config = ConfigDict(frozen=True)

    dataset: StoredDataset
    battles: int
    left_out: dict[str, int]


class NothingToBuild(ValueError):
    """No battle gives a row under these filters. The message says what was left out and why."""


def dataset_from_votes(
    store: Store,
    name: str,
    kind: VotedKind,
    where: VoteFilter | None = None,
    *,
    contaminated: Callable[[Row], bool] = lambda row: False,
    never: Collection[str] = (),
    licence: str | None = None,
    held_out_share: float = 0.05,
    seed: int = 0,
    progress: Callable[[int, int], None] = lambda *_: None,
) -> Built:
    """Build a dataset version from what was voted; rows name their battle, models and agreement.

    `contaminated` tells rows that overlap a suite, and `never` holds texts of suite items: such rows are left out, as
    are held-out items. Equal rows count once.

    Raises:
        NothingToBuild: no row is left.
    """
    where = where or VoteFilter()
    left_out: Counter[str] = Counter()
    with tempfile.TemporaryDirectory(dir=store.data_dir, prefix=".from-votes-") as folder:
        path = Path(folder) / "rows.jsonl"
        summary = export_preferences(
            store, path, _EXPORT[kind], source=where.source, agreement=where.agreement, progress=progress
        )
        left_out.update(_not_counted(store, where.source) | summary.left_out)
        barred = not_commercial(store) if where.commercial else frozenset()
        keep = _Keep(where, left_out, barred, contaminated, frozenset(never))
        rows = list(keep.rows(path, kind)) if summary.rows else []
    if not rows:
        reasons = (
            ", ".join(f"{count} {reason}" for reason, count in left_out.most_common())
            or "no verdicts of this kind yet"
        )
        raise NothingToBuild(
            f"no battle gives a row of kind {kind} under these filters ({summary.battles} battles; {reasons})"
        )
    split: Iterator[tuple[Row, Split]] = (
        (row, "held_out" if held_out(row, held_out_share, seed) else "train") for row in rows
    )
    digest, train, apart = write_rows(store.data_dir, kind, split)
    facts = statistics((row for row, _ in read_rows(store.data_dir, digest, kind)), language_of)
    record = DatasetRecord(
        name=name,
        digest=digest,
        kind=kind,
        row_count=train + apart,
        held_out_count=apart,
        licence=licence,
        origin={
            "built_from": "votes",
            "filter": {**where.model_dump(mode="json"), "categories": sorted(where.categories),
                       "languages": sorted(where.languages), "models": sorted(where.models)},
            "battles": summary.battles,
            "models": sorted(keep.models),
            "left_out": dict(left_out),
            "split": {"held_out": held_out_share, "seed": seed},
        },
        statistics=facts.model_dump(mode="json"),
    )  # fmt: skip
    return Built(dataset=add_dataset_version(store, record), battles=summary.battles, left_out=dict(left_out))


def _not_counted(store: Store, source: str) -> dict[str, int]:
    """Verdicts that leaderboards do not count either, by reason: those of voters that screening found, of judges that
    follow the order of the answers, taken back, or on answers that failed."""
    found = store.query(
        "SELECT excluded, count(*) AS verdicts FROM comparisons "
        "WHERE excluded IS NOT NULL AND (? = 'all' OR source = ?) "
        "GROUP BY excluded ORDER BY verdicts DESC, excluded",
        [source, source],
    )
    return {f"verdicts that do not count ({row['excluded']})": row["verdicts"] for row in found.to_pylist()}


def not_commercial(store: Store) -> frozenset[str]:
    """The model versions (`name@n`) that may not be used commercially, or of which that is not known."""
    lineage = Lineage(store)
    return frozenset(
        version.label
        for version in store.model_versions()
        if not lineage.commercial_use(version.version_key).allowed
    )


class _Keep:
    """Applies the filters, and counts what they leave out."""

    def __init__(
        self,
        where: VoteFilter,
        left_out: Counter[str],
        barred: Collection[str],
        contaminated: Callable[[Row], bool],
        never: frozenset[str],
    ) -> None:
        self._where, self._left_out = where, left_out
        self._barred, self._contaminated, self._never = barred, contaminated, never
        self.models: set[str] = set()

    def rows(self, path: Path, kind: VotedKind) -> Iterator[Row]:
        seen: set[str] = set()
        with open_rows(path) as lines:
            for line in lines:
                if not isinstance(line, FileRow):
                    raise RuntimeError(f"our own export cannot be read: line {line.line}: {line.reason}")
                row = _row(kind, line.values)
                reason = self._refused(row, line.values["provenance"])
                if reason is None and row.digest() in seen:
                    reason = "the same row twice"
                if reason is not None:
                    self._left_out[reason] += 1
                    continue
                seen.add(row.digest())
                self.models.add(line.values["provenance"]["model"])
                yield row

    def _refused(self, row: Row, source: dict[str, Any]) -> str | None:
        where = self._where
        if sum(source["verdicts"].values()) < where.least_verdicts:
            return "too few verdicts"
        if where.categories and source["category"] not in where.categories:
            return "another category"
        if where.languages and source["language"] not in where.languages:
            return "another language"
        wrote = (
            [source["model"]]
            if isinstance(row, ChatRow | KtoRow)
            else [source["model"], source["other_model"]]
        )
        if where.models and not any(model.rpartition("@")[0] in where.models for model in wrote):
            return "another model"
        if any(model in self._barred for model in wrote):
            return "a licence that does not allow commercial use, or is not known"
        if any(text in self._never for text in row.texts()):
            return "an item of a suite"
        return "overlaps a suite" if self._contaminated(row) else None


def _row(kind: VotedKind, values: dict[str, Any]) -> Row:
    if kind == "preference":
        shares = values["provenance"]["verdicts"]
        winner = values["provenance"]["side"]
        loser = "b" if winner == "a" else "a"
        margin = (shares.get(winner, 0) - shares.get(loser, 0)) / sum(shares.values())
        return PreferenceRow.model_validate({**values, "margin": margin})
    shape: type[ChatRow | KtoRow] = ChatRow if kind == "chat" else KtoRow
    return shape.model_validate(values)
