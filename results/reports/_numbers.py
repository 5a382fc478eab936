"""How numbers are written in a report."""

from __future__ import annotations


def points(value: float) -> str:
    """A rating or a difference of ratings."""
    return f"{value:.0f}"


def percent(share: float) -> str:
    """A share in percent; one near 0 or 1 keeps a digit, and is never rounded to what it is not."""
    if 0 < share < 0.001:
        return "<0.1%"
    if 0.999 < share < 1:
        return ">99.9%"
    digits = 1 if share < 0.1 or share > 0.9 else 0
    return f"{100 * share:.{digits}f}%"


def level_of(level: float) -> str:
    """A confidence level."""
    return f"{100 * level:g}%"
