"""A real OpenAI-compatible HTTP server whose model is scripted: what it does is in the model id's first word.

It exists for errors and timing that no real model shows on demand. Started by tests as a process; prints its
port. A model id is MODE or MODE:ANYTHING; counts are kept per full id, so that tests do not disturb each other.
"""

import asyncio
import json
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
bodies: dict[str, dict[str, Any]] = {}


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
    model: str, texts: list[str], wait: float = 0.0, thinking: str = "", chat: bool = True, end: str = "stop"
) -> AsyncIterator[str]:
    if thinking:
        yield piece(model, {"role": "assistant", "reasoning_content": thinking})
    try:
        for text in texts:
            written[model] += 1
            yield piece(model, {"content": text}, chat=chat)
            await asyncio.sleep(wait)
    except asyncio.CancelledError:
        disconnected[model] += 1
        raise
    yield piece(model, {}, end, chat)
    usage = {"prompt_tokens": 11, "completion_tokens": len(texts), "total_tokens": 11 + len(texts)}
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


def stream(source: AsyncIterator[str]) -> Response:
    return StreamingResponse(source, media_type="text/event-stream")


@app.get("/seen/{model}")
def seen(model: str) -> dict[str, Any]:
    return {
        "requests": requests[model],
        "written": written[model],
        "disconnected": disconnected[model],
        "body": bodies.get(model),
    }


@app.post("/v1/completions")
async def complete(request: Request) -> Response:
    body = await request.json()
    bodies[body["model"]] = body
    return stream(words(body["model"], [body["prompt"].upper(), "!"], chat=False))


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
        case "storm":
            return error(429, "too many requests", retry_after_ms="10")
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
