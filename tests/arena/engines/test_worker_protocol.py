"""Frames between the arena and its workers."""

from __future__ import annotations

import asyncio
import io
import struct
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from arena.engines.base import Sampling
from arena.engines.protocol import (
    FROM_WORKER,
    TO_WORKER,
    Delta,
    ProtocolError,
    Start,
    Threads,
    read_frame,
    receive_frame,
    write_message,
)
from prompt_formats.conversation import Conversation


def read(sent: bytes) -> list[bytes]:
    """All frames, as a worker and its owner read them."""
    stream, found = io.BytesIO(sent), []
    while (frame := read_frame(stream)) is not None:
        found.append(frame)
    return found


def received(sent: bytes) -> list[bytes]:
    """All frames, as an arena that shares its workers reads them."""

    async def receive() -> list[bytes]:
        reader, found = asyncio.StreamReader(), []
        reader.feed_data(sent)
        reader.feed_eof()
        while (frame := await receive_frame(reader)) is not None:
            found.append(frame)
        return found

    return asyncio.run(receive())


both = pytest.mark.parametrize("frames", [read, received])
Frames = Callable[[bytes], list[bytes]]


@given(st.text(st.characters(exclude_categories=["Cs"])), st.lists(st.text("끝a\n\u2028"), max_size=3))
def test_messages_come_back_as_they_were_sent(text: str, stops: list[str]) -> None:
    stream = io.BytesIO()
    start = Start(
        id=3,
        conversation=Conversation().add("user", text),
        sampling=Sampling(temperature=0.5),
        stop=tuple(stops),
        seed=2**62,
    )
    delta = Delta(id=3, text=text, tokens=5)
    write_message(stream, start)
    write_message(stream, delta)
    first, second = read(stream.getvalue())
    assert TO_WORKER.validate_json(first) == start
    assert FROM_WORKER.validate_json(second) == delta
    assert received(stream.getvalue()) == [first, second]


@both
@pytest.mark.parametrize("kept", [2, 4, 10])
def test_a_frame_that_is_cut_off_is_an_error_and_not_an_end(kept: int, frames: Frames) -> None:
    stream = io.BytesIO()
    write_message(stream, Threads(count=1))
    with pytest.raises(ProtocolError, match="ended"):
        frames(stream.getvalue()[:kept])


@both
def test_an_absurd_length_is_refused_before_it_is_read(frames: Frames) -> None:
    with pytest.raises(ProtocolError, match="no message"):
        frames(struct.pack(">I", 2**32 - 1))


@pytest.mark.parametrize("body", [b"{}", b'{"type":"start"}', b'{"type":"cancel","id":1,"more":2}', b"[]"])
def test_unknown_messages_are_refused(body: bytes) -> None:
    with pytest.raises(ValidationError):
        TO_WORKER.validate_json(body)
