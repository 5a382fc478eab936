"""From token ids to text that may be shown: whole characters only (stop strings: `prompt_formats.parse`)."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

REPLACEMENT = "\ufffd"
LONGEST_CHARACTER = 8
"""More undecodable tokens than this in a row are no split character (UTF-8 has at most 4 bytes, and a
byte-level token holds at least one) but bytes that are no text; they are shown as the decoder shows them."""


@dataclass(frozen=True)
class Piece:
    """The tokens from `first` to before `last`, and where the text that they make begins and ends."""

    first: int
    last: int
    begin: int
    end: int


def aligned(texts: Sequence[str], whole: str) -> list[Piece] | None:
    """Tokens, given by the text that each has alone, laid on the text that they are together. Those that only together
    are characters (alone they show U+FFFD for the bytes of a part) make one piece. None where the tokens do not make
    `whole`. At its end a character may be cut off.
    """
    found: list[Piece] = []
    first = at = 0
    while first < len(texts):
        last = first + 1
        if REPLACEMENT in texts[first]:
            # A token that begins with a character of its own begins a piece.
            while last < len(texts) and texts[last][:1] == REPLACEMENT:
                last += 1
        said = "".join(texts[first:last])
        if REPLACEMENT not in said:
            end = at + len(said) if whole.startswith(said, at) else None
        else:
            anchor = "".join(texts[last : last + 8]).partition(REPLACEMENT)[0]
            end = _end_of_parts(said, whole, at, anchor, is_last=last == len(texts))
        if end is None:
            return None
        found.append(Piece(first, last, at, end))
        first, at = last, end
    return found


def _end_of_parts(said: str, whole: str, at: int, anchor: str, *, is_last: bool) -> int | None:
    """Where the characters end of which `said` shows the parts, before the text `anchor`."""
    if is_last:
        return len(whole)
    pattern, least, most = "", 0, 0
    for part in re.findall(f"{REPLACEMENT}+|[^{REPLACEMENT}]+", said):
        if part[0] != REPLACEMENT:
            pattern += re.escape(part)
            low = high = len(part)
        else:
            # The parts of a character of 2 to 4 bytes are shown by 2 to 4 marks; one mark may stand for itself.
            low, high = math.ceil(len(part) / 4), max(1, len(part) // 2)
            pattern += f"(?s:.){{{low},{high}}}"
        least, most = least + low, most + high
    for end in range(at + least, min(at + most, len(whole)) + 1):
        if whole.startswith(anchor, end) and re.fullmatch(pattern, whole[at:end]):
            return end
    return None


class TextDecoder:
    """Turns token ids into text as they come.

    Characters whose bytes are split across tokens are held back until they are whole. A token's text may
    depend on the token before it (SentencePiece drops a leading space), so each is decoded together with the
    ids that came out last, and the known part is cut off.
    """

    def __init__(self, decode: Callable[[Sequence[int]], str]) -> None:
        self._decode = decode
        self._ids: list[int] = []
        self._shown = 0  # ids[:_shown] have come out as text

    def add(self, token: int) -> str:
        """The text that became certain with this token; empty while a character is incomplete."""
        self._ids.append(token)
        return self._advance(final=False)

    def finish(self) -> str:
        """What is left at the end. The bytes of a character that was cut off are dropped."""
        return self._advance(final=True).rstrip(REPLACEMENT)

    def _advance(self, final: bool) -> str:
        known = self._decode(self._ids[: self._shown])
        text = self._decode(self._ids)
        waiting = len(self._ids) - self._shown
        if text.endswith(REPLACEMENT) and waiting <= LONGEST_CHARACTER and not final:
            return ""
        new = text[len(known) :]
        # Only the ids that came out last stay, as context for those that follow.
        self._ids = self._ids[self._shown :]
        self._shown = len(self._ids)
        return new
