"""What a model version would be asked: an example conversation, rendered by the version's own prompt format."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from arena.engines.base import EngineError
from arena.engines.framing import framed
from arena.engines.sources import adapter_folder, resolve
from arena.engines.spec import ModelSpec
from arena.roster.inspection import prompt_format
from prompt_formats import PromptFormatError, load_registry, render
from prompt_formats.conversation import Conversation

EXAMPLES = {
    "en": ("What is the capital of France?", "Paris.", "And of Korea?"),
    "ko": ("프랑스의 수도는 어디인가요?", "파리입니다.", "그럼 한국은요?"),
}


@dataclass(frozen=True)
class Preview:
    """A rendered example in one language. Of a chat endpoint, which renders unseen, `messages` (role and text) are
    what is sent; `problem` says why there is none."""

    language: str
    text: str | None = None
    messages: tuple[tuple[str, str], ...] = ()
    stops: tuple[str, ...] = ()
    problem: str | None = None


def previews(spec: ModelSpec, data_dir: Path) -> list[Preview]:
    """The example in every language, as this version would be asked: its system prompt and examples are in it.

    Reads the tokenizer's files, and renders templates of others in a process of their own: call it from a thread.
    """
    return [_preview(spec, data_dir, language) for language in EXAMPLES]


def _preview(spec: ModelSpec, data_dir: Path, language: str) -> Preview:
    question, answer, further = EXAMPLES[language]
    asked = Conversation().add("user", question).add("assistant", answer).add("user", further)
    conversation = framed(spec, asked)
    if spec.kind == "openai" and spec.endpoint == "chat":
        return Preview(language, messages=tuple((each.role, each.content) for each in conversation.messages))
    try:
        source = resolve(spec, data_dir) if spec.kind == "local" else None
        found = prompt_format(spec, source, adapter_folder(spec), load_registry(data_dir / "formats"))
        folder = source if source is not None and (source / "tokenizer.json").is_file() else None
        made = render(conversation, found, tokenizer=folder, system_policy="family", alternation="family")
    except (EngineError, PromptFormatError) as error:
        return Preview(language, problem=str(error))
    return Preview(language, text=made.prompt, stops=made.stops)
