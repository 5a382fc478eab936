"""Which models are kin: of one family by name, source or lineage. A judge may prefer its own kind."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any, Literal

import yaml

Kin = Literal["", "a", "b", "ab"]

_SAYS = ("name", "source", "adapter", "parent")


@cache
def _families() -> tuple[tuple[str, str], ...]:
    """Words and their families, longer words first."""
    text = (files("evaluators.judge") / "families.yaml").read_text(encoding="utf-8")
    pairs = [(word, family) for family, words in yaml.safe_load(text)["families"].items() for word in words]
    return tuple(sorted(pairs, key=lambda pair: -len(pair[0])))


def family_of(*texts: str | None) -> str | None:
    """The family that names, sources or parents tell, the first text that tells one winning; None for none."""
    for text in texts:
        lower = (text or "").casefold()
        found = next((family for word, family in _families() if word in lower), None)
        if found is not None:
            return found
    return None


def families_of(name: str, spec: Mapping[str, Any]) -> frozenset[str]:
    """All that a version descends from, as far as its spec tells: its name or source, and its parent."""
    texts = [name, *(str(spec[key]) for key in _SAYS if spec.get(key))]
    found = {family for text in texts if (family := family_of(text)) is not None}
    # Without a known family a model is at least kin to itself and to copies of its own source.
    return frozenset(found) or frozenset({str(spec.get("source") or name)})


def kin_of(judge: frozenset[str], a: frozenset[str], b: frozenset[str]) -> Kin:
    """Which sides share a family with the judge."""
    kin: dict[tuple[bool, bool], Kin] = {
        (False, False): "", (True, False): "a", (False, True): "b", (True, True): "ab",
    }  # fmt: skip
    return kin[bool(judge & a), bool(judge & b)]
