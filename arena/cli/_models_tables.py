"""What `arena models` shows of models: a table of all, and one in full."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

if TYPE_CHECKING:
    from arena.roster.checking import Check
    from arena.roster.overview import ModelDetails, ModelOverview, VersionChange
    from trainers.lineage import Training

MARKS = {"yes": ("yes", "green"), "conditions": ("with conditions", "yellow"), "no": ("no", "red")}


def roster_table(models: Sequence[ModelOverview]) -> Table:
    """One row a model."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("model", no_wrap=True)
    table.add_column("size", justify="right", no_wrap=True)
    table.add_column("on disk", justify="right", no_wrap=True)
    named = any(model.aliases for model in models)
    for column in ("quantised", "licence", "commercial", *(["aliases"] if named else [])):
        table.add_column(column, min_width=len(column), overflow="fold")
    for model in models:
        facts = model.facts
        row = [
            Text(model.reference),
            Text(count(facts.parameters) or ("endpoint" if model.kind == "openai" else "")),
            Text(size(facts.bytes_on_disk)),
            Text(facts.quantisation or ""),
            Text(model.licence or "not stated"),
            commercial(model.commercial.status),
            Text(", ".join(model.aliases)),
        ]
        table.add_row(*row[: len(table.columns)])
    return table


def details_view(details: ModelDetails, training: Training | None = None) -> RenderableType:
    """One model with its facts, versions, lineage (with the training that made it) and aliases."""
    shown = details.overview
    parts: list[RenderableType] = [
        Text(shown.reference, style="bold"),
        _facts(shown, details),
        Text("Versions", style="bold"),
        _versions(details.versions),
        Text("Lineage", style="bold"),
        _lineage(details),
    ]
    if training is not None:
        parts += [Text("Training", style="bold"), _grid(_training_rows(training))]
    if details.alias_changes:
        parts += [Text("Aliases", style="bold"), _aliases(details)]
    return Group(*parts)


def found_view(shown: ModelOverview, check: Check | None) -> RenderableType:
    """What `add` found out about a model."""
    table = _grid(_fact_rows(shown))
    if check is not None:
        for label, value in _check_rows(check):
            table.add_row(Text(label, style="dim"), Text(value))
    return table


def commercial(status: str) -> Text:
    """The mark of commercial use; what is unknown is shown as that."""
    word, style = MARKS.get(status, ("unknown", "magenta"))
    return Text(word, style=style)


def count(number: int | None) -> str:
    """A number of parameters, short: 135 M, 7.2 B."""
    if number is None:
        return ""
    for limit, unit in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if number >= limit:
            short = number / limit
            return f"{short:.0f} {unit}" if short >= 100 else f"{short:.1f} {unit}"
    return str(number)


def size(number: int | None) -> str:
    """Bytes, short: 257 MiB."""
    if number is None:
        return ""
    return f"{number / 2**30:.1f} GiB" if number >= 2**30 else f"{number / 2**20:.0f} MiB"


def _place(model: ModelOverview) -> str:
    if model.kind == "openai":
        return model.base_url or "api.openai.com"
    return "imported results" if model.kind == "imported" else "local"


def _facts(shown: ModelOverview, details: ModelDetails) -> Table:
    rows = [*_fact_rows(shown), *_entry_rows(shown, details.spec)]
    return _grid(rows)


def _fact_rows(shown: ModelOverview) -> Iterable[tuple[str, str | Text]]:
    facts = shown.facts
    yield "source", shown.source + (f" at {_place(shown)}" if shown.kind == "openai" else "")
    yield "architecture", facts.architecture or ""
    yield "parameters", f"{facts.parameters:,} ({count(facts.parameters)})" if facts.parameters else ""
    yield "on disk", size(facts.bytes_on_disk)
    yield "saved as", facts.dtype or ""
    yield "quantised copy", facts.quantisation or ""
    yield "context length", f"{facts.context_length:,} tokens" if facts.context_length else ""
    yield "languages", ", ".join(facts.languages)
    yield (
        "licence",
        f"{shown.licence} ({facts.licence_source or 'its entry'})" if shown.licence else "not stated",
    )
    yield "data licences", ", ".join(facts.data_licences)
    mark = commercial(shown.commercial.status)
    for reason in shown.commercial.reasons:
        mark.append(f"\n{reason.text()}", style="default")
    yield "commercial use", mark
    yield "made from", shown.parent or ""
    format_ = facts.prompt_format or ""
    yield (
        "prompt format",
        f"{format_}: {facts.prompt_format_reason}" if facts.prompt_format_reason else format_,
    )
    yield "", Text(facts.prompt_format_warning or "", style="yellow")
    for note in facts.notes:
        yield "note", note


def _entry_rows(shown: ModelOverview, spec: dict[str, Any]) -> Iterable[tuple[str, str | Text]]:
    yield "entry of", _entry_of(shown)
    yield "aliases", ", ".join(shown.aliases)
    yield "tags", ", ".join(shown.tags)
    yield "remark", shown.note or ""
    yield "adapter", spec.get("adapter") or ""
    yield "system prompt", spec.get("system_prompt") or ""
    examples = spec.get("few_shot") or ()
    yield "few-shot examples", str(len(examples)) if examples else ""
    sampling = {key: value for key, value in (spec.get("sampling") or {}).items() if value is not None}
    yield "sampling", ", ".join(f"{key} {value}" for key, value in sampling.items())


def _entry_of(shown: ModelOverview) -> str:
    if not shown.on_roster:
        return "not on the roster"
    if shown.owner == "file":
        return "the arena being served (--model)" if shown.origin == "serve" else shown.origin
    return {"embedded": "Palaestra (embedded)"}.get(shown.origin, f"the database ({shown.owner})")


def _check_rows(check: Check) -> Iterable[tuple[str, str]]:
    if check.device:
        loaded = f"in {check.load_seconds:.1f} s as {check.dtype} on {check.device}"
        yield "loaded", f"{loaded}, {size(check.memory)}" if check.memory else loaded
    speed = f" ({check.tokens_per_second:.1f} tokens/s)" if check.tokens_per_second else ""
    yield "answered", f"{check.answer.strip()!r}{speed}"
    for note in check.notes:
        yield "note", note


def _grid(rows: Iterable[tuple[str, str | Text]]) -> Table:
    table = Table.grid(padding=(0, 2))
    for label, value in rows:
        text = value if isinstance(value, Text) else Text(value)
        if text.plain:
            table.add_row(Text(label, style="dim"), text)
    return table


def _versions(versions: Sequence[VersionChange]) -> Table:
    table = Table.grid(padding=(0, 2))
    for version in versions:
        told = "\n".join(
            f"{field}: {_short(first)} -> {_short(second)}" for field, first, second in version.changes
        )
        table.add_row(
            f"  @{version.number}",
            f"{version.created_at:%Y-%m-%d %H:%M} UTC",
            Text("on the roster" if version.on_roster else "", style="green"),
            Text(told),
        )
    return table


def _short(value: Any) -> str:
    if value in (None, "", [], {}):
        return "none"
    text = " ".join(str(value).split())
    return text if len(text) <= 60 else text[:57] + "..."


def _lineage(details: ModelDetails) -> Tree:
    """The oldest ancestor first, what was made from the model last."""
    links = list(reversed(details.lineage))
    tree = Tree(_link(links[0].reference, links[0].licence, links[0].known), guide_style="dim")
    branch = tree
    for link in links[1:]:
        branch = branch.add(_link(link.reference, link.licence, link.known))
    for child in details.children:
        branch.add(Text(child))
    return tree


def _training_rows(made: Training) -> Iterable[tuple[str, str | Text]]:
    yield "  trained", f"{made.made_at:%Y-%m-%d %H:%M} UTC from {made.base}, {made.method} {made.objective}"
    here = "" if made.dataset_here else "; its rows are not here"
    licence = made.dataset_licence or "licence not stated"
    yield "  dataset", f"{made.dataset} ({made.dataset_digest[:12]}), {made.rows:,} rows, {licence}{here}"
    yield "  recipe", f"{made.name} ({made.recipe_digest[:12]})"
    yield (
        "  job",
        f"{made.job} (`arena train show {made.job[:13]}`)" if made.job else "not of this data folder",
    )
    if made.loss_before is not None and made.loss_after is not None:
        yield "  held-out loss", f"{made.loss_before:.4f} -> {made.loss_after:.4f}"


def _link(reference: str, licence: str | None, known: bool) -> Text:
    told = licence or "licence not stated"
    if not known:
        told = f"not here, {licence}" if licence else "not known here"
    return Text.assemble(reference, (f"  {told}", "dim"))


def _aliases(details: ModelDetails) -> Table:
    table = Table.grid(padding=(0, 2))
    for change in details.alias_changes:
        label = change.version.label if change.version else "none"
        table.add_row(
            f"  {change.alias}",
            Text(f"-> {label}"),
            f"{change.set_at:%Y-%m-%d %H:%M} UTC",
            "taken back" if change.undone else "",
        )
    return table
