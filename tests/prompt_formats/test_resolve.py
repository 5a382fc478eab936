"""Resolution: the order, the reasons, and that a base model is never taken for a chat model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from prompt_formats import Conversation, InvalidInput, UnknownFormat, built_in, load_registry, render, resolve
from prompt_formats.resolve import format_from_gguf, segments

# Model ids and the family each was trained on; `plain` are base models.
IDS = {
    "meta-llama/Llama-3.1-70B-Instruct": "llama-3.1",
    "meta-llama/Meta-Llama-3-70B-Instruct": "llama-3",
    "meta-llama/Llama-3.2-1B-Instruct": "llama-3.2",
    "bartowski/Llama-3.3-70B-Instruct-GGUF": "llama-3.3",
    "meta-llama/Llama-3.1-8B": "plain",
    "NousResearch/Hermes-3-Llama-3.1-8B": "chatml",
    "cognitivecomputations/dolphin-2.9.4-llama3.1-8b": "chatml",
    "allenai/Llama-3.1-Tulu-3-8B": "tulu",
    "TheBloke/Llama-2-7B-Chat-GGUF": "llama-2",
    "codellama/CodeLlama-13b-Instruct-hf": "llama-2",
    "mistralai/Mistral-7B-Instruct-v0.3": "mistral-v3",
    "mistralai/Mistral-Nemo-Instruct-2407": "mistral-tekken",
    "mistralai/Mistral-Nemo-Base-2407": "plain",
    "mistralai/Mixtral-8x7B-Instruct-v0.1": "mistral-v1",
    "mistralai/Mistral-Small-3.2-24B-Instruct-2506": "mistral-v7-tekken",
    "mistralai/Mistral-Large-Instruct-2411": "mistral-v7",
    "mistralai/Devstral-Small-2507": "mistral-v7-tekken",
    "Qwen/Qwen2.5-7B-Instruct": "qwen2.5",
    "Qwen/Qwen2.5-7B": "plain",
    "Qwen/Qwen3-0.6B": "qwen3",
    "Qwen/Qwen3-0.6B-Base": "plain",
    "Qwen/Qwen3-4B-Instruct-2507": "qwen3-2507",
    "Qwen/Qwen3-Coder-30B-A3B-Instruct": "qwen3-coder",
    "unsloth/Qwen3.5-4B-GGUF": "qwen3.5",
    "deepseek-ai/DeepSeek-R1-Distill-Qwen-7B": "deepseek-r1",
    "deepseek-ai/DeepSeek-R1-0528-Qwen3-8B": "deepseek-r1",
    "deepseek-ai/DeepSeek-V3-0324": "deepseek-v3",
    "deepseek-ai/DeepSeek-V3.1": "deepseek-v3.1",
    "google/gemma-2-2b-it": "gemma-2",
    "google/gemma-2-2b": "plain",
    "google/gemma-3-27b-it-qat-q4_0-gguf": "gemma-3",
    "google/gemma-3-270m": "plain",
    "microsoft/phi-4": "phi-4",
    "microsoft/Phi-4-mini-instruct": "phi-4-mini",
    "microsoft/Phi-3-medium-4k-instruct": "phi-3",
    "LGAI-EXAONE/EXAONE-3.5-2.4B-Instruct": "exaone-3",
    "upstage/SOLAR-10.7B-Instruct-v1.0": "solar",
    "HuggingFaceTB/SmolLM2-135M-Instruct": "chatml",
    "HuggingFaceTB/SmolLM2-135M": "plain",
    "HuggingFaceTB/SmolLM3-3B": "smollm3",
    "ibm-granite/granite-3.3-2b-instruct": "granite-3",
    "zai-org/GLM-4.5-Air": "glm-4.5",
    "THUDM/glm-4-9b-chat": "glm-4",
    "openai/gpt-oss-20b": "gpt-oss",
    "CohereForAI/c4ai-command-r7b-12-2024": "command-r7b",
    "CohereForAI/c4ai-command-r-plus": "command-r",
    "beomi/KoAlpaca-Polyglot-5.8B": "koalpaca-v1.1",
    "nlpai-lab/kullm-polyglot-12.8b-v2": "kullm-v1v2",
    "EleutherAI/polyglot-ko-1.3b": "plain",
    "lmsys/vicuna-7b-v1.5": "vicuna-v1.1",
    "WizardLM/WizardLM-7B-V1.0": "wizardlm",
    "NousResearch/Nous-Hermes-2-Mixtral-8x7B-DPO": "chatml",
    "OpenAssistant/oasst-sft-4-pythia-12b-epoch-3.5": "open-assistant",
    "TinyLlama/TinyLlama-1.1B-Chat-v1.0": "zephyr",
    "tiiuae/falcon-7b": "plain",
    "tiiuae/Falcon3-7B-Instruct": "plain",
    "google/gemma-9-27b-it": "plain",
    "Qwen/Qwen7-8B-Instruct": "plain",
    "nlpai-lab/KULLM3": "plain",
    "someone/an-unheard-of-model-7b-chat": "plain",
}


@pytest.mark.parametrize(("model", "family"), IDS.items())
def test_families_of_ids(model: str, family: str) -> None:
    assert resolve(model).format.family == family


def test_every_pattern_finds_its_format() -> None:
    """A pattern that another always beats would be dead."""
    wrong = []
    for form in built_in().values():
        for pattern in form.models:
            name = pattern.replace(" +chat", " chat").replace(" ", "-")
            if resolve(f"org/{name}").format is not form:
                wrong.append((pattern, form.name, resolve(f"org/{name}").format.name))
    assert not wrong


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Meta-Llama-3.1-8B-Instruct-Q4_K_M-GGUF", ("meta", "llama", "3.1", "8b", "instruct")),
        ("zephyr-7B-beta-AWQ", ("zephyr", "7b", "beta")),
        ("openchat_3.5", ("openchat", "3.5")),
        ("Qwen2.5-7B", ("qwen", "2.5", "7b")),
        ("vicuna-13B-v1.5-16K-GPTQ", ("vicuna", "13b", "v1.5", "16k")),
    ],
)
def test_segments(name: str, expected: tuple[str, ...]) -> None:
    assert segments(name) == expected


@pytest.mark.parametrize("model", ["tiiuae/Falcon3-7B-Instruct", "google/gemma-9-27b-it"])
def test_a_newer_generation_is_unknown_rather_than_guessed(model: str) -> None:
    assert resolve(model).warning is not None


def test_an_unknown_model_is_plain_with_a_warning_and_never_chatml() -> None:
    found = resolve("someone/an-unheard-of-model-7b-chat")
    assert (found.format.name, found.step) == ("plain", "plain")
    assert found.warning is not None
    assert "Set prompt_format" in found.warning


def test_reasons_are_told() -> None:
    assert "llama 2" in resolve("meta-llama/Llama-2-7b-chat-hf").reason
    assert "no chat or instruct mark" in resolve("meta-llama/Llama-2-7b-hf").reason
    assert "marked as a base model" in resolve("Qwen/Qwen3-8B-Base").reason


@pytest.fixture
def folders(made: Any, tmp_path: Path) -> dict[str, Path]:
    tokenizer = made.save(
        made.byte_level(), tmp_path / "tokenizer", chat_template="T{{ messages[0].content }}"
    )
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "chat_template.jinja").write_text("A{{ messages[0].content }}", encoding="utf-8")
    bare = tmp_path / "bare"
    bare.mkdir()
    (bare / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "Qwen/Qwen3-8B"}))
    return {"tokenizer": tokenizer, "adapter": adapter, "bare": bare}


def test_the_order(folders: dict[str, Path]) -> None:
    metadata = {
        "tokenizer.chat_template": "G{{ messages[0].content }}",
        "tokens": {"bos": "<s>", "eos": "</s>"},
    }
    everything: dict[str, Any] = {
        "explicit": "zephyr", "adapter": folders["adapter"], "tokenizer": folders["tokenizer"], "gguf": metadata,
        "parent": "google/gemma-2-2b-it",
    }  # fmt: skip
    asked: list[str] = []

    def parent() -> str:
        asked.append("parent")
        return "google/gemma-2-2b-it"

    model: str | None = "Qwen/Qwen3-8B"
    steps = []
    for given in (*everything, None):
        steps.append(resolve(model, **everything).step)
        if given == "gguf":
            everything["gguf"] = None
            steps.append(resolve(model, **everything).step)
            model = "nobody/knows"
            everything["parent"] = parent
        elif given is not None:
            everything[given] = None
    assert steps == ["explicit", "adapter", "tokenizer", "gguf", "registry", "parent", "plain"]
    assert asked == ["parent"]


def test_an_adapter_without_a_template_passes_on(folders: dict[str, Path]) -> None:
    assert resolve("Qwen/Qwen3-8B", adapter=folders["bare"]).step == "registry"
    with pytest.raises(InvalidInput, match="no such folder"):
        resolve(adapter=folders["bare"] / "gone")


def test_an_explicit_name_must_exist() -> None:
    with pytest.raises(UnknownFormat):
        resolve("Qwen/Qwen3-8B", explicit="qwen33")


def test_users_formats_take_part(tmp_path: Path) -> None:
    (tmp_path / "o.yaml").write_text(
        "family: own\ntemplate: o.jinja\nname: own\nmodels: [our secret model]\n"
    )
    (tmp_path / "o.jinja").write_text("{{ messages[0].content }}")
    registry = load_registry(tmp_path)
    assert resolve("us/Our-Secret-Model-3B", registry=registry).format.name == "own"


def test_a_gguf_file(tmp_path: Path) -> None:
    gguf = pytest.importorskip("gguf")
    path = tmp_path / "model.gguf"
    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_chat_template("{{ bos_token }}{% for m in messages %}[{{ m.content }}]{% endfor %}")
    writer.add_token_list(["<unk>", "<s>", "</s>"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    found = resolve("some/model", gguf=path)
    assert (found.step, found.format.bos, found.format.eos) == ("gguf", "<s>", "</s>")
    prompt = render(Conversation().add("user", "안녕"), found)
    assert (prompt.prompt, prompt.n_bos, prompt.stops) == ("<s>[안녕]", 1, ("</s>",))
    assert format_from_gguf({"other": 1}) is None
    path.write_bytes(b"not a gguf file")
    with pytest.raises(InvalidInput, match="not a GGUF file"):
        resolve(gguf=path)
