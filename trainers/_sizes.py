"""How large the work of a plan is, and how fast such work went here before."""

from __future__ import annotations

from pathlib import Path
from statistics import median

from prompt_formats.errors import InvalidInput, TemplateFailed
from results.store import Store
from results.store.jobs import jobs
from trainers._needs import DataSize
from trainers.datasets import preview, read_rows
from trainers.datasets.rendering import format_and_tokenizer
from trainers.plan import TrainingPlan

SAMPLE = 500


def data_size(plan: TrainingPlan, data_dir: Path) -> DataSize:
    """Rows and tokens of the plan's training rows, counted on the first `SAMPLE` under the base's own format.

    Tokens are those of one answer with its prompt. Raises `InvalidInput`, `MissingRows`.
    """
    resolution, tokenizer = format_and_tokenizer(plan.base.spec, data_dir)
    counts: list[int] = []
    labels = set()
    for row, _ in read_rows(data_dir, plan.dataset.digest, plan.dataset.kind, split="train", limit=SAMPLE):
        label = getattr(row, "label", None)
        if label is not None:
            labels.add(label)
        try:
            counts.extend(part.tokens for part in preview(row, resolution, tokenizer))
        except (InvalidInput, TemplateFailed):
            continue  # training leaves such rows out as well
    rows = plan.dataset.row_count - plan.dataset.held_out_count
    if not counts:
        return DataSize(rows=rows)
    return DataSize(
        rows=rows,
        mean_tokens=sum(counts) / len(counts),
        longest=max(counts),
        classes=max(2, len(labels)),
        source=f"counted in {min(SAMPLE, rows):,} of {rows:,} rows of {plan.dataset.label}",
    )


def measured_speed(store: Store, plan: TrainingPlan) -> tuple[float, str] | None:
    """(tokens a second, which trainings told it) of finished trainings here of the same base, method and objective;
    None where there are none."""
    speeds = []
    for job in jobs(store):
        result = job.result
        if job.state != "done" or not result.get("tokens") or not result.get("seconds"):
            continue
        theirs = TrainingPlan.model_validate(job.recipe)
        same = (theirs.base.digest, theirs.recipe.method, theirs.recipe.objective)
        if same == (plan.base.digest, plan.recipe.method, plan.recipe.objective):
            speeds.append((result["tokens"] / result["seconds"], job.name))
    if not speeds:
        return None
    recent = speeds[-5:]
    names = list(dict.fromkeys(name for _, name in reversed(recent)))
    more = f" and {len(names) - 2} more" if len(names) > 2 else ""
    return median(speed for speed, _ in recent), f"measured here in {', '.join(names[:2])}{more}"
