"""The process that holds one set of weights: `python -m arena.engines.local_worker`.

It speaks `arena.engines.protocol` on its standard input and output, and ends when its input does, so that it
never outlives the arena. One thread reads messages, the main thread decodes; with nothing to do it sleeps.
"""

from __future__ import annotations

import logging
import os
import queue
import sys
import threading
from typing import Any, BinaryIO

from pydantic import ValidationError

from arena.engines.protocol import (
    TO_WORKER,
    Cancel,
    Detach,
    EmbedMany,
    Failed,
    FromWorker,
    Loading,
    ProtocolError,
    Ready,
    ScoreMany,
    Start,
    Threads,
    ToWorker,
    WorkerConfig,
    read_frame,
    write_message,
)

log = logging.getLogger("arena.worker")


class _Replies:
    """Messages to the arena. Where it is gone, so are we."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream

    def send(self, message: FromWorker) -> None:
        try:
            write_message(self._stream, message)
        except BrokenPipeError:
            os._exit(0)


def _read_messages(stream: BinaryIO, inbox: queue.SimpleQueue[ToWorker]) -> None:
    while True:
        try:
            frame = read_frame(stream)
            if frame is None:
                # Ends decoding in the middle of a step too: nobody is left to read what it makes.
                os._exit(0)
            inbox.put(TO_WORKER.validate_json(frame))
        except (ProtocolError, ValidationError) as error:
            log.error("a message that cannot be understood: %s", error)
            os._exit(3)


def main() -> int:
    """Load what the first message names, then answer until the input ends. Exit code 1: it could not load."""
    # Libraries print; whatever they print must not land between our frames.
    replies = _Replies(os.fdopen(os.dup(1), "wb"))
    os.dup2(2, 1)
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING)
    inbox: queue.SimpleQueue[ToWorker] = queue.SimpleQueue()
    source = os.fdopen(os.dup(0), "rb")
    threading.Thread(target=_read_messages, args=(source, inbox), name="messages", daemon=True).start()
    config = inbox.get()
    if not isinstance(config, WorkerConfig):
        log.error("the first message must be the config, not %s", config.type)
        return 3
    replies.send(Loading(stage="starting"))
    try:
        # torch and transformers take seconds to import: only now, with the stage told.
        from arena.engines import local_model

        def tell(stage: str) -> None:
            replies.send(Loading(stage=stage))

        if config.quantisation == "ct2-int8":
            from arena.engines import local_ct2

            loaded = local_ct2.load(config, tell)
        else:
            loaded = local_model.load(config, tell)
    except (
        Exception
    ) as error:  # whatever a broken folder makes a library raise is one thing here: it cannot load
        log.exception("cannot load %s", config.path)
        replies.send(Failed(reason=_reason(error)))
        return 1
    versions = local_model.versions()
    replies.send(
        Ready(
            device=loaded.device.type,
            dtype=str(loaded.dtype).removeprefix("torch."),
            memory=loaded.memory,
            context_length=loaded.context_length,
            versions=versions,
        )
    )
    _serve(loaded, versions, inbox, replies)
    return 0


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if type(error).__name__ == "CannotLoad" else f"{type(error).__name__}: {text[:600]}"


def _serve(
    loaded: Any, versions: dict[str, str], inbox: queue.SimpleQueue[ToWorker], replies: _Replies
) -> None:
    from arena.engines.local_answers import Answers

    answers = Answers(loaded, versions, replies.send)
    while True:
        while not answers.busy or not inbox.empty():
            _handle(inbox.get(), answers)
        answers.step()


def _handle(message: ToWorker, answers: Any) -> None:
    match message:
        case Start():
            answers.start(message)
        case ScoreMany():
            answers.score(message)
        case EmbedMany():
            answers.score(message)
        case Detach():
            answers.detach(message.adapter)
        case Cancel():
            answers.cancel(message.id)
        case Threads():
            answers.use_threads(message.count)
        case WorkerConfig():
            log.error("a second config: ignored, a worker holds one set of weights")


if __name__ == "__main__":
    sys.exit(main())
