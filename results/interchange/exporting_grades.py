"""Judges' grades of single answers in FastChat's form, which `import_votes` reads back exactly."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from results.interchange.covers import Cover
from results.interchange.errors import BadFile
from results.interchange.exporting import ExportSummary
from results.interchange.reading import format_of
from results.interchange.votes import IMPORTED
from results.interchange.writers import open_writer
from results.store import Store

GRADE_FORMAT = "mt-bench-single"
_COLUMNS = (
    "question_id", "model", "judge", "user_prompt", "judgment", "score", "turn", "tstamp", "category", "language",
    "digest", "grade_uuid",
)  # fmt: skip
_PAGE = 2_000
_UNPARSED = -1

# Of a judge of ours an answer's grade stands once, however many battles it was given in.
_GRADES = """
SELECT * FROM (
    SELECT j.name AS judge, g.prompts, g.version_key, g.question, g.turn, g.score, g.asked, g.reply, g.category,
           g.language, g.stamp, g.id::VARCHAR AS id, g.created_at, g.place
    FROM answer_grades g JOIN judges j USING (judge_key)
    UNION ALL
    SELECT * FROM (
        SELECT DISTINCT ON (r.judge_key, r.version_key, c.cache_key)
               j.name, coalesce(p.prompts, ''), r.version_key, coalesce(b.item_id, b.id)::VARCHAR, r.turn, r.score, '',
               c.reply, r.category, r.language, epoch(c.created_at), r.id::VARCHAR, r.created_at, 0
        FROM rubric_grades r JOIN judges j USING (judge_key) JOIN judge_calls c ON c.id = r.call_id
        JOIN battles b ON b.id = r.battle_id LEFT JOIN judge_profiles p USING (judge_key)
        WHERE r.criterion = '' AND p.mode = 'single' ORDER BY r.created_at, r.id
    )
) g WHERE ? IS NULL OR g.judge = ?
ORDER BY g.created_at, g.place, g.id LIMIT ? OFFSET ?
"""
_MODELS = """
SELECT version_key, name, digest FROM model_versions JOIN models USING (model_key)
"""


def export_grades(
    store: Store,
    path: Path,
    *,
    judge: str | None = None,
    public: bool = False,
    progress: Callable[[int, int], None] = lambda *_: None,
) -> ExportSummary:
    """Write the grades of all judges, or of one, to JSONL: imported ones and those of judges of ours with grades from 1
    to 10. A reply without a grade is written as -1, as FastChat does. Raises BadFile."""
    if format_of(path) != "jsonl":
        raise BadFile(f"{path.name}: a {GRADE_FORMAT} file ends in .jsonl")
    if judge is not None and judge not in (known := _judges(store)):
        raise BadFile(f"no grades of a judge {judge!r}; there are those of {', '.join(known) or 'none'}")
    cover = Cover(store.data_dir) if public else None
    models = {row["version_key"]: row for row in store.query(_MODELS).to_pylist()}
    rows = 0
    with open_writer(path, _COLUMNS) as write:
        while page := store.query(_GRADES, [judge, judge, _PAGE, rows]).to_pylist():
            made = [_row(row, models[row["version_key"]]) for row in page]
            write(made if cover is None else [_covered(row, cover) for row in made])
            rows += len(page)
            progress(rows, rows)
    return ExportSummary(
        file=str(path),
        rows=rows,
        left_out={},
        other_source=0,
        format=GRADE_FORMAT,
        public=public,
        screened=dict(cover.found) if cover is not None else {},
    )


def _judges(store: Store) -> list[str]:
    found: list[str] = store.query(
        "SELECT DISTINCT name FROM judges WHERE judge_key IN (SELECT judge_key FROM answer_grades) "
        "OR judge_key IN (SELECT judge_key FROM judge_profiles WHERE mode = 'single') ORDER BY name"
    )["name"].to_pylist()
    return found


def _row(row: dict[str, Any], model: dict[str, Any]) -> dict[str, Any]:
    question = row["question"]
    number = question.isascii() and question.isdigit() and str(int(question)) == question
    return {
        "question_id": int(question) if number else question,
        "model": model["name"],
        "judge": [row["judge"], row["prompts"]] if row["prompts"] else [row["judge"]],
        "user_prompt": row["asked"],
        "judgment": row["reply"],
        "score": _UNPARSED if row["score"] is None else row["score"],
        "turn": row["turn"],
        "tstamp": row["stamp"],
        "category": row["category"] or None,
        "language": row["language"] or None,
        "digest": None if model["digest"] == IMPORTED else model["digest"],
        "grade_uuid": row["id"],
    }


def _covered(row: dict[str, Any], cover: Cover) -> dict[str, Any]:
    """Grades name no voter; what the judge was shown and said may quote one."""
    return {**row, "user_prompt": cover.text(row["user_prompt"]), "judgment": cover.text(row["judgment"])}
