"""Figures of trainings in words, the same on the command line and on pages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_MEASURES = ("loss", "mean_token_accuracy", "accuracy", "f1", "rewards/accuracies")


def time_in_words(seconds: float | None) -> str:
    """`under 1 s`, `42 s`, `7 min` or `2.5 h`; nothing for None."""
    if seconds is None:
        return ""
    if seconds < 1:
        return "under 1 s"
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5_400 else f"{seconds / 3_600:.1f} h"


def held_out_changes(result: Mapping[str, Any]) -> str:
    """What a training's result says of its held-out rows before and after: `loss 3.4810 → 0.1910, ...`."""
    before, after = (result.get(f"held_out_{when}") or {} for when in ("before", "after"))
    return ", ".join(
        f"{name} {before[name]:.4f} → {after[name]:.4f}"
        for name in _MEASURES
        if name in before and name in after
    )
