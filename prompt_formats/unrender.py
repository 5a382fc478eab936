"""From a raw prompt back to the conversation, and which formats could have made it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from prompt_formats.conversation import Conversation
from prompt_formats.environment import literal_text
from prompt_formats.errors import InvalidInput, PromptFormatError
from prompt_formats.prompt_format import PromptFormat
from prompt_formats.registry import Registry, built_in
from prompt_formats.render import render

_SYSTEM, _FIRST, _ANSWER, _SECOND = "\ue000SYS\ue001", "\ue000ONE\ue001", "\ue000ANS\ue001", "\ue000TWO\ue001"
_CLOCK = datetime(1987, 6, 5)
_DATE_FORMATS = re.compile(r"(?:%[A-Za-z][ ,.:/-]*)+")


@dataclass(frozen=True)
class Candidate:
    """A format that could have made a prompt. `exact`: rendering the conversation again gives the same
    prompt.

    `structure` is the number of the prompt's characters that the format explains as structure rather than
    text: of two formats that both fit, the one that explains more is likelier.
    """

    format: str
    family: str
    conversation: Conversation
    add_generation_prompt: bool
    exact: bool
    structure: int
    verified: bool


@dataclass(frozen=True)
class Unrendered:
    """Candidates, likeliest first. `ambiguous` says why, where several explain the prompt equally well."""

    candidates: tuple[Candidate, ...]
    ambiguous: str | None


@dataclass(frozen=True)
class _Skeleton:
    """What a format writes around the texts. None: it cannot have that part."""

    bare: str
    with_system: tuple[str, str] | None
    to_answer: str
    to_question: str
    generation: str
    closing: str
    dates: tuple[str, ...]


def unrender(prompt: str, registry: Registry | None = None) -> Unrendered:
    """Recover the conversation of a prompt.

    Every format of the registry is tried: the prompt is cut at the marks that the format writes, and the
    result is rendered again to see whether it gives the same prompt. Raises `InvalidInput` for an empty
    prompt; a prompt that no format explains gives no candidates.
    """
    if not prompt:
        raise InvalidInput("the prompt is empty")
    known = registry or built_in()
    # `plain` fits any text, and formats with an encoder of their own repeat the text of others.
    forms = [form for form in known.values() if form.name != "plain" and form.encoder is None]
    found = [candidate for form in forms if (candidate := _try(prompt, form)) is not None]
    found.sort(key=lambda c: (not c.exact, -c.structure, not c.verified, c.format))
    return Unrendered(tuple(found), _ambiguity(found))


def _ambiguity(found: list[Candidate]) -> str | None:
    if not found:
        return None
    best = [c for c in found if (c.exact, c.structure) == (found[0].exact, found[0].structure)]
    if len(best) < 2:
        return None
    names = ", ".join(c.format for c in best)
    if len({c.conversation for c in best}) == 1:
        return f"{names} write this conversation the same way"
    return f"{names} explain the prompt equally well, as different conversations"


def _try(prompt: str, form: PromptFormat) -> Candidate | None:
    skeleton = _skeleton(form)
    if skeleton is None:
        return None
    now, skeleton = _dated(prompt, skeleton)
    nearly: Candidate | None = None
    for system, body in _heads(prompt, skeleton):
        read = _turns(body, skeleton)
        if read is None:
            continue
        turns, asked = read
        conversation = Conversation() if system is None else Conversation().add("system", system)
        for index, text in enumerate(turns):
            conversation = conversation.add("assistant" if index % 2 else "user", text)
        exact = _again(conversation, form, asked, now) == prompt
        content = sum(len(m.content) for m in conversation.messages)
        candidate = Candidate(
            form.name, form.family, conversation, asked, exact, len(prompt) - content, form.verified
        )
        if exact:
            return candidate
        nearly = nearly or candidate
    return nearly


def _again(conversation: Conversation, form: PromptFormat, asked: bool, now: datetime) -> str | None:
    try:
        return render(conversation, form, add_generation_prompt=asked, now=now).prompt
    except PromptFormatError:
        return None


def _heads(prompt: str, skeleton: _Skeleton) -> Iterable[tuple[str | None, str]]:
    """Ways to read the prompt's beginning, likeliest first: (system text or None, what follows).

    A beginning that the format writes by itself (its default system text) was written by nobody; where a format
    writes a system text into the first user message, the two cannot be told apart.
    """
    bare = (None, prompt[len(skeleton.bare) :]) if prompt.startswith(skeleton.bare) else None
    before, after = skeleton.with_system or ("", "")
    if bare is not None and len(skeleton.bare) >= len(before):
        yield bare
    place = prompt.find(after, len(before)) if after and prompt.startswith(before) else -1
    if place >= 0:
        yield prompt[len(before) : place], prompt[place + len(after) :]
    if bare is not None:
        yield bare


def _turns(body: str, skeleton: _Skeleton) -> tuple[list[str], bool] | None:
    """User and assistant texts in turn, and whether the prompt asks for an answer."""
    turns: list[str] = []
    while True:
        place = body.find(skeleton.to_answer) if skeleton.to_answer else -1
        last = len(body) - len(skeleton.generation)
        if (
            body.endswith(skeleton.generation)
            and not 0 <= place < last
            and (place >= 0 or skeleton.generation)
        ):
            return [*turns, body[:last]], True
        if place < 0:
            return None
        rest = body[place + len(skeleton.to_answer) :]
        following = rest.find(skeleton.to_question) if skeleton.to_question else -1
        if following < 0:
            if skeleton.closing and rest.endswith(skeleton.closing):
                return [*turns, body[:place], rest[: -len(skeleton.closing)]], False
            return ([*turns, body[:place], rest], False) if not skeleton.closing else None
        turns += [body[:place], rest[:following]]
        body = rest[following + len(skeleton.to_question) :]


def _dated(prompt: str, skeleton: _Skeleton) -> tuple[datetime, _Skeleton]:
    """The clock with which the prompt was made, read from the place where the format writes the date."""
    heads = [skeleton.bare, *(skeleton.with_system or ())]
    for form in skeleton.dates:
        stamp = _CLOCK.strftime(form)
        for head in heads:
            before, mark, after = head.partition(stamp)
            if not mark:
                continue
            written = re.match(re.escape(before) + "(.{4,40}?)" + re.escape(after[:12]), prompt, re.DOTALL)
            try:
                now = datetime.strptime(written.group(1), form) if written else None
            except ValueError:
                now = None
            if now is not None:
                today = now.strftime(form)
                pair = skeleton.with_system
                return now, _Skeleton(
                    skeleton.bare.replace(stamp, today),
                    (pair[0].replace(stamp, today), pair[1]) if pair else None,
                    skeleton.to_answer,
                    skeleton.to_question,
                    skeleton.generation,
                    skeleton.closing,
                    skeleton.dates,
                )
    return _CLOCK, skeleton


_SKELETONS: dict[str, _Skeleton | None] = {}


def _skeleton(form: PromptFormat) -> _Skeleton | None:
    """The marks of a format, from rendering texts that cannot be mistaken."""
    key = form.template_hash
    if key not in _SKELETONS:
        _SKELETONS[key] = _probe(form)
    return _SKELETONS[key]


def _probe(form: PromptFormat) -> _Skeleton | None:
    talk = Conversation().add("user", _FIRST).add("assistant", _ANSWER).add("user", _SECOND)
    asked = _again(talk, form, True, _CLOCK)
    closed = _again(Conversation(messages=talk.messages[:2]), form, False, _CLOCK)
    if asked is None or closed is None or not _once(asked, _FIRST, _ANSWER, _SECOND):
        return None
    bare, rest = asked.split(_FIRST)
    to_answer, rest = rest.split(_ANSWER)
    to_question, generation = rest.split(_SECOND)
    with_system = None
    text = _again(Conversation().add("system", _SYSTEM).add("user", _FIRST), form, True, _CLOCK)
    if text is not None and _once(text, _SYSTEM, _FIRST):
        before, rest = text.split(_SYSTEM)
        with_system = (before, rest.split(_FIRST)[0])
    closing = closed.split(_ANSWER)[1] if closed.count(_ANSWER) == 1 else ""
    dates = tuple(m.group() for m in _DATE_FORMATS.finditer(literal_text(form.template)))
    return _Skeleton(bare, with_system, to_answer, to_question, generation, closing, dates)


def _once(text: str, *marks: str) -> bool:
    """Whether each mark stands in the text once, in this order."""
    places = [text.find(mark) for mark in marks]
    return all(text.count(mark) == 1 for mark in marks) and places == sorted(places)
