"""What is said beside a leaderboard: the caption of a table, and what to do where there is nothing to show."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from results.decisions import Decision
    from results.leaderboard import Leaderboard
    from results.store import Store


def advice_for(store: Store, board: Leaderboard) -> str:
    """What to do where the selection has no votes."""
    from results.leaderboard import known_values
    from results.leaderboard import leaderboard as rate

    filters: tuple[tuple[Literal["category", "language", "judge"], str | None], ...] = (
        ("category", board.category), ("language", board.language), ("judge", board.judge),
    )  # fmt: skip
    for column, wanted in filters:
        known = known_values(store, column)
        if wanted is not None and wanted not in known:
            near = difflib.get_close_matches(wanted, known, n=1)
            meant = f" Did you mean {near[0]!r}?" if near else ""
            return f"No votes of {column} {wanted!r}.{meant} There are: {', '.join(known[:20]) or 'none'}."
    left_out = sum(board.excluded.values())
    if left_out:
        return f"No votes that count yet; {left_out:,} are left out ({_reasons(board.excluded)})."
    if board.options and ("since" in board.options or "until" in board.options):
        return "No votes in this span of time; leave out --since and --until to see all."
    if board.source != "all" and rate(store, "bt", "all").votes:
        return f"No comparisons of --source {board.source} here; --source all shows what there is."
    return (
        "No votes yet. Vote in the browser (`arena serve`), or import votes: `arena votes import FILE` "
        "(columns model_a, model_b, winner; others by --map)."
    )


def notes_of(board: Leaderboard) -> list[str]:
    """How many comparisons there are, what was left out, how ratings were made, and why models have none."""
    caption = f"{board.votes:,} votes" if board.source == "human" else f"{board.votes:,} comparisons"
    if board.excluded:
        caption += f"; {sum(board.excluded.values()):,} left out ({_reasons(board.excluded)})"
    notes = [caption + "."]
    if board.method == "elo":
        return notes
    options = board.options or {}
    if any(row.rating is not None for row in board.models):
        how = f" from {options['bootstrap']:,} resamplings" if "bootstrap" in options else ""
        ranks = "the ranks they allow, all at once" if "simultaneous" in options else "the ranks they allow"
        notes.append(f"{100 * (board.level or 0):g}% intervals{how}; in brackets {ranks}.")
    if board.failed_draws:
        notes.append(f"{board.failed_draws} resamplings could not be rated: these intervals are too narrow.")
    if board.tie_parameter is not None:
        name = {"davidson": "nu", "rao_kupper": "theta"}[options["ties"]]
        notes.append(f"Ties by {options['ties'].replace('_', '-')}, {name} {board.tie_parameter:.3f}.")
    if board.style is not None:
        known = ", ".join(effect.name for effect in board.style) or "nothing in which answers differ"
        notes.append(f"At equal style ({known}); positive: what voters like.")
    if board.position is not None:
        side = board.position
        sure = "" if side.lower <= 0 <= side.upper else "; voters favour one side"
        notes.append(
            f"Side A is worth {side.value:+.0f} points ({side.lower:+.0f} to {side.upper:+.0f}){sure}."
        )
    notes.extend(f"{row.model}: {row.reason}." for row in board.models if row.reason)
    return notes


def decision_words(found: Decision) -> str:
    """Whether a model is better than another, in a sentence or two."""
    if found.probability is None or found.lower is None or found.upper is None:
        return f"Nothing compares {found.model} with {found.opponent} yet."
    sure = f"P({found.model} beats {found.opponent}) {found.probability:.0%} ({found.lower:.0%} to {found.upper:.0%})"
    if found.basis == "battles":
        sure += f", by their {found.battles:,} battles alone: one of them won or lost everything and has no rating"
    if found.answer in ("better", "worse"):
        return f"{found.model} is {found.answer} than {found.opponent}. {sure}."
    if found.answer == "as_good":
        return f"{found.model} and {found.opponent} are as good as equal. {sure}."
    more = (
        f": about {found.more_battles:,} more battles between them would tell" if found.more_battles else ""
    )
    return f"Undecided whether {found.model} is better than {found.opponent}{more}. {sure}."


def _reasons(excluded: dict[str, int]) -> str:
    return ", ".join(f"{reason.replace('_', ' ')} {count:,}" for reason, count in excluded.items())
