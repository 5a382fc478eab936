"""A model before and after quantisation: `python -m trainers.methods.quantising REQUEST.json`.

A process of its own, so that all its memory is free afterwards. Prints the figures of both as one JSON object.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from transformers import AutoModelForCausalLM, BitsAndBytesConfig

from arena.engines.local_static_int8 import make_static
from trainers.datasets import read_rows
from trainers.methods._encoding import Encoder
from trainers.methods._loading import load_tokenizer
from trainers.methods._qat import in_layers
from trainers.plan import TrainingPlan
from trainers.quantise import Figures, Request

NEW_TOKENS = 24


def quantise(request: Request) -> dict[str, Any]:
    """Measure the model in float32, quantise it, and measure again."""
    plan = request.plan
    tokenizer = load_tokenizer(plan.base.path)
    encoder = Encoder(plan, tokenizer, request.data_dir)
    held_out = _rows(plan, request, encoder, "held_out", request.rows)
    if not held_out:
        raise ValueError(f"{plan.dataset.label} has no held-out rows that can be used: {encoder.refused}")
    model = AutoModelForCausalLM.from_pretrained(plan.base.path, dtype=torch.float32).eval()
    before = _measured(model, held_out)
    scales: dict[str, float] = {}
    if request.kind in ("int8", "nf4"):
        del model
        model = _by_bitsandbytes(plan.base.path, request.kind)
    elif request.kind == "dynamic":
        from torchao.quantization import Int8DynamicActivationInt8WeightConfig, quantize_

        quantize_(model, Int8DynamicActivationInt8WeightConfig(), filter_fn=in_layers)
    else:
        scales = _calibrated(model, _rows(plan, request, encoder, "train", request.calibration_rows))
        make_static(model, scales)
    after = _measured(model, held_out)
    return {"before": before.model_dump(), "after": after.model_dump(), "scales": scales}


def _rows(
    plan: TrainingPlan, request: Request, encoder: Encoder, split: Any, limit: int
) -> list[dict[str, Any]]:
    rows = read_rows(request.data_dir, plan.dataset.digest, plan.dataset.kind, split=split, limit=limit)
    return list(encoder.rows(row for row, _ in rows))


def _by_bitsandbytes(path: Path, kind: str) -> Any:
    config = (
        BitsAndBytesConfig(load_in_8bit=True)
        if kind == "int8"
        else BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=torch.float32,
        )
    )
    return AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32, quantization_config=config).eval()


def _calibrated(model: nn.Module, rows: list[dict[str, Any]]) -> dict[str, float]:
    """The largest magnitude that goes into each linear module over the rows, as the scale of int8 inputs."""
    largest: dict[str, float] = {}
    hooks = []
    for name, module in model.named_modules():
        if in_layers(module, name):
            hooks.append(module.register_forward_pre_hook(_remembering(largest, name)))
    if not rows:
        raise ValueError(
            "static quantisation needs rows to calibrate on, and the training rows cannot be used"
        )
    with torch.inference_mode():
        for row in rows:
            model(input_ids=torch.tensor([row["input_ids"]]))
    for hook in hooks:
        hook.remove()
    return {name: max(value, 1e-8) / 127 for name, value in largest.items()}


def _remembering(largest: dict[str, float], name: str) -> Any:
    def remember(module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        largest[name] = max(largest.get(name, 0.0), float(inputs[0].abs().max()))

    return remember


def _measured(model: Any, rows: list[dict[str, Any]]) -> Figures:
    """Bytes, mean loss of learned tokens, tokens read and written a second."""
    total, learned, read = 0.0, 0, 0
    begun = time.perf_counter()
    with torch.inference_mode():
        for row in rows:
            ids, labels = torch.tensor([row["input_ids"]]), torch.tensor([row["labels"]])
            logits = model(input_ids=ids).logits[:, :-1].float()
            total += float(
                functional.cross_entropy(
                    logits.flatten(0, 1), labels[:, 1:].flatten(), ignore_index=-100, reduction="sum"
                )
            )
            learned += int((labels[:, 1:] != -100).sum())
            read += ids.shape[1]
        reading = read / (time.perf_counter() - begun)
        prompt = torch.tensor([rows[0]["input_ids"][:16]])
        begun = time.perf_counter()
        model.generate(
            prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=NEW_TOKENS, min_new_tokens=NEW_TOKENS,
            do_sample=False, pad_token_id=0,
        )  # fmt: skip
        writing = NEW_TOKENS / (time.perf_counter() - begun)
    return Figures(
        bytes=_bytes(model),
        loss=total / learned,
        tokens=learned,
        read_tokens_per_second=reading,
        written_tokens_per_second=writing,
    )


def _bytes(model: nn.Module) -> int:
    seen: set[int] = set()
    total = 0
    for tensor in (*model.parameters(), *model.buffers()):
        if id(tensor) not in seen:
            seen.add(id(tensor))
            total += sum(part.numel() * part.element_size() for part in _parts(tensor))
    return total


def _parts(tensor: Any) -> Iterable[torch.Tensor]:
    """The plain tensors that a parameter is made of, scales included."""
    state = getattr(tensor, "quant_state", None)
    if state is not None:
        inner = getattr(state, "state2", None)  # gone once a CPU has repacked them
        yield tensor.data
        yield state.absmax
        if inner is not None:
            yield inner.absmax
    elif type(tensor) is not nn.Parameter and hasattr(tensor, "__tensor_flatten__"):
        names, _ = tensor.__tensor_flatten__()
        for name in names:
            yield from _parts(getattr(tensor, name))
    else:
        yield tensor
        scales = getattr(tensor, "SCB", None)
        if scales is not None:
            yield scales


if __name__ == "__main__":
    logging.getLogger("transformers").setLevel(logging.ERROR)
    try:
        made = quantise(Request.model_validate_json(Path(sys.argv[1]).read_text(encoding="utf-8")))
        print(json.dumps(made))  # noqa: T201  # read by the process that asked
    except ValueError as error:
        sys.exit(str(error))
