"""Which prompt format a model was trained with, and why we think so."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from prompt_formats.errors import InvalidInput
from prompt_formats.prompt_format import Origin, PromptFormat
from prompt_formats.registry import Registry, built_in
from prompt_formats.thinking import detect
from prompt_formats.tokenizer import ChatTokenizer, load_tokenizer

Step = Literal["explicit", "adapter", "tokenizer", "gguf", "registry", "parent", "plain"]

# Marks of files and conversions, not of training: stripped from the end of an id.
_QUANTISATION = re.compile(
    r"[-_.](?:gguf|ggml|gptq|awq|exl2|exl3|mlx|bnb|hf|fp32|fp16|fp8|bf16|fp4|nvfp4|mxfp4|int4|int8|nf4"
    r"|[48]-?bit|i?q\d(?:_[a-z0-9]+)*|w\d+a\d+|dynamic|quantized|imat|unsloth|abliterated|onnx|openvino|ov)$",
    re.IGNORECASE,
)
_CHAT_MARKS = frozenset(
    {
        "chat", "instruct", "instruction", "inst", "it", "sft", "dpo", "rlhf", "ppo", "kto", "orpo", "rl",
        "assistant", "chatbot", "align", "aligned", "thinking", "reasoning",
    }
)  # fmt: skip
_BASE_MARKS = frozenset({"base", "pt", "pretrain", "pretrained"})


@dataclass(frozen=True)
class Resolution:
    """A format and the reason for it. `warning` is for people: set where the choice may well be wrong."""

    format: PromptFormat
    reason: str
    step: Step
    warning: str | None = None


def resolve(
    model: str | None = None,
    *,
    explicit: str | PromptFormat | None = None,
    adapter: str | Path | None = None,
    tokenizer: Any = None,
    gguf: str | Path | Mapping[str, Any] | None = None,
    parent: str | Callable[[], str | None] | None = None,
    registry: Registry | None = None,
) -> Resolution:
    """Choose the format of a model: the first of these that knows one.

    1. `explicit`: a setting (registry name or a format);
    2. `adapter`: the template saved beside an adapter (a folder);
    3. `tokenizer`: its own chat template (a folder, a tokenizer);
    4. `gguf`: the template in a GGUF file's metadata (a file, or its metadata as a mapping);
    5. the registry, by `model` (an id such as `org/name`);
    6. `parent`: the id of the model below an adapter (or a callable that finds it), by the registry;
    7. `plain`, with a warning: text as it is, no roles. Never silently ChatML.

    Raises `UnknownFormat` for an explicit name that the registry does not hold.
    """
    known = registry or built_in()
    if isinstance(explicit, PromptFormat):
        return Resolution(explicit, f"explicit setting: {explicit.name}", "explicit")
    if explicit:
        return Resolution(known[explicit], f"explicit setting: {explicit}", "explicit")
    if adapter is not None:
        template = _adapter_template(Path(adapter))
        if template:
            form = format_from_template(template, "adapter", name=f"template of adapter {Path(adapter).name}")
            return Resolution(form, f"template saved beside the adapter {adapter}", "adapter")
    if tokenizer is not None:
        loaded = load_tokenizer(tokenizer)
        if loaded.template:
            form = format_from_tokenizer(loaded)
            return Resolution(
                form, f"the tokenizer's own template ({loaded.name or 'in memory'})", "tokenizer"
            )
    if gguf is not None:
        found = format_from_gguf(gguf)
        if found is not None:
            return Resolution(found, "template in the GGUF metadata", "gguf")
    by_id = _by_id(model, known)
    if by_id is not None:
        return by_id
    above = parent() if callable(parent) else parent
    by_parent = _by_id(above, known)
    if by_parent is not None:
        return Resolution(
            by_parent.format, f"the adapter's parent {above}: {by_parent.reason}", "parent", by_parent.warning
        )
    return Resolution(
        known["plain"],
        f"nothing known of {model!r}",
        "plain",
        f"no prompt format is known for {model!r}: the text goes in as it is, which suits base models only. "
        "Set prompt_format if this is a chat model.",
    )


@dataclass(frozen=True)
class _Pattern:
    segments: tuple[str, ...]
    form: PromptFormat
    needs_chat: bool
    order: int

    @property
    def rank(self) -> tuple[bool, int, int, int]:
        """Names of fine-tunes before those of base families (which need a chat mark: `llama 3 +chat`), then
        more segments, then more characters, then the order of the registry."""
        return not self.needs_chat, len(self.segments), sum(map(len, self.segments)), -self.order


@lru_cache(maxsize=8)
def _patterns(registry: Registry) -> tuple[_Pattern, ...]:
    patterns: list[_Pattern] = []
    for form in registry.values():
        for text in form.models:
            needs_chat = text.endswith(" +chat")
            segments = tuple(text.removesuffix(" +chat").lower().split())
            patterns.append(_Pattern(segments, form, needs_chat, len(patterns)))
    return tuple(sorted(patterns, key=lambda p: p.rank, reverse=True))


def segments(name: str) -> tuple[str, ...]:
    """The segments of a model's name in lower case, quantisation suffixes stripped.

    Split at `/ - _` and spaces and between a letter and a digit or a digit and a letter of different words
    (`llama3` -> `llama 3`, `zephyr-7b` -> `zephyr 7b`, `3.1` stays whole).
    """
    stripped = name.strip()
    while True:
        shorter = _QUANTISATION.sub("", stripped)
        if shorter == stripped:
            break
        stripped = shorter
    parts = []
    for part in re.split(r"[-_/\s:]+", stripped.lower()):
        # A name grown together with its version: llama3, phi3.5, qwen2. Sizes (7b) and versions (v0.1) stay
        # whole.
        match = re.fullmatch(r"([a-z]{2,})(\d+(?:\.\d+)*)", part)
        parts += list(match.groups()) if match else [part]
    return tuple(part for part in parts if part)


def _by_id(model: str | None, registry: Registry) -> Resolution | None:
    if not model:
        return None
    name = segments(model.rsplit("/", 1)[-1])
    if _BASE_MARKS & set(name):
        return Resolution(registry["plain"], f"{model}: marked as a base model", "registry")
    chat = bool(_CHAT_MARKS & set(name))
    unmarked: str | None = None
    for pattern in _patterns(registry):
        if not _matches(pattern, name):
            continue
        shown = " ".join(pattern.segments)
        if not pattern.needs_chat or chat:
            return Resolution(pattern.form, f"{model}: matches {shown!r} in the registry", "registry")
        unmarked = unmarked or shown
    if unmarked is None:
        return None
    reason = f"{model}: matches {unmarked!r} but bears no chat or instruct mark: a base model"
    return Resolution(registry["plain"], reason, "registry")


_BETWEEN = re.compile(r"\d+(\.\d+)?[bmk]|\d+x\d+b|a\d+(\.\d+)?b|e\d+b|\d{4,8}|[a-z]{2}|\d{1,2}k")


_VERSION = re.compile(r"v?\d{1,2}(\.\d+)*")


def _matches(pattern: _Pattern, name: tuple[str, ...]) -> bool:
    """Whether the pattern's segments stand in the name in this order, with nothing between them but sizes
    (`7b`, `8x7b`), dates, context lengths, languages and chat marks that the pattern does not name.

    A base family followed by a version that its pattern does not name is another generation, of which nothing is
    known: `gemma +chat` does not fit `gemma-9-it`.
    """
    for start, part in enumerate(name):
        if part != pattern.segments[0]:
            continue
        end = _end(pattern.segments[1:], name, start + 1)
        if end is None:
            continue
        newer = pattern.needs_chat and end < len(name) and _VERSION.fullmatch(name[end])
        if not newer:
            return True
    return False


def _end(pattern: tuple[str, ...], name: tuple[str, ...], start: int) -> int | None:
    """The place after the pattern's last segment, or None where the pattern does not fit from `start`."""
    if not pattern:
        return start
    for index in range(start, len(name)):
        part = name[index]
        if part == pattern[0]:
            end = _end(pattern[1:], name, index + 1)
            if end is not None:
                return end
        if not (part in _CHAT_MARKS or _BETWEEN.fullmatch(part)):
            return None
    return None


def _adapter_template(folder: Path) -> str | None:
    """The chat template beside an adapter: `chat_template.jinja`, or that of `tokenizer_config.json`."""
    from prompt_formats.tokenizer import read_templates

    if not folder.is_dir():
        raise InvalidInput(f"adapter {folder}: no such folder")
    return read_templates(folder).get("default")


def format_from_template(
    template: str, origin: Origin, *, name: str, path: str | None = None
) -> PromptFormat:
    """A format around a template that is not ours: nothing is known of it but its text."""
    return PromptFormat(
        name=name,
        family=name,
        template=template,
        thinking=detect(template),
        channels="harmony" if "<|channel|>" in template and "<|start|>" in template else None,
        tools="tools" in template,
        documents="documents" in template,
        origin=origin,
        path=path,
    )


def format_from_tokenizer(tokenizer: ChatTokenizer) -> PromptFormat:
    """The format of a tokenizer's own template. Raises `InvalidInput` where it has none."""
    if not tokenizer.template:
        raise InvalidInput(f"the tokenizer {tokenizer.name or 'given'} has no chat template: name a format")
    form = format_from_template(
        tokenizer.template, "tokenizer", name=f"tokenizer {Path(tokenizer.name).name or 'in memory'}"
    )
    own = {"bos": tokenizer.bos, "eos": tokenizer.eos, "tool_template": tokenizer.tool_template}
    return form.model_copy(update=own)


def format_from_gguf(source: str | Path | Mapping[str, Any]) -> PromptFormat | None:
    """The format in a GGUF file's metadata, or None where it holds no template. Needs the package `gguf` for
    a file; raises `InvalidInput` where that is missing or the file is not GGUF."""
    if isinstance(source, Mapping):
        metadata, name = source, "GGUF"
    else:
        metadata, name = _read_gguf(Path(source)), Path(source).name
    template = metadata.get("tokenizer.chat_template")
    if not isinstance(template, str) or not template:
        return None
    form = format_from_template(template, "gguf", name=f"template of {name}")
    tokens = metadata.get("tokens", {})
    return form.model_copy(update={"bos": tokens.get("bos", ""), "eos": tokens.get("eos", "")})


def _read_gguf(path: Path) -> dict[str, Any]:
    try:
        from gguf import GGUFReader
    except ImportError as error:
        raise InvalidInput(
            f"{path}: reading GGUF needs the package gguf (pip install palaestra[local])"
        ) from error
    try:
        reader = GGUFReader(str(path))
    except (OSError, ValueError) as error:
        raise InvalidInput(f"{path}: not a GGUF file that can be read: {error}") from error
    metadata: dict[str, Any] = {}
    field = reader.get_field("tokenizer.chat_template")
    if field is not None:
        metadata["tokenizer.chat_template"] = field.contents()
    vocabulary = reader.get_field("tokenizer.ggml.tokens")
    tokens = {}
    for key in ("bos", "eos"):
        number = reader.get_field(f"tokenizer.ggml.{key}_token_id")
        if number is not None and vocabulary is not None:
            tokens[key] = str(vocabulary.contents(int(number.contents())))
    metadata["tokens"] = tokens
    return metadata
