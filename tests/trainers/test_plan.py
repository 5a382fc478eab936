"""What is refused before a training waits in the queue: hours later would be too late."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from arena.engines.spec import ModelSpec
from arena.roster import enter, find
from results.records import ModelVersionRecord
from results.store import Store
from results.store.aliases import set_alias
from results.store.roster import replace_origin
from trainers.plan import CannotPlan, TrainingPlan

Plan = Callable[..., TrainingPlan]


def test_names_that_the_new_model_could_not_get_are_refused(plan_for: Plan, store: Store) -> None:
    made = plan_for("chat")
    tiny = find(store, "tiny")
    record = ModelVersionRecord(
        model="문서", digest="d", spec=tiny.spec.model_dump(mode="json") | {"name": "문서"}, owner="file"
    )
    replace_origin(store, "/somewhere/arena.toml", [record])
    set_alias(store, "별명", tiny.version.version_key)
    with pytest.raises(CannotPlan, match=r"^name: '문서' is an entry of a settings file"):
        plan_for("chat", name="문서")
    with pytest.raises(CannotPlan, match=r"^name: '별명' is an alias"):
        plan_for("chat", name="별명")
    # A head that rates does not enter the roster, and a model's own name makes its next version.
    assert plan_for("preference", objective="reward", name="별명").recipe.name == "별명"
    assert plan_for("chat", name="tiny").base == made.base


def test_an_adapter_cannot_teach_unseen(
    plan_for: Plan, store: Store, tiny_model: Path, tmp_path: Path
) -> None:
    plan_for("chat")
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text('{"peft_type": "LORA", "r": 1}', encoding="utf-8")
    (adapter / "adapter_model.safetensors").write_bytes(b"\x02\0\0\0\0\0\0\0{}")
    spec = ModelSpec(name="선생", source=str(tiny_model), adapter=str(adapter), licence="mit")
    enter(store, spec, store.data_dir)
    distill = {"objective": "distill", "distillation": {"teacher": "선생"}}
    with pytest.raises(CannotPlan, match=r"distillation\.teacher: 선생@1 is an adapter on"):
        plan_for("chat", **distill)
    assert plan_for("chat", objective="distill", distillation={"teacher": "tiny"}).teacher == tiny_model
