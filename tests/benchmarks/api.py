"""What /v1 costs and gains: concurrent clients against one by one, streamed against whole, on the real SmolLM2.

    python tests/benchmarks/api.py [--clients 8] [--tokens 48]

Starts `arena serve` in a scratch folder. Every answer is greedy and of the same length, so that only time differs.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import httpx
import openai

from arena.engines import embedded

PROMPTS = [f"Write a long story about {what}." for what in ("a cat", "the sea", "a train", "Seoul", "rain")]


class Client:
    """Asks the server; `ask` gives the seconds to the first text and the number of tokens."""

    def __init__(self, url: str, tokens: int) -> None:
        self._client = openai.AsyncOpenAI(base_url=url, api_key="none", timeout=600)
        self._tokens = tokens

    async def streamed(self, number: int) -> tuple[float, int]:
        began, first, used = time.perf_counter(), None, 0
        stream = await self._client.chat.completions.create(
            **self._request(number), stream=True, stream_options={"include_usage": True}
        )
        async for chunk in stream:
            if chunk.choices and chunk.choices[0].delta.content and first is None:
                first = time.perf_counter() - began
            used = chunk.usage.completion_tokens if chunk.usage else used
        return first or 0.0, used

    async def whole(self, number: int) -> tuple[float, int]:
        began = time.perf_counter()
        answer = await self._client.chat.completions.create(**self._request(number))
        assert answer.usage is not None
        return time.perf_counter() - began, answer.usage.completion_tokens

    def _request(self, number: int) -> dict[str, object]:
        content = PROMPTS[number % len(PROMPTS)]
        return {
            "model": "smollm2", "messages": [{"role": "user", "content": content}],
            "temperature": 0, "max_tokens": self._tokens,
        }  # fmt: skip


async def measure(
    name: str, ask: Callable[[int], Awaitable[tuple[float, int]]], clients: int, at_once: int
) -> float:
    """Print one line; returns tokens a second over all clients."""
    places = asyncio.Semaphore(at_once)

    async def one(number: int) -> tuple[float, int]:
        async with places:
            return await ask(number)

    began = time.perf_counter()
    answers = await asyncio.gather(*(one(number) for number in range(clients)))
    took = time.perf_counter() - began
    speed = sum(tokens for _, tokens in answers) / took
    first = statistics.median(seconds for seconds, _ in answers)
    print(f"{name:42} {speed:8.1f} tokens/s   first text (median) {first:6.2f} s   all {took:6.1f} s")
    return speed


async def run(url: str, clients: int, tokens: int) -> None:
    client = Client(url, tokens)
    await client.whole(0)  # loads the weights
    alone = await measure("one by one, streamed", client.streamed, clients, 1)
    whole_alone = await measure("one by one, whole", client.whole, clients, 1)
    streamed = await measure(f"{clients} at once, streamed", client.streamed, clients, clients)
    whole = await measure(f"{clients} at once, whole", client.whole, clients, clients)
    print(f"at once against one by one: streamed {streamed / alone:.2f}x, whole {whole / whole_alone:.2f}x")
    print(f"streamed against whole, at once: {streamed / whole:.2f}x; one by one: {alone / whole_alone:.2f}x")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=48)
    options = parser.parse_args()
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as probe:
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder)
        embedded.prepare(data)
        (data / "arena.toml").write_text(
            f'embedded = false\n[[models]]\nname = "smollm2"\nsource = "embedded:{embedded.NAME}"\n'
        )
        command = [sys.executable, "-m", "arena.cli.main", "serve", "--data", folder, "--port", str(port)]
        with subprocess.Popen(command, stderr=subprocess.DEVNULL) as server:
            try:
                with httpx.Client(transport=httpx.HTTPTransport(retries=0), trust_env=False) as http:
                    deadline = time.monotonic() + 180
                    while time.monotonic() < deadline:
                        with contextlib.suppress(httpx.TransportError):
                            if http.get(f"http://127.0.0.1:{port}/readyz").status_code == 200:
                                break
                        time.sleep(0.2)
                asyncio.run(run(f"http://127.0.0.1:{port}/v1", options.clients, options.tokens))
            finally:
                server.terminate()
                server.wait(30)


if __name__ == "__main__":
    main()
