"""What is found out about a model from its files, and what is wrong with those that cannot be one."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from arena.engines.spec import ModelSpec
from arena.engines.weight_files import read_weights
from arena.roster.cards import UnusableSource, find_licence, read_card
from arena.roster.inspection import inspect
from tests.arena.model_folders import save_adapter, save_card, save_gguf, save_model


def look(source: Path, tmp_path: Path, **fields: object) -> object:
    return inspect(
        ModelSpec.model_validate({"name": "x", "source": str(source), **fields}), tmp_path / "data"
    )


def test_a_folder_tells_size_licence_context_and_prompt_format(tmp_path: Path) -> None:
    card = {"license": "apache-2.0", "language": ["ko", "en"], "base_model": "org/base"}
    folder = save_model(tmp_path / "모형", **card)
    facts = inspect(ModelSpec(name="x", source=str(folder), quantisation="nf4"), tmp_path)
    assert (facts.parameters, facts.architecture, facts.context_length) == (48, "LlamaForCausalLM", 2048)
    assert facts.bytes_on_disk == sum(file.stat().st_size for file in folder.glob("*.safetensors"))
    assert (facts.licence, facts.licence_source) == ("apache-2.0", "the model's card")
    assert (facts.languages, facts.parent, facts.quantisation) == (("ko", "en"), "org/base", "nf4")
    assert facts.prompt_format_reason is not None
    assert "tokenizer's own template" in facts.prompt_format_reason
    own = inspect(
        ModelSpec(name="x", source=str(folder), licence="mit", context_length=512, parent="p@1"), tmp_path
    )
    assert (own.licence, own.licence_source, own.context_length, own.parent) == (
        "mit", "its entry", 512, "p@1",
    )  # fmt: skip


def test_an_adapter_counts_itself_and_keeps_a_licence_of_its_own(tmp_path: Path) -> None:
    base = save_model(tmp_path / "base", license="llama3.1")
    adapter = save_adapter(tmp_path / "adapter", "org/base", license="cc-by-nc-4.0")
    facts = inspect(ModelSpec(name="x", source=str(base), adapter=str(adapter)), tmp_path)
    assert (facts.parameters, facts.licence, facts.parent) == (56, "cc-by-nc-4.0", "org/base")
    assert "LORA adapter, parameters of its own: 8" in facts.notes


def test_a_gguf_file_tells_by_its_metadata(tmp_path: Path) -> None:
    told = {"license": "mit", "base_model.0.repo_url": "https://huggingface.co/org/base"}
    facts = inspect(ModelSpec(name="x", source=str(save_gguf(tmp_path / "모형.gguf", **told))), tmp_path)
    assert (facts.parameters, facts.quantisation, facts.context_length) == (64, "GGUF Q8_0", 4096)
    assert (facts.licence, facts.parent, facts.architecture) == ("mit", "org/base", "llama")
    assert facts.prompt_format_reason == "template in the GGUF metadata"


def test_packed_weights_count_as_trained(tmp_path: Path) -> None:
    def header(
        folder: Path, config: dict[str, object], tensors: dict[str, tuple[str, list[int]]]
    ) -> int | None:
        folder.mkdir()
        (folder / "config.json").write_text(json.dumps({"quantization_config": config}))
        entries = {k: {"dtype": d, "shape": s, "data_offsets": [0, 0]} for k, (d, s) in tensors.items()}
        text = json.dumps(entries).encode()
        (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text)
        return read_weights(folder).parameters

    nf4 = {"w.weight": ("U8", [32, 1]), "w.weight.absmax": ("F32", [1]), "w.weight.quant_map": ("F32", [16]),
           "w.weight.quant_state.bitsandbytes__nf4": ("U8", [70]), "norm": ("F32", [8])}  # fmt: skip
    assert header(tmp_path / "nf4", {"quant_method": "bitsandbytes", "load_in_4bit": True}, nf4) == 72
    gptq = {"w.qweight": ("I32", [8, 8]), "w.scales": ("F16", [1, 8]), "w.qzeros": ("I32", [1, 1]),
            "w.g_idx": ("I32", [64])}  # fmt: skip
    assert header(tmp_path / "gptq", {"quant_method": "gptq", "bits": 4}, gptq) == 512


def lose_a_shard(folder: Path) -> None:
    (folder / "model-00002-of-00002.safetensors").unlink()


def cut_a_shard(folder: Path) -> None:
    file = folder / "model-00001-of-00002.safetensors"
    file.write_bytes(file.read_bytes()[:-3])


def leave_a_pointer(folder: Path) -> None:
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"
    (folder / "model-00001-of-00002.safetensors").write_text(pointer)


@pytest.mark.parametrize(
    ("break_it", "says"),
    [
        (lose_a_shard, r"1 of 2 shards are missing: model-00002-of-00002\.safetensors"),
        (cut_a_shard, r"model-00001-of-00002\.safetensors: it is cut off"),
        (leave_a_pointer, r"Git LFS pointer.*git lfs pull"),
        (lambda folder: (folder / "config.json").unlink(), r"no config\.json"),
        (lambda folder: (folder / "config.json").write_text("{"), r"config\.json: it cannot be read"),
        (lambda folder: (folder / "tokenizer.json").unlink(), r"no tokenizer"),
        (lambda folder: (folder / "model.safetensors.index.json").unlink(), r"index\.json is missing beside"),
        (lambda folder: [file.unlink() for file in folder.glob("model*")], r"no weights"),
    ],
)
def test_a_broken_folder_is_told_file_by_file(
    break_it: Callable[[Path], object], says: str, tmp_path: Path
) -> None:
    folder = save_model(tmp_path / "model")
    break_it(folder)
    with pytest.raises(UnusableSource, match=says):
        look(folder, tmp_path)


def test_files_that_are_no_gguf_are_told(tmp_path: Path) -> None:
    whole = save_gguf(tmp_path / "whole.gguf").read_bytes()
    for name, content, says in (
        ("text.gguf", b"hello", "no GGUF file"),
        ("cut.gguf", whole[: len(whole) // 3], "cut off"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UnusableSource, match=says):
            look(tmp_path / name, tmp_path)


def test_cards_of_all_kinds(tmp_path: Path) -> None:
    assert read_card(tmp_path).licence is None
    for card, licence in (
        ({"license": "MIT"}, "MIT"),
        ({"license": "other", "license_name": "exaone"}, "exaone"),
        ({"license": "other"}, "other"),
        ({"license": ["mit", "cc-by-nc-4.0"]}, "cc-by-nc-4.0"),
        ({"license": ["mit", "house rules"]}, "mit and house rules"),
        ({"license": None}, None),
    ):
        save_card(tmp_path, **card)
        assert read_card(tmp_path).licence == licence
    (tmp_path / "README.md").write_text("---\nlicense: [\n---\n")
    assert "no YAML" in (read_card(tmp_path).problem or "")
    (tmp_path / "README.md").write_text("# no front matter\n")
    (tmp_path / "LICENSE").write_text("   LLAMA 3.2 COMMUNITY LICENSE AGREEMENT\n...")
    assert find_licence(tmp_path, read_card(tmp_path)) == ("llama3.2", "the text of LICENSE")
    (tmp_path / "LICENSE").write_text("우리 회사만 씁니다.")
    licence, source = find_licence(tmp_path, read_card(tmp_path))
    assert (licence, source) == ("see LICENSE", "LICENSE, whose text is not known here")
