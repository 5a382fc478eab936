"""From a model back to the training that made it, and an adapter that tells nothing of the machine it was made on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from arena.roster import enter, find
from results.ids import new_id
from results.store import Store
from results.store.datasets import remove_dataset
from results.store.jobs import JobRecord, StoredJob, add_job
from trainers._tensors import stored_tensors
from trainers.export import CannotExport, export_adapter
from trainers.lineage import trained_spec, training_of
from trainers.methods.training import train
from trainers.plan import TrainingPlan

Plan = Callable[..., TrainingPlan]


def test_a_model_tells_its_training_and_its_adapter_goes_elsewhere(
    plan_for: Plan, store: Store, tmp_path: Path
) -> None:
    plan = plan_for(lora={"rank": 4})
    record = JobRecord(id=new_id(), name=plan.recipe.name, recipe=plan.model_dump(mode="json"))
    folder = tmp_path / "data" / "jobs" / str(record.id)
    folder.mkdir(parents=True)
    result = train(plan, store.data_dir, folder, lambda told: None)
    tuned = enter(store, trained_spec(plan, result), store.data_dir)
    made = training_of(store, tuned.spec)
    assert made is not None
    assert (made.base, made.dataset, made.dataset_here, made.method) == ("tiny@1", "chat@1", True, "lora")
    assert (made.job, made.recipe_digest) == (None, plan.recipe.digest()), "the store knows no such job yet"
    assert (made.loss_before, made.loss_after) == (
        result["held_out_before"]["loss"], result["held_out_after"]["loss"],
    )  # fmt: skip
    add_job(store, record)
    remove_dataset(store, "chat")
    made = training_of(store, tuned.spec)
    assert made is not None
    assert (made.job, made.dataset_here) == (str(record.id), False)
    assert training_of(store, find(store, "tiny").spec) is None

    job = StoredJob(
        **record.model_dump(), state="done", cancel_asked=False, pid=None, process_start=None, attempt=1, progress={},
        result=result, error_kind=None, error=None, started_at=None, finished_at=None,
    )  # fmt: skip
    out = export_adapter(job, tmp_path / "out" / "student")
    names = {file.name for file in out.folder.iterdir()}
    assert names == {
        "README.md", "adapter_config.json", "adapter_model.safetensors", "recipe.yaml", "training.json",
    }  # fmt: skip
    for file in out.folder.iterdir():
        assert str(tmp_path).encode() not in file.read_bytes(), file.name
    before, after = stored_tensors(Path(result["artifact"])), stored_tensors(out.folder)
    assert before.keys() == after.keys()
    for name, tensor in after.items():
        assert tensor.dtype == "BF16"
        assert np.allclose(tensor.read(), before[name].read(), rtol=2**-8)
    elsewhere = training_of(store, tuned.spec.model_copy(update={"adapter": str(out.folder)}))
    assert elsewhere is not None
    assert (elsewhere.recipe_digest, elsewhere.job) == (made.recipe_digest, made.job)
    with pytest.raises(CannotExport, match="not empty"):
        export_adapter(job, out.folder)
    with pytest.raises(CannotExport, match="whole weights"):
        export_adapter(
            job.model_copy(update={"result": {**result, "artifact_kind": "weights"}}), tmp_path / "x"
        )
