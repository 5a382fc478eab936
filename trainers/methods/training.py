"""One training run: from a plan to an artifact. Nothing here knows of queues."""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import set_seed

from trainers.artifacts import Artifact, write_artifact
from trainers.contamination import REASON, Contamination
from trainers.datasets import LabelledRow, Row, read_rows
from trainers.methods._arguments import common_arguments
from trainers.methods._encoding import Encoder
from trainers.methods._loading import CannotTrain, load_model, load_tokenizer, trainable
from trainers.methods._processes import agree, leads, several
from trainers.methods._trainers import Parts, make_trainer
from trainers.methods._watching import CANCEL, Watcher, last_checkpoint
from trainers.plan import TrainingPlan

log = logging.getLogger("trainers")

Tell = Callable[[dict[str, Any]], None]

TENSORBOARD = "tensorboard"

TEMPLATE = "prompt_template.jinja"
"""In an artifact: the template that its rows went through, wherever that came from."""

_NOT_ABOUT_THE_MODEL = ("_per_second", "runtime", "_time", "epoch", "num_tokens", "tokens_seen")

SAMPLED = ("rloo", "grpo")


class Cancelled(Exception):
    """The run was asked to stop, and stopped with a checkpoint."""


def train(
    plan: TrainingPlan, data_dir: Path, folder: Path, tell: Tell, contamination: Contamination | None = None
) -> dict[str, Any]:
    """Run a plan in its folder, from the last whole checkpoint where there is one; the figures of the result. Rows
    that `contamination` refuses are left out of training and of the held-out rows.

    The artifact lies in `folder/artifact` when this returns. The same plan gives the same weights, also over a kill
    and a resume, on the same machine with the same number of threads. Of several processes all must call this; the
    first one saves. Raises `CannotTrain`, `Cancelled`.
    """
    recipe = plan.recipe
    if leads():
        (folder / CANCEL).unlink(missing_ok=True)
    # Its callback would otherwise write below the directory that this process was started in.
    os.environ["TENSORBOARD_LOGGING_DIR"] = str(folder / TENSORBOARD)
    set_seed(recipe.seed)
    tokenizer = load_tokenizer(plan.base.path)
    labels = _labels(plan, data_dir)
    model = load_model(plan, tokenizer, labels)
    count, total = trainable(model)
    log.info("%s of %s parameters are trained", f"{count:,}", f"{total:,}")
    tell({"phase": "encoding"})
    encoder = Encoder(plan, tokenizer, data_dir, labels)
    train_rows, held_out = _all_rows(plan, data_dir, encoder, contamination)
    watcher = Watcher(folder, tell, count * 12 + (total * 4 if recipe.method == "full" else 0))
    evaluates = held_out is not None and recipe.objective not in SAMPLED
    trainer = make_trainer(
        Parts(
            plan=plan,
            model=model,
            tokenizer=tokenizer,
            train=train_rows,
            held_out=held_out if evaluates else None,
            arguments=common_arguments(recipe, folder, evaluates=evaluates),
            callbacks=[watcher, *_early_stopping(plan, evaluates)],
        )
    )
    before = _before(trainer, folder, evaluates, tell)
    checkpoint = last_checkpoint(folder)
    if checkpoint is not None:
        log.info("going on from %s", checkpoint.name)
    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    seconds = watcher.seconds()
    if watcher.cancelled:
        raise Cancelled
    if several() and not agree(
        sum(float(p.detach().double().sum()) for p in model.parameters() if p.requires_grad)
    ):
        raise CannotTrain("the processes of this training have parted: each has other weights", "parted")
    after = _evaluated(trainer, tell) if evaluates else {}
    if not leads():
        return {}
    tell({"phase": "saving"})
    result = {
        "parameters": total,
        "trained_parameters": count,
        "rows": len(train_rows),
        "seconds": seconds,
        "held_out_before": before,
        "held_out_after": after,
        "labels": list(labels),
        **_told_by(trainer, watcher, encoder, contamination),
    }
    return {**result, **_left(plan, trainer, tokenizer, encoder, folder, result)}


def _told_by(
    trainer: Any, watcher: Watcher, encoder: Encoder, contamination: Contamination | None
) -> dict[str, Any]:
    """The figures of a result that trainer, watcher and encoder know."""
    return {
        "rows_left_out": encoder.refused,
        "contamination": contamination.told(encoder.refused.get(REASON, 0)) if contamination else None,
        "steps": trainer.state.global_step,
        "tokens": watcher.tokens(trainer.state),
        "train_loss": _last(trainer, "loss"),
        "first_loss": _first(trainer, "loss"),
        "best_step": trainer.state.best_global_step,
        "warnings": watcher.warnings,
        "prompt_format": encoder.resolution.format.name,
        "prompt_format_from": encoder.resolution.step,
    }


def _left(
    plan: TrainingPlan, trainer: Any, tokenizer: Any, encoder: Encoder, folder: Path, result: dict[str, Any]
) -> dict[str, str]:
    """Write the artifact, and say where it lies and what it is."""
    template = encoder.resolution.format.template
    if encoder.resolution.step == "adapter":
        # Merged into the base, whose tokenizer does not have the adapter's template.
        tokenizer.chat_template = template

    def save(out: Path) -> None:
        _save(plan, trainer, tokenizer, out)
        (out / TEMPLATE).write_text(template, encoding="utf-8")

    artifact: Artifact = write_artifact(plan, folder, result, save)
    return {"artifact": str(artifact.folder), "artifact_kind": artifact.kind}


def _labels(plan: TrainingPlan, data_dir: Path) -> tuple[str, ...]:
    if plan.recipe.objective != "classify":
        return ()
    rows = read_rows(data_dir, plan.dataset.digest, plan.dataset.kind, split="train")
    labels = tuple(sorted({row.label for row, _ in rows if isinstance(row, LabelledRow)}))
    if len(labels) < 2:
        raise CannotTrain(
            f"{plan.dataset.label} has {len(labels)} class(es) in its training rows; two are needed"
        )
    return labels


def _all_rows(
    plan: TrainingPlan, data_dir: Path, encoder: Encoder, contamination: Contamination | None
) -> tuple[Dataset, Dataset | None]:
    """Encoded rows for training, and those held out (None where there are none). Raises `CannotTrain`."""
    train_rows = _encoded(plan, data_dir, encoder, "train", contamination)
    held_out = _encoded(plan, data_dir, encoder, "held_out", contamination)
    for reason, number in encoder.refused.items():
        log.warning("%d rows left out: %s", number, reason)
    if train_rows is None:
        hint = "; allow_contaminated takes test items all the same" if REASON in encoder.refused else ""
        raise CannotTrain(
            f"no row of {plan.dataset.label} can be trained on: {encoder.refused}{hint}", "no_rows"
        )
    return train_rows, held_out


def _encoded(
    plan: TrainingPlan, data_dir: Path, encoder: Encoder, split: Any, contamination: Contamination | None
) -> Dataset | None:
    """Encoded rows of one part; None where there are none. Held-out rows are at most `evaluation.rows`, and of the
    training rows `data_share` by the hash of their prompts."""
    recipe = plan.recipe
    limit = recipe.evaluation.rows if split == "held_out" else None
    rows: Iterator[Row] = (
        row
        for row, _ in read_rows(data_dir, plan.dataset.digest, plan.dataset.kind, split=split, limit=limit)
        if split == "held_out"
        or recipe.data_share == 1
        or int(row.split_key()[:8], 16) < recipe.data_share * 2**32
    )
    encoded = list(encoder.rows(_allowed(rows, encoder, contamination)))
    return Dataset.from_list(encoded) if encoded else None


def _allowed(rows: Iterator[Row], encoder: Encoder, contamination: Contamination | None) -> Iterator[Row]:
    for row in rows:
        if contamination is not None and contamination.refuses(row):
            encoder.refused[REASON] = encoder.refused.get(REASON, 0) + 1
        else:
            yield row


def _early_stopping(plan: TrainingPlan, evaluates: bool) -> list[Any]:
    from transformers import EarlyStoppingCallback

    patience, every = plan.recipe.evaluation.patience, plan.recipe.evaluation.every_steps
    return (
        [EarlyStoppingCallback(early_stopping_patience=patience)] if evaluates and every and patience else []
    )


def _before(trainer: Any, folder: Path, evaluates: bool, tell: Tell) -> dict[str, float]:
    """Held-out figures before the first step, measured once in the life of a job."""
    kept = folder / "before.json"
    if kept.exists():
        measured: dict[str, float] = json.loads(kept.read_text(encoding="utf-8"))
        return measured
    if not evaluates:
        return {}
    measured = _evaluated(trainer, tell)
    if several():
        # accelerate prepares a model once. Evaluated first, it would never be connected with those of the other
        # processes: each would follow its own gradients, without an error.
        trainer.accelerator._models.clear()
        trainer.model._is_accelerate_prepared = False
        trainer.model_wrapped = trainer.model
    if not leads():
        return measured
    part = kept.with_suffix(".part")
    part.write_text(json.dumps(measured), encoding="utf-8")
    part.replace(kept)
    return measured


def _evaluated(trainer: Any, tell: Tell) -> dict[str, float]:
    tell({"phase": "evaluating"})
    # The weights of chance must not move: a resumed run skips this.
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        figures = trainer.evaluate()
    return {
        key.removeprefix("eval_"): float(value)
        for key, value in figures.items()
        if isinstance(value, int | float) and not key.endswith(_NOT_ABOUT_THE_MODEL)
    }


def _save(plan: TrainingPlan, trainer: Any, tokenizer: Any, out: Path) -> None:
    model = trainer.accelerator.unwrap_model(trainer.model)
    if plan.recipe.method == "tool_tokens":
        # New tokens change the sizes of the embeddings, so an adapter alone would fit no base.
        model = model.merge_and_unload()
    if plan.recipe.qat == "int8":
        from trainers.methods._qat import convert

        convert(model)
    model.config.use_cache = True
    # Preference trainers keep a second adapter as their reference.
    only = {"selected_adapters": ["default"]} if hasattr(model, "peft_config") else {}
    model.save_pretrained(out, **only)
    tokenizer.save_pretrained(out)
    logs = Path(trainer.args.output_dir).parent / TENSORBOARD
    if logs.is_dir():
        shutil.copytree(logs, out / TENSORBOARD, dirs_exist_ok=True)


def _last(trainer: Any, key: str) -> float | None:
    values = [entry[key] for entry in trainer.state.log_history if key in entry]
    return float(values[-1]) if values else None


def _first(trainer: Any, key: str) -> float | None:
    values = [entry[key] for entry in trainer.state.log_history if key in entry]
    return float(values[0]) if values else None
