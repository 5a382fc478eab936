"""A GGUF file against the folder it was made from: `python -m trainers.methods.gguf_check FOLDER FILE TYPE`.

A process of its own, so that the memory of both copies is free afterwards. Prints the largest difference of a logit as
JSON; ends with a message where token ids differ or logits differ by more than the type of the numbers explains.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

PROBES = (
    "The quick brown fox jumps over the lazy dog.",
    "빠른 갈색 여우가 게으른 개를 뛰어넘는다. 1234 + 5 = ?",
    "def f(x):\n    return x  # 결과",
)
TOLERANCE = {"f32": 1e-4, "f16": 5e-3, "bf16": 0.05, "q8_0": 0.08}
"""How far a logit may move, as a share of the largest."""


def check(folder: Path, file: Path, kind: str) -> dict[str, float]:
    """Raises ValueError where the file is not the folder's model."""
    ours = AutoTokenizer.from_pretrained(folder)
    theirs = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
    for probe in PROBES:
        expected = ours(probe, add_special_tokens=False)["input_ids"]
        found = theirs(probe, add_special_tokens=False)["input_ids"]
        if expected != found:
            raise ValueError(f"'{probe[:40]}' becomes the ids {found[:12]} instead of {expected[:12]}")
    ids = [torch.tensor([ours(probe)["input_ids"]]) for probe in PROBES]
    with torch.inference_mode():
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
        wanted = [model(input_ids=each).logits for each in ids]
        del model
        again = AutoModelForCausalLM.from_pretrained(
            file.parent,
            gguf_file=file.name,
            dtype=torch.float32,
            quantization_config=GgufConfig(dequantize=True),
        ).eval()
        got = [again(input_ids=each).logits[..., : w.shape[-1]] for each, w in zip(ids, wanted, strict=True)]
    difference = max(float((g - w).abs().max()) for g, w in zip(got, wanted, strict=True))
    largest = max(float(w.abs().max()) for w in wanted)
    if not difference <= TOLERANCE[kind] * largest:
        raise ValueError(f"logits differ by {difference:.3g} (the largest is {largest:.3g})")
    return {"difference": difference, "largest_logit": largest}


if __name__ == "__main__":
    try:
        print(json.dumps(check(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])))  # noqa: T201
    except ValueError as error:
        sys.exit(str(error))
