"""Text from tokens: whole characters only."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arena.engines.text_stream import REPLACEMENT, TextDecoder

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters=REPLACEMENT), max_size=30)


def as_bytes(ids: Sequence[int]) -> str:
    """A tokenizer whose tokens are single bytes: every character beyond ASCII is split."""
    return bytes(ids).decode("utf-8", errors="replace")


@given(TEXT)
def test_text_comes_out_whole_however_its_bytes_are_split(text: str) -> None:
    decoder = TextDecoder(as_bytes)
    pieces = [decoder.add(byte) for byte in text.encode()]
    assert all(REPLACEMENT not in piece for piece in pieces)
    assert "".join(pieces) + decoder.finish() == text


def test_a_character_cut_off_at_the_end_is_dropped() -> None:
    decoder = TextDecoder(as_bytes)
    shown = "".join(decoder.add(byte) for byte in "서울".encode()[:-1])
    assert shown + decoder.finish() == "서"


def test_bytes_that_are_no_text_do_not_hold_back_what_follows() -> None:
    decoder = TextDecoder(as_bytes)
    shown = "".join(decoder.add(byte) for byte in b"a\xffb")
    assert shown + decoder.finish() == f"a{REPLACEMENT}b"


@pytest.mark.model
def test_korean_and_emoji_survive_the_real_tokenizer(smollm2_dir: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(smollm2_dir)

    def decode(ids: Sequence[int]) -> str:
        return str(tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False))

    @settings(max_examples=60, deadline=None)
    @given(st.text("가각힣한국어 abc.,\n漢字👩‍👩‍👧", max_size=20))
    def check(text: str) -> None:
        decoder = TextDecoder(decode)
        pieces = [decoder.add(token) for token in tokenizer.encode(text, add_special_tokens=False)]
        assert all(REPLACEMENT not in piece for piece in pieces)
        assert "".join(pieces) + decoder.finish() == text

    check()
