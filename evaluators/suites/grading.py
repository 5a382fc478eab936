"""Grades for the scorer `rubric` by a model of the roster: 1 to 10 in double brackets, as MT-bench's judges give them.

An answer that cannot be read is asked for once more, tighter, and then is no grade: never 0.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from typing import Any

from arena.engines.base import Engine, GenerationRequest, Sampling
from arena.roster import Contestant
from evaluators.suites.answering import answer_of, ask_of
from evaluators.suites.definition import ASKED
from evaluators.suites.plan import RunOptions
from evaluators.suites.scorers import Grade
from prompt_formats import Conversation
from results.store import Store
from results.store.suites import known_answers, record_samples

_GRADE = re.compile(r"\[\[\s*(\d+(?:\.\d+)?)\s*\]\]")
_FIELD = re.compile(r"\{(rubric|task|answer)\}")
# The form of a grade is shown without a number: what repeats the instruction gives no grade.
_PROMPTS = {
    "en": (
        "Grade the answer to the task below from 1 (useless) to 10 (excellent). {rubric}\n\n[Task]\n{task}\n\n"
        "[Answer]\n{answer}\n[End of answer]\n\nGive a short reason, then the grade as a number in double brackets: "
        "[[grade]].",
        "Reply with the grade alone, a number from 1 to 10 in double brackets: [[grade]].",
    ),
    "ko": (
        "아래 과제에 대한 답을 1(쓸모없음)에서 10(훌륭함)까지 채점하세요. {rubric}\n\n[과제]\n{task}\n\n"
        "[답]\n{answer}\n[답 끝]\n\n이유를 짧게 쓴 다음, 점수를 겹대괄호 안에 숫자로 쓰세요: [[점수]].",
        "점수만 1에서 10까지의 숫자로 겹대괄호 안에 쓰세요: [[점수]].",
    ),
}


def judge_grade(
    store: Store, judge: Contestant, engine: Engine, loop: asyncio.AbstractEventLoop, options: RunOptions
) -> Grade:
    """A judge for suites, on an engine whose requests run in `loop`. It is called from other threads, and raises
    EngineError where the judge cannot be asked. What a judge has said is stored under its identity as any answer is,
    and taken from there when it is asked the same again (unless `options.fresh`)."""

    async def reply(request: GenerationRequest) -> str:
        ask = ask_of(judge, request, dtype=options.dtype)
        known = {} if options.fresh else await asyncio.to_thread(known_answers, store, [ask.id])
        if ask.id in known:
            return known[ask.id].text or ""
        (made,) = await engine.generate([request])
        await asyncio.to_thread(record_samples, store, (), [answer_of(judge, ask, made)])
        return made.text

    def grade(item: dict[str, Any], answer: str) -> tuple[float | None, dict[str, Any]]:
        return asyncio.run_coroutine_threadsafe(_grade(reply, item, answer), loop).result()

    return grade


async def _grade(
    reply: Callable[[GenerationRequest], Awaitable[str]], item: dict[str, Any], answer: str
) -> tuple[float | None, dict[str, Any]]:
    prompt, again = _PROMPTS.get(item.get("language", ""), _PROMPTS["en"])
    fields = {"rubric": str(item.get("rubric") or ""), "task": str(item.get(ASKED) or ""), "answer": answer}
    # In one pass: braces in a task or an answer are no fields.
    text = _FIELD.sub(lambda field: fields[field[1]], prompt)
    conversation = Conversation().add("user", text)
    replies: list[str] = []
    for _ in range(2):
        replies.append(
            await reply(
                GenerationRequest(conversation=conversation, sampling=Sampling(temperature=0, max_tokens=512))
            )
        )
        found = _GRADE.findall(replies[-1])
        if found and 1 <= float(found[-1]) <= 10:
            return (float(found[-1]) - 1) / 9, {"replies": replies, "grade": float(found[-1])}
        conversation = conversation.add("assistant", replies[-1]).add("user", again)
    return None, {"replies": replies, "unparsed": True}
