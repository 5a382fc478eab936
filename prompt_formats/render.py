"""Rendering: one conversation becomes exactly the prompt that a model was trained to see."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Literal

from prompt_formats._job import Job, first
from prompt_formats.conversation import Conversation
from prompt_formats.errors import InvalidInput, TemplateFailed
from prompt_formats.mistral_ids import PREFIX as MISTRAL_PREFIX
from prompt_formats.mistral_ids import installed as mistral_installed
from prompt_formats.policies import (
    ControlTextPolicy,
    apply_alternation,
    apply_control_text,
    apply_system,
    find_control_texts,
    list_control_texts,
)
from prompt_formats.prompt_format import AlternationPolicy, PromptFormat, SystemPolicy
from prompt_formats.registry import built_in
from prompt_formats.rendered_prompt import DroppedRound, RenderedPrompt
from prompt_formats.resolve import Resolution
from prompt_formats.sandbox import Limits
from prompt_formats.thinking import place_thinking
from prompt_formats.tokenizer import Encoded, load_tokenizer, unmark
from prompt_formats.windows import Round, Window, split_rounds

FormatLike = PromptFormat | Resolution | str


def find_format(form: FormatLike) -> tuple[PromptFormat, str]:
    """The format and the reason for it, from a format, a resolution or a registry name."""
    if isinstance(form, Resolution):
        return form.format, form.reason
    if isinstance(form, PromptFormat):
        return form, f"given: {form.name} ({form.origin})"
    return built_in()[form], f"named: {form}"


def render(
    conversation: Conversation,
    format: FormatLike,
    *,
    tokenizer: Any = None,
    add_generation_prompt: bool | None = None,
    continue_final_message: bool = False,
    tools: Sequence[Mapping[str, Any]] | None = None,
    documents: Sequence[Mapping[str, Any]] | None = None,
    kwargs: Mapping[str, Any] | None = None,
    system_policy: SystemPolicy | Literal["family"] | None = None,
    alternation: AlternationPolicy | Literal["family"] | None = None,
    control_text: ControlTextPolicy | None = None,
    window: Window | None = None,
    now: datetime | None = None,
    bos: str | None = None,
    eos: str | None = None,
    limits: Limits | None = None,
    offsets: bool = False,
) -> RenderedPrompt:
    """Render a conversation with a prompt format.

    `format` is a `PromptFormat`, a `Resolution` or a name of the registry. `tokenizer` (a folder, a
    `tokenizers.Tokenizer`, a fast transformers tokenizer or a `ChatTokenizer`) adds sanitised ids.
    `add_generation_prompt` defaults to true unless `continue_final_message` (prefill) is set. Policies are
    applied only when given; `"family"` takes the format's own (found by probing for templates that are not
    ours). `control_text` says what to do with control text typed by people, for endpoints that take strings;
    ids need no such policy. `offsets` adds the characters of each id. `now` freezes the clock that templates read.

    Raises `InvalidInput` for a conversation or settings that cannot be used, `TemplateFailed` with the
    template's message where it raises, `OverBudget` where a token window cannot hold the last turn.
    """
    form, reason = find_format(format)
    encoder = _encoder(form, tokenizer)
    job = Job(
        form,
        None if tokenizer is None or encoder else load_tokenizer(tokenizer),
        not continue_final_message if add_generation_prompt is None else add_generation_prompt,
        continue_final_message,
        tools,
        documents,
        {} if kwargs is None else kwargs,
        now or datetime.now(),
        bos,
        eos,
        limits,
        encoder=encoder,
        offsets=offsets,
    )
    _check(conversation, job)
    prepared, notes = _prepare(conversation, job, system_policy, alternation, control_text)
    dropped: tuple[Round, ...] = ()
    summary = None
    if window is not None:
        windowed = window.apply(split_rounds(prepared), job.count if job.tokenizer or encoder else None)
        prepared, dropped, summary = windowed.conversation(), windowed.dropped, windowed.summary
    text, rendering, encoded = job.run(prepared)
    notes += _ignored(job, prepared, text)
    stops, stop_ids = _stops(form, job)
    return RenderedPrompt(
        text,
        None if encoded is None else encoded.ids,
        stops,
        stop_ids,
        _count_bos(text, encoded, form, job),
        form.name,
        form.family,
        reason,
        notes,
        tuple(DroppedRound(r.number, r.question[:80] or r.text[:80]) for r in dropped),
        summary,
        job.now,
        rendering.clock_read,
        form.template_hash,
        dict(job.kwargs),
        prepared,
        encoded.offsets if encoded is not None and offsets else None,
    )


def _encoder(form: PromptFormat, tokenizer: Any) -> str | None:
    """The name of Mistral's encoder where it makes the ids: asked for, or the format's own and installed."""
    if isinstance(tokenizer, str) and tokenizer.startswith(MISTRAL_PREFIX):
        return tokenizer
    return form.encoder if tokenizer is None and form.encoder and mistral_installed() else None


def _check(conversation: Conversation, job: Job) -> None:
    if not conversation.messages:
        raise InvalidInput("the conversation is empty: give at least one message")
    if job.continue_final_message and job.add_generation_prompt:
        raise InvalidInput("continue_final_message and add_generation_prompt exclude each other")
    if job.continue_final_message and conversation.messages[-1].role != "assistant":
        role = conversation.messages[-1].role
        raise InvalidInput(f"continue_final_message continues an assistant message, the last one is {role}")


def _prepare(
    conversation: Conversation,
    job: Job,
    system_policy: SystemPolicy | Literal["family"] | None,
    alternation: AlternationPolicy | Literal["family"] | None,
    control_text: ControlTextPolicy | None,
) -> tuple[Conversation, tuple[str, ...]]:
    notes: tuple[str, ...] = ()
    if system_policy == "family" or alternation == "family":
        own_system, own_alternation = family_policies(job.form)
        system_policy = own_system if system_policy == "family" else system_policy
        alternation = own_alternation if alternation == "family" else alternation
    if job.form.encoder is not None and alternation is None:
        alternation = "merge"  # as Mistral's own encoder does
    if system_policy is not None:
        conversation, more = apply_system(conversation, system_policy)
        notes += more
    if alternation is not None:
        conversation, more = apply_alternation(conversation, alternation)
        notes += more
    conversation, more = place_thinking(conversation, job.form.thinking)
    notes += more
    if job.tokenizer is None:
        conversation, more = apply_control_text(conversation, job.form.control_texts, control_text)
        notes += more
    else:
        tokens = job.tokenizer.control_tokens(job.form.template)
        found = find_control_texts(conversation, tokens)
        if found:
            notes += (f"control_text: encoded as plain text: {list_control_texts(found)}",)
    return conversation, notes


def _ignored(job: Job, conversation: Conversation, text: str) -> tuple[str, ...]:
    """Notes on input that the template left out without a word."""
    notes: tuple[str, ...] = ()
    unseen = [m for m in conversation.messages if m.role == "system" and m.content.strip() not in text]
    if unseen:
        notes += ("system: the format does not write it, the model will not see it",)
    if job.tools:
        names = [str((tool.get("function") or tool).get("name", "")) for tool in job.tools]
        if not all(name and name in text for name in names):
            notes += ("tools: the format does not write them, the model will not see them",)
    if job.documents:
        texts = [str(d.get("text") or d.get("content") or "") for d in job.documents]
        if not any(t and t in text for t in texts):
            notes += ("documents: the format does not write them, the model will not see them",)
    return notes


def _stops(form: PromptFormat, job: Job) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """The union of the format's stops, the tokenizer's EOS and `generation_config`'s EOS ids."""
    eos = (job.eos,) if job.eos else ()
    if job.tokenizer is None:
        return tuple(dict.fromkeys((*form.stops, *eos))), ()
    tokenizer = job.tokenizer
    known = (tokenizer.id_of(text) for text in (*form.stop_tokens, form.eos, *eos) if text)
    ids = tuple(dict.fromkeys((*tokenizer.eos_ids, *(number for number in known if number is not None))))
    texts = (tokenizer.text_of(number) for number in ids)
    return tuple(dict.fromkeys((*form.stops, *eos, *(text for text in texts if text)))), ids


def _count_bos(text: str, encoded: Encoded | None, form: PromptFormat, job: Job) -> int:
    own = job.tokenizer.bos if job.tokenizer is not None else ""
    bos = first(job.bos, form.bos, own)
    if not bos:
        return 0
    count = 0
    if encoded is not None and job.tokenizer is not None:
        number = job.tokenizer.id_of(bos)
        while number is not None and count < len(encoded.ids) and encoded.ids[count] == number:
            count += 1
        return count
    while text.startswith(bos, count * len(bos)):
        count += 1
    return count


_PROBED: dict[str, tuple[SystemPolicy, AlternationPolicy]] = {}


def family_policies(form: PromptFormat) -> tuple[SystemPolicy, AlternationPolicy]:
    """The system and alternation policy of a format: as declared for ours; found by rendering two probe
    conversations for templates that are not (a template that raises on, or drops, a system message merges it
    into the first user message; one that raises on two user messages in a row joins them)."""
    if form.trusted:
        return form.system_policy, form.alternation
    key = form.template_hash
    if key not in _PROBED:
        question = Conversation().add("user", "probe question one")
        with_system = Conversation().add("system", "probe system text").add("user", "probe question one")
        system: SystemPolicy = "native" if _shows(form, with_system, "probe system text") else "merge_first"
        twice = question.add("user", "probe question two")
        _PROBED[key] = (system, "free" if _shows(form, twice, "probe question two") else "merge")
    return _PROBED[key]


def _shows(form: PromptFormat, conversation: Conversation, text: str) -> bool:
    try:
        return text in render(conversation, form).prompt
    except TemplateFailed:
        return False


def generation_spans(
    prompt: RenderedPrompt, form: PromptFormat, tokenizer: Any, options: Mapping[str, Any]
) -> tuple[tuple[int, int], ...]:
    """Characters of the template's `{% generation %}` blocks in `prompt.prompt`; empty where it has none.

    `options` are the tools, documents, kwargs and clock with which `prompt` was rendered.
    """
    if "generation" not in form.template or "endgeneration" not in form.template:
        return ()
    job = Job(
        form,
        load_tokenizer(tokenizer),
        False,
        False,
        options["tools"],
        options["documents"],
        options["kwargs"] or {},
        options["now"],
        None,
        None,
        None,
        track_generation=True,
    )
    _, rendering, _ = job.run(prompt.conversation)
    return tuple(
        (_unmarked(rendering.text, start), _unmarked(rendering.text, end)) for start, end in rendering.spans
    )


def _unmarked(text: str, place: int) -> int:
    """The place in the text without marks."""
    return len(unmark(text[:place]))
