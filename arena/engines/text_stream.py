"""From token ids to text that may be shown: whole characters only (stop strings: `prompt_formats.parse`)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

REPLACEMENT = "\ufffd"
LONGEST_CHARACTER = 8
"""More undecodable tokens than this in a row are no split character (UTF-8 has at most 4 bytes, and a
byte-level token holds at least one) but bytes that are no text; they are shown as the decoder shows them."""


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
