"""The HTML of the Training page: the queue, one training with its curves and files, and estimates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from arena.engines.memory import in_words
from arena.web._i18n import text, texts
from arena.web._templates import render
from arena.web.pages.training_files import artifact_files, artifact_folder, file_address, zip_address
from results.figures import Curve, curve_plot
from results.store.jobs import StoredJob
from trainers.jobs import metrics, plan_of
from trainers.memory import DeviceFit, MethodRow, TrainingEstimate
from trainers.wording import held_out_changes, time_in_words

_DEVICES_SHOWN = 6


def queue_html(jobs: Sequence[StoredJob], chosen: str | None, locale: str) -> str:
    """The table of trainings, the newest first."""
    rows = []
    for each in reversed(jobs):
        told, result = each.progress, each.result
        after = (result.get("held_out_after") or {}).get("loss", told.get("eval_loss"))
        rows.append(
            {
                "id": str(each.id),
                "name": each.name,
                "state": each.state,
                "steps": _steps(each),
                "loss": _figure(result.get("train_loss", told.get("loss"))),
                "held_out": _figure(after),
                "model": result.get("model") or "–",
                "queued": f"{each.created_at:%Y-%m-%d %H:%M}",
            }
        )
    return render("training_queue.html", locale, jobs=rows, chosen=chosen)


def job_html(data_dir: Path, job: StoredJob, locale: str) -> str:
    """One training as it stands: how far it is, its figures, warnings, and what it left."""
    told, result = job.progress, job.result
    running = job.state == "running"
    folder = artifact_folder(job)
    files = artifact_files(folder) if folder is not None else []
    seconds = told.get("seconds_left") if running else None
    return render(
        "training_job.html",
        locale,
        job=job,
        stopping=running and job.cancel_asked,
        step=int(told.get("step", 0)),
        total=int(told.get("steps", 0)),
        left=text(locale, "training.left", time=time_in_words(seconds)) if seconds else "",
        phase=_phase(told, locale) if running else "",
        warnings=result.get("warnings") or told.get("warnings") or [],
        facts=[(name, value) for name, value in _facts(job, locale) if value],
        figures=_curves(metrics(data_dir, job.id), locale),
        model=result.get("model"),
        name=job.name,
        files=[(path, file_address(job.id, path), _bytes(size)) for path, size in files],
        zip=zip_address(job.id),
        size=_bytes(sum(size for _, size in files)),
    )


def log_html(words: str, locale: str) -> str:
    """The end of a log."""
    title = text(locale, "training.log")
    return render("training_text.html", locale, title=title, words=words or text(locale, "training.no_log"))


def message_html(message: str, locale: str, *, good: bool = False) -> str:
    """What went well or wrong, in words."""
    return render("training_problem.html", locale, message=message, good=good)


def estimate_html(found: TrainingEstimate, methods: Sequence[MethodRow], locale: str) -> str:
    """What a training needs, where it fits, and the methods side by side."""
    need = found.need
    parts = {
        "weights": need.weights, "gradients": need.gradients, "optimiser": need.optimiser,
        "activations": need.activations, "logits": need.logits, "cache": need.cache, "working": need.working,
    }  # fmt: skip
    total = found.gpu or found.ram
    speed = "training.speed_measured" if found.measured else "training.speed_reckoned"
    facts = [
        ("in_all", in_words(total)),
        (
            "parts",
            " + ".join(f"{text(locale, f'training.need.{k}')} {in_words(n)}" for k, n in parts.items() if n),
        ),
        ("parameters", f"{found.parameters:,}"),
        ("trained", f"{found.trained_parameters:,} ({found.trained_parameters / found.parameters:.2%})"),
        ("steps", f"{found.steps:,}" if found.steps is not None else ""),
        (
            "tokens",
            f"{found.tokens:,}" if found.tokens is not None else text(locale, "training.not_counted"),
        ),
        (
            "time",
            f"{time_in_words(found.seconds)} ({text(locale, speed)})" if found.seconds is not None else "–",
        ),
    ]
    elsewhere = [each for each in found.devices if not each.here and each.fits][:_DEVICES_SHOWN]
    return render(
        "training_estimate.html",
        locale,
        found=found,
        facts=[(text(locale, f"training.{key}"), value) for key, value in facts if value],
        methods=methods,
        here=_device(found.devices[0], locale),
        devices=[(_device(each, locale), each) for each in found.devices if each.here or each in elsewhere],
        size=in_words,
        time=time_in_words,
    )


def _device(found: DeviceFit, locale: str) -> str:
    if not found.here:
        return found.name
    return text(locale, "training.this_gpu" if found.gpu else "training.this_cpu")


def _phase(told: Mapping[str, Any], locale: str) -> str:
    """What a training does before and after its steps, in the reader's language; "" while it makes them."""
    phase = str(told.get("phase", ""))
    if phase in ("", "training"):
        return ""
    key = f"training.phase.{phase.partition(' ')[0]}"
    known = text(locale, key) if key in texts("en") else phase
    return f"{known}: {told['reason']}" if told.get("reason") else known


def _facts(job: StoredJob, locale: str) -> list[tuple[str, str]]:
    plan, told, result = plan_of(job), job.progress, job.result
    trained = result.get("trained_parameters")
    found = {
        "base": plan.base.label,
        "dataset": f"{plan.dataset.label} ({plan.dataset.row_count:,})",
        "method": f"{plan.recipe.method} · {plan.recipe.objective}",
        "held_out": held_out_changes(result),
        "loss": _figure(result.get("train_loss", told.get("loss"))),
        "trained": f"{trained:,} / {result['parameters']:,}" if trained is not None else "",
        "steps": f"{result['steps']:,}" if result.get("steps") else "",
        "tokens": f"{result['tokens']:,}" if result.get("tokens") else "",
        "took": time_in_words(result.get("seconds")) if result.get("seconds") else "",
        "speed": f"{told['tokens_per_second']:,.0f}" if told.get("tokens_per_second") else "",
        "memory": in_words(int(told["memory"])) if told.get("memory") else "",
        "gpu_memory": in_words(int(told["gpu_memory"])) if told.get("gpu_memory") else "",
        "attempt": str(job.attempt) if job.attempt > 1 else "",
    }
    return [(text(locale, f"training.{key}"), value) for key, value in found.items()]


def _curves(rows: Sequence[dict[str, Any]], locale: str) -> list[tuple[str, str]]:
    """The curves that there is something to draw of, each with its title."""
    gib = 2**30
    wanted: dict[str, dict[str, tuple[str, float]]] = {
        "losses": {"loss": ("training.loss", 1), "held_out_loss": ("training.held_out_loss", 1)},
        "learning_rate": {"learning_rate": ("training.learning_rate", 1)},
        "speed": {"tokens_per_second": ("training.speed", 1)},
        "memory_gib": {"memory": ("training.memory", gib), "gpu_memory": ("training.gpu_memory", gib)},
    }
    keys = {"held_out_loss": "eval_loss"}
    drawn = []
    for title, lines in wanted.items():
        curves = []
        for name, (label, unit) in lines.items():
            key = keys.get(name, name)
            found = [
                (float(row["step"]), float(row[key]) / unit)
                for row in rows
                if isinstance(row.get(key), int | float)
            ]
            if found:
                steps, values = zip(*sorted(found), strict=True)
                curves.append(Curve(text(locale, label), steps, values))
        if curves and max(len(curve.steps) for curve in curves) > 1:
            heading = text(locale, f"training.{title}")
            drawn.append((heading, curve_plot(curves, title=heading).svg(standalone=False)))
    return drawn


def _steps(job: StoredJob) -> str:
    """How many steps were made of how many; a finished training tells only how many it made."""
    told, made = job.progress, job.result.get("steps")
    if made is not None:
        return f"{made:,}"
    return f"{told['step']:,}/{told['steps']:,}" if "step" in told else "–"


def _figure(value: Any) -> str:
    return f"{value:z.4f}" if isinstance(value, int | float) else "–"


def _bytes(size: int) -> str:
    return (
        f"{size:,} B"
        if size < 1024
        else f"{size / 1024:,.0f} KiB"
        if size < 2**20
        else f"{size / 2**20:,.1f} MiB"
    )
