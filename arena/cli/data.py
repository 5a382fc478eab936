"""`arena data`: datasets to train on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.cells import cell_len
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from arena.cli import data_check
from arena.cli._common import DEFAULT_DATA, AsJson, BadInput, DataDir, WorkFailed, console, output, print_json
from arena.cli._datasets import dataset_errors
from arena.cli._models import open_models, resolve_options, settings_of
from arena.cli._votes_output import progress_bar

if TYPE_CHECKING:
    from results.store import Store
    from results.store.datasets import StoredDataset
    from trainers.datasets import Reject, RenderedRow

app = typer.Typer(
    no_args_is_help=True, help="Datasets to train on: add, look at, check, and build from votes."
)
app.command(name="check")(data_check.check)

Kind = Literal["chat", "preference", "reward", "kto"]
Licence = Annotated[
    str | None, typer.Option(help="Licence of the rows (an SPDX id such as mit, or any name).")
]
HeldOut = Annotated[
    float, typer.Option("--held-out", min=0, max=0.9, help="Share of the prompts kept apart for evaluation.")
]


@app.command()
def add(
    path: Annotated[Path, typer.Argument(help="JSONL, JSON, CSV, Parquet or text, or a folder of such.")],
    name: Annotated[str | None, typer.Option(help="Name of the dataset (default: the file's).")] = None,
    shape: Annotated[
        str | None,
        typer.Option(
            help="How rows are stored (default: told by their fields): openai-preference, preference, kto, openai, "
            "sharegpt, alpaca, pairs, pairs-completion, questions, labelled, text or prompts."
        ),
    ] = None,
    columns: Annotated[
        list[str] | None,
        typer.Option("--map", help="OURS=THEIRS: their column for our field; may be repeated."),
    ] = None,
    licence: Licence = None,
    source: Annotated[str | None, typer.Option(help="Where the rows come from: a link or a name.")] = None,
    held_out: HeldOut = 0.05,
    seed: Annotated[int, typer.Option(help="Seed of the split.")] = 0,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Leave bad rows out and add the others.")
    ] = False,
    keep_duplicates: Annotated[bool, typer.Option("--keep-duplicates", help="Keep equal rows.")] = False,
    as_json: AsJson = False,
    data: DataDir = DEFAULT_DATA,
) -> None:
    """Add a file as a new version of a dataset; nothing is added where a row is bad.

    Alpaca, ShareGPT, OpenAI messages, prompt and response, preference pairs, KTO, labelled and plain text are
    recognised by their fields.
    """
    from results.interchange import BadFile
    from trainers.datasets import BadRows, UnknownShape, add_dataset

    if not path.exists():
        raise BadInput(f"{path}: there is no such file or folder")
    with open_models(data) as store, progress_bar(f"Reading {path.name}") as bar:
        try:
            added = add_dataset(
                store, path, name or path.stem, shape=shape, columns=_mapped(columns), licence=licence,
                source=source, held_out_share=held_out, seed=seed, skip_bad=skip_bad,
                keep_duplicates=keep_duplicates, progress=lambda done, size: bar("", done, size, ""),
            )  # fmt: skip
        except BadRows as error:
            _tell_rejects(error.rejects, error.total)
            raise BadInput(
                f"{error}. Correct the file, or add the other {error.good:,} rows with --skip-bad"
            ) from None
        except (BadFile, UnknownShape, ValueError) as error:
            raise BadInput(str(error)) from None
    if added.rejects:
        _tell_rejects(added.rejects, int(added.dataset.origin["rows_left_out"]))
    if as_json:
        print_json(added.model_dump(mode="json"))
        return
    dataset = added.dataset
    state = "was there already" if added.known else "added"
    output.print(
        f"{dataset.label} {state}: {dataset.row_count:,} {dataset.kind} rows ({added.shape}), "
        f"{dataset.held_out_count:,} of them held out, {added.duplicates_left_out:,} duplicates left out",
        highlight=False,
    )
    _tell_lacks(dataset)


@app.command("list")
def list_(as_json: AsJson = False, data: DataDir = DEFAULT_DATA) -> None:
    """List the datasets and their versions."""
    from results.store.datasets import dataset_versions

    with open_models(data) as store:
        versions = dataset_versions(store)
        overlap = {version.digest: data_check.overlap_in_words(store, version) for version in versions}
    if as_json:
        print_json(
            [{**each.model_dump(mode="json"), "test_items": overlap[each.digest]} for each in versions]
        )
        return
    if not versions:
        console.print("There is no dataset yet: `arena data add FILE`, or `arena data from-votes`.")
        return
    table = Table(
        "dataset", "kind", "rows", "held out", "languages", "licence", "test items", "from", box=None
    )
    table.columns[0].overflow = table.columns[-1].overflow = "fold"
    table.columns[0].min_width = min(20, max(cell_len(version.label) for version in versions))
    table.columns[1].no_wrap = True
    for version in versions:
        languages = ", ".join([_language(name) for name in version.statistics.get("languages", {})][:4])
        origin = version.origin.get("file") or version.origin.get("built_from") or ""
        table.add_row(
            version.label, version.kind, f"{version.row_count:,}", f"{version.held_out_count:,}", languages,
            version.licence or "unknown", overlap[version.digest], str(origin),
        )  # fmt: skip
    output.print(table)


@app.command()
def show(
    dataset: Annotated[str, typer.Argument(help="NAME (its newest version) or NAME@NUMBER.")],
    model: Annotated[
        str | None, typer.Option(help="A roster model: show rows as it sees them, with what is trained on.")
    ] = None,
    rows: Annotated[int, typer.Option(min=0, help="How many rows to show.")] = 3,
    as_json: AsJson = False,
    data: DataDir = DEFAULT_DATA,
) -> None:
    """Show a dataset: where it comes from, statistics, and its first rows (with --model: rendered, and the trained
    part in green)."""
    from results.store.contamination import dataset_duplicates
    from trainers.datasets import find_dataset, read_rows

    with open_models(data) as store, dataset_errors():
        found = find_dataset(store, dataset)
        shown = [row for row, _ in read_rows(data, found.digest, found.kind, limit=rows)]
        rendered, tokens = _rendered(store, data, found, model, rows) if model else ([], None)
        overlap = data_check.overlap_in_words(store, found)
        duplicates = dataset_duplicates(store, found.digest)
    if as_json:
        print_json(
            {
                **found.model_dump(mode="json"),
                "rows": [row.model_dump(mode="json", exclude_none=True) for row in shown],
                "tokens": tokens,
                "test_items": overlap,
                "near_duplicates": None if duplicates is None else duplicates.extra_rows,
                "rendered": [[part.model_dump(mode="json") for part in parts] for parts in rendered],
            }
        )
        return
    told = {"test items in it": overlap}
    if duplicates is not None:
        told["near-duplicates"] = f"{duplicates.extra_rows:,} rows in {duplicates.cluster_count:,} clusters"
    _tell_dataset(found, tokens, told)
    if rendered:
        _tell_rendered(rendered)
        return
    for number, row in enumerate(shown, start=1):
        output.rule(f"row {number}", align="left", style="dim")
        print_json(row.model_dump(mode="json", exclude_none=True))


@app.command()
def remove(
    dataset: Annotated[str, typer.Argument(help="NAME (all versions) or NAME@NUMBER.")],
    as_json: AsJson = False,
    data: DataDir = DEFAULT_DATA,
) -> None:
    """Take a dataset off the list. Its record stays for the lineage of models trained on it."""
    from results.store.datasets import remove_dataset
    from trainers.datasets import find_dataset

    with open_models(data) as store, dataset_errors():
        find_dataset(store, dataset)
        name, _, number = dataset.partition("@")
        count = remove_dataset(store, name, int(number) if number else None)
    if as_json:
        print_json({"dataset": dataset, "removed": count})
        return
    output.print(f"{count} version{'s' if count != 1 else ''} of {name} removed", highlight=False)


@app.command("from-votes")
def from_votes(
    name: Annotated[str, typer.Argument(help="Name of the dataset.")],
    kind: Annotated[
        Kind,
        typer.Option(
            help="chat: winning answers; preference: pairs for dpo; reward: the same pairs for a reward model; "
            "kto: good and bad answers."
        ),
    ],
    source: Annotated[Literal["human", "judge", "all"], typer.Option(help="Whose verdicts.")] = "human",
    agreement: Annotated[
        float,
        typer.Option(min=0.5, max=0.99, help="The winner needs more than this share of a battle's verdicts."),
    ] = 0.5,
    least_verdicts: Annotated[int, typer.Option(min=1, help="Verdicts that a battle needs.")] = 1,
    category: Annotated[
        list[str] | None, typer.Option(help="Only these categories; may be repeated.")
    ] = None,
    language: Annotated[list[str] | None, typer.Option(help="Only these languages; may be repeated.")] = None,
    model: Annotated[
        list[str] | None, typer.Option(help="Only answers of these models; may be repeated.")
    ] = None,
    commercial: Annotated[
        bool,
        typer.Option("--commercial", help="Only answers of models whose licences allow commercial use."),
    ] = False,
    licence: Licence = None,
    held_out: HeldOut = 0.05,
    seed: Annotated[int, typer.Option(help="Seed of the split.")] = 0,
    as_json: AsJson = False,
    data: DataDir = DEFAULT_DATA,
) -> None:
    """Build a dataset from votes and judgments. Screened votes, held-out items and items of suites never enter."""
    from trainers.contamination import SuiteGuard
    from trainers.datasets import NothingToBuild, VoteFilter, dataset_from_votes

    where = VoteFilter(
        source=source, agreement=agreement, least_verdicts=least_verdicts, categories=frozenset(category or ()),
        languages=frozenset(language or ()), models=frozenset(model or ()), commercial=commercial,
    )  # fmt: skip
    with open_models(data) as store, progress_bar("Reading battles") as bar:
        try:
            guard = SuiteGuard.of(data)
            built = dataset_from_votes(
                store, name, "preference" if kind == "reward" else kind, where, never=guard.never,
                contaminated=guard.contaminated, licence=licence, held_out_share=held_out, seed=seed,
                progress=lambda done, size: bar("", done, size, ""),
            )  # fmt: skip
        except NothingToBuild as error:
            raise WorkFailed(str(error)) from None
    if as_json:
        print_json(built.model_dump(mode="json"))
        return
    output.print(
        f"{built.dataset.label}: {built.dataset.row_count:,} {built.dataset.kind} rows of {built.battles:,} battles, "
        f"{built.dataset.held_out_count:,} held out",
        highlight=False,
    )
    for reason, count in built.left_out.items():
        console.print(f"  left out: {count:,} {escape(reason)}", highlight=False)
    _tell_lacks(built.dataset)


def _mapped(columns: list[str] | None) -> dict[str, str]:
    pairs = {}
    for entry in columns or ():
        ours, equals, theirs = entry.partition("=")
        if not (ours and equals and theirs):
            raise BadInput(f"--map {entry}: write OURS=THEIRS, for example --map prompt=Q")
        pairs[ours] = theirs
    return pairs


def _tell_lacks(dataset: StoredDataset) -> None:
    if not dataset.held_out_count:
        console.print(
            "[yellow]No row is held out, so trainings on it cannot be judged on rows that they did not see: give a "
            "larger --held-out.[/]"
        )
    if dataset.licence is None:
        console.print(
            "[yellow]No licence is known: models trained on it will not be shown as free to use.[/]"
        )


def _tell_rejects(rejects: list[Reject], total: int) -> None:
    for reject in rejects[:10]:
        console.print(
            f"  line {reject.line}: {escape(reject.reason)}  [dim]{escape(reject.content[:80])}[/]",
            highlight=False,
        )
    if total > 10:
        console.print(f"  ... and {total - 10:,} more", highlight=False)


def _rendered(
    store: Store, data: Path, found: StoredDataset, model: str, count: int
) -> tuple[list[list[RenderedRow]], dict[str, Any]]:
    from arena.engines.base import EngineError
    from prompt_formats import PromptFormatError
    from trainers.datasets import preview, read_rows, token_statistics
    from trainers.datasets.rendering import format_and_tokenizer

    try:
        (contestant,) = resolve_options(store, settings_of(data), data, [model])
        resolution, tokenizer = format_and_tokenizer(contestant.spec, data)
        shown = [
            preview(row, resolution, tokenizer)
            for row, _ in read_rows(data, found.digest, found.kind, limit=count)
        ]
    except (EngineError, PromptFormatError) as error:
        raise BadInput(str(error)) from None
    sample = (row for row, _ in read_rows(data, found.digest, found.kind, limit=1_000))
    with console.status("Counting tokens"):
        counted = token_statistics(sample, resolution, tokenizer)
    return shown, {"of_rows": min(1_000, found.row_count), **counted.model_dump(mode="json")}


def _tell_dataset(found: StoredDataset, tokens: dict[str, Any] | None, more: dict[str, str]) -> None:
    facts = found.statistics
    table = Table(show_header=False, box=None)
    lines = {
        "dataset": f"{found.label} ({found.kind}), digest {found.digest[:12]}",
        "rows": f"{found.row_count:,}, {found.held_out_count:,} held out",
        "licence": found.licence or "unknown",
        "from": _origin(found),
        "left out": ", ".join(
            f"{found.origin[key]:,} {what}" for key, what in _LEFT_OUT.items() if found.origin.get(key)
        ),
        "duplicates": f"{facts['duplicates']:,} rows that stood before"
        if facts.get("duplicates")
        else "none",
        "characters a row": _spread(facts.get("characters")),
        "languages": ", ".join(f"{_language(name)} {n:,}" for name, n in facts.get("languages", {}).items()),
        "labels": ", ".join(f"{name} {count:,}" for name, count in facts.get("labels", {}).items()),
        "different words": f"{facts.get('distinct_words', 0):.0%} of the first 100,000",
        **more,
    }
    if tokens is not None:
        lines[f"tokens (first {tokens['of_rows']:,} rows)"] = _spread(tokens["tokens"])
        lines["trained tokens"] = _spread(tokens["trained"])
        lines["refused by the format"] = "; ".join(f"{n}: {why}" for why, n in tokens["refused"].items())
    for name, value in lines.items():
        if value:
            table.add_row(name, escape(value))
    output.print(table)


_LEFT_OUT = {"rows_left_out": "bad rows", "duplicates_left_out": "equal rows"}


def _origin(found: StoredDataset) -> str:
    told = found.origin
    if told.get("built_from") == "votes":
        return f"votes on {told['battles']:,} battles"
    shape = f" (as {told['shape']})" if told.get("shape") else ""
    return ", ".join(filter(None, (f"{told.get('file', '')}{shape}", told.get("source"))))


def _language(name: str) -> str:
    return "unclear" if name == "?" else name


def _spread(spread: dict[str, float] | None) -> str:
    if spread is None:
        return ""
    return "mean {mean:,.0f}, median {p50:,.0f}, 95% below {p95:,.0f}, largest {largest:,.0f}".format(
        **spread
    )


def _tell_rendered(rendered: list[list[RenderedRow]]) -> None:
    for number, parts in enumerate(rendered, start=1):
        for part in parts:
            title = f"row {number} {part.part} · {part.tokens} tokens, {part.trained_tokens} trained"
            output.rule(title, align="left", style="dim")
            text = Text()
            for piece in part.pieces:
                text.append(piece.text, style="bold green" if piece.trained else "dim")
            output.print(text)
