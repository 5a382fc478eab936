"""How `arena bench` shows suites, results and comparisons."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from arena.cli._common import console, output
from evaluators.suites.breakdowns import by_difficulty, by_metric

if TYPE_CHECKING:
    from evaluators.suites.comparing import Comparison
    from evaluators.suites.definition import Suite
    from results.store.suites import StoredSuiteRun

_COLOURS = {"better": "green", "worse": "red", "inconclusive": "dim"}


def suite_row(suite: Suite) -> dict[str, Any]:
    """A suite as plain JSON."""
    return {
        "suite": suite.name,
        "title": suite.definition.title or suite.name,
        "version": suite.definition.version,
        "digest": suite.digest,
        "items": len(suite.items),
        "languages": {
            language: sum(item.language == language for item in suite.items) for language in suite.languages
        },
        "kind": suite.definition.kind,
        "tags": list(suite.definition.tags),
        "scorer": suite.definition.scorer,
        "metrics": list(suite.metrics),
        "licence": suite.definition.licence,
        "origin": suite.origin,
    }


def suites_table(rows: list[dict[str, Any]]) -> Table:
    """Suites, one a row."""
    table = _table("suite", "items", "languages", "scorer", "kind", "licence", "from", right=("items",))
    for row in rows:
        languages = " ".join(f"{language} {count}" for language, count in row["languages"].items())
        kind = " ".join(filter(None, (row["kind"], *row["tags"])))
        table.add_row(
            escape(row["suite"]), str(row["items"]), languages, row["scorer"], kind, escape(row["licence"] or ""),
            row["origin"],
        )  # fmt: skip
    return table


def run_row(run: StoredSuiteRun, state: str) -> dict[str, Any]:
    """A run as plain JSON; `state` as `state_of` tells it."""
    return {
        "run": str(run.id),
        "name": run.name,
        "state": state,
        "note": run.note,
        "started": run.created_at.isoformat(),
        "models": [each["model"] for each in run.plan.get("models", [])],
        "suites": [each["suite"] for each in run.plan.get("suites", [])],
    }


def runs_table(rows: list[dict[str, Any]]) -> Table:
    """Runs, one a row."""
    table = _table("run", "name", "started (UTC)", "state", "models", "suites", folding=("models", "suites"))
    for row in rows:
        table.add_row(
            row["run"][:13], escape(row["name"]), row["started"][:16].replace("T", " "), row["state"],
            escape(", ".join(row["models"])), escape(", ".join(row["suites"])),
        )  # fmt: skip
    return table


def print_summary(summary: dict[str, Any]) -> None:
    """A run's results: one row a model and suite, each suite's score with its standard error, other metrics beside."""
    limit = summary["plan"].get("limit")
    note = f" · limited to {limit} items a suite" if limit else ""
    console.print(
        f"Run {summary['run'][:13]}{' ' + escape(summary['name']) if summary['name'] else ''}: "
        f"{summary['state']}{note}",
        highlight=False,
    )
    if summary["note"]:
        console.print(f"[yellow]{escape(summary['note'])}[/]", highlight=False)
    languages = sorted({row["language"] for row in summary["results"] if row["language"]})
    names, numbers = "suite, model, metric", ("all", *languages, "items")
    table = _table(names, *numbers, right=numbers, folding=(names,))
    before = ("", "")
    for row in by_metric(summary["results"]):
        by, style = row["by"], "bold" if row["is_score"] else "dim"
        _headings(table, before, (row["suite"], row["model"]))
        table.add_row(
            f"    [{style}]{row['metric']}[/]",
            f"[{style}]{estimate(by[''])}[/]",
            *(estimate(by[language]) if language in by else "" for language in languages),
            str(by[""]["items"]),
        )
        before = (row["suite"], row["model"])
    if summary["results"]:
        print_table(table)
    else:
        go_on = "" if summary["state"] == "running" else ": run the same command again to go on"
        console.print(f"No model is through yet{go_on}.", highlight=False)
    _print_difficulties(summary.get("difficulties", []))
    for row in summary["missing"]:
        counted = "counted as not solved" if row["counted"] else "left out"
        console.print(
            f"{escape(row['suite'])}, {escape(row['model'])}: {row['samples']} samples without an answer, {counted} "
            f"({row['kind']}): {escape(_short(row['message'], 300))}",
            highlight=False,
        )
    if summary.get("apart"):
        _print_apart(summary["apart"])
    change = summary.get("change")
    if change:
        _print_change(change)


def _headings(table: Table, before: tuple[str, str], now: tuple[str, str]) -> None:
    """Rows for a suite and a model where they are others than before: below each other, so that a terminal of 80
    columns holds the numbers beside them."""
    if now[0] != before[0]:
        table.add_row(f"[bold]{escape(now[0])}[/]")
    if now != before:
        table.add_row(f"  {escape(now[1])}")


def _table(
    *columns: str, title: str | None = None, right: Sequence[str] = (), folding: Sequence[str] = ()
) -> Table:
    """A table whose cells are never cut. Columns named in `right` hold numbers; those in `folding` may take several
    lines on a terminal."""
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        justify: Literal["left", "right"] = "right" if column in right else "left"
        table.add_column(column, no_wrap=column not in folding, overflow="fold", justify=justify)
    return table


def print_table(table: Table) -> None:
    """Print a table. A file gets it in full width. On a terminal that is narrower, columns stand as near to each other
    as they can, and those that may fold do."""
    wide = _width(table)
    if output.is_terminal and wide > output.width:
        table.padding = (0, 0)
        foldable = any(not column.no_wrap for column in table.columns)
        wide = output.width if foldable else _width(table)
    Console(width=max(output.width, wide)).print(table)


def _width(table: Table) -> int:
    return output.measure(table, options=output.options.update(max_width=1000)).maximum


def estimate(row: dict[str, Any]) -> str:
    """A value with its standard error."""
    if row["value"] is None:
        return "none"
    stderr = "" if row["stderr"] is None else f" ±{row['stderr']:.3f}"
    return f"{row['value']:.3f}{stderr}"


def _print_apart(apart: list[dict[str, Any]]) -> None:
    table = _table(
        "suite", "model", "seen in training", "items", "clean", "items", "why", title="seen items apart",
        right=("seen in training", "items", "clean"), folding=("model", "why"),
    )  # fmt: skip
    for row in apart:
        parts = [
            (estimate(part), str(part["items"])) if part else ("-", "0")
            for part in (row["contaminated"], row["clean"])
        ]
        why = ", ".join(f"{reason} ({count})" for reason, count in row["why"].items())
        table.add_row(escape(row["suite"]), escape(row["model"]), *parts[0], *parts[1], escape(why))
    print_table(table)


def _print_change(change: dict[str, Any]) -> None:
    table = _table(
        "suite", "model", "before", "now", "change", "95% interval", "is", title="since the last run",
        right=("before", "now", "change", "95% interval"), folding=("model",),
    )  # fmt: skip
    for row in change["changes"]:
        low, high = row["interval"]
        table.add_row(
            escape(row["suite"]), escape(row["model"]), f"{row['before']:.3f}", f"{row['after']:.3f}",
            f"{row['change']:+.3f}", f"{low:+.3f} to {high:+.3f}", _coloured(row["verdict"]),
        )  # fmt: skip
    print_table(table)


def comparison_rows(comparison: Comparison, *, gated: bool) -> dict[str, Any]:
    """A comparison as plain JSON."""
    found: dict[str, Any] = {
        "a": comparison.a.label,
        "b": comparison.b.label,
        "suites": [
            {
                "suite": each.suite,
                "items": each.difference.items,
                "groups": each.difference.groups,
                "left_out": each.left_out,
                "a": each.difference.a,
                "b": each.difference.b,
                "difference": each.difference.difference,
                "interval": each.difference.interval,
                "at_least": each.difference.at_least,
                "at_most": each.difference.at_most,
                "test": each.difference.test,
                "p": each.difference.p,
                "adjusted_p": each.adjusted_p,
                "verdict": each.verdict,
                **({"gate_p": each.gate_p, "worse_beyond_bound": each.beyond_bound} if gated else {}),
            }
            for each in comparison.suites
        ],
        "not_compared": list(comparison.missing),
    }
    if gated:
        found |= {"bound": comparison.bound, "gate": "no" if comparison.gate_says_no else "yes"}
    return found


def print_comparison(comparison: Comparison, *, gated: bool) -> None:
    """A comparison, one suite a row."""
    output.print(f"A {comparison.a.label}\nB {comparison.b.label}", markup=False, highlight=False)
    numbers = ("items", "A", "B", "B - A", "95% interval", "p (Holm)")
    table = _table("suite", *numbers, "B is", right=numbers, folding=("B is",))
    for each in comparison.suites:
        difference = each.difference
        low, high = difference.interval
        beyond = f" [red]by more than {comparison.bound:g}[/]" if gated and each.beyond_bound else ""
        table.add_row(
            escape(each.suite), str(difference.items), f"{difference.a:.3f}", f"{difference.b:.3f}",
            f"{difference.difference:+.3f}", f"{low:+.3f} to {high:+.3f}", f"{each.adjusted_p:.3g}",
            _coloured(each.verdict) + beyond,
        )  # fmt: skip
    print_table(table)
    console.print(
        "p: McNemar's exact test for right or wrong, else a paired bootstrap over groups.", style="dim"
    )
    left_out = {each.suite: each.left_out for each in comparison.suites if each.left_out}
    for suite, count in left_out.items():
        console.print(
            f"{escape(suite)}: {count} items left out that only one of them has a score for", highlight=False
        )
    if comparison.missing:
        console.print(f"Not compared: {escape(', '.join(comparison.missing))}", highlight=False)


def print_suite(detail: dict[str, Any], samples: int) -> None:
    """One suite of a run: categories, difficulties, confusion, its worst samples."""
    for model in detail["models"]:
        output.print(f"\n[bold]{escape(detail['suite'])} · {escape(model['model'])}[/]")
        if any(model["categories"]):
            table = _table("category", "score", "samples", right=("score", "samples"))
            for name, row in model["categories"].items():
                table.add_row(escape(name or "(none)"), f"{row['score']:.3f}", str(row["samples"]))
            print_table(table)
        _print_difficulties([{**row, "suite": "", "model": ""} for row in model["difficulties"]], of_one=True)
        for each in model["confusions"]:
            _print_confusion(each)
        for sample in model["samples"][:samples]:
            score = "none" if sample["score"] is None else f"{sample['score']:.2f}"
            output.print(f"\n[bold]{escape(sample['item'])}[/] score {score}", highlight=False)
            if sample["error"]:
                output.print(f"error: {sample['error']}", markup=False, highlight=False)
            for title, text in (("prompt", sample["rendered_prompt"]), ("answer", sample["text"])):
                if text:
                    output.print(f"[dim]{title}[/]")
                    output.print(_short(text), markup=False, highlight=False)
            output.print(f"[dim]read[/] {escape(json.dumps(sample['detail'], ensure_ascii=False)[:400])}")


def _print_confusion(found: dict[str, Any]) -> None:
    """One matrix: a row for each right label, with its F1."""
    where = " · ".join(filter(None, (found["category"], found["language"])))
    table = _table(
        "right \\ given", *(escape(label) for label in found["labels"]), "F1",
        title=f"confusion{f' ({escape(where)})' if where else ''}",
    )  # fmt: skip
    for target, row in found["matrix"].items():
        cells = (str(row.get(label, "")) for label in found["labels"])
        table.add_row(escape(target), *cells, f"{found['f1'][target]:.2f}")
    print_table(table)


def _print_difficulties(rows: list[dict[str, Any]], *, of_one: bool = False) -> None:
    """Scores by difficulty: a row a suite, model and language, a column a difficulty; `of_one` model and suite that are
    named already."""
    if not rows:
        return
    levels = list(dict.fromkeys(row["difficulty"] for row in rows))
    names = "language" if of_one else "suite, model, language"
    table = _table(names, *levels, title="by difficulty (items)", right=levels, folding=(names,))
    before = ("", "")
    for row in by_difficulty(rows):
        now, by = (row["suite"], row["model"]), row["by"]
        if not of_one:
            _headings(table, before, now)
        cells = (f"{estimate(by[level])} ({by[level]['items']})" if level in by else "" for level in levels)
        table.add_row(("" if of_one else "    ") + (row["language"] or "all"), *cells)
        before = now
    print_table(table)


def _short(text: str, most: int = 1200) -> str:
    return text if len(text) <= most else f"{text[: most // 2]}\n[...]\n{text[-most // 2 :]}"


def _coloured(verdict: str) -> str:
    return f"[{_COLOURS[verdict]}]{verdict}[/]"
