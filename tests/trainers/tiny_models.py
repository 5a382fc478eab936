"""Small real models made on the spot (random weights, byte-level tokenizers, a ChatML template), and short trainings of
them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from arena.engines.spec import ModelSpec
from arena.roster import enter
from results.store import Store
from trainers.datasets import add_dataset
from trainers.plan import TrainingPlan, make_plan
from trainers.recipes import make_recipe

CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>' + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)

ROWS: dict[str, list[dict[str, Any]]] = {
    "chat": [{"prompt": f"{n} 더하기 1은?", "response": f"답은 {n + 1}"} for n in range(24)],
    "text": [{"text": f"{n}월에는 꽃이 핀다. The month is {n}."} for n in range(24)],
    "labelled": [{"text": f"문의 {n}", "label": "배송" if n % 2 else "환불"} for n in range(24)],
    "preference": [
        {"prompt": f"질문 {n}", "chosen": f"좋은 답 {n}", "rejected": f"나쁨 {n}"} for n in range(24)
    ],
    "kto": [{"prompt": f"질문 {n}", "completion": f"답 {n}", "label": bool(n % 2)} for n in range(24)],
    "prompts": [{"prompt": f"질문 {n}"} for n in range(24)],
}


def save_tiny(folder: Path, *, hidden: int = 32, layers: int = 2) -> Path:
    """A random Llama: feed-forwards twice as wide as `hidden`, four heads, two of them with keys of their own."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    specials = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(
        ["질문 답 안녕 hello world"],
        trainers.BpeTrainer(vocab_size=320, special_tokens=specials, initial_alphabet=alphabet),
    )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<|im_end|>", pad_token="<|endoftext|>", chat_template=CHATML
    )
    fast.save_pretrained(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(fast),
        hidden_size=hidden,
        intermediate_size=2 * hidden,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=256,
        tie_word_embeddings=True,
        eos_token_id=fast.eos_token_id,
        pad_token_id=fast.pad_token_id,
        bos_token_id=None,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def planner(store: Store, model: Path, folder: Path) -> Callable[..., TrainingPlan]:
    """What makes plans on the model, as `tiny` of the roster: values are laid over a short recipe on the rows of a
    kind."""
    enter(store, ModelSpec(name="tiny", source=str(model), licence="apache-2.0"), store.data_dir)

    def plan(kind: str = "chat", **values: Any) -> TrainingPlan:
        file = folder / f"{kind}.jsonl"
        file.write_text(
            "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS[kind]), encoding="utf-8"
        )
        add_dataset(store, file, kind, licence="mit", held_out_share=0.25)
        optimiser = {
            "max_steps": 4,
            "batch_size": 2,
            "gradient_accumulation": 1,
            "learning_rate": 5e-3,
            "warmup_share": 0,
        }
        recipe = {
            "name": "student",
            "base": "tiny",
            "dataset": kind,
            "evaluation": {"every_steps": 0},
            "checkpoint_every": 2,
            "optimiser": optimiser | values.pop("optimiser", {}),
            **values,
        }
        return make_plan(store, store.data_dir, make_recipe(recipe))

    return plan
