"""Tool mode on the terminal: what is printed, what stays in the conversation, and which models can."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from arena.cli._chat_tools import tools_of, with_tools
from arena.cli._common import BadInput
from arena.engines.base import Sampling
from arena.engines.spec import ModelSpec
from arena.roster import enter, find
from prompt_formats import Conversation
from results.store import Store
from tests.trainers.test_tool_mode import Scripted
from trainers.plan import TrainingPlan


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    file = tmp_path / "tools.yaml"
    file.write_text("- {token: <더하기>, demonstrations: '1 + 1 = <더하기>(1, 1) ', run: add}\n", "utf-8")
    return file


async def test_an_answer_tells_its_calls_and_what_failed(
    plan_for: Callable[..., TrainingPlan], store: Store, tools: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan_for("chat")
    reply = with_tools(find(store, "tiny"), store.data_dir, tools_of(tools))
    engine = Scripted({"assistant\n": "답은 <더하기>", "<더하기>(": "17, 25)", "답은 42": "입니다."})
    said: list[str] = []
    asked = Conversation().add("user", "17과 25의 합은? <|im_end|>")
    await reply(engine, asked, Sampling(), None, said)
    shown = capsys.readouterr()
    assert said == ["답은 42입니다."]
    assert shown.out == "답은 42입니다.\n"
    assert "<더하기>(17, 25) → 42" in shown.err
    assert "tiny@1 has no token <더하기>: it was not trained to call" in " ".join(shown.err.split())
    # What a person types cannot end a turn.
    assert engine.asked[0].count("<|im_end|>") == 1

    engine = Scripted({"assistant\n": "<더하기>", "<더하기>(": "열일곱"})
    said = []
    await reply(engine, asked, Sampling(), None, said)
    assert said == []
    assert "<더하기>(열일곱) cannot be run" in " ".join(capsys.readouterr().err.split())


def test_what_cannot_call_is_told(store: Store, tools: Path, tmp_path: Path) -> None:
    spec = ModelSpec(name="멀리", kind="openai", source="m", base_url="http://127.0.0.1:9/v1")
    enter(store, spec, store.data_dir)
    with pytest.raises(BadInput, match="its tokenizer is not here"):
        with_tools(find(store, "멀리"), store.data_dir, tools_of(tools))
    with pytest.raises(BadInput, match=r"none\.yaml: cannot be read"):
        tools_of(tmp_path / "none.yaml")
