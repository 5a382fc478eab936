"""The last request of the Playground as a call of the arena's own API: curl and Python."""

from __future__ import annotations

import json
import shlex
from typing import Any

from arena.web.pages.playground_settings import ALTERNATIVES, PlaygroundSettings
from prompt_formats.conversation import Conversation

KEY = "ARENA_TOKEN"
OWN = ("top_k", "min_p", "repetition_penalty")
"""Sampling parameters that the `openai` library knows only as extra fields."""


def request_body(
    settings: PlaygroundSettings, conversation: Conversation, prompt: str | None
) -> tuple[str, dict[str, Any]]:
    """The path below /v1 and the JSON body.

    OpenAI's API knows neither windows nor answers that begin with given text: with those the exact `prompt` goes to
    `completions` instead, where it is known.
    """
    body: dict[str, Any] = {"model": settings.model}
    chat = prompt is None or not (settings.prefill or settings.rounds)
    if chat:
        body["messages"] = conversation.as_chat()
    else:
        body["prompt"] = prompt
    body |= settings.sampling.model_dump(exclude_none=True)
    if settings.stops:
        body["stop"] = list(settings.stops)
    if settings.seed is not None:
        body["seed"] = settings.seed
    if settings.probabilities:
        body |= {"logprobs": True, "top_logprobs": ALTERNATIVES} if chat else {"logprobs": ALTERNATIVES}
    return "chat/completions" if chat else "completions", body


def as_curl(base_url: str, path: str, body: dict[str, Any]) -> str:
    """The call for a POSIX shell."""
    text = json.dumps(body, ensure_ascii=False, indent=2)
    return (
        f"curl {shlex.quote(f'{base_url}/{path}')} \\\n"
        f'  -H "Authorization: Bearer ${KEY}" \\\n'
        "  -H 'Content-Type: application/json' \\\n"
        f"  -d {shlex.quote(text)}"
    )


def as_python(base_url: str, path: str, body: dict[str, Any]) -> str:
    """The call with the `openai` library."""
    known = {name: value for name, value in body.items() if name not in OWN}
    extra = {name: value for name, value in body.items() if name in OWN}
    if extra:
        known["extra_body"] = extra
    arguments = "".join(f"    {name}={value!r},\n" for name, value in known.items())
    what = "choices[0].message.content" if path.startswith("chat") else "choices[0].text"
    return (
        "import os\n\nfrom openai import OpenAI\n\n"
        f'client = OpenAI(base_url={base_url!r}, api_key=os.environ.get("{KEY}", "none"))\n'
        f"answer = client.{path.replace('/', '.')}.create(\n{arguments})\n"
        f"print(answer.{what})\n"
    )
