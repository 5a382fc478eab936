"""What a model consists of, as its files' headers or its config.json alone tell: no weights are loaded."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from arena.engines.weight_files import BrokenWeights, read_weights

_LAYER = re.compile(r"\.(\d+)\.")
_NOT_LINEAR = ("embed", "wte", "wpe", "norm", "lm_head", "ln_")
_HEADS = ("lm_head.", "output.", "score.", "classifier.")

FAMILIES = ("llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "gemma3_text", "gemma3")
"""Architectures whose tensors follow from config.json alone."""


class UnknownShapes(ValueError):
    """It cannot be told what the model consists of. The message says why and what to do."""


@dataclass(frozen=True)
class Linear:
    """A linear module of a layer: its last name, the layer's number, and how many values go in and out."""

    name: str
    layer: int
    d_in: int
    d_out: int


@dataclass(frozen=True)
class ModelShapes:
    """Numbers of a model: `parameters` as stored (tied embeddings once), `layer_parameters` by layer, `head` those of
    an output matrix of its own (0 where it is tied to the embeddings)."""

    model_type: str
    parameters: int
    linears: tuple[Linear, ...]
    layer_parameters: tuple[int, ...]
    head: int
    hidden: int
    intermediate: int
    vocabulary: int
    query_width: int
    kv_width: int

    @property
    def layers(self) -> int:
        return len(self.layer_parameters)

    @property
    def linear_parameters(self) -> int:
        """Weights of the linear modules inside layers: what NF4 quantises."""
        return sum(each.d_in * each.d_out for each in self.linears)

    @property
    def tied(self) -> bool:
        return self.head == 0


def read_shapes(path: Path) -> ModelShapes:
    """The shapes of the model in the folder `path`. Without weights there, config.json suffices for `FAMILIES`.

    Raises:
        UnknownShapes: no config.json, broken files, or only a config of another family.
    """
    try:
        config = json.loads((path / "config.json").read_bytes())
    except (OSError, ValueError) as error:
        raise UnknownShapes(f"{path}: config.json cannot be read ({error})") from error
    text = {**config, **config.get("text_config", {})}
    if any(path.glob("*.safetensors")):
        try:
            weights = read_weights(path)
        except BrokenWeights as error:
            raise UnknownShapes(str(error)) from error
        return _of_tensors(text, [(each.name, each.shape) for each in weights.tensors or ()])
    return shapes_of_config(text)


def shapes_of_config(config: dict[str, Any]) -> ModelShapes:
    """The shapes that a config.json alone tells. Raises `UnknownShapes` for another family than `FAMILIES`."""
    kind = config.get("model_type")
    if kind not in FAMILIES:
        raise UnknownShapes(
            f"the tensors of model type '{kind}' do not follow from config.json (those of {', '.join(FAMILIES)} do): "
            "put its safetensors files into the folder"
        )
    return _of_tensors(config, list(_tensors(str(kind), config)))


def _tensors(kind: str, config: dict[str, Any]) -> Iterator[tuple[str, tuple[int, ...]]]:
    hidden, inner, vocabulary = config["hidden_size"], config["intermediate_size"], config["vocab_size"]
    queries, kv, size = _widths(config)
    biased = config.get("attention_bias", kind == "qwen2")
    gemma = kind.startswith("gemma")
    yield "model.embed_tokens.weight", (vocabulary, hidden)
    for number in range(config["num_hidden_layers"]):
        at = f"model.layers.{number}"
        for name, out, into in (
            ("q", queries, hidden),
            ("k", kv, hidden),
            ("v", kv, hidden),
            ("o", hidden, queries),
        ):
            yield f"{at}.self_attn.{name}_proj.weight", (out, into)
            if biased and not (kind == "qwen2" and name == "o"):
                yield f"{at}.self_attn.{name}_proj.bias", (out,)
        if kind in ("qwen3", "gemma3", "gemma3_text"):
            yield f"{at}.self_attn.q_norm.weight", (size,)
            yield f"{at}.self_attn.k_norm.weight", (size,)
        yield f"{at}.mlp.gate_proj.weight", (inner, hidden)
        yield f"{at}.mlp.up_proj.weight", (inner, hidden)
        yield f"{at}.mlp.down_proj.weight", (hidden, inner)
        for norm in range(4 if kind in ("gemma2", "gemma3", "gemma3_text") else 2):
            yield f"{at}.norm{norm}.weight", (hidden,)
    yield "model.norm.weight", (hidden,)
    if not config.get("tie_word_embeddings", gemma):
        yield "lm_head.weight", (vocabulary, hidden)


def _widths(config: dict[str, Any]) -> tuple[int, int, int]:
    """(width of all queries, width of keys, size of a head)."""
    heads = config.get("num_attention_heads") or config.get("n_head") or 1
    hidden = config.get("hidden_size") or config["n_embd"]
    size = config.get("head_dim") or hidden // heads
    return heads * size, (config.get("num_key_value_heads") or heads) * size, size


def _of_tensors(config: dict[str, Any], tensors: list[tuple[str, tuple[int, ...]]]) -> ModelShapes:
    by_layer: dict[int, int] = {}
    linears = []
    total = head = embeddings = 0
    for name, shape in tensors:
        count = 1
        for length in shape:
            count *= length
        total += count
        found = _LAYER.search(name)
        if found is None:
            if len(shape) == 2 and any(
                part in name for part in ("embed_tokens", "wte", "word_embeddings", "embed_in")
            ):
                embeddings = count
            elif len(shape) == 2 and name.startswith(_HEADS):
                head += count
            continue
        layer = int(found[1])
        by_layer[layer] = by_layer.get(layer, 0) + count
        module = name.removesuffix(".weight")
        if len(shape) == 2 and module != name and not any(part in module for part in _NOT_LINEAR):
            linears.append(Linear(module.rpartition(".")[2], layer, d_in=shape[1], d_out=shape[0]))
    if config.get("tie_word_embeddings") and head and head == embeddings:
        # Some files hold a tied matrix twice.
        total, head = total - head, 0
    hidden = int(config.get("hidden_size") or config["n_embd"])
    queries, kv, _ = _widths(config)
    return ModelShapes(
        model_type=str(config.get("model_type", "")),
        parameters=total,
        linears=tuple(linears),
        layer_parameters=tuple(by_layer[number] for number in sorted(by_layer)),
        head=head,
        hidden=hidden,
        intermediate=int(config.get("intermediate_size") or config.get("n_inner") or 4 * hidden),
        vocabulary=int(config.get("vocab_size") or 0),
        query_width=queries,
        kv_width=kv,
    )
