"""Ids of imported comparisons and battles: made from what a row says, so that it has them in every import."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple
from uuid import UUID

import numpy as np
import numpy.typing as npt

from results.ids import NAMESPACE, named_id
from results.interchange.occurrences import Occurrences
from results.interchange.reading import Row
from results.interchange.votes import Unusable, Vote
from results.store import Store

_canonical = json.JSONEncoder(ensure_ascii=False, sort_keys=True, default=str).encode

_VOTED = """
SELECT replace(battle_id::VARCHAR, '-', '') AS battle, voter::VARCHAR AS voter, replace(id::VARCHAR, '-', '') AS id
FROM comparisons WHERE source = 'human' AND voter IS NOT NULL AND battle_id IN (SELECT unnest(?::UUID[]))
"""


class KeyedVote(NamedTuple):
    """A vote with the hashes that its ids are made from; `size` is the length of its row's text."""

    vote: Vote
    row_hash: Any
    battle_hash: Any
    size: int


def keyed(row: Row, vote: Vote) -> KeyedVote:
    """Hash what makes the vote this vote (source and original row) and its battle this battle.

    Raises Unusable for text that is not Unicode and for JSON nested beyond reason.
    """
    try:
        canonical = _canonical(row.values)
    except RecursionError as error:
        raise Unusable("is nested too deeply") from error
    origin = "human" if vote.judge is None else f"judge:{vote.judge}"
    try:
        return KeyedVote(vote, _hash("comparison", origin, canonical), _battle_hash(vote), len(canonical))
    except UnicodeEncodeError as error:
        raise Unusable("has half a character (a lone surrogate) in its text") from error


def voter_id(voter: str) -> UUID:
    """A voter given as a UUID keeps it (our own exports write them); other names are hashed."""
    try:
        return UUID(voter)
    except ValueError:
        return named_id("voter", voter)


def _battle_hash(vote: Vote) -> Any:
    """What makes two votes votes on one battle: the same id, prompt, models and conversations. None where a
    vote tells only its models: then nothing says that two votes saw the same answers."""
    if not (vote.id or vote.prompt or vote.conversation_a or vote.conversation_b):
        return None
    return _hash(
        "battle", vote.id, vote.prompt or "", vote.model_a, vote.digest_a, vote.model_b, vote.digest_b,
        vote.conversation_a or "", vote.conversation_b or "",
    )  # fmt: skip


def answered_battle_id(prompt: str, sides: Sequence[tuple[str, str, str]]) -> str:
    """The id, in hexadecimal, of a battle of two answers that came without a verdict; of each side its model, the
    version's digest and the conversation as canonical JSON. A vote on them that is imported names the same."""
    (model_a, digest_a, conversation_a), (model_b, digest_b, conversation_b) = sides
    parts = ("", prompt, model_a, digest_a, model_b, digest_b, conversation_a, conversation_b)
    return _id_of(_hash("battle", *parts), 0)


class Numbering:
    """Numbers equal rows, and the votes of one voter on one pair of answers, through one import.

    A battle has at most one vote per voter. A voter's second vote on the same answers, in this file or in one
    that was imported before, becomes a vote on a second battle of these answers.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._rows, self._votes = Occurrences(), Occurrences()
        self._taken: set[tuple[str, str]] = set()
        self._has_votes = store.query("SELECT 1 FROM comparisons WHERE source = 'human' LIMIT 1").num_rows > 0

    def ids_of(self, chunk: list[KeyedVote]) -> tuple[list[str], list[str]]:
        """Ids of the chunk's comparisons and of their battles, in hexadecimal."""
        occurrences = self._rows.number(_keys(each.row_hash.digest() for each in chunk))
        ids = [
            _id_of(each.row_hash, occurrence) if each.vote.vote_uuid is None else each.vote.vote_uuid.hex
            for each, occurrence in zip(chunk, occurrences.tolist(), strict=True)
        ]
        return ids, self._battles(chunk, ids)

    def _battles(self, chunk: list[KeyedVote], ids: list[str]) -> list[str]:
        named = [
            place
            for place, each in enumerate(chunk)
            if each.battle_hash is not None and each.vote.voter and each.vote.battle_uuid is None
        ]
        repeats = np.zeros(len(chunk), np.int64)
        repeats[named] = self._votes.number(
            _keys(_extended(chunk[place].battle_hash, chunk[place].vote.voter or "") for place in named)
        )
        battles = []
        for each, own, repeat in zip(chunk, ids, repeats.tolist(), strict=True):
            if each.vote.battle_uuid is not None:
                battles.append(each.vote.battle_uuid.hex)
            elif each.battle_hash is None:
                battles.append(_version_5(_hash("battle", own).digest()))
            else:
                battles.append(_id_of(each.battle_hash, repeat))
        if self._has_votes:
            self._move_second_votes(chunk, ids, battles, named, repeats.tolist())
        return battles

    def _move_second_votes(
        self, chunk: list[KeyedVote], ids: list[str], battles: list[str], named: list[int], repeats: list[int]
    ) -> None:
        """Give those votes another battle whose voter has a stored vote, under another id, on theirs."""
        voters = {place: str(voter_id(chunk[place].vote.voter or "")) for place in named}
        stored: dict[tuple[str, str], str] = {}
        open_places = named
        while open_places:
            wanted = sorted({battles[place] for place in open_places})
            for row in self._store.query(_VOTED, [[UUID(battle) for battle in wanted]]).to_pylist():
                stored[row["battle"], row["voter"]] = row["id"]
            moved = []
            for place in open_places:
                here = battles[place], voters[place]
                if stored.get(here, ids[place]) != ids[place] or here in self._taken:
                    repeats[place] += 1
                    battles[place] = _id_of(chunk[place].battle_hash, repeats[place])
                    moved.append(place)
                elif repeats[place] and here not in stored:
                    self._taken.add(here)
            open_places = moved


def _keys(digests: Iterable[bytes]) -> npt.NDArray[np.uint64]:
    return np.frombuffer(b"".join([digest[:8] for digest in digests]), np.uint64)


def _id_of(hashed: Any, occurrence: int) -> str:
    return _version_5(_extended(hashed, str(occurrence)))


def _extended(hashed: Any, part: str) -> bytes:
    """The digest of a hash with one more part."""
    longer = hashed.copy()
    longer.update(_joined(part).encode())
    return bytes(longer.digest())


def _joined(*parts: str) -> str:
    return "".join([f"{len(part)}:{part}" for part in parts])


def _hash(kind: str, *parts: str) -> Any:
    """The hash inside `results.ids.named_id`, which can still be extended by further parts."""
    return hashlib.sha1(NAMESPACE.bytes + _joined(kind, *parts).encode(), usedforsecurity=False)


def _version_5(digest: bytes) -> str:
    """A SHA-1 digest as a version 5 UUID (RFC 9562), in hexadecimal without hyphens, which DuckDB reads."""
    text = digest[:16].hex()
    variant = "89ab"[int(text[16], 16) & 3]
    return f"{text[:12]}5{text[13:16]}{variant}{text[17:]}"
