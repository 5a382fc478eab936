"""A worker process without a model, for what does not depend on one: it speaks the protocol and counts aloud."""

from __future__ import annotations

import os
import queue
import sys
import threading

from arena.engines.protocol import (
    TO_WORKER,
    Cancel,
    Delta,
    Ended,
    FromWorker,
    Ready,
    Start,
    Started,
    ToWorker,
    read_frame,
    write_message,
)

PAUSE = 0.01


def main() -> None:
    source, target = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    inbox: queue.SimpleQueue[ToWorker] = queue.SimpleQueue()

    def read() -> None:
        while (frame := read_frame(source)) is not None:
            inbox.put(TO_WORKER.validate_json(frame))
        os._exit(0)

    def send(message: FromWorker) -> None:
        write_message(target, message)

    threading.Thread(target=read, daemon=True).start()
    inbox.get()
    send(Ready(device="cpu", dtype="float32", memory=1, context_length=512, versions={}))
    answers: dict[int, tuple[Start, int]] = {}
    while True:
        try:
            message = inbox.get(timeout=PAUSE if answers else None)
        except queue.Empty:
            message = None
        if isinstance(message, Start):
            answers[message.id] = (message, 0)
            send(
                Started(id=message.id, rendered_prompt="", prompt_tokens=1, sampling=message.sampling, log={})
            )
        elif isinstance(message, Cancel) and (cancelled := answers.pop(message.id, None)) is not None:
            send(Ended(id=message.id, finish_reason="cancelled", completion_tokens=cancelled[1]))
        elif message is None:
            for identity, (start, said) in list(answers.items()):
                answers[identity] = (start, said + 1)
                send(Delta(id=identity, text=f"{said + 1} ", tokens=said + 1))
                if said + 1 == start.sampling.max_tokens:
                    del answers[identity]
                    send(Ended(id=identity, finish_reason="length", completion_tokens=said + 1))


if __name__ == "__main__":
    sys.exit(main())
