"""What a model's publisher says of it: the card (README.md), config.json, and the licence file beside the weights."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from arena.config import ConfigError
from arena.roster.licences import load_licences

_LICENCE_FILES = ("LICENSE", "LICENSE.txt", "LICENSE.md", "LICENCE", "LICENCE.txt", "LICENCE.md", "COPYING")
_CONTEXT_KEYS = ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length", "max_sequence_length")


class UnusableSource(ConfigError):
    """What was named cannot become a model: files are missing or damaged. The message names them, and the remedy."""


@dataclass(frozen=True)
class Card:
    """The front matter of a model card, as far as it matters here. `relation` is how the model relates to its base
    (`adapter`, `finetune`, `quantized`, `merge`)."""

    licence: str | None = None
    base_models: tuple[str, ...] = ()
    relation: str | None = None
    languages: tuple[str, ...] = ()
    datasets: tuple[str, ...] = ()
    problem: str | None = None


def read_card(folder: Path) -> Card:
    """The card in a model's folder; an empty one where there is none. `problem` tells of one that cannot be read."""
    path = folder / "README.md"
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        return Card()
    except (OSError, UnicodeDecodeError) as error:
        return Card(problem=f"the card {path} cannot be read: {error}")
    lines = text.replace("\r\n", "\n").split("\n")
    if lines[0].strip() != "---" or "---" not in [line.strip() for line in lines[1:]]:
        return Card()
    end = [line.strip() for line in lines].index("---", 1)
    try:
        front = yaml.safe_load("\n".join(lines[1:end]))
    except yaml.YAMLError as error:
        return Card(problem=f"the front matter of {path} is no YAML: {' '.join(str(error).split())[:200]}")
    if not isinstance(front, dict):
        return Card()
    relation = front.get("base_model_relation")
    return Card(
        licence=_licence(front),
        base_models=_texts(front.get("base_model")),
        relation=relation if isinstance(relation, str) else None,
        languages=_texts(front.get("language")),
        datasets=_texts(front.get("datasets")),
    )


def find_licence(folder: Path, card: Card) -> tuple[str | None, str | None]:
    """A model's licence and where that was found: its card, else the licence file beside it, by its text."""
    if card.licence is not None:
        return card.licence, "the model's card"
    for name in _LICENCE_FILES:
        try:
            text = (folder / name).read_text(encoding="utf-8", errors="replace")
        except OSError:  # not there, or not to be read: the next one may be
            continue
        licence = load_licences().of_text(text)
        if licence is not None:
            return licence.id, f"the text of {name}"
        return f"see {name}", f"{name}, whose text is not known here"
    return None, None


def read_config(folder: Path) -> dict[str, Any]:
    """A model's config.json. Raises `UnusableSource` where it is missing or damaged."""
    path = folder / "config.json"
    try:
        config = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise UnusableSource(
            f"{folder} is no model folder: it has no config.json (nor adapter_config.json)"
        ) from None
    except (OSError, ValueError) as error:
        raise UnusableSource(f"{path}: it cannot be read ({error}): download it again") from None
    if not isinstance(config, dict):
        raise UnusableSource(f"{path}: it holds no JSON object: download it again")
    return config


def context_length_of(config: Mapping[str, Any]) -> int | None:
    """How many tokens a model was made for, as its config says; None where it does not."""
    text = config.get("text_config")
    for part in (text if isinstance(text, Mapping) else {}, config):
        for key in _CONTEXT_KEYS:
            value = part.get(key)
            if isinstance(value, int) and value > 0:
                return value
    return None


def _licence(front: Mapping[str, Any]) -> str | None:
    known = load_licences()
    named = _texts(front.get("license"))
    own = front.get("license_name")
    # `other` says only that license_name or license_link say more.
    if (not named or named[0] == "other") and isinstance(own, str) and own.strip():
        return own.strip()
    if not named:
        return None
    if len(named) == 1:
        return named[0]
    # Of several, each may bind: the one that allows least stands for all.
    order = ("yes", "conditions", "no")
    licences = [known.find(name) for name in named]
    if any(licence is None for licence in licences):
        return " and ".join(named)
    found = [licence for licence in licences if licence is not None]
    return max(found, key=lambda licence: order.index(licence.commercial)).id


def _texts(value: Any) -> tuple[str, ...]:
    if isinstance(value, str):
        return (value.strip(),) if value.strip() else ()
    if isinstance(value, Sequence):
        return tuple(str(each).strip() for each in value if isinstance(each, str | int) and str(each).strip())
    return ()
