"""Arithmetic of weights: models added and subtracted, adapters mixed, one tensor at a time.

The chat vector (Huang et al., arXiv 2310.04799) is base + (chat - its base); merging several adapters adds their
scaled products to the base.
"""

from __future__ import annotations

import json
import shutil
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from arena.engines.sources import adapter_folder, resolve
from arena.engines.spec import ModelSpec
from arena.roster import Contestant, enter
from results.store import Store
from trainers._tensors import Floats, NoFloats, StoredTensor, stored_tensors, write_tensors

__all__ = ["NoFloats", "Term", "combine", "enter_combined"]

_EMBEDDINGS = ("embed_tokens", "lm_head", "wte")
_BESIDE = (
    "config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "tokenizer.model",
    "special_tokens_map.json", "chat_template.jinja", "vocab.json", "merges.txt", "LICENSE",
)  # fmt: skip

OnTensor = Callable[[int, int], None]


@dataclass(frozen=True)
class Term:
    """A model folder, an adapter on it (None: the model alone), and what it is multiplied by. With `delta_only` the
    adapter's own change counts, without its base."""

    folder: Path
    factor: float
    adapter: Path | None = None
    delta_only: bool = False


def combine(
    base: Term,
    terms: Sequence[Term],
    target: Path,
    *,
    keep_embeddings: bool = False,
    on_tensor: OnTensor = lambda done, of: None,
) -> Path:
    """Write base + the terms as a new model folder, in the base's dtypes, with the base's tokenizer and config.

    With `keep_embeddings` the base's embeddings and head stay as they are (for a vocabulary that was extended).
    Raises `NoFloats` (another architecture, another shape, a quantised model, an adapter other than plain LoRA: which
    tensor, and what to do) and FileExistsError.
    """
    if target.exists():
        raise FileExistsError(f"{target} is there already: choose another place")
    own = stored_tensors(base.folder)
    sources = [_Source(term) for term in (base, *terms)]
    for source in sources[1:]:
        source.check(own, keep_embeddings)
    part = target.with_name(f".making-{target.name}")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    done = 0

    def values_of(name: str) -> Floats:
        nonlocal done
        kept = keep_embeddings and any(word in name for word in _EMBEDDINGS)
        total = np.zeros(own[name].shape, dtype=np.float64)
        for source in sources[:1] if kept else sources:
            source.add_to(total, name)
        done += 1
        on_tensor(done, len(own))
        return total.astype(np.float32)

    try:
        write_tensors(
            part / "model.safetensors",
            {name: (tensor.dtype, tensor.shape) for name, tensor in own.items()},
            values_of,
        )
        for name in _BESIDE:
            if (base.folder / name).is_file():
                shutil.copy(base.folder / name, part / name)
        part.replace(target)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return target


def enter_combined(
    store: Store,
    name: str,
    base: Contestant,
    added: Sequence[tuple[Contestant, float]] = (),
    adapters: Sequence[tuple[Contestant, float]] = (),
    *,
    keep_embeddings: bool = False,
    on_tensor: OnTensor = lambda done, of: None,
) -> Contestant:
    """Combine models of the roster and put the result on it as `name`, with the base as parent, the formula as its
    note, and the licences of all that went in. `added` are whole models with their factors (negative: subtracted),
    `adapters` models whose adapters' changes alone are added. Raises as `combine` does."""
    data_dir = store.data_dir
    used = [*added, *adapters]
    terms = [_term(each, factor, data_dir) for each, factor in added]
    terms += [_term(each, factor, data_dir, delta_only=True) for each, factor in adapters]
    ModelSpec(name=name, source="checked")  # a name that the roster would refuse is refused before the work
    target = data_dir.resolve() / "combined" / f"{name}-{uuid.uuid4().hex[:8]}"
    target.parent.mkdir(parents=True, exist_ok=True)
    combine(_term(base, 1.0, data_dir), terms, target, keep_embeddings=keep_embeddings, on_tensor=on_tensor)
    formula = base.version.label + "".join(
        f" {'-' if factor < 0 else '+'} {abs(factor):g} x {each.version.label}"
        + (" (adapter)" if (each, factor) in adapters else "")
        for each, factor in used
    )
    licences = [base.spec.licence, *(each.spec.licence for each, _ in used)]
    data = [*base.spec.data_licences, *(word for each, _ in used for word in each.spec.data_licences)]
    spec = base.spec.model_copy(
        update={
            "name": name, "source": str(target), "adapter": None, "revision": None, "parent": base.version.label,
            # What went in beside the base restricts the use as data would.
            "data_licences": tuple(dict.fromkeys([*data, *(each or "unknown" for each in licences[1:])])),
            "note": formula,
        }
    )  # fmt: skip
    return enter(store, spec, data_dir, owner="trainer")


def _term(contestant: Contestant, factor: float, data_dir: Path, *, delta_only: bool = False) -> Term:
    spec = contestant.spec
    if spec.kind != "local" or spec.quantisation != "none":
        raise NoFloats(
            f"{spec.name} is {'an endpoint' if spec.kind != 'local' else 'quantised'}: arithmetic needs weights in "
            "full precision that lie here"
        )
    adapter = adapter_folder(spec)
    if delta_only and adapter is None:
        raise NoFloats(f"{spec.name} has no adapter: name it with --add, or a model with an adapter here")
    return Term(resolve(spec, data_dir), factor, adapter, delta_only)


class _Source:
    """The tensors of one term, its adapter included."""

    def __init__(self, term: Term) -> None:
        self._factor = term.factor
        self._tensors: dict[str, StoredTensor] = {} if term.delta_only else stored_tensors(term.folder)
        self._whole = not term.delta_only
        self._lora = {} if term.adapter is None else _lora_of(term.adapter)
        self._where = term.adapter if term.delta_only else term.folder

    def check(self, own: dict[str, StoredTensor], keep_embeddings: bool) -> None:
        """Raises `NoFloats` where this term does not fit onto the base."""
        for module in self._lora:
            if f"{module}.weight" not in own:
                raise NoFloats(
                    f"{self._where}: the base has no {module}: this adapter is of another architecture"
                )
        if not self._whole:
            return
        for name, tensor in own.items():
            if keep_embeddings and any(word in name for word in _EMBEDDINGS):
                continue
            theirs = self._tensors.get(name)
            if theirs is None or theirs.shape != tensor.shape:
                found = "missing" if theirs is None else f"of shape {theirs.shape} instead of {tensor.shape}"
                hint = (
                    "; --keep-embeddings leaves embeddings as the base has them"
                    if _is_embedding(name)
                    else ""
                )
                raise NoFloats(f"{self._where}: {name} is {found}: models must be of one architecture{hint}")

    def add_to(self, total: np.ndarray[Any, Any], name: str) -> None:
        """Add this term's share of a tensor."""
        if self._whole:
            total += self._factor * self._tensors[name].read().astype(np.float64)
        lora = self._lora.get(name.removesuffix(".weight"))
        if lora is not None:
            down, up, scale = lora
            total += (self._factor * scale) * (up.read().astype(np.float64) @ down.read().astype(np.float64))


def _is_embedding(name: str) -> bool:
    return any(word in name for word in _EMBEDDINGS)


def _lora_of(folder: Path) -> dict[str, tuple[StoredTensor, StoredTensor, float]]:
    """{module: (A, B, scale)} of a plain LoRA adapter. Raises `NoFloats` for another kind."""
    config = json.loads((folder / "adapter_config.json").read_bytes())
    if config.get("peft_type") != "LORA" or config.get("use_dora") or config.get("fan_in_fan_out"):
        raise NoFloats(
            f"{folder}: only plain LoRA adapters can be mixed (this one is {config.get('peft_type')}"
            f"{' with DoRA' if config.get('use_dora') else ''}): merge it with `arena models merge` first"
        )
    tensors = stored_tensors(folder)
    found: dict[str, dict[str, StoredTensor]] = {}
    for name, tensor in tensors.items():
        module, mark, rest = name.partition(".lora_")
        if not mark or rest not in ("A.weight", "B.weight"):
            raise NoFloats(
                f"{folder}: {name} is no part of a plain LoRA: merge it with `arena models merge` first"
            )
        found.setdefault(module.removeprefix("base_model.model."), {})[rest[0]] = tensor
    made = {}
    for module, both in found.items():
        rank = _of_pattern(config.get("rank_pattern"), module, config["r"])
        alpha = _of_pattern(config.get("alpha_pattern"), module, config["lora_alpha"])
        scale = alpha / (rank**0.5 if config.get("use_rslora") else rank)
        made[module] = (both["A"], both["B"], float(scale))
    return made


def _of_pattern(pattern: dict[str, float] | None, module: str, default: float) -> float:
    return next((value for key, value in (pattern or {}).items() if module.endswith(key)), default)
