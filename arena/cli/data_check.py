"""`arena data check`: test items in training data, near-duplicates, and what models know of test items by heart."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from arena.cli._common import (
    DEFAULT_DATA,
    GATE_SAID_NO,
    AsJson,
    BadInput,
    DataDir,
    MirroredData,
    WorkFailed,
    console,
    output,
    print_json,
)
from arena.cli._datasets import dataset_errors
from arena.cli._models import open_models
from arena.cli._votes_output import progress_bar

if TYPE_CHECKING:
    from evaluators.suites.definition import Suite
    from results.store import Store
    from results.store.contamination import CheckRecord, DuplicatesRecord
    from results.store.datasets import StoredDataset

_SHOWN = 10


def check(
    dataset: Annotated[
        str | None, typer.Argument(help="NAME (its newest version) or NAME@NUMBER; not needed with --model.")
    ] = None,
    suite: Annotated[
        list[str] | None,
        typer.Option(
            help="A suite, its folder or YAML, or an lm-eval task (lm:NAME); may be repeated (default: all suites, and "
            "the lm-eval tasks that were run)."
        ),
    ] = None,
    datasets: MirroredData = None,
    model: Annotated[
        list[str] | None, typer.Option(help="Probe this model for items that it knows; may be repeated.")
    ] = None,
    items: Annotated[int, typer.Option(min=2, help="Items of each suite that a model is probed with.")] = 50,
    duplicates: Annotated[
        bool,
        typer.Option("--duplicates/--no-duplicates", help="Look for near-duplicates inside the dataset."),
    ] = True,
    embeddings: Annotated[
        bool,
        typer.Option("--embeddings", help="Also look for rows of like meaning: slow, and weak evidence."),
    ] = False,
    embed_rows: Annotated[
        int, typer.Option(min=0, help="Rows whose meaning is compared, evenly spread (0: all).")
    ] = 2_000,
    threshold: Annotated[
        float | None, typer.Option(min=0.5, max=1, help="Cosine from which a meaning is alike.")
    ] = None,
    shown: Annotated[int, typer.Option(min=0, help="Findings to show (JSON has all).")] = _SHOWN,
    gate: Annotated[
        bool, typer.Option("--fail-if-contaminated", help="Exit 3 where a row overlaps an item.")
    ] = False,
    as_json: AsJson = False,
    data: DataDir = DEFAULT_DATA,
) -> None:
    """Find test items in a dataset, near-duplicates in it, and items that a model knows by heart; all is stored.

    Training leaves rows out that overlap (recipe: allow_contaminated), and `arena bench show` has scores on seen items
    apart.
    """
    if dataset is None and not model:
        raise BadInput("name a dataset (see `arena data list`), or a --model to probe")
    if dataset is not None and Path(dataset).is_file():
        raise BadInput(f"{dataset} is a file: add it with `arena data add {dataset}` and check the dataset")
    told: dict[str, Any] = {}
    with open_models(data) as store, _errors():
        suites, tasks = _suites(store, data, suite, datasets, with_tasks=dataset is not None)
        if dataset is not None:
            told |= _dataset(
                store, data, dataset, [*suites, *tasks], duplicates=duplicates,
                embed=embed_rows if embeddings else None, threshold=threshold,
            )  # fmt: skip
        if model:
            from arena.cli._data_probes import probe_models

            told["probes"] = probe_models(store, data, model, suites, items)
    if as_json:
        print_json(told)
    else:
        _tell(told, shown)
    if gate and any(row["flagged_rows"] for row in told.get("overlap", [])):
        console.print("[bold red]the gate says no:[/] rows overlap test items")
        raise typer.Exit(GATE_SAID_NO)


def overlap_in_words(store: Store, found: StoredDataset) -> str:
    """What is known of a dataset's overlap with suites, in a few words."""
    from evaluators.contamination.checking import current_checks
    from evaluators.suites.catalogue import all_suites

    suites, _ = all_suites(store.data_dir)
    checks = current_checks(store, found.digest, suites)
    if not checks:
        return "not checked"
    flagged = {name: check.flagged_rows for name, check in checks.items() if check.flagged_rows}
    words = (
        "found: " + ", ".join(f"{name} {count:,}" for name, count in flagged.items()) if flagged else "none"
    )
    missing = len(suites) - len(checks)
    return words + (f" ({missing} suites not checked)" if missing else "")


@contextmanager
def _errors() -> Iterator[None]:
    from arena.engines.base import EngineError
    from evaluators.contamination.duplicates import NeedsDatasketch
    from evaluators.contamination.embeddings import NeedsEmbeddings
    from evaluators.suites.errors import SuiteError

    try:
        with dataset_errors():
            yield
    except (SuiteError, NeedsEmbeddings, NeedsDatasketch) as error:
        raise BadInput(str(error)) from None
    except EngineError as error:
        raise WorkFailed(str(error)) from None


def _suites(
    store: Store, data: Path, words: list[str] | None, mirror: Path | None, *, with_tasks: bool
) -> tuple[list[Suite], list[Suite]]:
    """Our suites, and the tasks of lm-eval, that were named; else all, and the tasks that were run. A task that was run
    and cannot be read here is told with the reason."""
    from evaluators.contamination.lm_items import task_suites, tasks_run
    from evaluators.suites.catalogue import all_suites
    from evaluators.suites.errors import SuiteError
    from evaluators.suites.session import choose

    if words:
        chosen = choose(list(dict.fromkeys(words)), data, mirror)
        return chosen.suites, [each for task in chosen.tasks for each in task_suites(task)]
    suites, broken = all_suites(data)
    tasks: list[Suite] = []
    for word in tasks_run(store) if with_tasks else ():
        try:
            (task,) = choose([word], data, mirror).tasks
            tasks += task_suites(task)
        except SuiteError as error:
            broken[word] = str(error)
    for name, why in broken.items():
        console.print(f"[yellow]{escape(name)} cannot be checked:[/] {escape(why)}", highlight=False)
    return suites, tasks


def _dataset(
    store: Store,
    data: Path,
    name: str,
    suites: list[Suite],
    *,
    duplicates: bool,
    embed: int | None,
    threshold: float | None,
) -> dict[str, Any]:
    from evaluators.contamination.checking import check_duplicates, check_meaning, check_overlap
    from evaluators.contamination.embeddings import THRESHOLD
    from results.store.contamination import contamination_flags
    from trainers.contamination import checked_rows
    from trainers.datasets import find_dataset

    found = find_dataset(store, name)

    def rows() -> Any:
        return checked_rows(data, found.digest, found.kind)

    with progress_bar(f"Comparing {found.label} with {len(suites)} suites") as bar:
        checks = check_overlap(
            store, found.digest, rows, suites, total=found.row_count,
            progress=lambda done, size: bar("", done, size, ""),
        )  # fmt: skip
    told: dict[str, Any] = {
        "dataset": found.label,
        "rows": found.row_count,
        "overlap": [_row(checks[suite.name]) for suite in suites],
        "flags": contamination_flags(store, [check.id for check in checks.values()]).to_pylist(),
    }
    if embed is not None:
        with progress_bar("Comparing meanings") as bar:
            meanings = check_meaning(
                store, found.digest, rows, suites, threshold=threshold or THRESHOLD, limit=embed or None,
                progress=lambda done, size: bar("", done, size, ""),
            )  # fmt: skip
        told["meaning"] = [_row(check) for check in meanings.values()]
        told["candidates"] = contamination_flags(
            store, [check.id for check in meanings.values()], ["embedding"]
        ).to_pylist()
    if duplicates:
        with console.status("Looking for near-duplicates"):
            told["duplicates"] = _clusters(check_duplicates(store, found.digest, rows), rows)
    return told


def _row(check: CheckRecord) -> dict[str, Any]:
    return {
        "suite": check.suite,
        "items": check.item_count,
        "rows": check.row_count,
        "flagged_rows": check.flagged_rows,
        "flagged_items": check.flagged_items,
    }


def _clusters(found: DuplicatesRecord, rows: Any) -> dict[str, Any]:
    first = {cluster[0] for cluster in found.clusters[:_SHOWN]}
    texts = (
        {number: " | ".join(row.texts) for number, row in enumerate(rows()) if number in first}
        if first
        else {}
    )
    return {
        **found.model_dump(mode="json", exclude={"dataset_digest", "created_at"}),
        "begin": {str(number): text[:200] for number, text in texts.items()},
    }


def _tell(told: dict[str, Any], shown: int) -> None:
    if "overlap" in told:
        _tell_overlap(told, shown)
    if "meaning" in told:
        _tell_meaning(told, shown)
    if "duplicates" in told:
        _tell_duplicates(told["duplicates"], shown)
    if "probes" in told:
        from arena.cli._data_probes import tell_probes

        tell_probes(told["probes"], shown)


def _tell_overlap(told: dict[str, Any], shown: int) -> None:
    table = Table("suite", "items", "items found", "rows that overlap", box=None)
    for row in told["overlap"]:
        style = "red" if row["flagged_rows"] else "green"
        table.add_row(
            escape(row["suite"]), f"{row['items']:,}", f"[{style}]{row['flagged_items']:,}[/]",
            f"[{style}]{row['flagged_rows']:,}[/]",
        )  # fmt: skip
    output.print(f"{told['dataset']}: {told['rows']:,} rows", highlight=False, markup=False)
    output.print(table)
    for flag in told["flags"][:shown]:
        how = "all of" if flag["evidence"] == "whole" else f"{flag['share']:.0%} of"
        output.print(
            f"row {flag['row_number'] + 1} ({flag['split']}): {how} {flag['suite']} {flag['item']} {flag['field']}: "
            f"[dim]{escape(flag['span'][:120])}[/]",
            highlight=False,
        )
    if len(told["flags"]) > shown:
        output.print(f"... and {len(told['flags']) - shown:,} more", highlight=False)


def _tell_meaning(told: dict[str, Any], shown: int) -> None:
    compared = max((row["rows"] for row in told["meaning"]), default=0)
    output.print(
        f"\nAlike in meaning: {len(told['candidates']):,} candidates among {compared:,} rows. Weak evidence: look at "
        "them; training does not leave them out.",
        highlight=False,
    )
    for flag in told["candidates"][:shown]:
        output.print(
            f"row {flag['row_number'] + 1}: cosine {flag['share']:.3f} with {flag['suite']} {flag['item']}: "
            f"[dim]{escape(flag['span'][:120])}[/]",
            highlight=False,
        )


def _tell_duplicates(found: dict[str, Any], shown: int) -> None:
    output.print(
        f"\nNear-duplicates: {found['extra_rows']:,} of the rows repeat another ({found['cluster_count']:,} clusters)",
        highlight=False,
    )
    for cluster in found["clusters"][:shown]:
        rows = ", ".join(str(number + 1) for number in cluster[:8]) + (", ..." if len(cluster) > 8 else "")
        begins = found["begin"].get(str(cluster[0]), "")
        output.print(f"rows {rows}: [dim]{escape(begins[:120])}[/]", highlight=False)
