"""Tool mode of `arena models chat`: a model with tool tokens calls, the tool runs, its result stands in the answer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING

from rich.markup import escape

from arena.cli._common import BadInput, console, output

if TYPE_CHECKING:
    from arena.engines.base import Engine, Sampling
    from arena.roster import Contestant
    from prompt_formats import Conversation
    from trainers.tool_mode import Tool

Reply = Callable[["Engine", "Conversation", "Sampling", int | None, list[str]], Awaitable[None]]
"""Answers a conversation on the terminal, and adds what it says to the list as it comes."""


def tools_of(path: Path) -> list[Tool]:
    """The tools of a file. Raises BadInput."""
    from trainers.tools import BadTools, read_tools

    try:
        return read_tools(path)
    except BadTools as error:
        raise BadInput(str(error)) from None


def with_tools(contestant: Contestant, data: Path, tools: list[Tool]) -> Reply:
    """What answers a conversation in tool mode, printing the answer and its calls. Raises BadInput for a model whose
    tokenizer is not here."""
    from arena.engines.base import EngineError, GenerationRequest
    from prompt_formats import PromptFormatError, render
    from trainers.datasets.rendering import format_and_tokenizer
    from trainers.tool_mode import ToolFailed, answer_with_tools

    try:
        resolution, tokenizer = format_and_tokenizer(contestant.spec, data)
    except (PromptFormatError, EngineError) as error:
        raise BadInput(f"--tools: {error}") from None
    strange = [each.token for each in tools if tokenizer.id_of(each.token) is None]
    if strange:
        console.print(
            f"[yellow]{contestant.version.label} has no token {', '.join(strange)}: it was not trained to call.[/]",
            highlight=False,
        )

    async def reply(
        engine: Engine, conversation: Conversation, sampling: Sampling, seed: int | None, said: list[str]
    ) -> None:
        try:
            # What a person types must not become control tokens, though this goes to the model as text.
            prompt = render(
                conversation, resolution, system_policy="family", alternation="family", control_text="escape"
            )
            request = GenerationRequest(
                text=prompt.prompt, sampling=sampling, seed=seed, stop=tuple(resolution.format.stops)
            )
            found = await answer_with_tools(engine, request, tools)
        except (PromptFormatError, ToolFailed) as error:
            console.print(f"[red]failed:[/] {escape(str(error))}", highlight=False)
            return
        said.append(found.text)
        output.print(found.text, highlight=False, markup=False, soft_wrap=True)
        for call in found.calls:
            console.print(
                f"  {call.token}({call.arguments}) → {call.result}",
                style="dim",
                markup=False,
                highlight=False,
            )

    return reply
