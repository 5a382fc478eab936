"""Grades for the scorer `rubric` by a model of the roster: 1 to 10 in double brackets, as MT-bench's judges give them.

An answer that cannot be read is asked for once more, tighter, and then is no grade: never 0.
"""

from __future__ import annotations

import asyncio
import re
from typing import Any

from arena.engines.base import Engine, GenerationRequest, Sampling
from evaluators.suites.scorers import Grade
from prompt_formats import Conversation

_GRADE = re.compile(r"\[\[\s*(\d+(?:\.\d+)?)\s*\]\]")
_PROMPTS = {
    "en": (
        "Grade the answer to the task below from 1 (useless) to 10 (excellent). {rubric}\n\n[Task]\n{task}\n\n"
        "[Answer]\n{answer}\n[End of answer]\n\nGive a short reason, then the grade in double brackets, such as [[5]].",
        "Reply with the grade alone, in double brackets, such as [[5]].",
    ),
    "ko": (
        "아래 과제에 대한 답을 1(쓸모없음)에서 10(훌륭함)까지 채점하세요. {rubric}\n\n[과제]\n{task}\n\n"
        "[답]\n{answer}\n[답 끝]\n\n짧은 이유를 쓰고, 점수를 [[5]]처럼 겹대괄호 안에 쓰세요.",
        "점수만 [[5]]처럼 겹대괄호 안에 쓰세요.",
    ),
}


def engine_grade(engine: Engine, loop: asyncio.AbstractEventLoop) -> Grade:
    """A judge for suites, on an engine whose requests run in `loop`. It is called from other threads, and raises
    EngineError where the judge cannot be asked."""

    def grade(item: dict[str, Any], answer: str) -> tuple[float | None, dict[str, Any]]:
        return asyncio.run_coroutine_threadsafe(_grade(engine, item, answer), loop).result()

    return grade


async def _grade(engine: Engine, item: dict[str, Any], answer: str) -> tuple[float | None, dict[str, Any]]:
    prompt, again = _PROMPTS.get(item.get("language", ""), _PROMPTS["en"])
    task = str(item.get("input") or item.get("messages") or "")
    # Fields are put in one by one: braces in a task or an answer are no fields.
    text = (
        prompt.replace("{rubric}", str(item.get("rubric") or ""))
        .replace("{task}", task)
        .replace("{answer}", answer)
    )
    conversation = Conversation().add("user", text)
    replies: list[str] = []
    for _ in range(2):
        request = GenerationRequest(
            conversation=conversation, sampling=Sampling(temperature=0, max_tokens=512)
        )
        (reply,) = await engine.generate([request])
        replies.append(reply.text)
        found = _GRADE.findall(reply.text)
        if found and 1 <= float(found[-1]) <= 10:
            return (float(found[-1]) - 1) / 9, {"replies": replies, "grade": float(found[-1])}
        conversation = conversation.add("assistant", reply.text).add("user", again)
    return None, {"replies": replies, "unparsed": True}
