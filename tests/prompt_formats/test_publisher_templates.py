"""Our templates against the publishers' that trl ships: tools, thinking and rounds."""

from __future__ import annotations

from datetime import datetime
from importlib import resources
from typing import Any

import pytest

import prompt_formats
from prompt_formats import Conversation, built_in
from prompt_formats.environment import render_template
from prompt_formats.errors import PromptFormatError, TemplateFailed

pytest.importorskip("trl", reason="trl's copies of the publishers' templates are the reference")

NOW = datetime(2026, 1, 5)
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": "날씨를 알려 준다",
            "parameters": {
                "type": "object",
                "properties": {
                    "city": {"type": "string", "description": "도시 이름"},
                    "days": {"type": "integer"},
                    "unit": {"type": "string", "enum": ["C", "F"]},
                },
                "required": ["city"],
            },
        },
    }
]
CALL = [
    {
        "id": "call12345",
        "type": "function",
        "function": {"name": "get_weather", "arguments": {"city": "서울"}},
    }
]
RESULT = {"role": "tool", "content": '{"temp": 3}', "name": "get_weather", "tool_call_id": "call12345"}

TALKS: dict[str, list[dict[str, Any]]] = {
    "question": [{"role": "user", "content": "안녕"}],
    "rounds": [
        {"role": "system", "content": "짧게."},
        {"role": "user", "content": " hi "},
        {"role": "assistant", "content": "yo\n"},
        {"role": "user", "content": "more"},
    ],
    "called": [
        {"role": "user", "content": "서울 날씨?"},
        {"role": "assistant", "content": "", "tool_calls": CALL},
        RESULT,
        {"role": "assistant", "content": "3도"},
        {"role": "user", "content": "고마워"},
    ],
    "called last": [
        {"role": "system", "content": "짧게."},
        {"role": "user", "content": "서울 날씨?"},
        {"role": "assistant", "content": "잠시만요.", "tool_calls": CALL},
        RESULT,
    ],
    "thinking": [
        {"role": "user", "content": "q"},
        {"role": "assistant", "content": "a", "reasoning_content": "생각"},
        {"role": "user", "content": "r"},
    ],
    "thinking last": [
        {"role": "user", "content": "q"},
        {"role": "assistant", "content": "a", "reasoning_content": "생각"},
    ],
}

# Publisher's template -> our format, and whether tools are compared too.
PAIRS = [
    ("qwen2_5", "qwen2.5", True),
    ("qwen3", "qwen3", True),
    ("qwen3_instruct_2507", "qwen3-2507", True),
    ("llama3_1", "llama-3.1", True),
    ("llama3_2", "llama-3.2", True),
    ("gptoss", "gpt-oss", True),
    ("glm4moe", "glm-4.5", True),
    ("lfm2_v2", "lfm2", True),
    ("gemma", "trl-gemma", False),
    ("gemma3", "gemma-3", False),
    ("phi3", "trl-phi-3", False),
    ("phi3_5", "phi-3.5", False),
    ("cohere2", "cohere2", False),
    ("deepseek_r1_distill", "deepseek-r1-distill-llama", False),
    ("nemotron_3_nano", "nemotron-3-nano", False),
    ("qwen3_5_think", "qwen3.5", False),
]


CASES = [
    pytest.param(*pair, talk, id=f"{pair[1]}-{talk}")
    for pair in PAIRS
    for talk in TALKS
    if pair[2] or not talk.startswith("called")
]


@pytest.mark.parametrize(("publisher", "name", "with_tools", "talk"), CASES)
def test_renders_like_the_publisher(publisher: str, name: str, with_tools: bool, talk: str) -> None:
    template = (resources.files("trl") / "chat_templates" / f"{publisher}.jinja").read_text(encoding="utf-8")
    form = built_in()[name]
    messages = [
        {"thinking": m["reasoning_content"], **m} if "reasoning_content" in m else m for m in TALKS[talk]
    ]
    for tools in (None, TOOLS) if with_tools else (None,):
        for generation in (True, False):
            context = {
                "messages": messages, "tools": tools, "documents": None, "bos_token": form.bos,
                "eos_token": form.eos, "add_generation_prompt": generation,
            }  # fmt: skip
            try:
                expected: str | None = render_template(template, context, now=NOW).text
            except TemplateFailed:
                expected = None
            try:
                got: str | None = prompt_formats.render(
                    Conversation.from_chat(TALKS[talk]),
                    form,
                    tools=tools,
                    add_generation_prompt=generation,
                    now=NOW,
                ).prompt
            except PromptFormatError:
                got = None
            assert got == expected
