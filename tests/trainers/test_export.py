"""Exports and arithmetic: merged folders, GGUF files that load again, adapters mixed, models subtracted."""

from __future__ import annotations

import json
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft.tuners.lora import LoraModel
from transformers import AutoModelForCausalLM, AutoTokenizer

from arena.engines.local_merge import merge
from arena.engines.spec import ModelSpec
from arena.roster import enter, find
from results.ids import new_id
from results.store import Store, open_store
from results.store.jobs import JobRecord, StoredJob
from tests.trainers.tiny_models import planner
from trainers._tensors import NoFloats, in_dtype
from trainers.arithmetic import Term, combine, enter_combined
from trainers.artifacts import zip_artifact
from trainers.export import CannotExport, FolderExport, artifact_of, export_folder
from trainers.export_gguf import export_gguf
from trainers.methods.gguf_check import check
from trainers.methods.training import train
from trainers.plan import CannotPlan

IDS = torch.tensor([[5, 6, 7, 8, 9]])


def logits(folder: Path | str) -> torch.Tensor:
    with torch.inference_mode():
        found: torch.Tensor = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)(IDS).logits
        return found


@dataclass(frozen=True)
class Finished:
    """A training that has left an adapter, and that adapter merged by the process that users' exports run."""

    data: Path
    job: StoredJob
    merged: FolderExport

    @property
    def adapter(self) -> str:
        return str(self.job.result["artifact"])


@pytest.fixture(scope="module")
def finished(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    place = tmp_path_factory.mktemp("finished")
    with open_store(place / "data") as store:
        plan = planner(store, tiny_model, place)(lora={"rank": 4})
    folder = place / "job"
    folder.mkdir()
    result = train(plan, place / "data", folder, lambda told: None)
    record = JobRecord(id=new_id(), name=plan.recipe.name, recipe=plan.model_dump(mode="json"))
    job = StoredJob(
        **record.model_dump(), state="done", cancel_asked=False, pid=None, process_start=None, attempt=1, progress={},
        result=result, error_kind=None, error=None, started_at=None, finished_at=None,
    )  # fmt: skip
    return Finished(place / "data", job, export_folder(job, place / "data", place / "merged"))


def with_adapter(base: Path, adapter: str, factor: float = 1.0) -> torch.Tensor:
    from peft import PeftModel

    model = PeftModel.from_pretrained(
        AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), adapter
    )
    for module in model.modules():
        if isinstance(getattr(module, "scaling", None), dict):
            module.scaling = {name: value * factor for name, value in module.scaling.items()}
    with torch.inference_mode():
        found: torch.Tensor = model(IDS).logits
        return found


def test_an_adapter_becomes_a_folder_that_stands_alone(finished: Finished, tiny_model: Path) -> None:
    out = finished.merged
    assert out.merged
    assert out.difference is not None
    assert torch.allclose(logits(out.folder), with_adapter(tiny_model, finished.adapter), atol=1e-5)
    assert "apache-2.0" in (out.folder / "README.md").read_text(encoding="utf-8")
    with pytest.raises(CannotExport, match="not empty"):
        export_folder(finished.job, finished.data, out.folder)


def test_all_of_it_is_one_zip_or_none(
    finished: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = artifact_of(finished.job)
    with zipfile.ZipFile(zip_artifact(folder, tmp_path / "학생.zip")) as archive:
        assert archive.testzip() is None
        names = {str(Path("학생") / file.relative_to(folder)) for file in folder.rglob("*") if file.is_file()}
        assert set(archive.namelist()) == names

    def full(*args: Any, **options: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(zipfile.ZipFile, "write", full)
    with pytest.raises(OSError, match="No space left"):
        zip_artifact(folder, tmp_path / "other.zip")
    assert [file.name for file in tmp_path.iterdir()] == ["학생.zip"]


def test_nothing_is_merged_that_answers_otherwise(
    finished: Finished, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = LoraModel.merge_and_unload

    def wrong(model: LoraModel, **options: Any) -> Any:
        merged = right(model, **options)
        merged.get_submodule("model.layers.1.mlp.down_proj").weight.data.mul_(1.5)
        return merged

    monkeypatch.setattr(LoraModel, "merge_and_unload", wrong)
    with pytest.raises(ValueError, match="logits differ"):
        merge(tiny_model, Path(finished.adapter), tmp_path / "merged")
    assert not (tmp_path / "merged").exists()


def tiny(folder: Path, tokenizer: Path, kind: str) -> Path:
    from transformers import (
        Gemma3ForCausalLM,
        Gemma3TextConfig,
        LlamaConfig,
        LlamaForCausalLM,
        Qwen2Config,
        Qwen2ForCausalLM,
        Qwen3Config,
        Qwen3ForCausalLM,
    )

    fast = AutoTokenizer.from_pretrained(tokenizer)
    sizes: dict[str, Any] = {
        "vocab_size": len(fast), "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 128,
        "bos_token_id": None, "eos_token_id": fast.eos_token_id, "pad_token_id": fast.pad_token_id,
    }  # fmt: skip
    torch.manual_seed(0)
    model: Any
    if kind == "llama":
        model = LlamaForCausalLM(LlamaConfig(**sizes, tie_word_embeddings=False))
    elif kind == "qwen2":
        model = Qwen2ForCausalLM(Qwen2Config(**sizes, tie_word_embeddings=True))
    elif kind == "qwen3":
        model = Qwen3ForCausalLM(Qwen3Config(**sizes, head_dim=128, tie_word_embeddings=True))
    else:
        model = Gemma3ForCausalLM(Gemma3TextConfig(**sizes, head_dim=32))
    for parameter in model.parameters():
        # Norms and biases begin at one and zero, which would hide what is mixed up.
        torch.nn.init.normal_(parameter, mean=0.1, std=0.2)
    model.save_pretrained(folder)
    fast.save_pretrained(folder)
    return folder


@pytest.mark.parametrize(
    ("model", "kind"), [("llama", "f16"), ("qwen2", "q8_0"), ("qwen3", "f32"), ("gemma3", "bf16")]
)
def test_gguf_files_hold_the_same_model(
    model: str, kind: Any, tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if model != "llama":  # once as users do it, in a process of its own
        monkeypatch.setattr("trainers.export_gguf._verified", check)
    folder = tiny(tmp_path / model, tiny_model, model)
    out = export_gguf(folder, tmp_path / f"{model}.gguf", kind)
    assert out.file.is_file()
    assert out.difference <= 0.08 * out.largest_logit
    with pytest.raises(FileExistsError):
        export_gguf(folder, out.file)


def test_gguf_refuses_by_name_and_keeps_no_wrong_file(
    tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tiny(tmp_path / "other", tiny_model, "llama")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "model_type": "mamba"}))
    with pytest.raises(CannotExport, match="architecture mamba is not written"):
        export_gguf(folder, tmp_path / "x.gguf")
    (folder / "config.json").write_text(
        json.dumps({**config, "rope_parameters": {"rope_type": "llama3", "rope_theta": 1e4}})
    )
    with pytest.raises(CannotExport, match="rope scaling 'llama3'"):
        export_gguf(folder, tmp_path / "x.gguf")
    # Queries left as they are: the file loads, and is not the same model. Its process ends with why.
    (folder / "config.json").write_text(json.dumps(config))
    monkeypatch.setattr("trainers.export_gguf._permuted", lambda values, heads: values)
    with pytest.raises(CannotExport, match=r"was not kept: logits differ"):
        export_gguf(folder, tmp_path / "x.gguf", "f32")
    assert not list(tmp_path.glob("*.gguf"))


def test_adapters_are_mixed_and_models_subtracted(
    finished: Finished, store: Store, tmp_path: Path, tiny_model: Path
) -> None:
    half = combine(
        Term(tiny_model, 1.0), [Term(tiny_model, 0.5, Path(finished.adapter), True)], tmp_path / "half"
    )
    assert torch.allclose(logits(half), with_adapter(tiny_model, finished.adapter, 0.5), atol=1e-5)
    # chat vector: base + (tuned - base) is the tuned model
    tuned = finished.merged.folder
    back = combine(Term(tiny_model, 1.0), [Term(tuned, 1.0), Term(tiny_model, -1.0)], tmp_path / "back")
    assert torch.allclose(logits(back), logits(tuned), atol=1e-5)

    enter(store, ModelSpec(name="tiny", source=str(tiny_model), licence="apache-2.0"), store.data_dir)
    entered = enter(
        store,
        ModelSpec(
            name="student",
            source=str(tiny_model),
            adapter=finished.adapter,
            licence="mit",
            data_licences=("cc0-1.0",),
        ),
        store.data_dir,
    )
    # A reference is loaded from the base's files, which do not have the adapter.
    with pytest.raises(CannotPlan, match="Merge it first"):
        planner(store, tiny_model, tmp_path)("preference", base="student", method="full", objective="dpo")
    made = enter_combined(store, "mixture", find(store, "tiny"), adapters=[(entered, 0.5)])
    assert torch.equal(logits(made.spec.source), logits(half))
    assert made.spec.parent == "tiny@1"
    assert made.spec.note == "tiny@1 + 0.5 x student@1 (adapter)"
    assert set(made.spec.data_licences) == {"cc0-1.0", "mit"}


def test_arithmetic_refuses_what_does_not_fit(tmp_path: Path, tiny_model: Path) -> None:
    other = tiny(tmp_path / "llama", tiny_model, "llama")
    with pytest.raises(NoFloats, match="of one architecture"):
        combine(Term(tiny_model, 1.0), [Term(other, 1.0)], tmp_path / "x")
    assert not (tmp_path / "x").exists()
    assert not list(tmp_path.glob(".making*"))


def test_bfloat16_is_rounded_as_torch_does() -> None:
    values = np.random.default_rng(0).normal(size=10_000).astype(np.float32)
    values[:3] = (np.inf, -np.inf, np.nan)
    expected = torch.from_numpy(values).to(torch.bfloat16).view(torch.int16).numpy().view(np.uint16)
    found = in_dtype(values, "BF16")
    assert np.array_equal(found[3:], expected[3:])
    assert np.array_equal(found[:2], expected[:2])
    assert np.isnan((found.astype(np.uint32) << 16).view(np.float32)[2])
