"""Which column of a file is which field of a vote, and the words for verdicts."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from results.interchange.errors import BadFile
from results.records import Source, Verdict

REQUIRED = ("model_a", "model_b", "winner")

FIELDS: dict[str, tuple[str, ...]] = {
    "model_a": ("left",),
    "model_b": ("right",),
    "winner": ("verdict",),
    "id": ("question_id",),
    "prompt": (),
    "voter": ("worker",),
    "judge": (),
    "timestamp": ("tstamp", "time"),
    "language": (),
    "category": (),
    "conversation_a": (),
    "conversation_b": (),
    "digest_a": (),
    "digest_b": (),
    "vote_uuid": (),
    "battle_uuid": (),
}
"""The fields of a vote, each with the other names it goes by. The last four are written by our own export:
content hashes of the model versions, and the ids under which the vote and its battle are stored."""

_NAMES = {name: field for field, others in FIELDS.items() for name in (field, *others)}

_VERDICTS: dict[str, Verdict] = {
    "a": "a", "model_a": "a", "left": "a",
    "b": "b", "model_b": "b", "right": "b",
    "tie": "tie", "draw": "tie",
    "both_bad": "both_bad", "bothbad": "both_bad",
    "tie_(bothbad)": "both_bad", "tie_(both_bad)": "both_bad", "tie(bothbad)": "both_bad",
    "tie(both_bad)": "both_bad",
}  # fmt: skip


def verdict_of(word: str) -> Verdict | None:
    """The verdict that a word means ("model_a", "left", "tie (bothbad)" ...), or None."""
    found = _VERDICTS.get(word)
    return found or _VERDICTS.get("_".join(word.casefold().replace("-", "_").split()))


@dataclass(frozen=True)
class Columns:
    """For each field the column it is read from (`column_of`), or the one value all rows have (`fixed`)."""

    column_of: Mapping[str, str]
    fixed: Mapping[str, str]
    source: Source

    def describe(self) -> str:
        """A text that is the same for the same mapping, for the import's id."""
        return repr((sorted(self.column_of.items()), sorted(self.fixed.items()), self.source))


def choose_columns(
    columns: Sequence[str], *, mapping: Mapping[str, str], fixed: Mapping[str, str], source: Source
) -> Columns:
    """Match fields with a file's columns: as `mapping` (field -> column) says, otherwise by name.

    In files of human votes a column `judge` holds the voter (as in the LMSYS data), unless there is a voter.
    Raises BadFile for a field or column that does not exist, naming the nearest, and for missing fields.
    """
    column_of: dict[str, str] = {}
    for name, column in mapping.items():
        field = _field(name, "--map")
        if column not in columns:
            raise BadFile(
                f"--map {name}={column}: the file has no column {column!r}{_nearest(column, columns)}; "
                f"it has {', '.join(map(repr, columns))}"
            )
        if field in column_of:
            raise BadFile(f"--map names the field {field} twice")
        column_of[field] = column
    values: dict[str, str] = {}
    for name, value in fixed.items():
        field = _field(name, "--set")
        if field in column_of:
            raise BadFile(f"{field} is given by both --map and --set; leave one out")
        values[field] = value

    taken = set(column_of.values())
    for column in sorted(columns, key=lambda name: name not in FIELDS):  # our own names before the others
        by_name = _NAMES.get(column)
        if by_name and column not in taken and by_name not in column_of and by_name not in values:
            column_of[by_name] = column
    if source == "human" and "judge" in column_of:
        judge = column_of.pop("judge")
        if "voter" not in column_of and "voter" not in values:
            column_of["voter"] = judge

    missing = [field for field in REQUIRED if field not in column_of and field not in values]
    if missing:
        raise BadFile(
            f"no column for {', '.join(missing)}; the file has {', '.join(map(repr, columns))}. "
            f"Say which is which, for example --map {missing[0]}=COLUMN"
        )
    if source == "judge" and "judge" not in column_of and "judge" not in values:
        raise BadFile("these are a judge's verdicts, but nothing names the judge; give --judge NAME")
    return Columns(column_of, values, source)


def _field(name: str, option: str) -> str:
    try:
        return _NAMES[name]
    except KeyError:
        raise BadFile(
            f"{option} {name}: there is no field {name!r}{_nearest(name, list(_NAMES))}; "
            f"fields are {', '.join(FIELDS)}"
        ) from None


def _nearest(name: str, names: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    return f" (did you mean {near[0]!r}?)" if near else ""
