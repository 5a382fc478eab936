"""An adapter becomes part of its base: `python -m arena.engines.local_merge BASE ADAPTER FOLDER`.

It runs as a process of its own, so that the memory of both copies of the weights is free afterwards. Prints one JSON
object: the largest difference of a logit between the merged model and the base with its adapter, and where.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

PROBE = "The quick brown fox jumps over the lazy dog. 빠른 갈색 여우가 게으른 개를 뛰어넘는다. 1 + 2 = 3"
TOLERANCE = {torch.float32: 1e-3, torch.bfloat16: 0.05, torch.float16: 0.02}
"""How far a logit may move, as a share of the largest; the merged weights are rounded to the base's dtype."""
BESIDE_WEIGHTS = ("chat_template.jinja", "generation_config.json", "LICENSE", "LICENSE.txt", "NOTICE")


def merge(base: Path, adapter: Path, folder: Path) -> dict[str, Any]:
    """Merge in float32, check logits, save in the base's own dtype with tokenizer and templates.

    Raises ValueError where the logits differ by more than the dtype explains; then nothing is saved.
    """
    gguf = base.suffix == ".gguf"
    files: dict[str, Any] = {"gguf_file": base.name} if gguf else {}
    source = base.parent if gguf else base
    quantise: Any = {"quantization_config": GgufConfig(dequantize=True)} if gguf else {}
    stored = AutoModelForCausalLM.from_pretrained(source, dtype="auto", **files, **quantise)
    if getattr(stored.config, "quantization_config", None) is not None and not gguf:
        raise ValueError(
            "the base is stored quantised: an adapter cannot be added to rounded weights without loss"
        )
    dtype = stored.dtype
    tokenizer = AutoTokenizer.from_pretrained(
        adapter if _has_tokenizer(adapter) else source, **_only(files, adapter)
    )
    model: Any = stored.float().eval()
    ids = torch.tensor([AutoTokenizer.from_pretrained(source, **files)(PROBE)["input_ids"]])
    with torch.inference_mode():
        with_adapter: Any = PeftModel.from_pretrained(model, str(adapter)).eval()
        expected = with_adapter(input_ids=ids).logits
        merged = with_adapter.merge_and_unload(safe_merge=True).to(dtype)
        found = merged(input_ids=ids).logits.float()
    difference = float((found - expected).abs().max())
    largest = float(expected.abs().max())
    if not difference <= TOLERANCE[dtype] * largest:
        raise ValueError(
            f"the merged model's logits differ by {difference:.3g} (largest logit {largest:.3g})"
        )
    merged.config.quantization_config = None
    merged.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    for name in BESIDE_WEIGHTS:
        for place in (adapter, source):  # an adapter that was trained with its own template brings it along
            if (place / name).is_file():
                shutil.copy(place / name, folder)
                break
    return {"dtype": str(dtype).removeprefix("torch."), "difference": difference, "largest_logit": largest}


def _has_tokenizer(folder: Path) -> bool:
    return (folder / "tokenizer_config.json").is_file()


def _only(files: dict[str, Any], adapter: Path) -> dict[str, Any]:
    return {} if _has_tokenizer(adapter) else files


if __name__ == "__main__":
    try:
        print(json.dumps(merge(*map(Path, sys.argv[1:4]))))  # noqa: T201  # read by the process that asked
    except ValueError as error:
        sys.exit(str(error))
