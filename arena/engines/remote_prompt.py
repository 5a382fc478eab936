"""What a remote model is asked: messages for a chat endpoint, text that we rendered for a completions endpoint."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from arena.engines.base import EngineRejected, GenerationRequest, OverContext
from arena.engines.framing import framed
from arena.engines.spec import ModelSpec
from prompt_formats import (
    InvalidInput,
    OverBudget,
    PromptFormat,
    PromptFormatError,
    Resolution,
    ResponseParser,
    load_registry,
    parser_for,
    render,
    resolve,
    window_from,
)
from prompt_formats.conversation import Conversation
from prompt_formats.parse import ThinkingSplitter
from prompt_formats.windows import Round, split_rounds

CHARACTERS_PER_TOKEN = 3.5
MOST_STOPS = 4
"""Stop strings that OpenAI, and TGI by default, take in one request. The parser keeps the rest."""


@dataclass(frozen=True)
class RemotePrompt:
    """A prompt as it is sent: `messages`, or `text` with the family's `stops`. `form` is the text's format."""

    log: dict[str, Any]
    messages: list[dict[str, Any]] | None = None
    text: str | None = None
    stops: tuple[str, ...] = ()
    form: PromptFormat | None = None
    own_stops: tuple[str, ...] = field(default=())

    @property
    def tokens(self) -> int:
        """An estimate of the prompt's tokens; nobody but the server can count them."""
        texts = [self.text or "", *(message["content"] for message in self.messages or ())]
        return round(sum(map(len, texts)) / CHARACTERS_PER_TOKEN)

    @property
    def sent_stops(self) -> tuple[str, ...]:
        """The stop strings of the request, first, and of the family, as many as servers take."""
        return tuple(dict.fromkeys((*self.own_stops, *self.stops)))[:MOST_STOPS]

    def parser(self) -> ResponseParser | None:
        """What divides the answer into thinking and text. None: it is taken as it comes."""
        if self.messages is None:
            if self.form is None:
                return None
            return parser_for(self.form, prompt_tail=(self.text or "")[-2000:], stops=self.own_stops)
        if self.form is None or self.form.thinking is None:
            return None
        # A server without a reasoning parser leaves the thinking in the text, mark and all.
        return ResponseParser(ThinkingSplitter(self.form.thinking, opened=False), ())


def remote_prompt(spec: ModelSpec, request: GenerationRequest, formats: Path | None = None) -> RemotePrompt:
    """The prompt for a request; `formats` is the folder of the user's own prompt formats.

    Raw text goes out as it stands. Raises `EngineRejected` for what the endpoint cannot do, for control text where
    the spec says so, and for conversations that the format cannot take; `OverContext` where a window cannot hold the
    last turn.
    """
    if request.ids is not None:
        raise EngineRejected(f"{spec.name}: token ids are taken by local models: send text to this endpoint")
    if (request.conversation is None) == (request.text is None):
        raise EngineRejected("a request holds either a conversation or raw text")
    if request.text is not None:
        text = request.text + (request.prefill or "")
        return RemotePrompt({}, text=text, own_stops=request.stop)
    assert request.conversation is not None
    if spec.endpoint == "chat":
        return _chat(spec, request, request.conversation, formats)
    return _rendered(spec, request, request.conversation, formats)


def _chat(
    spec: ModelSpec, request: GenerationRequest, conversation: Conversation, formats: Path | None
) -> RemotePrompt:
    if request.prefill:
        raise EngineRejected(
            f"{spec.name}: a chat endpoint begins its answer itself, so the beginning cannot be given. Set "
            '`endpoint = "completions"` if the server has /v1/completions, or use a local model'
        )
    try:
        kept, dropped = _windowed(spec, request, conversation)
    except InvalidInput as error:
        raise EngineRejected(f"{spec.name}: window: {error}") from error
    # Chat endpoints keep no thinking of earlier answers, and some refuse the field.
    messages = [
        {key: value for key, value in message.items() if key != "reasoning_content"}
        for message in kept.as_chat()
    ]
    log: dict[str, Any] = {
        "messages": messages,
        "dropped_rounds": [{"number": each.number, "begins": each.question[:80]} for each in dropped],
    }
    form: PromptFormat | None = None
    try:
        resolution = _resolution(spec, formats)
        form = resolution.format
        # How the registry would render it: what the server makes of the messages cannot be seen.
        estimate = render(kept, resolution, system_policy="family", alternation="family")
        log["estimate"] = estimate.log("server")
    except PromptFormatError as error:
        log["estimate"] = {"rendered_by": "server", "estimate": True, "error": str(error)}
    prompt = RemotePrompt(log, messages=messages, form=form, own_stops=request.stop)
    log["estimated_prompt_tokens"] = prompt.tokens
    return prompt


def _rendered(
    spec: ModelSpec, request: GenerationRequest, conversation: Conversation, formats: Path | None
) -> RemotePrompt:
    whole = framed(spec, conversation)
    if request.prefill:
        whole = whole.add("assistant", request.prefill)
    try:
        resolution = _resolution(spec, formats)
        prompt = render(
            whole,
            resolution,
            system_policy="family",
            alternation="family",
            control_text=spec.control_text,
            window=window_from(_window(spec, request)),
            continue_final_message=bool(request.prefill),
            now=datetime.now(),  # templates write the local date
        )
    except OverBudget as error:
        raise OverContext(f"{spec.name}: {error}") from error
    except PromptFormatError as error:
        raise EngineRejected(f"{spec.name}: this conversation cannot be rendered: {error}") from error
    log = prompt.log()
    del log["prompt"], log["ids"], log["rendered_by"], log["estimate"]
    log["warning"] = resolution.warning
    text = prompt.prompt
    if prompt.n_bos and resolution.format.bos:
        # Completion endpoints let the tokenizer add its BOS; a second one changes what the model says.
        text = text[prompt.n_bos * len(resolution.format.bos) :]
        log["policies"] = [*log["policies"], "bos: left out of the text, the server's tokenizer adds it"]
    form = resolution.format
    ends = (*form.stop, *form.stop_tokens, *((form.eos,) if form.eos else ()))
    result = RemotePrompt(log, text=text, stops=ends, form=form, own_stops=request.stop)
    log["estimated_prompt_tokens"] = result.tokens
    return result


def _resolution(spec: ModelSpec, formats: Path | None) -> Resolution:
    return resolve(
        spec.source, explicit=spec.prompt_format, parent=spec.parent, registry=load_registry(formats)
    )


def _window(spec: ModelSpec, request: GenerationRequest) -> dict[str, int] | None:
    return spec.window if request.window is None else request.window


def _windowed(
    spec: ModelSpec, request: GenerationRequest, conversation: Conversation
) -> tuple[Conversation, tuple[Round, ...]]:
    whole = framed(spec, conversation)
    window = window_from(_window(spec, request))
    if window is None:
        return whole, ()
    kept = window.apply(split_rounds(whole), None)
    return kept.conversation(), kept.dropped
