"""`arena format convert`, `unrender` and `check`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, cast

import typer

from arena.cli import _format_bulk as bulk
from arena.cli._common import GATE_SAID_NO, BadInput, console, output, print_json
from arena.cli._format_models import RosterModels
from prompt_formats.check import Finding, check
from prompt_formats.convert import SHAPES, Shape, convert
from prompt_formats.errors import InvalidInput
from prompt_formats.registry import Registry, load_registry
from prompt_formats.resolve import Resolution
from prompt_formats.unrender import Candidate, unrender


def convert_file(path: Path, source: str, target: str) -> None:
    """Convert a file of one conversation (JSON), or of many (a list of them, or JSON lines)."""
    if source not in SHAPES or target not in SHAPES:
        raise BadInput(f"--from and --to are one of {', '.join(SHAPES)}")
    text = "\n".join(bulk.read_lines(path))
    try:
        items, many = [json.loads(text)], False
    except ValueError:
        items, many = _json_lines(path, text), True
    if not many and _is_list_of_records(items[0], source):
        items, many = items[0], True
    for number, item in enumerate(items, start=1):
        try:
            result = convert(item, cast(Shape, source), cast(Shape, target))
        except InvalidInput as error:
            raise BadInput(f"{path}, conversation {number}: {error}") from error
        for lost in result.lost:
            console.print(f"conversation {number} lost {lost}", markup=False, highlight=False)
        if many:
            sys.stdout.write(json.dumps(result.data, ensure_ascii=False) + "\n")
        else:
            print_json(result.data)


def _json_lines(path: Path, text: str) -> list[Any]:
    items = []
    for number, line in enumerate(text.split("\n"), start=1):
        try:
            items.append(json.loads(line))
        except ValueError as error:
            raise BadInput(f"{path}, line {number}: not valid JSON: {error}") from error
    return items


def _is_list_of_records(data: Any, source: str) -> bool:
    """Whether a JSON list holds whole conversations rather than the messages of one."""
    if not isinstance(data, list) or not data:
        return False
    first = data[0]
    if source == "gradio":
        return isinstance(first, list) and bool(first) and isinstance(first[0], dict)
    return isinstance(first, dict) and not ({"role", "from"} & set(first))


def unrender_text(prompt: str, registry: Registry, as_json: bool, limit: int = 5) -> None:
    """Print the candidates of a raw prompt, likeliest first."""
    found = unrender(prompt, registry)
    shown = found.candidates[:limit]
    if as_json:
        print_json({"ambiguous": found.ambiguous, "candidates": [_candidate(c) for c in shown]})
        return
    if not shown:
        raise BadInput("no format of the registry explains this prompt; it may be plain text")
    for candidate in shown:
        how = "exactly" if candidate.exact else "nearly"
        output.print(f"[bold]{candidate.format}[/] ({candidate.family}) explains it {how}", highlight=False)
    if found.ambiguous:
        console.print(f"ambiguous: {found.ambiguous}", markup=False, highlight=False)
    for message in shown[0].conversation.messages:
        output.print(f"[bold]{message.role}[/]  ", end="")
        output.print(message.content, markup=False, highlight=False)


def _candidate(candidate: Candidate) -> dict[str, Any]:
    return {
        "format": candidate.format,
        "family": candidate.family,
        "exact": candidate.exact,
        "structure": candidate.structure,
        "add_generation_prompt": candidate.add_generation_prompt,
        "messages": candidate.conversation.as_chat(),
    }


def check_model(model: str, form: str | None, tokenizer: str | None, data: Path, as_json: bool) -> None:
    """Check a model's format against its tokenizer. Differences: exit code 3."""
    registry = load_registry(data / "formats")
    row = {"format": model} if model in registry else {"model": model}
    chosen, found = bulk.choose_format(row, registry, tokenizer, RosterModels(data))
    assert isinstance(chosen, Resolution)
    chosen_form, reason = chosen.format, chosen.reason
    if form is not None:
        chosen_form, reason = registry[form], f"explicit setting: {form}"
    findings = check(chosen_form, found)
    same = all(finding.same is not False for finding in findings)
    if as_json:
        print_json(
            {
                "model": model,
                "format": chosen_form.name,
                "reason": reason,
                "compared": found is not None,
                "same": same if found is not None else None,
                "probes": [_finding(finding) for finding in findings],
            }
        )
    else:
        _print_findings(chosen_form.name, reason, findings, compared=found is not None)
    if not same:
        raise typer.Exit(GATE_SAID_NO)


def _finding(finding: Finding) -> dict[str, Any]:
    return {
        "probe": finding.probe,
        "same": finding.same,
        "prompt": finding.prompt,
        "reference": finding.reference,
        "explanations": list(finding.explanations),
    }


def _print_findings(name: str, reason: str, findings: tuple[Finding, ...], *, compared: bool) -> None:
    output.print(f"{name}: {reason}", markup=False, highlight=False)
    words = {True: "same", False: "differs", None: "rendered"}
    for finding in findings:
        output.print(f"  {words[finding.same]:9}{finding.probe}", markup=False, highlight=False)
        for explanation in finding.explanations:
            output.print(f"           {explanation}", markup=False, highlight=False)
    if not compared:
        console.print("nothing to compare with: give --tokenizer DIR", markup=False, highlight=False)
