"""Rendering: one conversation becomes exactly the prompt that a model was trained to see."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from importlib import metadata
from typing import Any, Literal

from prompt_formats.conversation import Conversation
from prompt_formats.environment import Rendering, plain_data, render_template
from prompt_formats.errors import InvalidInput, TemplateFailed
from prompt_formats.mistral_ids import PREFIX as MISTRAL_PREFIX
from prompt_formats.mistral_ids import encode as encode_mistral
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
from prompt_formats.resolve import Resolution
from prompt_formats.sandbox import Limits, render_untrusted
from prompt_formats.thinking import place_thinking, write_inline
from prompt_formats.tokenizer import ChatTokenizer, Encoded, load_tokenizer, mark, unmark
from prompt_formats.windows import Round, Window, split_rounds

FormatLike = PromptFormat | Resolution | str


@dataclass(frozen=True)
class DroppedRound:
    """A round that a window left out: its number from 1 and how it began."""

    number: int
    begins: str


@dataclass(frozen=True)
class RenderedPrompt:
    """A prompt and all that is needed to make it again.

    `ids` are what a local model gets (control tokens typed by people are plain text there), null without a
    tokenizer; `n_bos` counts the BOS at the prompt's start. A parser needs the prompt's end to know
    whether the prompt opened the thinking. `policies` says, one line each, what was
    changed or noticed. `clock` is the frozen time, `clock_read` whether the template used it.
    """

    prompt: str
    ids: tuple[int, ...] | None
    stops: tuple[str, ...]
    stop_ids: tuple[int, ...]
    n_bos: int
    format: str
    family: str
    reason: str
    policies: tuple[str, ...]
    dropped_rounds: tuple[DroppedRound, ...]
    summary: str | None
    clock: datetime
    clock_read: bool
    template_hash: str
    kwargs: Mapping[str, Any]
    conversation: Conversation
    offsets: tuple[tuple[int, int], ...] | None = None

    def log(self, rendered_by: Literal["engine", "server"] = "engine") -> dict[str, Any]:
        """What to store with a generation, as JSON data.

        With `rendered_by="server"` (a remote chat endpoint) the log says that the server rendered the prompt
        unseen and that ours is an estimate.
        """
        return {
            "rendered_by": rendered_by,
            "estimate": rendered_by == "server",
            "format": self.format,
            "family": self.family,
            "reason": self.reason,
            "template_hash": self.template_hash,
            "kwargs": dict(self.kwargs),
            "clock": self.clock.isoformat(),
            "clock_read": self.clock_read,
            "policies": list(self.policies),
            "dropped_rounds": [{"number": r.number, "begins": r.begins} for r in self.dropped_rounds],
            "summary": self.summary,
            "prompt": self.prompt,
            "ids": None if self.ids is None else list(self.ids),
            "n_bos": self.n_bos,
            "stops": list(self.stops),
            "stop_ids": list(self.stop_ids),
            "versions": library_versions(),
        }


@lru_cache(maxsize=1)
def library_versions() -> dict[str, str]:
    """Versions of what shapes a prompt: Palaestra, Jinja, tokenizers, Python."""
    versions = {"python": platform.python_version()}
    for name in ("palaestra", "jinja2", "tokenizers"):
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = "not installed"
    return versions


@dataclass(frozen=True)
class _Job:
    """One rendering: everything but the messages."""

    form: PromptFormat
    tokenizer: ChatTokenizer | None
    add_generation_prompt: bool
    continue_final_message: bool
    tools: Sequence[Mapping[str, Any]] | None
    documents: Sequence[Mapping[str, Any]] | None
    kwargs: Mapping[str, Any]
    now: datetime
    bos: str | None
    eos: str | None
    limits: Limits | None
    track_generation: bool = False
    encoder: str | None = None
    offsets: bool = False

    def run(self, conversation: Conversation) -> tuple[str, Rendering, Encoded | None]:
        """The text, the raw rendering (marks and spans included), and the ids where there is a tokenizer."""
        messages: Any = _with_read_arguments(conversation.as_chat())
        template = self.form.template
        if self.tools and self.form.tool_template:
            template = self.form.tool_template
        extra: Any = {"tools": self.tools, "documents": self.documents, **self.kwargs}
        if not self.form.trusted or self.tools or self.documents or self.kwargs:
            extra = plain_data(extra)
        if self.tokenizer is not None:
            tokens = self.tokenizer.control_tokens(template)
            messages, extra = mark(messages, tokens), mark(extra, tokens)
        messages = write_inline(messages, self.form.thinking)
        specials = dict(self.tokenizer.special_tokens) if self.tokenizer is not None else {}
        specials["bos_token"] = _first(self.bos, self.form.bos, specials.get("bos_token"))
        specials["eos_token"] = _first(self.eos, self.form.eos, specials.get("eos_token"))
        context = {
            **self.form.variables,
            **specials,
            "add_generation_prompt": self.add_generation_prompt,
            **extra,
            "messages": messages,
        }
        options: dict[str, Any] = {
            "now": self.now,
            "continue_final_message": self.continue_final_message,
            "track_generation": self.track_generation,
        }
        if self.form.trusted:
            rendering = render_template(template, context, **options)
        else:
            rendering = render_untrusted(template, plain_data(context), limits=self.limits, **options)
        if self.encoder is not None:
            ids = encode_mistral(
                self.encoder,
                conversation,
                continue_final_message=self.continue_final_message,
                tools=self.tools,
            )
            return rendering.text, rendering, Encoded(ids)
        if self.tokenizer is None:
            return rendering.text, rendering, None
        text, encoded = self.tokenizer.encode_marked(rendering.text, offsets=self.offsets)
        return text, rendering, encoded

    def count(self, conversation: Conversation) -> int:
        """Ids of the rendered conversation."""
        _, _, encoded = self.run(conversation)
        assert encoded is not None
        return len(encoded.ids)


def _with_read_arguments(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Arguments of tool calls as objects: servers hold them as JSON text, which templates would quote again."""
    if not any("tool_calls" in message for message in messages):
        return messages
    return [
        {**message, "tool_calls": [_read_arguments(call) for call in message["tool_calls"]]}
        if "tool_calls" in message
        else message
        for message in messages
    ]


def _read_arguments(call: dict[str, Any]) -> dict[str, Any]:
    function = call.get("function")
    arguments = function.get("arguments") if isinstance(function, dict) else None
    if not isinstance(function, dict) or not isinstance(arguments, str):
        return call
    try:
        read = json.loads(arguments)
    except ValueError:
        return call  # a model may write anything: then the text stands as it is
    return {**call, "function": {**function, "arguments": read}} if isinstance(read, dict) else call


def _first(*values: str | None) -> str:
    return next((value for value in values if value), "")


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
    job = _Job(
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


def _check(conversation: Conversation, job: _Job) -> None:
    if not conversation.messages:
        raise InvalidInput("the conversation is empty: give at least one message")
    if job.continue_final_message and job.add_generation_prompt:
        raise InvalidInput("continue_final_message and add_generation_prompt exclude each other")
    if job.continue_final_message and conversation.messages[-1].role != "assistant":
        role = conversation.messages[-1].role
        raise InvalidInput(f"continue_final_message continues an assistant message, the last one is {role}")


def _prepare(
    conversation: Conversation,
    job: _Job,
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


def _ignored(job: _Job, conversation: Conversation, text: str) -> tuple[str, ...]:
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


def _stops(form: PromptFormat, job: _Job) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """The union of the format's stops, the tokenizer's EOS and `generation_config`'s EOS ids."""
    eos = (job.eos,) if job.eos else ()
    if job.tokenizer is None:
        return tuple(dict.fromkeys((*form.stops, *eos))), ()
    tokenizer = job.tokenizer
    known = (tokenizer.id_of(text) for text in (*form.stop_tokens, form.eos, *eos) if text)
    ids = tuple(dict.fromkeys((*tokenizer.eos_ids, *(number for number in known if number is not None))))
    texts = (tokenizer.text_of(number) for number in ids)
    return tuple(dict.fromkeys((*form.stops, *eos, *(text for text in texts if text)))), ids


def _count_bos(text: str, encoded: Encoded | None, form: PromptFormat, job: _Job) -> int:
    own = job.tokenizer.bos if job.tokenizer is not None else ""
    bos = _first(job.bos, form.bos, own)
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
    job = _Job(
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
