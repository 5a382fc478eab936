"""Bulk commands of `arena format`: one JSON object a line in, one a line out, errors as lines."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from arena.cli._common import BadInput
from prompt_formats.conversation import Conversation
from prompt_formats.errors import InvalidInput, PromptFormatError
from prompt_formats.parse import parser_for
from prompt_formats.prompt_format import PromptFormat
from prompt_formats.registry import Registry
from prompt_formats.render import render
from prompt_formats.rendered_prompt import RenderedPrompt
from prompt_formats.resolve import Resolution, format_from_template, resolve
from prompt_formats.windows import window_from

if TYPE_CHECKING:
    from arena.cli._format_models import RosterModels

Row = Mapping[str, Any]

_RENDER_KEYS = frozenset(
    {
        "format", "tokenizer", "template", "model", "messages", "add_generation_prompt",
        "continue_final_message", "kwargs", "bos", "eos", "now", "window", "tools", "documents",
        "system_policy", "alternation", "control_text", "id",
    }
)  # fmt: skip


def read_lines(path: Path) -> Iterator[str]:
    """Lines that are not blank, from a file or stdin (`-`). Lines end at LF only: JSON may hold U+2028."""
    try:
        text = sys.stdin.read() if str(path) == "-" else path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"{path}: cannot be read: {error}") from error
    return (line for line in text.split("\n") if line.strip())


def run_lines(path: Path, work: Callable[[Row], Mapping[str, Any]]) -> None:
    """Do `work` on every line and write its answer as a line; an error becomes `{"error", "kind"}`."""
    for line in read_lines(path):
        try:
            row = json.loads(line)
            if not isinstance(row, dict):
                raise InvalidInput(f"expected a JSON object a line, got {line:.60}")
            answer = work(row)
        except PromptFormatError as error:
            answer = {"error": str(error), "kind": error.kind}
        except ValueError as error:
            answer = {"error": f"not valid JSON: {error}", "kind": InvalidInput.kind}
        sys.stdout.write(json.dumps(answer, ensure_ascii=False) + "\n")


def render_case(row: Row, registry: Registry, roster: RosterModels | None = None) -> dict[str, Any]:
    """Render one case (keys as in the help of `arena format render`)."""
    unknown = sorted(set(row) - _RENDER_KEYS)
    if unknown:
        raise InvalidInput(f"unknown keys {', '.join(unknown)}; known are {', '.join(sorted(_RENDER_KEYS))}")
    tokenizer = row.get("tokenizer")
    chosen, tokenizer = choose_format(row, registry, tokenizer, roster)
    return prompt_row(render_with(chosen, tokenizer, row))


def choose_format(
    row: Row, registry: Registry, tokenizer: Any, roster: RosterModels | None = None
) -> tuple[Resolution | PromptFormat, Any]:
    """The format that a case names, and its tokenizer.

    A model may be a folder, a GGUF file, what a roster calls a model (a name, `name@2`, an alias), or an id.
    """
    named = [key for key in ("format", "template", "model") if row.get(key)]
    if len(named) > 1:
        raise InvalidInput(f"give one of format, template, model, not {' and '.join(named)}")
    if row.get("format"):
        return resolve(explicit=str(row["format"]), registry=registry), tokenizer
    if row.get("template"):
        return _template(str(row["template"])), tokenizer
    if row.get("model"):
        return _model(str(row["model"]), registry, tokenizer, roster)
    if tokenizer is None:
        raise InvalidInput("nothing says which prompt format: give format, tokenizer, template or model")
    found = resolve(tokenizer=tokenizer, registry=registry)
    if found.step == "plain":
        raise InvalidInput(f"the tokenizer {tokenizer} has no chat template: name a format beside it")
    return found, tokenizer


def _template(text: str) -> PromptFormat:
    path = Path(text) if len(text) < 1024 and "{" not in text else None
    if path is None:
        return format_from_template(text, "file", name="template")
    try:
        source = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"template {path}: cannot be read: {error}") from error
    return format_from_template(source, "file", name=f"template {path.name}", path=str(path))


def _model(
    model: str, registry: Registry, tokenizer: Any, roster: RosterModels | None
) -> tuple[Resolution, Any]:
    path = Path(model)
    if path.is_dir():
        own = model if (path / "tokenizer.json").is_file() else None
        adapter = model if (path / "adapter_config.json").is_file() else None
        found = resolve(path.name, adapter=adapter, tokenizer=tokenizer or own, registry=registry)
        return found, tokenizer or own
    if path.suffix == ".gguf" and path.is_file():
        return resolve(path.stem, gguf=path, tokenizer=tokenizer, registry=registry), tokenizer
    if roster is not None and tokenizer is None and (known := roster.format_of(model, registry)) is not None:
        return known
    return resolve(model, tokenizer=tokenizer, registry=registry), tokenizer


def render_with(chosen: Resolution | PromptFormat, tokenizer: Any, row: Row) -> RenderedPrompt:
    """Render with settings from a row."""
    messages = row.get("messages")
    if not isinstance(messages, list):
        raise InvalidInput("messages must be a list of objects with role and content")
    kwargs = row.get("kwargs") or {}
    if not isinstance(kwargs, dict):
        raise InvalidInput(f"kwargs must be an object, got {kwargs!r:.60}")
    return render(
        Conversation.from_chat(messages),
        chosen,
        tokenizer=tokenizer,
        add_generation_prompt=row.get("add_generation_prompt"),
        continue_final_message=bool(row.get("continue_final_message", False)),
        tools=row.get("tools"),
        documents=row.get("documents"),
        kwargs=kwargs,
        system_policy=row.get("system_policy"),
        alternation=row.get("alternation"),
        control_text=row.get("control_text"),
        window=window_from(row.get("window")),
        now=parse_time(row.get("now")),
        bos=row.get("bos"),
        eos=row.get("eos"),
    )


def parse_time(text: Any) -> datetime | None:
    """A time from ISO 8601, None from None."""
    if text is None:
        return None
    try:
        return datetime.fromisoformat(str(text))
    except ValueError as error:
        raise InvalidInput(f"now: not an ISO 8601 time: {text!r}") from error


def prompt_row(prompt: RenderedPrompt) -> dict[str, Any]:
    """What `arena format render --json` prints."""
    return {
        "format": prompt.format,
        "family": prompt.family,
        "reason": prompt.reason,
        "prompt": prompt.prompt,
        "ids": None if prompt.ids is None else list(prompt.ids),
        "n_bos": prompt.n_bos,
        "stops": list(prompt.stops),
        "stop_ids": list(prompt.stop_ids),
        "dropped_rounds": [{"number": r.number, "begins": r.begins} for r in prompt.dropped_rounds],
        "policies": list(prompt.policies),
        "clock": prompt.clock.isoformat() if prompt.clock_read else None,
        "template_hash": prompt.template_hash,
    }


def resolve_case(row: Row, registry: Registry) -> dict[str, Any]:
    """Resolve one model id."""
    model = row.get("model")
    if not isinstance(model, str) or not model:
        raise InvalidInput("model must be a model id")
    found = resolve(model, registry=registry)
    return {
        "model": model,
        "format": found.format.name,
        "family": found.format.family,
        "reason": found.reason,
        "step": found.step,
        "warning": found.warning,
    }


def parse_case(row: Row, registry: Registry) -> dict[str, Any]:
    """Parse one answer given in chunks."""
    form = _named(row, registry)
    stops = row.get("stop") or []
    stops = [stops] if isinstance(stops, str) else stops
    if not isinstance(stops, list) or not all(isinstance(stop, str) for stop in stops):
        raise InvalidInput("stop must be a list of strings")
    parser = parser_for(form, prompt_tail=row.get("prompt_tail"), stops=stops)
    for chunk in _chunks(row):
        parser.feed(chunk)
    parsed = parser.finish(row.get("finish"))
    return {
        "thinking": parsed.thinking,
        "content": parsed.content,
        "finish": parsed.finish,
        "raw": parsed.raw,
    }


def _named(row: Row, registry: Registry) -> PromptFormat:
    if row.get("format"):
        return registry[str(row["format"])]
    family = row.get("family")
    if family:
        return family_format(str(family), registry)
    raise InvalidInput("give format or family")


def family_format(family: str, registry: Registry) -> PromptFormat:
    """The format that speaks for a family: the one of its name or alias, else its first."""
    if family in registry and registry[family].family == family:
        return registry[family]
    members = [form for form in registry.values() if form.family == family]
    return members[0] if members else registry[family]


def _chunks(row: Row) -> list[str | bytes]:
    if "bytes_hex" in row:
        try:
            return [bytes.fromhex(chunk) for chunk in row["bytes_hex"]]
        except (TypeError, ValueError) as error:
            raise InvalidInput(f"bytes_hex must be a list of hexadecimal strings: {error}") from error
    chunks = row.get("chunks")
    if not isinstance(chunks, list) or not all(isinstance(chunk, str) for chunk in chunks):
        raise InvalidInput("give chunks (a list of strings) or bytes_hex (a list of hexadecimal strings)")
    return list(chunks)
