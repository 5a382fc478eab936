"""The Jinja environment of chat templates: the one of transformers, without transformers and with a frozen
clock.

Same sandbox, extensions, filters and globals as `transformers.utils.chat_template_utils` (a test renders many
templates with both and compares). What differs: `strftime_now` reads a clock that the caller freezes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any

import jinja2
import jinja2.ext
import jinja2.sandbox
import jinja2.utils
from jinja2 import nodes
from jinja2.parser import Parser

from prompt_formats.errors import InvalidInput, TemplateFailed

_CONTINUE_TAG = "CONTINUE_FINAL_MESSAGE_TAG "


@dataclass
class _Run:
    """State of one rendering: the frozen clock, and where `{% generation %}` blocks fell."""

    now: datetime
    clock_read: bool = False
    blocks: list[str] | None = None
    spans: list[tuple[int, int]] | None = None


_run: ContextVar[_Run | None] = ContextVar("palaestra_template_run", default=None)


@dataclass(frozen=True)
class Rendering:
    """A rendered string, whether the template read the clock, and the character spans of generation
    blocks."""

    text: str
    clock_read: bool = False
    spans: tuple[tuple[int, int], ...] = ()


class _Generation(jinja2.ext.Extension):
    """`{% generation %}...{% endgeneration %}`: marks what an assistant wrote, for training masks."""

    tags = {"generation"}  # noqa: RUF012 -- Jinja's own declaration

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.CallBlock(self.call_method("_block"), [], [], body).set_lineno(line)

    @jinja2.pass_eval_context
    def _block(self, context: nodes.EvalContext, caller: Callable[[], str]) -> str:
        text = caller()
        run = _run.get()
        if run is not None and run.blocks is not None and run.spans is not None:
            start = sum(map(len, run.blocks))
            run.spans.append((start, start + len(text)))
        return text


class _TemplateDict:
    """`dict` for templates, without the attributes of the real class."""

    def __call__(self, *args: Any, **kwargs: Any) -> dict[Any, Any]:
        return dict(*args, **kwargs)

    def fromkeys(self, *args: Any, **kwargs: Any) -> dict[Any, Any]:
        return dict.fromkeys(*args, **kwargs)


class _TemplateNamespace(jinja2.utils.Namespace):
    """A namespace that refuses underscore names, as transformers does: they could reach Python's
    internals."""

    def __init__(*args: Any, **kwargs: Any) -> None:
        self, rest = args[0], args[1:]
        attributes = dict(*rest, **kwargs)
        for name in attributes:
            _TemplateNamespace._check(name)
        jinja2.utils.Namespace.__init__(self, attributes)

    def __setitem__(self, name: str, value: Any) -> None:
        _TemplateNamespace._check(name)
        jinja2.utils.Namespace.__setitem__(self, name, value)

    @staticmethod
    def _check(name: Any) -> None:
        if isinstance(name, str) and name.startswith("_"):
            raise jinja2.exceptions.SecurityError(f"a namespace cannot hold {name!r}: rename the attribute")


def _raise_exception(message: str) -> None:
    raise jinja2.exceptions.TemplateError(message)


def _tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    return json.dumps(
        value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )


def _strftime_now(form: str) -> str:
    run = _run.get()
    if run is None:
        return datetime.now().strftime(form)
    run.clock_read = True
    return run.now.strftime(form)


@lru_cache(maxsize=1)
def environment() -> jinja2.sandbox.ImmutableSandboxedEnvironment:
    """The sandboxed environment in which every chat template is compiled."""
    env = jinja2.sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, jinja2.ext.loopcontrols]
    )
    env.filters["tojson"] = _tojson
    env.globals["raise_exception"] = _raise_exception
    env.globals["strftime_now"] = _strftime_now
    env.globals["dict"] = _TemplateDict()
    env.globals["namespace"] = _TemplateNamespace
    return env


@lru_cache(maxsize=512)
def compiled(template: str) -> jinja2.Template:
    """The template, compiled once. Raises `TemplateFailed` naming the line of a syntax error."""
    try:
        return environment().from_string(template)
    except jinja2.TemplateSyntaxError as error:
        raise TemplateFailed(f"template line {error.lineno}: {error.message}") from error
    except (RecursionError, MemoryError) as error:
        raise TemplateFailed("the template is nested too deeply to compile") from error


@lru_cache(maxsize=512)
def literal_text(template: str) -> str:
    """Every literal string of a template, joined by NUL: where its control tokens stand. Raises as
    `compiled`."""
    try:
        tree = environment().parse(template)
    except jinja2.TemplateSyntaxError as error:
        raise TemplateFailed(f"template line {error.lineno}: {error.message}") from error
    texts = {node.data for node in tree.find_all(nodes.TemplateData)}
    texts |= {node.value for node in tree.find_all(nodes.Const) if isinstance(node.value, str)}
    return "\0".join(sorted(texts))


def plain_data(value: Any) -> Any:
    """A copy of `value` made of JSON types only: a template must not reach methods of rich objects."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Mapping):
        return {str(key): plain_data(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain_data(item) for item in value]
    raise InvalidInput(f"templates take JSON values only, got {type(value).__name__}: {value!r:.80}")


def render_template(
    template: str,
    context: Mapping[str, Any],
    *,
    now: datetime,
    continue_final_message: bool = False,
    track_generation: bool = False,
    limit: int | None = None,
) -> Rendering:
    """Render `template` in this process.

    `context` holds `messages` (list of dicts) and everything else the template reads. With
    `continue_final_message` the string ends where the last message's content ends, by the same rule as
    transformers. `limit` is the greatest number of characters. Raises `TemplateFailed` with the template's
    own message, and `InvalidInput` where the final message cannot be continued.
    """
    program = compiled(template)
    values = dict(context)
    final: str | None = None
    if continue_final_message:
        messages = [dict(message) for message in values["messages"]]
        final = messages[-1]["content"]
        messages[-1]["content"] = final + _CONTINUE_TAG
        values["messages"] = messages
    run = _Run(now, blocks=[] if track_generation else None, spans=[] if track_generation else None)
    token = _run.set(run)
    try:
        whole = run.blocks is None and limit is None
        text = program.render(values) if whole else _collect(program, values, run, limit)
    except jinja2.TemplateError as error:
        raise TemplateFailed(_explain(error)) from error
    except TemplateFailed:
        raise
    except Exception as error:  # a template is a program: it can raise anything
        raise TemplateFailed(f"the template raised {type(error).__name__}: {error}") from error
    finally:
        _run.reset(token)
    if final is not None:
        text = _cut_at_tag(text, final)
    return Rendering(text, run.clock_read, tuple(run.spans or ()))


def _collect(program: jinja2.Template, values: dict[str, Any], run: _Run, limit: int | None) -> str:
    blocks = run.blocks if run.blocks is not None else []
    written = 0
    for block in program.generate(values):
        blocks.append(block)
        written += len(block)
        if limit is not None and written > limit:
            raise TemplateFailed(f"the template wrote more than {limit:,} characters and was stopped")
    return "".join(blocks)


def _explain(error: jinja2.TemplateError) -> str:
    message = error.message or type(error).__name__
    line = getattr(error, "lineno", None)
    if line is None:
        line = _template_line(error)
    return f"{message} (template line {line})" if line else str(message)


def _template_line(error: BaseException) -> int | None:
    line, frame = None, error.__traceback__
    while frame is not None:
        if frame.tb_frame.f_code.co_filename == "<template>":
            line = frame.tb_lineno
        frame = frame.tb_next
    return line


def _cut_at_tag(text: str, final: str) -> str:
    tag = _CONTINUE_TAG
    if final.strip() not in text or tag.strip() not in text:
        raise InvalidInput(
            "the final message cannot be continued: the template changes or drops its text. "
            "Leave out the final message or choose another format."
        )
    place = text.rindex(tag.strip())
    if text[place : place + len(tag)] == tag:
        return text[:place]
    return text[:place].rstrip()
