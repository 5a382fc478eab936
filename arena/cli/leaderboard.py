"""`arena leaderboard`."""

from __future__ import annotations


def leaderboard() -> None:
    """Rated models."""
