"""How `arena bench` shows suites, results and comparisons."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from rich.markup import escape
from rich.table import Table

from arena.cli._common import console, output

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
    table = Table("suite", "title", "items", "languages", "kind", "scorer", "licence", "from")
    for row in rows:
        title = row["title"] if isinstance(row["title"], str) else row["title"].get("en", row["suite"])
        languages = " ".join(f"{language} {count}" for language, count in row["languages"].items())
        kind = " ".join(filter(None, (row["kind"], *row["tags"])))
        table.add_row(
            escape(row["suite"]), escape(title), str(row["items"]), languages, kind, row["scorer"],
            escape(row["licence"] or ""), row["origin"],
        )  # fmt: skip
    return table


def run_row(run: StoredSuiteRun) -> dict[str, Any]:
    """A run as plain JSON."""
    return {
        "run": str(run.id),
        "name": run.name,
        "state": run.state,
        "note": run.note,
        "started": run.created_at.isoformat(),
        "models": [each["model"] for each in run.plan.get("models", [])],
        "suites": [each["suite"] for each in run.plan.get("suites", [])],
    }


def runs_table(rows: list[dict[str, Any]]) -> Table:
    """Runs, one a row."""
    table = Table("run", "name", "started (UTC)", "state", "models", "suites")
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
    table = Table("suite", "model", "score", "metric", "by language", "other metrics", "items", "errors")
    cells: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in summary["results"]:
        cells.setdefault((row["suite"], row["model"]), []).append(row)
    for (suite, model), rows in cells.items():
        everything = [row for row in rows if row["language"] == ""]
        score = next((row for row in everything if row["is_score"]), everything[0])
        languages = [row for row in rows if row["is_score"] and row["language"]]
        others = [row for row in everything if not row["is_score"] and row["value"] is not None]
        table.add_row(
            escape(suite),
            escape(model),
            estimate(score),
            score["metric"],
            "  ".join(f"{row['language']} {estimate(row)}" for row in languages) if len(languages) > 1 else "",
            "  ".join(f"{row['metric']} {row['value']:.3f}" for row in others),
            str(score["items"]),
            str(score["errors"] or ""),
        )
    output.print(table)
    change = summary.get("change")
    if change:
        _print_change(change)


def estimate(row: dict[str, Any]) -> str:
    """A value with its standard error."""
    if row["value"] is None:
        return "none"
    stderr = "" if row["stderr"] is None else f" ±{row['stderr']:.3f}"
    return f"{row['value']:.3f}{stderr}"


def _print_change(change: dict[str, Any]) -> None:
    table = Table("suite", "model", "before", "now", "change", "95% interval", "result", title="since the last run")
    for row in change["changes"]:
        low, high = row["interval"]
        table.add_row(
            escape(row["suite"]), escape(row["model"]), f"{row['before']:.3f}", f"{row['after']:.3f}",
            f"{row['change']:+.3f}", f"{low:+.3f} to {high:+.3f}", _coloured(row["verdict"]),
        )  # fmt: skip
    output.print(table)


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
    a, b = escape(comparison.a.label), escape(comparison.b.label)
    columns = ["suite", "items", a, b, "difference", "95% interval", "p (Holm)", "test", f"{b} is"]
    table = Table(*columns, *([f"worse by > {comparison.bound:g}"] if gated else []))
    for each in comparison.suites:
        difference = each.difference
        low, high = difference.interval
        row = [
            escape(each.suite), str(difference.items), f"{difference.a:.3f}", f"{difference.b:.3f}",
            f"{difference.difference:+.3f}", f"{low:+.3f} to {high:+.3f}", f"{each.adjusted_p:.3g}", difference.test,
            _coloured(each.verdict),
        ]  # fmt: skip
        if gated:
            row.append("[red]shown[/]" if each.beyond_bound else "not shown")
        table.add_row(*row)
    output.print(table)
    left_out = {each.suite: each.left_out for each in comparison.suites if each.left_out}
    for suite, count in left_out.items():
        console.print(f"{escape(suite)}: {count} items left out that only one of them has a score for", highlight=False)
    if comparison.missing:
        console.print(f"Not compared: {escape(', '.join(comparison.missing))}", highlight=False)


def print_suite(detail: dict[str, Any], samples: int) -> None:
    """One suite of a run: categories, confusion, its worst samples."""
    for model in detail["models"]:
        output.print(f"\n[bold]{escape(detail['suite'])} · {escape(model['model'])}[/]")
        table = Table("category", "score", "samples")
        for name, row in model["categories"].items():
            table.add_row(escape(name or "(none)"), f"{row['score']:.3f}", str(row["samples"]))
        output.print(table)
        if model["confusion"]:
            _print_confusion(model["confusion"])
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


def _print_confusion(matrix: dict[str, dict[str, int]]) -> None:
    given = sorted({label for row in matrix.values() for label in row})
    table = Table("right \\ given", *(escape(label) for label in given), title="confusion")
    for target, row in matrix.items():
        table.add_row(escape(target), *(str(row.get(label, "")) for label in given))
    output.print(table)


def _short(text: str, most: int = 1200) -> str:
    return text if len(text) <= most else f"{text[: most // 2]}\n[...]\n{text[-most // 2 :]}"


def _coloured(verdict: str) -> str:
    return f"[{_COLOURS[verdict]}]{verdict}[/]"
