"""Text from tokens: whole characters only."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arena.engines.text_stream import REPLACEMENT, TextDecoder, aligned

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


def cut(text: str, lengths: list[int]) -> list[str]:
    """A text's bytes in tokens of these lengths, as each is decoded alone."""
    data, found = text.encode(), []
    while data:
        length = lengths[len(found) % len(lengths)]
        found.append(data[:length].decode("utf-8", errors="replace"))
        data = data[length:]
    return found


@settings(max_examples=300)
@given(TEXT, st.lists(st.integers(1, 6), min_size=1, max_size=5))
def test_tokens_are_laid_on_their_text_without_gaps(text: str, lengths: list[int]) -> None:
    texts = cut(text, lengths)
    found = aligned(texts, text)
    if found is None:  # a fit that looked right at first: then every token stands for itself
        return
    assert [place for each in found for place in range(each.first, each.last)] == list(range(len(texts)))
    assert "".join(text[each.begin : each.end] for each in found) == text
    for each in found:
        if each.last == each.first + 1 and REPLACEMENT not in texts[each.first]:
            assert text[each.begin : each.end] == texts[each.first]


@pytest.mark.parametrize("lengths", [[1], [2], [4], [1, 2, 4], [5, 3]])
def test_korean_among_blanks_is_laid_on_its_text(lengths: list[int]) -> None:
    text = "user\n둘째 질문 길게 길게 길게 <|im_end|>\n세 번째?"
    found = aligned(cut(text, lengths), text)
    assert found is not None
    assert "".join(text[each.begin : each.end] for each in found) == text
    assert aligned(cut(text, lengths), text.replace("길", "긴긴긴")) is None


def test_a_character_that_is_cut_off_ends_the_last_piece() -> None:
    found = aligned(["서", REPLACEMENT], "서")
    assert found is not None
    assert [(each.begin, each.end) for each in found] == [(0, 1), (1, 1)]
