"""`arena battles`: battles that did not begin in the browser."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from arena.cli._common import (
    DEFAULT_DATA,
    AsJson,
    BadInput,
    ConfigFile,
    DataDir,
    WorkFailed,
    console,
    output,
    print_json,
)
from arena.cli.battles_import import import_answers

if TYPE_CHECKING:
    from arena.config import Settings
    from evaluators.battles import ScriptOptions, ScriptReport

app = typer.Typer(no_args_is_help=True, help="Battles from scripts and from files of answers.")
app.command(name="import")(import_answers)

_SHOWN = 5
_ID_LETTERS = 36


@app.command()
def run(
    prompts: Annotated[
        Path,
        typer.Option(
            help="Text lines, JSONL (prompt, turns or messages; id, category, language, reference) or FastChat's "
            "question.jsonl.",
            dir_okay=False,
            show_default=False,
        ),
    ],
    models: Annotated[
        list[str],
        typer.Option(
            "--models",
            "--model",
            help="A name, name@3, an alias, a folder, a hub id or openai:MODEL@BASE_URL; may be repeated, or "
            "several in quotes.",
            show_default=False,
        ),
    ],
    samples: Annotated[int, typer.Option(min=1, help="Answers of each model to each prompt.")] = 1,
    pairs: Annotated[
        Literal["all", "sampled"],
        typer.Option(help="all: each two models on every prompt; sampled: some pairs of each prompt."),
    ] = "all",
    per_prompt: Annotated[
        int, typer.Option(min=1, help="With --pairs sampled: how many pairs a prompt gets.")
    ] = 1,
    seed: Annotated[int, typer.Option(help="Of the answers, the pairs and the sides.")] = 0,
    max_tokens: Annotated[int, typer.Option(min=1, help="Longest answer, in tokens.")] = 512,
    temperature: Annotated[
        float | None,
        typer.Option(min=0, max=5, help="Of the answers, instead of the models' own.", show_default=False),
    ] = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
    data: DataDir = DEFAULT_DATA,
) -> None:
    """Have models answer a file of prompts, and make battles of the answers.

    Each model answers a prompt once, whatever the number of its battles. A run that was broken off goes on when it is
    started again; one with further models adds only what is new.
    """
    from arena.cli._models import resolve_options, settings_of
    from arena.engines.base import Sampling
    from evaluators.battles import BadPrompts, NoPairs, ScriptOptions, read_prompts
    from results.store import StoreError, open_store

    words = [word for entry in models for word in entry.split()]
    settings = settings_of(data, config)
    try:
        asked = read_prompts(prompts)
    except BadPrompts as error:
        raise BadInput(str(error)) from None
    options = ScriptOptions(
        samples=samples, pairs=pairs, per_prompt=per_prompt, seed=seed,
        sampling=Sampling(max_tokens=max_tokens, temperature=temperature),
    )  # fmt: skip
    try:
        with open_store(data) as store:
            contestants = resolve_options(store, settings, data, words)
            report = asyncio.run(_run(store, settings, data, contestants, asked, options, prompts.name))
    except NoPairs as error:
        raise BadInput(str(error)) from None
    except StoreError as error:
        raise WorkFailed(str(error)) from error
    except KeyboardInterrupt:
        console.print("Interrupted: what was answered is kept. Run the same command again to go on.")
        raise
    _tell(report, as_json, _where(settings, data))


async def _run(
    store: Any, settings: Any, data: Path, contestants: Any, asked: Any, options: ScriptOptions, title: str
) -> ScriptReport:
    from arena.cli._engines import engine_pool
    from evaluators.battles import run_battles

    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
    )  # fmt: skip
    async with engine_pool(store, settings, data) as pool:
        with Progress(*columns, console=console) as bars:
            tasks: dict[str, Any] = {}

            def show(model: str, done: int, total: int) -> None:
                if model not in tasks:
                    tasks[model] = bars.add_task(escape(model), total=total)
                bars.update(tasks[model], completed=done, total=total)

            return await run_battles(store, pool.get, contestants, asked, options, title=title, progress=show)


def _where(settings: Settings, data: Path) -> str:
    server = settings.server
    host = f"[{server.host}]" if ":" in server.host else server.host
    folder = "" if data == DEFAULT_DATA else f" --data {data}"
    return (
        f"People vote on them at http://{host}:{server.port}{server.root_path}/ (`arena serve{folder}`), under "
        f'"Vote on prepared battles"; models judge them with `arena judge run{folder} --battles run='
    )


def _tell(report: ScriptReport, as_json: bool, where: str) -> None:
    if as_json:
        from dataclasses import asdict

        print_json(asdict(report))
    else:
        output.print(str(report.run_id), highlight=False)
    console.print(
        f"{report.answers:,} answers ({report.answers_known:,} were there), {report.battles:,} battles "
        f"({report.battles_known:,} were there)."
    )
    if report.battles or report.battles_known:
        console.print(f"{where}{report.run_id} --judge MODEL`.", highlight=False, markup=False)
    if not report.failures:
        return
    for failure in report.failures[:_SHOWN]:
        console.print(
            f"[red]{escape(failure.model)}[/], prompt {escape(failure.prompt_id)}: {failure.kind}: "
            f"{escape(failure.message)}",
            highlight=False,
        )
    raise WorkFailed(
        f"{len(report.failures)} answers did not come, so {report.battles_missing} battles are missing. "
        "Run the same command again to ask for these alone."
    )


_BATTLES = """
SELECT b.id::VARCHAR AS id, b.mode, b.state, ma.name || '@' || va.number AS model_a,
       mb.name || '@' || vb.number AS model_b,
       b.category, b.language, i.text AS prompt, b.created_at,
       (SELECT count(*) FROM votes v WHERE v.battle_id = b.id AND v.excluded IS NULL) AS votes,
       (SELECT count(*) FROM judgments j WHERE j.battle_id = b.id) AS judgments
FROM battles b LEFT JOIN items i ON i.id = b.item_id
JOIN model_versions va ON va.version_key = b.version_a JOIN models ma ON ma.model_key = va.model_key
JOIN model_versions vb ON vb.version_key = b.version_b JOIN models mb ON mb.model_key = vb.model_key
WHERE {where} ORDER BY b.created_at DESC, b.id LIMIT ?
"""


@app.command(name="list")
def list_(
    run: Annotated[str | None, typer.Option(help="Only of this run of `battles run`.")] = None,
    mode: Annotated[
        Literal["battle", "named", "script", "import"] | None, typer.Option(help="How it came to be.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="Only with this model (any version).")] = None,
    unjudged: Annotated[bool, typer.Option("--unjudged", help="Without judgments.")] = False,
    unvoted: Annotated[bool, typer.Option("--unvoted", help="Without votes.")] = False,
    limit: Annotated[int, typer.Option(min=1)] = 50,
    as_json: AsJson = False,
    data: DataDir = DEFAULT_DATA,
) -> None:
    """List battles, newest first."""
    from results.store import BadQuery, StoreError, open_store

    where = ["(b.import_id IS NULL OR b.import_id IN (SELECT id FROM imports WHERE state = 'done'))"]
    params: list[Any] = []
    if run is not None:
        where.append("b.id IN (SELECT battle_id FROM script_battles WHERE run_id = ?::UUID)")
        params.append(_uuid(run))
    if mode is not None:
        where.append("b.mode = ?")
        params.append(mode)
    if model is not None:
        where.append("? IN (ma.name, mb.name)")
        params.append(model)
    if unjudged:
        where.append("b.id NOT IN (SELECT battle_id FROM judgments)")
    if unvoted:
        where.append("b.id NOT IN (SELECT battle_id FROM votes)")
    try:
        with open_store(data) as store:
            rows = store.query(_BATTLES.format(where=" AND ".join(where)), [*params, limit]).to_pylist()
    except BadQuery as error:
        raise BadInput(str(error)) from None
    except StoreError as error:
        raise WorkFailed(str(error)) from None
    if as_json:
        print_json(rows)
        return
    if not rows:
        console.print("There is no such battle. `arena battles run` and `arena battles import` make battles.")
        return
    output.print(_listed(rows))
    if len(rows) == limit:
        console.print(f"The newest {limit} are shown; --limit shows more.")


def _listed(rows: list[dict[str, Any]]) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("battle: A against B", overflow="fold", width=_ID_LETTERS)
    table.add_column("votes", justify="right", no_wrap=True)
    table.add_column("judged", justify="right", no_wrap=True)
    room = max(20, output.width - _ID_LETTERS - len("votes") - len("judged") - 6)
    table.add_column("prompt", no_wrap=True, overflow="ellipsis", max_width=room)
    for row in rows:
        marks = ", ".join(filter(None, (row["mode"], row["category"], row["language"])))
        table.add_row(
            f"{row['id']}\n  {escape(row['model_a'])} : {escape(row['model_b'])}",
            str(row["votes"]),
            str(row["judgments"]),
            f"{escape(' '.join((row['prompt'] or '').split()))}\n[dim]{escape(marks)}[/]",
        )
    return table


@app.command()
def show(
    battle: Annotated[str, typer.Argument(help="A battle's id.", show_default=False)],
    as_json: AsJson = False,
    data: DataDir = DEFAULT_DATA,
) -> None:
    """Show a battle with its conversations, votes and judgments. Names of the models are shown."""
    from results.store import StoreError, open_store

    battle_id = _uuid(battle)
    try:
        with open_store(data) as store:
            stored = store.battle(battle_id)
            names = {each.version_key: each.label for each in store.model_versions()}
            verdicts = store.query(
                "SELECT source, judge, verdict, excluded, time FROM comparisons WHERE battle_id = ? ORDER BY seq",
                [battle_id],
            ).to_pylist()
    except StoreError as error:
        raise WorkFailed(str(error)) from None
    if stored is None:
        raise BadInput(f"there is no battle {battle}: `arena battles list` shows those that there are")
    shown = {
        **stored.model_dump(mode="json"),
        "model_a": names[stored.battle.version_a],
        "model_b": names[stored.battle.version_b],
        "verdicts": verdicts,
    }
    if as_json:
        print_json(shown)
        return
    output.print(f"[bold]{stored.battle.id}[/]  {stored.battle.mode}, {stored.state}", highlight=False)
    sides: tuple[Literal["a", "b"], ...] = ("a", "b")
    for turn in stored.turns:
        output.print(f"\n[bold cyan]turn {turn.number}[/] {escape(turn.message)}", highlight=False)
        for side in sides:
            for answer in stored.generations:
                if (answer.turn, answer.side) == (turn.number, side):
                    told = (
                        f"[red]{answer.error_kind}: {escape(answer.error or '')}[/]"
                        if answer.error_kind
                        else ""
                    )
                    label = escape(names[answer.version_key])
                    output.print(
                        f"[bold]{side.upper()} {label}[/] {escape(answer.text)}{told}", highlight=False
                    )
    if not stored.turns:
        for side, chat in zip(sides, (stored.conversation_a, stored.conversation_b), strict=True):
            output.print(f"\n[bold]{side.upper()} {escape(shown[f'model_{side}'])}[/]", highlight=False)
            for message in chat or []:
                output.print(f"[cyan]{message['role']}[/] {escape(str(message['content']))}", highlight=False)
    for verdict in verdicts:
        out = f" (not counted: {verdict['excluded']})" if verdict["excluded"] else ""
        who = verdict["judge"] or verdict["source"]
        output.print(f"\n[green]{escape(who)}[/]: {verdict['verdict']}{out}", highlight=False)


def _uuid(text: str) -> Any:
    from uuid import UUID

    try:
        return UUID(text)
    except ValueError:
        raise BadInput(f"'{text}' is no id: `arena battles list` shows ids") from None
