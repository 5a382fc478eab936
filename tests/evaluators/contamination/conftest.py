"""A small real model that knows some test items by heart, made on the spot, and a suite that it was trained on."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from arena.engines.base import Engine
from arena.engines.pool import EnginePool
from arena.engines.spec import ModelSpec
from evaluators.suites.definition import Suite, load_suite
from evaluators.suites.scorers.choice import lettered

QUESTIONS = [
    "The harbour master of Ulvik writes down each boat in a green book, whose pages smell of tar and of oranges.",
    "Every second Tuesday the miller of Grenn carries eleven sacks of rye across the wooden bridge to the old mill.",
    "소라는 다락방에서 낡은 라디오를 찾아 할머니께 드렸고 할머니는 그 라디오로 옛 노래를 들으며 오래 웃으셨다.",
    "In the cellar of the museum stands a clock that runs backwards and strikes thirteen whenever it begins to snow.",
    "윤호네 과수원에서는 첫서리가 내리기 전에 배를 모두 따서 볏짚을 깐 나무 상자에 차곡차곡 담아 둔다.",
    "Nobody in the valley remembers who planted the four walnut trees, but each family has carved its name in one.",
    "Captain Idris kept a tame heron on his barge, and taught it to knock on the window when the post had come.",
    "The schoolroom at Penhale has nine windows, of which only the smallest can be opened without a silver spoon.",
]
OPTIONS = [
    ["the green book", "a brass telescope", "an empty lantern", "the harbour bell"],
    ["eleven sacks", "a crate of lemons", "his sister's violin", "some copper wire"],
    ["라디오", "주전자", "재봉틀", "나침반"],
    ["when it snows", "at low tide", "during lunch", "on birthdays"],
    ["나무 상자", "항아리", "광주리", "비단 자루"],
    ["walnut trees", "stone fountains", "wooden gates", "painted doors"],
    ["a heron", "an otter", "two magpies", "the parrot"],
    ["a silver spoon", "an iron key", "the long ladder", "some candle wax"],
]
KNOWN = 4


def write_suite(folder: Path) -> Suite:
    folder.mkdir()
    lines = [
        {"id": f"item-{number}", "language": "ko" if number in (2, 4) else "en", "input": question, "choices": options,
         "target": options[0]}
        for number, (question, options) in enumerate(zip(QUESTIONS, OPTIONS, strict=True))
    ]  # fmt: skip
    (folder / "items.jsonl").write_text(
        "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines), encoding="utf-8"
    )
    (folder / f"{folder.name}.yaml").write_text(f"suite: {folder.name}\nscorer: choice\n", encoding="utf-8")
    return load_suite(folder)


@pytest.fixture(scope="session")
def quiz(tmp_path_factory: pytest.TempPathFactory) -> Suite:
    """Eight questions with options, four of which the model knows."""
    return write_suite(tmp_path_factory.mktemp("suites") / "quiz")


@pytest.fixture(scope="session")
def knowing_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A byte-level Llama of two layers, trained until it knows the first four questions with their options."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("models") / "knowing"
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    corpus = [*QUESTIONS, *(option for options in OPTIONS for option in options)]
    tokenizer.train_from_iterator(
        corpus,
        trainers.BpeTrainer(
            vocab_size=400,
            special_tokens=["<|endoftext|>"],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        ),
    )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<|endoftext|>", pad_token="<|endoftext|>"
    )
    fast.save_pretrained(folder)
    torch.manual_seed(0)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(fast), hidden_size=64, intermediate_size=128, num_hidden_layers=2,
            num_attention_heads=4, num_key_value_heads=4, max_position_embeddings=512, tie_word_embeddings=True,
            eos_token_id=fast.eos_token_id, pad_token_id=fast.pad_token_id, bos_token_id=None,
        )
    )  # fmt: skip
    texts = [
        f"{question}\n{lettered(options)}"
        for question, options in zip(QUESTIONS[:KNOWN], OPTIONS[:KNOWN], strict=True)
    ]
    batch = fast(texts, return_tensors="pt", padding=True)
    labels = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)
    optimiser = torch.optim.AdamW(model.parameters(), lr=5e-3)
    for _ in range(400):
        loss = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], labels=labels).loss
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        if loss.item() < 0.03:
            break
    assert loss.item() < 0.1, "it has not learned them"
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def knowing_engine(knowing_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """An engine on the model that knows some of the items, in a worker process as always."""
    pool = EnginePool(tmp_path_factory.mktemp("data"), dtype="float32")
    yield pool.get(ModelSpec(name="knowing", source=str(knowing_model)))
    asyncio.run(pool.close())
