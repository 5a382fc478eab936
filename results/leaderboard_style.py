"""The style of answers (length, headers, lists, bold), measured in SQL from the texts of both sides.

As in Chatbot Arena's style control: counts per answer, fenced code left out of the Markdown ones; length is in
characters, because answers of different models share no tokenizer. A side's answer is all that it said in the
battle.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from results.ratings import normalised_difference

if TYPE_CHECKING:
    import pyarrow as pa

COVARIATES = ("length", "headers", "lists", "bold")

_PATTERNS = {
    "headers": r"(?m)^ {0,3}#{1,6}[ \t]",
    "lists": r"(?m)^[ \t]*(?:[-*+]|\d+[.)])[ \t]+",
    "bold": r"\*\*[^*\n]+\*\*|__[^_\n]+__",
}
_FENCED = r"```.*?(?:```|\z)"

_SPOKEN = """
SELECT id AS battle_id, '{side}' AS side, array_to_string(list_transform(
    list_filter(json_extract(conversation_{side}, '$[*]'), lambda m: m->>'$.role' = 'assistant'),
    lambda m: m->>'$.content'), chr(10)) AS text
FROM battles WHERE conversation_{side} IS NOT NULL AND id IN (SELECT battle_id FROM {chosen})
"""
_GENERATED = """
SELECT battle_id, side, string_agg(text, chr(10) ORDER BY turn) AS text
FROM (SELECT battle_id, turn, side, arg_max(text, created_at) AS text FROM generations
      WHERE error_kind IS NULL AND battle_id IN (SELECT battle_id FROM {chosen}) GROUP BY ALL)
GROUP BY ALL
"""


def style_tables(chosen: str) -> str:
    """Common table expressions, the last of which, `styles`, has one row for each battle in the table `chosen`
    whose two answers are known, with columns such as `length_a` and `bold_b`."""
    said = " UNION ALL ".join(
        [*(_SPOKEN.format(side=side, chosen=chosen) for side in ("a", "b")), _GENERATED.format(chosen=chosen)]
    )
    counted = ", ".join(
        f"len(regexp_extract_all(prose, '{pattern}')) AS {name}" for name, pattern in _PATTERNS.items()
    )
    columns = ", ".join(
        f"max({name}) FILTER (side = '{side}') AS {name}_{side}" for name in COVARIATES for side in ("a", "b")
    )
    return (
        f"said AS ({said}), "  # noqa: S608
        f"measured AS (SELECT battle_id, side, length(text) AS length, {counted} FROM "
        f"(SELECT *, regexp_replace(text, '{_FENCED}', '', 'gs') AS prose FROM said WHERE text IS NOT NULL)), "
        f"styles AS (SELECT battle_id, {columns} FROM measured GROUP BY battle_id "
        "HAVING count(DISTINCT side) = 2)"
    )


def style_columns() -> list[str]:
    """The columns of `styles` beside its key."""
    return [f"{name}_{side}" for name in COVARIATES for side in ("a", "b")]


def covariates(table: pa.Table) -> tuple[tuple[str, ...], npt.NDArray[np.float64]]:
    """Names and normalised differences (rows, k) of the covariates in which any two answers differ; the others
    have no effect that could be estimated."""
    if not table.num_rows:
        return (), np.empty((0, 0))
    differences = {
        name: normalised_difference(table[f"{name}_a"].to_numpy(), table[f"{name}_b"].to_numpy())
        for name in COVARIATES
    }
    kept = {name: x for name, x in differences.items() if x.any()}
    x = np.column_stack(list(kept.values())) if kept else np.empty((table.num_rows, 0))
    return tuple(kept), x
