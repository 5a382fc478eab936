"""What is said between the arena and a worker process: validated messages in length-prefixed JSON frames.

A frame is its length (4 bytes, big endian) and that many bytes of UTF-8 JSON. Requests go to the worker's
standard input, replies come from its standard output; the end of its input tells a worker to end.
"""

from __future__ import annotations

import asyncio
import struct
from pathlib import Path
from typing import Annotated, Any, BinaryIO, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from arena.engines.base import FinishReason, Sampling, Score, ScoreRequest, Token, TokenLogprob
from arena.engines.spec import Devices, Quantisation
from prompt_formats.conversation import Conversation

PROTOCOL = 2
"""Raised with every change of a message: processes of other versions share no workers."""
LONGEST_FRAME = 256 * 1024 * 1024
Dtype = Literal["auto", "float32", "bfloat16", "float16"]
_LENGTH = struct.Struct(">I")


class ProtocolError(Exception):
    """The other side sent something that is no message of this protocol."""


class _Message(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class WorkerConfig(_Message):
    """What a worker is to load: the first message it gets. `cache` is for what is converted once."""

    type: Literal["config"] = "config"
    path: Path
    quantisation: Quantisation = "none"
    context_length: int | None = None
    dtype: Dtype = "auto"
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    devices: Devices = "one"
    cache: Path | None = None


class Attach(_Message):
    """What a process says first to an arena that shares its workers: the config of the worker it would start."""

    type: Literal["attach"] = "attach"
    protocol: int
    config: WorkerConfig


class Prompting(_Message):
    """What decides the prompt format beside the tokenizer: the model's id, an explicit format, the parent's id,
    the folder of the user's own formats, and the window (see `prompt_formats.window_from`)."""

    model: str | None = None
    prompt_format: str | None = None
    parent: str | None = None
    formats: Path | None = None
    window: dict[str, int] | None = None


class Start(_Message):
    """Begin to answer. `sampling` is complete as far as the model version and the request set it."""

    type: Literal["start"] = "start"
    id: int
    conversation: Conversation | None = None
    text: str | None = None
    ids: tuple[int, ...] | None = None
    sampling: Sampling = Sampling()
    stop: tuple[str, ...] = ()
    seed: int
    logprobs: int | None = None
    adapter: Path | None = None
    prompting: Prompting = Prompting()
    prefill: str | None = None
    tokens: bool = False


class ScoreMany(_Message):
    """Score the continuations of all `requests` after the (framed) contexts."""

    type: Literal["score"] = "score"
    id: int
    requests: tuple[ScoreRequest, ...]
    adapter: Path | None = None
    prompting: Prompting = Prompting()


class Detach(_Message):
    """Free what the adapter in this folder takes, unless answers use it. It is loaded again when it is asked for."""

    type: Literal["detach"] = "detach"
    adapter: Path


class EmbedMany(_Message):
    """Make a vector of each text: the mean of the model's last hidden states, of unit length."""

    type: Literal["embed"] = "embed"
    id: int
    texts: tuple[str, ...]
    adapter: Path | None = None


class Cancel(_Message):
    """Stop answering `id`; an `ended` with reason `cancelled` follows unless it had ended already."""

    type: Literal["cancel"] = "cancel"
    id: int


class Threads(_Message):
    """Use this many torch threads from the next token on."""

    type: Literal["threads"] = "threads"
    count: int = Field(ge=1)


class Loading(_Message):
    """What the worker is doing before it is ready, in words for people."""

    type: Literal["loading"] = "loading"
    stage: str


class Ready(_Message):
    """The weights are loaded. `memory` is their size in bytes, `context_length` in tokens."""

    type: Literal["ready"] = "ready"
    device: str
    dtype: str
    memory: int
    context_length: int
    versions: dict[str, str]


class Failed(_Message):
    """The model cannot be loaded; the worker ends."""

    type: Literal["failed"] = "failed"
    reason: str


class Started(_Message):
    """The prompt is rendered and fits: what the model sees."""

    type: Literal["started"] = "started"
    id: int
    rendered_prompt: str
    prompt_tokens: int
    sampling: Sampling
    log: dict[str, Any]
    tokens: tuple[Token, ...] | None = None


class Delta(_Message):
    """More text of answer `id`; `tokens` is how many have been generated for it so far."""

    type: Literal["delta"] = "delta"
    id: int
    text: str
    thinking: str = ""
    tokens: int
    logprobs: tuple[TokenLogprob, ...] = ()


class Ended(_Message):
    """Answer `id` is complete or was cancelled."""

    type: Literal["ended"] = "ended"
    id: int
    finish_reason: FinishReason
    completion_tokens: int
    tokens: tuple[Token, ...] | None = None
    raw: str | None = None


class Scored(_Message):
    """The scores of a `score` message, in the order of its requests."""

    type: Literal["scored"] = "scored"
    id: int
    scores: tuple[tuple[Score, ...], ...]


class Embedded(_Message):
    """The vectors of an `embed` message, in the order of its texts; `tokens` is the texts' number of tokens."""

    type: Literal["embedded"] = "embedded"
    id: int
    vectors: tuple[tuple[float, ...], ...]
    tokens: int


class Refused(_Message):
    """Answer `id` cannot be given; `kind` is an `EngineError`'s."""

    type: Literal["refused"] = "refused"
    id: int
    kind: Literal["error", "rejected", "over_context", "unavailable"]
    message: str


ToWorker = WorkerConfig | Detach | Start | ScoreMany | EmbedMany | Cancel | Threads
FromWorker = Loading | Ready | Failed | Started | Delta | Ended | Scored | Embedded | Refused

TO_WORKER: TypeAdapter[ToWorker] = TypeAdapter(Annotated[ToWorker, Field(discriminator="type")])
FROM_WORKER: TypeAdapter[FromWorker] = TypeAdapter(Annotated[FromWorker, Field(discriminator="type")])


def framed_bytes(message: ToWorker | FromWorker | Attach) -> bytes:
    """The frame of a message."""
    body = message.model_dump_json().encode()
    return _LENGTH.pack(len(body)) + body


def write_message(stream: BinaryIO, message: ToWorker | FromWorker | Attach) -> None:
    """Write one frame and flush it."""
    stream.write(framed_bytes(message))
    stream.flush()


def read_frame(stream: BinaryIO) -> bytes | None:
    """The next frame's bytes, None at the end. Raises `ProtocolError` where the stream ends inside one."""
    head = stream.read(_LENGTH.size)
    if not head:
        return None
    length = _length(head)
    return _complete(stream.read(length), length)


async def receive_frame(reader: asyncio.StreamReader) -> bytes | None:
    """The same from an asyncio stream."""
    try:
        head = await reader.readexactly(_LENGTH.size)
    except asyncio.IncompleteReadError as ended:
        head = ended.partial
    if not head:
        return None
    length = _length(head)
    try:
        return await reader.readexactly(length)
    except asyncio.IncompleteReadError as ended:
        return _complete(ended.partial, length)


def _length(head: bytes) -> int:
    if len(head) < _LENGTH.size:
        raise ProtocolError("the stream ended inside a frame's length")
    (length,) = _LENGTH.unpack(head)
    if length > LONGEST_FRAME:
        raise ProtocolError(f"a frame of {length} bytes: this is no message of the worker protocol")
    return int(length)


def _complete(body: bytes, length: int) -> bytes:
    if len(body) < length:
        raise ProtocolError(f"the stream ended after {len(body)} of a frame's {length} bytes")
    return body
