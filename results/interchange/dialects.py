"""Files of other tools: how each is recognised, and how its rows become rows of the usual schema.

Sources of the formats: LMSYS's human-preference data (lmsys/lmsys-arena-human-preference-55k), FastChat's
`fastchat/serve` logs with `fastchat/serve/monitor/clean_battle_data.py`, FastChat's `fastchat/llm_judge`
(gen_judgment.py, show_result.py, compute_agreement.py), AlpacaEval's annotations.json, Arena-Hard-Auto's
`data/*/model_judgment`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from results.interchange import _arena_rows, _judge_rows
from results.interchange.errors import BadFile
from results.interchange.reading import BadRow, Row
from results.interchange.votes import Unusable
from results.records import Source

Pseudonym = Callable[[str], str]

EXTRAS = (
    "timestamp", "language", "category", "voter", "digest_a", "digest_b", "vote_uuid", "battle_uuid",
)  # fmt: skip
"""Fields that our own exports add to other tools' formats, so that importing them gives the same ratings."""


class Skipped(NamedTuple):
    """A row that is fine and holds no verdict."""

    line: int


@dataclass(frozen=True)
class Dialect:
    """A format: `columns` are those that a file of it must have (one of the sets), `convert` gives a row's
    rows in the usual schema (none: nothing to import) or raises Unusable, `at_end` those that need all rows. With
    `grades` its rows are grades of single answers, which are stored as such beside the comparisons made of them."""

    name: str
    source: Source
    columns: tuple[frozenset[str], ...]
    convert: Callable[[dict[str, Any], Pseudonym], list[dict[str, Any]]] | None = None
    at_end: Callable[[list[Row]], Iterator[Row | BadRow]] | None = field(default=None)
    grades: bool = False

    def matches(self, columns: Collection[str]) -> bool:
        """Whether a file with these columns is of this format."""
        return any(wanted <= set(columns) for wanted in self.columns)

    def rows(self, rows: Iterator[Row | BadRow], pseudonym: Pseudonym) -> Iterator[Row | BadRow | Skipped]:
        """The file's rows in the usual schema."""
        kept: list[Row] = []
        for row in rows:
            if isinstance(row, BadRow):
                yield row
            elif self.convert is None:
                kept.append(row)
            else:
                try:
                    found = self.convert(row.values, pseudonym)
                except Unusable as error:
                    yield BadRow(row.line, str(error), row.values)
                    continue
                extras = {name: row.values[name] for name in EXTRAS if row.values.get(name) is not None}
                for values in found:
                    inconsistent = bool(values.pop(_judge_rows.INCONSISTENT, False))
                    yield Row(row.line, {**values, **extras}, inconsistent)
                if not found:
                    yield Skipped(row.line)
        if self.at_end is not None:
            yield from self.at_end(kept)


def _sets(*sets: str) -> tuple[frozenset[str], ...]:
    return tuple(frozenset(each.split()) for each in sets)


DIALECTS: dict[str, Dialect] = {
    dialect.name: dialect
    for dialect in (
        Dialect(
            "lmsys", "human",
            _sets("model_a model_b response_a response_b winner_model_a winner_model_b",
                  "model_a model_b response_a response_b winner"),
            _arena_rows.preference,
        ),
        Dialect("fastchat", "human", _sets("type models states"), _arena_rows.log_entry),
        Dialect(
            "mt-bench-pair", "judge",
            _sets("model_1 model_2 g1_winner g2_winner", "model_a model_b judge_id winner judgment_ab"),
            _judge_rows.pair,
        ),
        Dialect(
            "mt-bench-single", "judge",
            _sets("question_id model judge score", "question_id model_id judge_id score_turn1"),
            at_end=_judge_rows.pairs_from_grades, grades=True,
        ),
        Dialect("alpaca-eval", "judge", _sets("output_1 output_2 preference"), _judge_rows.alpaca),
        Dialect("arena-hard", "judge", _sets("games model judge"), _judge_rows.arena_hard),
    )
}  # fmt: skip
"""Formats of other tools by name."""

_ANSWERS = (
    ("AlpacaEval outputs", frozenset({"instruction", "output", "generator"})),
    ("model answers (FastChat, Arena-Hard)", frozenset({"choices"})),
    ("OpenAI chat messages", frozenset({"messages"})),
)


def detect(name: str, columns: Collection[str], asked: str) -> Dialect | None:
    """The format `asked` for ("auto": recognised by the columns; None is the usual schema, "votes"). Raises
    BadFile for an unknown one, and for files of answers without verdicts."""
    if asked == "auto":
        found = next((dialect for dialect in DIALECTS.values() if dialect.matches(columns)), None)
        for what, wanted in _ANSWERS:
            if found is None and wanted <= set(columns) and "winner" not in columns:
                raise BadFile(
                    f"{name}: holds {what}, but nobody's verdict on them. Import the judgments made of them; "
                    "`arena judge run` makes such judgments."
                )
        return found
    if asked == "votes":
        return None
    if asked not in DIALECTS:
        raise BadFile(f"--format {asked}: there are auto, votes, {', '.join(DIALECTS)}")
    if not DIALECTS[asked].matches(columns):
        needed = " or ".join("/".join(sorted(each)) for each in DIALECTS[asked].columns)
        raise BadFile(
            f"{name}: is no {asked} file, which has the columns {needed}; this has {', '.join(columns)}"
        )
    return DIALECTS[asked]
