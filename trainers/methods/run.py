"""The process that trains: `python -m trainers.methods.run DATA_DIR JOB_ID`.

It claims its job, waits for memory, trains (or goes on from the last whole checkpoint), and leaves an artifact. What
it knows it tells the store; whoever started it may be gone by then.
"""

from __future__ import annotations

import logging
import os
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

from arena.roster import enter
from results.records import now
from results.store import Store, StoreError, open_store
from results.store.jobs import Claim, Ending, Progress, StoredJob, claim_job, end_job, job, tell_progress
from results.store.ledger import ReservationRefused, ReservationTimedOut, reserve
from trainers.contamination import contamination_of
from trainers.jobs import began, concurrent_jobs, job_folder
from trainers.memory import estimate
from trainers.methods._processes import give_word, leads, let_leader_end, take_back_word, word_of_leader
from trainers.plan import RATES_ONLY, TrainingPlan

log = logging.getLogger("trainers")


def main(data_dir: Path, job_id: UUID) -> int:
    """Run one job to its end; the exit code is 0 unless it failed. Of several processes the first one leads."""
    folder = job_folder(data_dir, job_id)
    folder.mkdir(parents=True, exist_ok=True)
    _log_to(folder)
    if not leads():
        return _train_along(data_dir, folder, job_id)
    try:
        return _lead(data_dir, folder, job_id)
    finally:
        take_back_word(folder)


def _lead(data_dir: Path, folder: Path, job_id: UUID) -> int:
    pid = os.getpid()
    with open_store(data_dir) as store:
        claim = Claim(id=job_id, pid=pid, process_start=began(pid) or 0.0, limit=concurrent_jobs())
        if not claim_job(store, claim):
            log.info("another process has job %s, or others run: nothing to do", job_id)
            (folder / "started").unlink(missing_ok=True)
            give_word(folder, "stop")
            return 0
        found = job(store, job_id)
        assert found is not None  # it was just claimed
        ending = _run(store, data_dir, folder, found)
        end_job(store, ending)
        log.info("%s%s", ending.state, f": {ending.error}" if ending.error else "")
        return 1 if ending.state == "failed" else 0


def _run(store: Store, data_dir: Path, folder: Path, found: StoredJob) -> Ending:
    def ending(state: Any, **fields: Any) -> Ending:
        return Ending(id=found.id, pid=os.getpid(), state=state, **fields)

    tell = _teller(store, found.id, folder)
    try:
        plan = TrainingPlan.model_validate(found.recipe)
        need = estimate(plan)
        tell({"phase": "waiting"})
        with reserve(
            store,
            purpose=f"training {plan.recipe.name}",
            ram=need.ram,
            gpu=need.gpu,
            on_wait=lambda reason: tell({"phase": "waiting", "reason": reason.removeprefix("waiting ")}),
        ):
            tell({"phase": "checking rows against test suites"})
            contamination = contamination_of(store, plan, folder)
            tell({"phase": "loading"})
            give_word(folder, "go")
            from trainers.methods.training import Cancelled, train

            try:
                result = train(plan, data_dir, folder, tell, contamination)
            except Cancelled:
                return ending("cancelled")
        return ending("done", result={**result, **_entered(store, data_dir, plan, result)})
    except (ReservationRefused, ReservationTimedOut) as error:
        return ending(
            "failed",
            error_kind="no_memory",
            error=f"{error}. Lower what `arena train estimate` shows as large",
        )
    except MemoryError as error:
        return ending("failed", error_kind="out_of_memory", error=_out_of_memory(str(error)))
    except Exception as error:  # noqa: BLE001  (whatever ends a training is told to whoever asks for the job)
        log.error("%s", traceback.format_exc())
        kind, text = explain(error)
        return ending("failed", error_kind=kind, error=text)


def _train_along(data_dir: Path, folder: Path, job_id: UUID) -> int:
    """Take part in a training that another process leads."""
    if word_of_leader(folder) == "stop":
        return 0
    with open_store(data_dir) as store:
        found = job(store, job_id)
        assert found is not None  # the leader has claimed it
        plan = TrainingPlan.model_validate(found.recipe)
        contamination = contamination_of(store, plan, folder)  # as the leader left it
    from trainers.methods.training import Cancelled, train

    try:
        train(plan, data_dir, folder, lambda told: None, contamination)
    except Cancelled:
        return 0
    except Exception:  # noqa: BLE001  (the leader tells what went wrong; this one must not end it before it has)
        log.error("%s", traceback.format_exc())
        let_leader_end(folder)
        return 1
    return 0


def _entered(store: Store, data_dir: Path, plan: TrainingPlan, result: dict[str, Any]) -> dict[str, Any]:
    """Put the new model on the roster, ready for battles; heads that rate or classify answer nobody."""
    if plan.recipe.objective in RATES_ONLY:
        return {}
    from trainers.lineage import trained_spec

    contestant = enter(store, trained_spec(plan, result), data_dir, owner="trainer")
    return {"model": contestant.version.label, "version_key": contestant.version.version_key}


def explain(error: Exception) -> tuple[str, str]:
    """The kind of a failure, and what to do about it, for people."""
    text = " ".join(str(error).split())[:1_000]
    kind = getattr(error, "kind", None)
    if isinstance(kind, str):
        return kind, text
    if "out of memory" in text.lower() or "can't allocate memory" in text.lower():
        return "out_of_memory", _out_of_memory(text)
    if isinstance(error, OSError) and error.errno == 28:
        return "disk_full", f"the disk is full ({text}): make room, then `arena train resume`"
    return "failed", f"{type(error).__name__}: {text} (the log in the job's folder has the whole story)"


def _out_of_memory(text: str) -> str:
    return (
        f"out of memory ({text[:200]}): lower optimiser.batch_size (and raise gradient_accumulation by as much) or "
        "optimiser.max_length, set optimiser.gradient_checkpointing, or use method lora or qlora"
    )


def _teller(store: Store, job_id: UUID, folder: Path) -> Callable[[dict[str, Any]], None]:
    def tell(progress: dict[str, Any]) -> None:
        told = {**progress, "told_at": now().isoformat()}
        try:
            asked = tell_progress(store, Progress(id=job_id, pid=os.getpid(), progress=told))
        except StoreError as error:
            # Training goes on without anybody watching; the next telling tries again.
            log.warning("progress could not be told: %s", error)
            return
        if asked:
            (folder / "cancel").touch()

    return tell


def _log_to(folder: Path) -> None:
    handlers: list[logging.Handler] = [logging.StreamHandler(sys.stderr)]
    if leads():
        handlers.append(logging.FileHandler(folder / "training.log", encoding="utf-8"))
    logging.basicConfig(
        level=logging.WARNING,
        format="%(asctime)s %(name)s %(levelname)s %(message)s",
        handlers=handlers,
        force=True,
    )
    logging.Formatter.converter = time.gmtime
    # Libraries tell what they do at every step, and these at every start which kernels for GPUs they have not.
    log.setLevel(logging.INFO)
    for library in ("torchao", "bitsandbytes"):
        logging.getLogger(library).setLevel(logging.ERROR)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: python -m trainers.methods.run DATA_DIR JOB_ID")
    sys.exit(main(Path(sys.argv[1]), UUID(sys.argv[2])))
