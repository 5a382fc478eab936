"""A real OpenAI-compatible HTTP server whose model is scripted: what it does is in the model id's first word.

It exists for errors and timing that no real model shows on demand. Started by tests as a process; prints its
port. A model id is MODE or MODE:ANYTHING; counts are kept per full id, so that tests do not disturb each other.
"""

import asyncio
import json
import random
import re
import socket
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

KEY = "sk-scripted-비밀-0123456789".encode().hex()
ENGLISH = ["The", " capital", " of", " France", " is", " Paris", "."]
KOREAN = ["대한", "민국의", " 수도는", " 서울", "입니다", "."]

app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
requests: Counter[str] = Counter()
written: Counter[str] = Counter()
disconnected: Counter[str] = Counter()
open_now: Counter[str] = Counter()
open_most: Counter[str] = Counter()
dice = random.Random(7)
bodies: dict[str, dict[str, Any]] = {}
released: set[str] = set()


def error(status: int, message: str, code: str | None = None, **headers: str) -> JSONResponse:
    body = {"error": {"message": message, "type": "scripted", "code": code, "param": None}}
    return JSONResponse(
        body, status, headers={name.replace("_", "-"): value for name, value in headers.items()}
    )


def piece(model: str, delta: dict[str, Any], finish: str | None = None, chat: bool = True) -> str:
    choice: dict[str, Any] = {"index": 0, "finish_reason": finish}
    choice |= {"delta": delta} if chat else {"text": delta.get("content", ""), "logprobs": None}
    kind = "chat.completion.chunk" if chat else "text_completion"
    text = delta.get("content", "")
    if text and model.startswith("logprobs"):
        other = {"token": "다른", "logprob": -2.5, "bytes": None}
        one = {"token": text, "logprob": -0.25, "bytes": None}
        if chat:
            choice["logprobs"] = {"content": [{**one, "top_logprobs": [one, other]}]}
        else:
            top = {text: -0.25, "다른": -2.5}
            choice["logprobs"] = {"tokens": [text], "token_logprobs": [-0.25], "top_logprobs": [top]}
    return sse({"id": "x", "object": kind, "created": 1, "model": model, "choices": [choice]})


def sse(data: Any) -> str:
    return f"data: {json.dumps(data, ensure_ascii=False)}\n\n"


async def words(
    model: str,
    texts: list[str],
    wait: float = 0.0,
    thinking: str = "",
    chat: bool = True,
    end: str = "stop",
    usage: dict[str, Any] | None = None,
) -> AsyncIterator[str]:
    if thinking:
        yield piece(model, {"role": "assistant", "reasoning_content": thinking})
    open_now[model] += 1
    open_most[model] = max(open_most[model], open_now[model])
    try:
        for text in texts:
            written[model] += 1
            yield piece(model, {"content": text}, chat=chat)
            await asyncio.sleep(wait)
    except asyncio.CancelledError:
        disconnected[model] += 1
        raise
    finally:
        open_now[model] -= 1
    yield piece(model, {}, end, chat)
    usage = usage or {
        "prompt_tokens": 11, "completion_tokens": len(texts), "total_tokens": 11 + len(texts),
    }  # fmt: skip
    yield sse({"id": "x", "object": "chat.completion.chunk", "created": 1, "model": model, "choices": [],
               "usage": usage})  # fmt: skip
    yield "data: [DONE]\n\n"


async def cut(model: str, texts: list[str]) -> AsyncIterator[str]:
    for text in texts:
        yield piece(model, {"content": text})
    await asyncio.sleep(0.05)
    raise ConnectionResetError("scripted: the stream is cut here")


async def raw(*lines: str) -> AsyncIterator[str]:
    for line in lines:
        yield line


async def silence() -> AsyncIterator[str]:
    await asyncio.sleep(3600)
    yield ""


async def held(model: str) -> AsyncIterator[str]:
    """Words until somebody says that it is enough."""
    while model not in released:
        yield piece(model, {"content": " word"})
        await asyncio.sleep(0.02)
    async for line in words(model, [" end"]):
        yield line


def stream(source: AsyncIterator[str]) -> Response:
    return StreamingResponse(source, media_type="text/event-stream")


@app.get("/seen/{model}")
def seen(model: str) -> dict[str, Any]:
    return {
        "requests": requests[model],
        "written": written[model],
        "disconnected": disconnected[model],
        "most_open": open_most[model],
        "body": bodies.get(model),
    }


@app.post("/release/{model}")
def release(model: str) -> None:
    released.add(model)


@app.get("/v1/models")
def models() -> dict[str, Any]:
    listed = {"english:listed": {"max_model_len": 4096}, "korean:listed": {}, "fails:listed": {}}
    data = [
        {"id": model, "object": "model", "created": 1, "owned_by": "x", **more}
        for model, more in listed.items()
    ]
    return {"object": "list", "data": data}


def echoed(text: str) -> dict[str, Any]:
    """The prompt and one token more, with log-probabilities: a word's is minus a tenth of its length. Like a model's,
    tokens depend on what stands before them in the text, and "Rome" is never the likeliest."""
    tokens = [*re.findall(r" ?\S+|\s", text), "!"]
    values = [None, *(-len(token) / 10 for token in tokens[1:])]
    tops: list[dict[str, float] | None] = [None]
    for token, value in zip(tokens[1:], values[1:], strict=True):
        better = {" Paris": -0.01} if "Rome" in token else {}
        tops.append({**better, token: value})  # type: ignore[dict-item]
    return {"tokens": tokens, "token_logprobs": values, "top_logprobs": tops, "text_offset": []}


@app.post("/v1/completions")
async def complete(request: Request) -> Response:
    body = await request.json()
    model = body["model"]
    requests[model] += 1
    bodies[model] = body
    match model.split(":")[0]:
        case "echo" | "mute":
            choices = [
                {"index": index, "text": text + "!", "finish_reason": "length",
                 "logprobs": echoed(text) if model.startswith("echo") else None}
                for index, text in enumerate(body["prompt"])
            ]  # fmt: skip
            usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
            answer = {"id": "x", "object": "text_completion", "created": 1, "model": model, "usage": usage}
            return JSONResponse({**answer, "choices": choices[::-1]})
        case "thinks":
            pieces = [
                "<th",
                "ink>\n수도를 생각",
                "합니다.\n</thi",
                "nk>\n\n서",
                "울입니다.<|im_",
                "end|>\nand",
                " more",
            ]
            return stream(words(model, pieces, wait=0.02, chat=False))
        case "slow":
            return stream(words(model, ENGLISH * 20, wait=0.1, chat=False))
    return stream(words(model, [body["prompt"].upper(), "!"], chat=False))


async def late(seconds: float, rest: AsyncIterator[str]) -> AsyncIterator[str]:
    await asyncio.sleep(seconds)
    async for line in rest:
        yield line


@app.post("/v1/chat/completions")
async def chat(request: Request) -> Response:
    body = await request.json()
    model = body["model"]
    requests[model] += 1
    bodies[model] = body
    first, second = requests[model] == 1, requests[model] <= 2
    match model.split(":")[0]:
        case "korean":
            return stream(words(model, KOREAN, thinking="수도를 생각해 봅니다."))
        case "busy-then-ok" if second:
            return error(429, "too many requests", retry_after="0.2")
        case "busy-for-long":
            return error(429, "too many requests", retry_after="30")
        case "storm":
            return error(429, "too many requests", retry_after_ms="10")
        case "half" if dice.random() < 0.5:
            return error(429, "too many requests", retry_after_ms="10")
        case "half":
            return stream(words(model, ENGLISH, wait=0.002))
        case "html":
            return Response("<html><body><h1>Welcome</h1> to the proxy</body></html>", media_type="text/html")
        case "html-502":
            page = "<html><head><style>p {}</style></head><body><h1>Bad gateway</h1></body></html>"
            return Response(page, 502, media_type="text/html")
        case "json":
            return JSONResponse({"choices": [{"message": {"content": "not streamed"}}]})
        case "empty":
            return stream(words(model, []))
        case "nothing":
            return stream(raw("data: [DONE]\n\n"))
        case "late":
            return stream(late(0.5, words(model, ENGLISH)))
        case "inline":
            return stream(words(model, ["<think>\n생각", "</think>\n\n", "서울"]))
        case "reasons":
            details = {"reasoning_tokens": 20}
            usage = {"prompt_tokens": 1000, "completion_tokens": 27, "total_tokens": 1027,
                     "completion_tokens_details": details, "prompt_tokens_details": {"cached_tokens": 400}}  # fmt: skip
            return stream(words(model, ENGLISH, usage=usage))
        case "reasons-apart":
            usage = {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 38,
                     "completion_tokens_details": {"reasoning_tokens": 20}}  # fmt: skip
            return stream(words(model, ENGLISH, usage=usage))
        case "fails-then-ok" if first:
            return error(500, "scripted failure")
        case "fails":
            return error(503, "scripted failure", retry_after_ms="10")
        case "cut":
            return stream(cut(model, ENGLISH[:3]))
        case "cut-early-then-ok" if first:
            return stream(cut(model, []))
        case "unfinished":
            return stream(raw(piece(model, {"content": "The"}), "data: [DONE]\n\n"))
        case "garbage":
            return stream(raw(piece(model, {"content": "The"}), "data: {not json\n\n"))
        case "odd":
            return stream(raw(sse({"choices": [{"delta": {"content": 7}, "index": 0}]})))
        case "error-inside":
            return stream(raw(piece(model, {"content": "The"}), sse({"error": {"message": "GPU on fire"}})))
        case "slow":
            return stream(words(model, ENGLISH * 20, wait=0.1))
        case "hang":
            return stream(silence())
        case "held":
            return stream(held(model))
        case "length":
            return stream(words(model, ENGLISH, end="length"))
        case "filtered":
            return stream(words(model, ENGLISH[:1], end="content_filter"))
        case "auth" if request.headers.get("authorization") != f"Bearer {KEY}":
            sent = request.headers.get("authorization", "")
            return error(401, f"Incorrect API key provided: {sent}", "invalid_api_key")
        case "overlong":
            message = (
                "This model's maximum context length is 4096 tokens. However, you requested 5000 tokens."
            )
            return error(400, message, "context_length_exceeded")
        case "refuses":
            return error(400, "temperature must be at most 1")
        case "missing":
            return error(404, "The model does not exist")
    return stream(words(model, ENGLISH))


if __name__ == "__main__":
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    print(listener.getsockname()[1], flush=True)
    uvicorn.run(app, fd=listener.fileno(), log_level="critical", timeout_graceful_shutdown=1)
