"""A real OpenAI-compatible HTTP server that answers and judges by script. Started by tests; prints its port.

A model id is MODE or MODE:ANYTHING; requests are counted per full id. Fair judges count "good" in the answers that
they are shown, so that a verdict follows the answers; `first` follows the slot, `labelled` the label.
"""

import asyncio
import json
import math
import re
import socket
from collections import Counter
from typing import Any

import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
requests: Counter[str] = Counter()


def sse(data: Any) -> str:
    return f"data: {json.dumps(data, ensure_ascii=False)}\n\n"


def reply(model: str, text: str, probabilities: dict[str, float] | None = None) -> Response:
    tokens = re.findall(r"\[\[|\]\]|\w+|\s+|[^\w\s]", text)

    def events() -> Any:
        for token in tokens:
            choice: dict[str, Any] = {"index": 0, "finish_reason": None, "delta": {"content": token}}
            if probabilities is not None:
                top = probabilities if token in probabilities else {token: 1.0}
                told = [{"token": t, "logprob": math.log(p), "bytes": None} for t, p in top.items()]
                own = next(each for each in told if each["token"] == token)
                choice["logprobs"] = {"content": [{**own, "top_logprobs": told}]}
            yield sse(
                {
                    "id": "x",
                    "object": "chat.completion.chunk",
                    "created": 1,
                    "model": model,
                    "choices": [choice],
                }
            )
        end = {"index": 0, "finish_reason": "stop", "delta": {}}
        yield sse(
            {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": model, "choices": [end]}
        )
        usage = {"prompt_tokens": 100, "completion_tokens": len(tokens), "total_tokens": 100 + len(tokens)}
        yield sse(
            {
                "id": "x",
                "object": "chat.completion.chunk",
                "created": 1,
                "model": model,
                "choices": [],
                "usage": usage,
            }
        )
        yield "data: [DONE]\n\n"

    return StreamingResponse(events(), media_type="text/event-stream")


def shown_slots(text: str) -> tuple[str, str, int, int]:
    """Labels of the first and second slot, and how good each answer is."""
    found = re.findall(r"### (?:Answer|답변) ([AB])[^\n]*\n\n(.*?)\n(?=\n###)", text, re.DOTALL)
    worth: dict[str, int] = {}
    for label, answer in found:
        worth[label] = worth.get(label, 0) + answer.count("good")
    first, second = list(worth)
    return first, second, worth[first], worth[second]


@app.get("/seen/{model}")
def seen(model: str) -> dict[str, int]:
    return {"requests": requests[model]}


@app.post("/v1/chat/completions")
async def chat(request: Request) -> Response:
    body = await request.json()
    model, text = body["model"], body["messages"][-1]["content"]
    requests[model] += 1
    everything = "\n".join(message["content"] for message in body["messages"])
    again = len([m for m in body["messages"] if m["role"] == "assistant"]) > 0
    match model.split(":")[0]:
        case "worth":  # an answer whose worth is in the model's id: worth:3
            return reply(model, "good " * int(model.split(":")[1]) + "답")
        case "fair" | "slow":
            if model.startswith("slow"):
                await asyncio.sleep(0.15)
            first, second, one, two = shown_slots(text + "\n\n###")
            verdict = first if one > two else second if two > one else "C"
            asked = {"A": 0.2, "B": 0.2, "C": 0.1, verdict: 0.7} if body.get("logprobs") else None
            total = sum(asked.values()) if asked else 1.0
            return reply(model, f"Because. [[{verdict}]]", asked and {k: v / total for k, v in asked.items()})
        case "first":
            return reply(model, f"[[{shown_slots(text + chr(10) * 2 + '###')[0]}]]")
        case "labelled":
            return reply(model, "[[A]]")
        case "grades":
            answer = everything.rpartition("### Answer")[2].rpartition("### Your grade")[0]
            return reply(model, f"Rating: [[{min(10, 2 * answer.count('good'))}]]")
        case "outside":
            return reply(model, "[[42]]")
        case "rubric":
            return reply(model, "correctness: [[8]]\nhelpfulness: [[6]]\nclarity: [[10]]")
        case "garbage":
            return reply(model, "글쎄요, 둘 다 좋네요")
        case "garbage-then-ok":
            return reply(model, "[[B]]" if again else "hmm")
        case "refuses":
            return reply(model, "I'm sorry, but I cannot judge these answers.")
        case "rejects":
            return JSONResponse(
                {"error": {"message": "temperature must be 1", "type": "x", "code": None}}, 400
            )
        case "no-logprobs" if body.get("logprobs"):
            return JSONResponse(
                {"error": {"message": "logprobs is not supported", "type": "x", "code": None}}, 400
            )
        case "hang":
            await asyncio.sleep(3600)
    return reply(model, "[[C]]")


if __name__ == "__main__":
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    print(listener.getsockname()[1], flush=True)
    uvicorn.run(app, fd=listener.fileno(), log_level="critical", timeout_graceful_shutdown=1)
