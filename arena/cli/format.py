"""`arena format`: which prompt format a model has, and exactly what it makes of a conversation."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from arena.cli._common import DEFAULT_DATA, AsJson, BadInput, DataDir, WorkFailed, output, print_json

if TYPE_CHECKING:
    from prompt_formats.registry import Registry

app = typer.Typer(no_args_is_help=True, help="Prompt formats: see and check the exact prompt a model gets.")

Cases = Annotated[Path | None, typer.Option("--cases", help="JSON lines in bulk.")]


@contextmanager
def _errors() -> Iterator[None]:
    """Errors of prompt_formats become the command line's: bad input is 2, a template that failed is 1."""
    from prompt_formats.errors import OverBudget, PromptFormatError, TemplateFailed

    try:
        yield
    except (TemplateFailed, OverBudget) as error:
        raise WorkFailed(str(error)) from error
    except PromptFormatError as error:
        raise BadInput(str(error)) from error


def _registry(data: Path) -> Registry:
    from prompt_formats.registry import load_registry

    return load_registry(data / "formats")


@app.command(name="list")
def list_formats(
    data: DataDir = DEFAULT_DATA,
    family: Annotated[str | None, typer.Option(help="Only this family.")] = None,
    as_json: AsJson = False,
) -> None:
    """All formats of the registry, with those of the data directory's `formats` folder."""
    with _errors():
        families = _registry(data).families()
    rows: list[dict[str, Any]] = [
        {
            "name": form.name,
            "family": form.family,
            "aliases": list(form.aliases),
            "system": form.system_policy,
            "alternation": form.alternation,
            "thinking": form.thinking.start if form.thinking else None,
            "tools": form.tools,
            "stops": list(form.stops),
            "verified": form.verified,
            "origin": form.origin,
            "source": form.source,
        }
        for name, forms in families.items()
        if family in (None, name)
        for form in forms
    ]
    if not rows:
        raise BadInput(f"no family is named {family!r}; `arena format list` shows all")
    if as_json:
        print_json(rows)
        return
    from rich.table import Table

    table = Table("format", "family", "system", "turns", "thinking", "tools", "verified", "origin")
    for row in rows:
        table.add_row(
            row["name"], row["family"], row["system"], row["alternation"], row["thinking"] or "",
            "yes" if row["tools"] else "", "yes" if row["verified"] else "", row["origin"],
        )  # fmt: skip
    output.print(table)


@app.command()
def show(
    model: Annotated[
        str,
        typer.Argument(
            help="A roster name, name@3, an alias, a model id, a folder, a GGUF file, or a format."
        ),
    ],
    data: DataDir = DEFAULT_DATA,
    as_json: AsJson = False,
) -> None:
    """The format of a model, why it was chosen, and its template."""
    from arena.cli._format_bulk import choose_format
    from arena.cli._format_models import RosterModels
    from prompt_formats.resolve import Resolution

    with _errors():
        registry = _registry(data)
        chosen, _ = choose_format(
            {"format": model} if model in registry else {"model": model}, registry, None, RosterModels(data)
        )
    assert isinstance(chosen, Resolution)
    form = chosen.format
    facts: dict[str, Any] = {
        "model": model,
        "reason": chosen.reason,
        "warning": chosen.warning,
        **form.model_dump(mode="json", exclude={"template", "models"}),
        "stops": list(form.stops),
        "template_hash": form.template_hash,
        "template": form.template,
    }
    if as_json:
        print_json(facts)
        return
    template = facts.pop("template")
    for key, value in facts.items():
        if value not in (None, "", [], {}, ()):
            shown = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            output.print(f"[bold]{key}[/]  ", end="")
            output.print(shown, markup=False, highlight=False)
    output.print("\n[bold]template[/]")
    output.print(template, markup=False, highlight=False)


@app.command()
def render(
    model: Annotated[
        str | None, typer.Option(help="A roster name, model id, folder or GGUF file to resolve.")
    ] = None,
    form: Annotated[str | None, typer.Option("--format", help="A format of the registry.")] = None,
    tokenizer: Annotated[str | None, typer.Option(help="A tokenizer's folder or id: adds ids.")] = None,
    template: Annotated[Path | None, typer.Option(help="A Jinja chat template.")] = None,
    messages: Annotated[Path | None, typer.Option(help="JSON: the messages (`-`: stdin).")] = None,
    cases: Cases = None,
    no_generation_prompt: Annotated[bool, typer.Option("--no-generation-prompt")] = False,
    continue_final: Annotated[bool, typer.Option("--continue", help="Continue the last message.")] = False,
    window: Annotated[list[str] | None, typer.Option(help="token_budget=N, last_rounds=K, search=K.")] = None,
    system_policy: Annotated[
        str | None, typer.Option(help="native, merge_first, merge_last, none, or family.")
    ] = None,
    alternation: Annotated[str | None, typer.Option(help="free, merge, strict, or family.")] = None,
    control_text: Annotated[str | None, typer.Option(help="keep, reject or escape control text.")] = None,
    kwargs: Annotated[str | None, typer.Option(help="JSON object for the template.")] = None,
    bos: Annotated[str | None, typer.Option(help="BOS text.")] = None,
    eos: Annotated[str | None, typer.Option(help="EOS text.")] = None,
    now: Annotated[str | None, typer.Option(help="The time that templates read, ISO 8601.")] = None,
    data: DataDir = DEFAULT_DATA,
    as_json: AsJson = False,
) -> None:
    """The exact prompt of a conversation; in bulk with --cases, one JSON object a line in and out."""
    from arena.cli import _format_bulk as bulk
    from arena.cli._format_models import RosterModels

    with _errors():
        registry, roster = _registry(data), RosterModels(data)
        if cases is not None:
            bulk.run_lines(cases, lambda row: bulk.render_case(row, registry, roster))
            return
        if messages is None:
            raise BadInput("give --messages FILE, or --cases FILE for many")
        content = _read_json(messages)
        given = content if isinstance(content, dict) else {"messages": content}
        row = {
            **{key: value for key, value in given.items() if key in ("messages", "tools", "documents")},
            "format": form, "model": model, "template": str(template) if template else None,
            "tokenizer": tokenizer, "continue_final_message": continue_final,
            "add_generation_prompt": False if no_generation_prompt else None,
            "window": _window(window or []), "system_policy": system_policy, "alternation": alternation,
            "control_text": control_text, "kwargs": _json_option("--kwargs", kwargs), "bos": bos, "eos": eos,
            "now": now,
        }  # fmt: skip
        answer = bulk.render_case(row, registry, roster)
    if as_json:
        print_json(answer)
        return
    sys.stdout.write(answer["prompt"] + "\n")
    from arena.cli._common import console

    for note in (f"{answer['format']}: {answer['reason']}", *answer["policies"]):
        console.print(note, markup=False, highlight=False)


@app.command()
def resolve(
    model: Annotated[str | None, typer.Argument(help="A model id.")] = None,
    ids: Annotated[Path | None, typer.Option("--ids", help="JSON lines with the key `model`.")] = None,
    data: DataDir = DEFAULT_DATA,
    as_json: AsJson = False,
) -> None:
    """Which format a model id means, and why."""
    from arena.cli import _format_bulk as bulk

    with _errors():
        registry = _registry(data)
        if ids is not None:
            bulk.run_lines(ids, lambda row: bulk.resolve_case(row, registry))
            return
        if model is None:
            raise BadInput("give a model id, or --ids FILE for many")
        answer = bulk.resolve_case({"model": model}, registry)
    if as_json:
        print_json(answer)
        return
    output.print(f"{answer['format']} (family {answer['family']})", markup=False, highlight=False)
    output.print(answer["warning"] or answer["reason"], markup=False, highlight=False)


@app.command()
def parse(
    cases: Annotated[Path, typer.Option("--cases", help="JSON lines: format, chunks, ...")],
    data: DataDir = DEFAULT_DATA,
) -> None:
    """Divide raw answers into thinking and content, one JSON object a line in and out."""
    from arena.cli import _format_bulk as bulk

    with _errors():
        registry = _registry(data)
        bulk.run_lines(cases, lambda row: bulk.parse_case(row, registry))


@app.command()
def convert(
    file: Annotated[Path, typer.Argument(help="JSON or JSON lines (`-`: stdin).")],
    source: Annotated[str, typer.Option("--from", help="openai, gradio, sharegpt, alpaca or fastchat.")],
    target: Annotated[str, typer.Option("--to", help="The same choice.")],
) -> None:
    """Conversations from one shape to another; what the new shape cannot hold is named on stderr."""
    from arena.cli._format_more import convert_file

    with _errors():
        convert_file(file, source, target)


@app.command()
def unrender(
    file: Annotated[Path, typer.Argument(help="The raw prompt (`-`: stdin).")],
    data: DataDir = DEFAULT_DATA,
    as_json: AsJson = False,
) -> None:
    """Recover the conversation of a raw prompt, and the formats that could have made it."""
    from arena.cli._format_more import unrender_text

    try:
        prompt = sys.stdin.read() if str(file) == "-" else file.read_bytes().decode()
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"{file}: cannot be read: {error}") from error
    with _errors():
        unrender_text(prompt, _registry(data), as_json)


@app.command()
def check(
    model: Annotated[
        str,
        typer.Argument(
            help="A roster name, name@3, an alias, a model id, a folder, a GGUF file, or a format."
        ),
    ],
    form: Annotated[str | None, typer.Option("--format", help="Check this format instead.")] = None,
    tokenizer: Annotated[str | None, typer.Option(help="The tokenizer to compare with.")] = None,
    data: DataDir = DEFAULT_DATA,
    as_json: AsJson = False,
) -> None:
    """Render probe conversations, compare with the tokenizer's own, explain every difference (exit 3)."""
    from arena.cli._format_more import check_model

    with _errors():
        check_model(model, form, tokenizer, data, as_json)


def _read_json(path: Path) -> Any:
    try:
        return json.loads(sys.stdin.read() if str(path) == "-" else path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadInput(f"{path}: not readable as JSON: {error}") from error


def _json_option(name: str, text: str | None) -> dict[str, Any]:
    try:
        value = json.loads(text) if text else {}
    except ValueError as error:
        raise BadInput(f"{name}: not valid JSON: {error}") from error
    if not isinstance(value, dict):
        raise BadInput(f"{name}: expected a JSON object, got {text}")
    return value


def _window(settings: list[str]) -> dict[str, int]:
    window = {}
    for setting in settings:
        name, _, value = setting.partition("=")
        if not value.isdigit():
            raise BadInput(f"--window {setting}: expected NAME=NUMBER, such as token_budget=2048")
        window[name] = int(value)
    return window
