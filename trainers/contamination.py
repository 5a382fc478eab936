"""Rows that overlap test items stay out of training, unless the recipe allows them; who trained on what is kept."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from evaluators.contamination.checking import CheckedRow, Progress, check_overlap
from evaluators.contamination.overlap import Index, touches
from evaluators.contamination.passages import never_texts, passages
from evaluators.suites.catalogue import all_suites
from evaluators.suites.definition import Suite
from results.store import Store
from results.store.contamination import flagged_rows, known_checks
from results.store.datasets import DatasetKind
from trainers.datasets import Row, read_rows
from trainers.datasets.files import row_digests
from trainers.plan import TrainingPlan

log = logging.getLogger("trainers")

REASON = "overlaps an item of a test suite"
_KEPT = "contamination.json"
_TASKS = "lm:"


class Contamination(BaseModel):
    """What a training knows of its rows: which overlap items of which suites, by checks of the store.

    `rows` are digests. With `allowed` they are trained on all the same.
    """

    model_config = ConfigDict(frozen=True)

    rows: frozenset[str] = frozenset()
    checks: tuple[str, ...] = ()
    suites: tuple[str, ...] = ()
    flagged: dict[str, int] = {}
    allowed: bool = False

    def refuses(self, row: Row) -> bool:
        """Whether a row is left out."""
        return not self.allowed and bool(self.rows) and row.digest() in self.rows

    def told(self, left_out: int) -> dict[str, Any]:
        """For the result of the training: everything but the rows, and how many were left out."""
        return {
            **self.model_dump(mode="json", exclude={"rows"}),
            "flagged_rows": len(self.rows),
            "left_out": left_out,
        }


def checked_rows(data_dir: Path, digest: str, kind: DatasetKind) -> Iterator[CheckedRow]:
    """The rows of a dataset version for checks, in order. Raises `MissingRows`."""
    rows = read_rows(data_dir, digest, kind)
    for key, (row, split) in zip(row_digests(data_dir, digest), rows, strict=True):
        yield CheckedRow(key, split, row.texts())


def contamination_of(
    store: Store, plan: TrainingPlan, folder: Path, progress: Progress = lambda *_: None
) -> Contamination:
    """What is known of the rows of a plan, after checking them against every suite they were not checked against.

    A job decides once: a resumed one takes the same rows, though suites may have come since.
    """
    kept = folder / _KEPT
    if kept.exists():
        return Contamination.model_validate_json(kept.read_text(encoding="utf-8"))
    suites, broken = all_suites(store.data_dir)
    for name, why in broken.items():
        log.warning("the rows cannot be checked against the suite %s: %s", name, why)
    data = plan.dataset
    checks = check_overlap(
        store,
        data.digest,
        lambda: checked_rows(store.data_dir, data.digest, data.kind),
        suites,
        total=data.row_count,
        progress=progress,
    )
    # Tasks of lm-eval are read on request alone (`arena data check`); what such checks found counts here.
    asked = {
        check.suite: check
        for check in known_checks(store, data.digest).values()
        if check.suite.startswith(_TASKS) and check.method == "ngram"
    }
    checks |= asked
    found = Contamination(
        rows=flagged_rows(store, [check.id for check in checks.values()]),
        checks=tuple(str(check.id) for check in checks.values()),
        suites=tuple(sorted(checks)),
        flagged={name: check.flagged_rows for name, check in sorted(checks.items()) if check.flagged_rows},
        allowed=plan.recipe.allow_contaminated,
    )
    part = kept.with_suffix(".part")
    part.write_text(json.dumps(found.model_dump(mode="json"), ensure_ascii=False), encoding="utf-8")
    part.replace(kept)
    return found


class SuiteGuard:
    """Tells rows that must not enter a new dataset: texts of suite items, and whatever overlaps them."""

    def __init__(self, suites: list[Suite]) -> None:
        self.never = never_texts(suites)
        self._index = Index([passage for suite in suites for passage in passages(suite)])

    @classmethod
    def of(cls, data_dir: Path) -> SuiteGuard:
        """Of all suites that there are."""
        return cls(all_suites(data_dir)[0])

    def contaminated(self, row: Row) -> bool:
        """Whether any text of the row overlaps an item."""
        return touches(self._index, row.texts())


def card_lines(contamination: dict[str, Any] | None) -> list[str]:
    """What a model card says of test items among the training rows, as lines of Markdown."""
    if contamination is None:
        return ["- The rows were not checked for items of test suites."]
    against = ", ".join(contamination["suites"]) or "none"
    if not contamination["flagged_rows"]:
        return [f"- No row overlaps an item of a test suite (checked: {against})."]
    which = ", ".join(f"{count:,} of {suite}" for suite, count in contamination["flagged"].items())
    if contamination["allowed"]:
        return [
            f"- **Trained on test items**: {contamination['flagged_rows']:,} rows overlap test suites ({which}) and "
            "were allowed by the recipe. Scores on those suites say little; `arena bench show` has clean items apart.",
        ]
    return [
        f"- {contamination['left_out']:,} rows that overlap items of test suites ({which}) were left out "
        f"(checked: {against})."
    ]
