"""Checking a format against a tokenizer: the same probe conversations through both, and every difference
explained."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from prompt_formats.conversation import Conversation
from prompt_formats.errors import PromptFormatError
from prompt_formats.prompt_format import PromptFormat
from prompt_formats.render import render
from prompt_formats.rendered_prompt import RenderedPrompt
from prompt_formats.resolve import format_from_tokenizer
from prompt_formats.tokenizer import ChatTokenizer, load_tokenizer

_NOW = datetime(2025, 6, 15, 12, 0)


@dataclass(frozen=True)
class Probe:
    """One conversation that shows one property of a template."""

    name: str
    conversation: Conversation
    continue_final_message: bool = False
    add_generation_prompt: bool = True


@dataclass(frozen=True)
class Finding:
    """What a probe showed. `same` is null where there was nothing to compare with; `explanations` say what
    differs and what it means; `errors` hold what the two sides raised."""

    probe: str
    same: bool | None
    prompt: str | None
    reference: str | None
    explanations: tuple[str, ...]


def probes() -> tuple[Probe, ...]:
    """The probe conversations."""
    ask = Conversation().add("user", "서울의 인구는 몇 명인가요? 🇰🇷")
    rounds = ask.add("assistant", "약 940만 명입니다.").add("user", "And Busan?")
    system = Conversation().add("system", "Answer with one word.")
    with_system = Conversation(messages=(*system.messages, *rounds.messages))
    thinking = ask.add("assistant", "940만", reasoning_content="인구 통계를 떠올린다.").add("user", "Busan?")
    return (
        Probe("one question", ask),
        Probe("system and rounds", with_system),
        Probe("empty system", Conversation().add("system", "").add("user", "Hi")),
        Probe("white space", Conversation().add("user", "\n  two spaces, then a tab\t\n")),
        Probe("two questions in a row", ask.add("user", "And Busan?")),
        Probe("closed conversation", ask.add("assistant", "940만"), add_generation_prompt=False),
        Probe("prefill", ask.add("assistant", "약 9"), continue_final_message=True),
        Probe("thinking in history", thinking),
    )


def check(form: PromptFormat, tokenizer: Any = None) -> tuple[Finding, ...]:
    """Render every probe with `form`; where a tokenizer is given, compare with its own template and ids.

    The tokenizer's own ids come from transformers' `apply_chat_template` where transformers is installed,
    else from rendering its template here.
    """
    loaded = None if tokenizer is None else load_tokenizer(tokenizer)
    return tuple(_check(probe, form, loaded) for probe in probes())


def _check(probe: Probe, form: PromptFormat, tokenizer: ChatTokenizer | None) -> Finding:
    ours = _rendered(probe, form, tokenizer)
    notes = list(_sane(ours, form, tokenizer)) if isinstance(ours, RenderedPrompt) else []
    own = format_from_tokenizer(tokenizer) if tokenizer is not None and tokenizer.template else None
    prompt = ours.prompt if isinstance(ours, RenderedPrompt) else None
    if tokenizer is None or own is None:
        if isinstance(ours, str):
            notes.append(f"the format refuses this conversation: {ours}")
        return Finding(probe.name, None, prompt, None, tuple(notes))
    reference = _rendered(probe, own, tokenizer)
    text = reference.prompt if isinstance(reference, RenderedPrompt) else None
    if isinstance(ours, str) or isinstance(reference, str):
        same = isinstance(ours, str) and isinstance(reference, str)
        for side, result in (("the format", ours), ("the tokenizer's template", reference)):
            if isinstance(result, str):
                notes.append(f"{side} refuses this conversation: {result}")
        return Finding(probe.name, same, prompt, text, tuple(notes))
    notes += _explain(ours, reference, tokenizer)
    their_ids = _transformers_ids(probe, tokenizer)
    ids = reference.ids if their_ids is None else their_ids
    if ours.prompt == reference.prompt and ours.ids != ids:
        notes.append(_id_difference(ours.ids or (), ids or (), tokenizer))
    return Finding(
        probe.name, ours.prompt == reference.prompt and ours.ids == ids, prompt, text, tuple(notes)
    )


def _rendered(probe: Probe, form: PromptFormat, tokenizer: ChatTokenizer | None) -> RenderedPrompt | str:
    try:
        return render(
            probe.conversation,
            form,
            tokenizer=tokenizer,
            add_generation_prompt=probe.add_generation_prompt and not probe.continue_final_message,
            continue_final_message=probe.continue_final_message,
            now=_NOW,
        )
    except PromptFormatError as error:
        return str(error)


def _sane(ours: RenderedPrompt, form: PromptFormat, tokenizer: ChatTokenizer | None) -> Iterator[str]:
    """What is suspicious in a rendering by itself."""
    if ours.n_bos > 1:
        yield f"the prompt begins with {ours.n_bos} BOS tokens; a model expects one"
    if not ours.stops:
        yield "no stop is known: the model may answer for the user"
    if tokenizer is None:
        return
    for text in (form.bos, form.eos, *form.stop_tokens):
        if text and tokenizer.id_of(text) is None:
            yield f"{text!r} is not a token of this tokenizer: it is encoded as plain text"


def _explain(ours: RenderedPrompt, reference: RenderedPrompt, tokenizer: ChatTokenizer) -> Iterator[str]:
    if ours.n_bos != reference.n_bos:
        yield f"BOS: {ours.n_bos} at the start, the tokenizer's template writes {reference.n_bos}"
    left, right = ours.prompt, reference.prompt
    if left == right:
        return
    bos = tokenizer.bos
    if bos and left.removeprefix(bos) == right.removeprefix(bos):
        yield "apart from the BOS the prompts are the same"
        return
    place = next(
        (i for i, (a, b) in enumerate(zip(left, right, strict=False)) if a != b), min(len(left), len(right))
    )
    start = max(0, place - 20)
    yield (
        f"from character {place}: {left[start : place + 40]!r} here, "
        f"{right[start : place + 40]!r} by the tokenizer's template"
    )
    if "".join(left.split()) == "".join(right.split()):
        yield "only white space differs: the format trims otherwise than the template, or lacks a line break"
    elif left.startswith(right) or right.startswith(left):
        yield "one is the other's beginning: the generation prompt or the end of turn differs"
    elif len(left) != len(right) and (left in right or right in left):
        yield "one holds the other: a default system text is written by one of them only"


def _transformers_ids(probe: Probe, tokenizer: ChatTokenizer) -> tuple[int, ...] | None:
    """Ids by `apply_chat_template`, the reference; None without transformers or where its template raises."""
    if importlib.util.find_spec("transformers") is None:
        return None
    from jinja2.exceptions import TemplateError
    from transformers import PreTrainedTokenizerFast

    peer = PreTrainedTokenizerFast(tokenizer_object=tokenizer.backend, **dict(tokenizer.special_tokens))
    if "strftime_now" in (tokenizer.template or ""):
        return None  # its clock cannot be frozen
    try:
        ids = peer.apply_chat_template(
            probe.conversation.as_chat(),
            chat_template=tokenizer.template,
            add_generation_prompt=probe.add_generation_prompt and not probe.continue_final_message,
            continue_final_message=probe.continue_final_message,
            return_dict=False,
        )
    except (TemplateError, ValueError):
        return None
    return tuple(ids)


def _id_difference(ours: tuple[int, ...], theirs: tuple[int, ...], tokenizer: ChatTokenizer) -> str:
    place = next(
        (i for i, (a, b) in enumerate(zip(ours, theirs, strict=False)) if a != b), min(len(ours), len(theirs))
    )
    left = [tokenizer.text_of(n) for n in ours[place : place + 4]]
    right = [tokenizer.text_of(n) for n in theirs[place : place + 4]]
    return f"the text is the same, the ids differ from token {place}: {left} here, {right} by the tokenizer"
