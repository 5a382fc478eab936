"""`arena models` as a person uses it: from a folder to the roster and back, with real answers and real failures."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors import safe_open

from results.store import open_store
from tests.arena.conftest import Arena
from tests.arena.engines.made_models import save_tiny_llama
from tests.arena.model_folders import save_model


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PALAESTRA_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.setenv("ARENA_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("COLUMNS", "200")
    return tmp_path / "data"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return save_model(tmp_path / "모형", license="mit", base_model="org/unheard-of")


@pytest.mark.model
def test_a_real_model_is_looked_at_tried_and_listed(
    arena: Arena, data: Path, tmp_path: Path, smollm2_dir: Path
) -> None:
    model = save_tiny_llama(tmp_path / "tiny-llama", smollm2_dir)
    (model / "LICENSE").write_text("MIT License\n\nCopyright")
    done = arena("models", "add", model, "--max-tokens", "4", "--tag", "tiny", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["reference"], told["licence"], told["commercial"]["status"]) == (
        "tiny-llama@1",
        "mit",
        "yes",
    )
    assert told["facts"]["licence_source"] == "the text of LICENSE"
    with safe_open(model / "model.safetensors", "numpy") as weights:
        names = list(weights.keys())
        counted = sum(math.prod(weights.get_slice(name).get_shape()) for name in names)
    assert told["facts"]["parameters"] == counted
    assert told["check"]["device"] == "cpu"
    assert told["check"]["answer"]
    listed = arena("models", "list", "--commercial", "--json")
    assert [row["reference"] for row in json.loads(listed.stdout)] == ["tiny-llama@1"]


def test_a_model_that_does_not_load_is_not_added(arena: Arena, data: Path, folder: Path) -> None:
    done = arena("models", "add", folder)
    assert done.returncode == 1
    assert "nothing was added" in done.stderr
    with open_store(data) as store:
        assert store.model_versions() == []


def test_endpoints_are_asked_whether_they_serve_the_model(
    arena: Arena, data: Path, scripted_server: str
) -> None:
    url = f"{scripted_server}/v1"
    done = arena(
        "models", "add", f"openai:english:listed@{url}", "--name", "remote", "--licence", "mit", "--json"
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["check"]["answer"], told["facts"]["context_length"]) == (
        "The capital of France is Paris.",
        4096,
    )
    for word, code, says in (
        (f"openai:english:listd@{url}", 2, "does not serve 'english:listd' (it serves: english:listed"),
        (f"openai:fails:listed@{url}", 1, "nothing was added"),
        ("openai:x@http://127.0.0.1:9/v1", 1, "cannot be reached"),
        ("openai:x@https://api.openai.com/v1", 1, "OPENAI_API_KEY is not set"),
    ):
        done = arena("models", "add", word, "--name", "another")
        assert (done.returncode, says in done.stderr) == (code, True), done.stderr
    listed = json.loads(arena("models", "list", "--json").stdout)
    assert [row["reference"] for row in listed if row["origin"] == ""] == ["remote@1"]


def test_a_models_life(arena: Arena, data: Path, folder: Path, tmp_path: Path) -> None:
    done = arena("models", "add", folder, "--no-check", "--temperature", "0.3")
    assert done.returncode == 0, done.stderr
    assert "모형@1 is on the roster" in done.stderr
    assert "It was not tried" in done.stderr
    assert "org/unheard-of, from which it was made, is not known here" in done.stdout
    examples = tmp_path / "examples.json"
    examples.write_text('[{"user": "수도는?", "assistant": "서울"}]')
    arena("models", "add", "모형", "--no-check", "--few-shot", examples)
    arena("models", "add", "모형", "--no-check", "--name", "free", "--parent", "HuggingFaceTB/SmolLM2-135M")
    shown = arena("models", "show", "모형").stdout
    for told in (
        "모형@2",
        "few_shot: none",
        "few-shot examples",
        "temperature 0.3",
        "not known here",
        "unknown",
    ):
        assert told in shown, told
    table = arena("models", "list")
    assert "모형@2" in table.stdout
    commercial = arena("models", "list", "--commercial")
    assert "모형@2" not in commercial.stdout
    assert "free@1" in commercial.stdout
    assert "left out: 모형@2, because of org/unheard-of" in commercial.stderr
    assert (
        "모형 is 모형@1 again"
        in arena(
            "models",
            "rollback",
            "모형",
        ).stderr
    )
    assert arena("models", "remove", "모형").returncode == 0
    again = arena("models", "remove", "모형")
    assert (again.returncode, "'모형' is not on the roster" in again.stderr) == (2, True)
    assert "did you mean 'free'" in arena("models", "remove", "fre").stderr
    assert arena("models", "add", "모형", "--no-check").returncode == 0
    assert "모형@2" in arena("models", "list").stdout


def test_aliases_are_switched_and_rolled_back(arena: Arena, data: Path, folder: Path) -> None:
    arena("models", "add", folder, "--no-check", "--name", "one")
    arena("models", "add", "one", "--no-check", "--name", "two", "--system-prompt", "짧게.")
    assert "champion -> one@1 (before: nothing)" in arena("models", "alias", "champion", "one").stderr
    assert "champion -> two@1 (before: one@1)" in arena("models", "alias", "champion", "two@1").stderr
    assert json.loads(arena("models", "alias", "--json").stdout) == {"champion": "two@1"}
    assert "Still standing for it: champion" in arena("models", "remove", "two").stderr
    assert "champion is one@1 again" in arena("models", "rollback", "champion").stderr
    assert "champion -> one@1" in arena("models", "alias").stdout
    for words, says in (
        (("champion", "nobody"), "there is no model 'nobody'"),
        (("one", "two@1"), "a model is named 'one'"),
        (("a@b", "one"), "cannot be an alias"),
        (("champion",), "name the alias and the version"),
        (("gone", "--remove"), "there is no alias 'gone'"),
    ):
        done = arena("models", "alias", *words)
        assert (done.returncode, says in done.stderr) == (2, True), done.stderr
    assert arena("models", "alias", "champion", "--remove").returncode == 0
    assert json.loads(arena("models", "alias", "--json").stdout) == {}
    rolled = arena("models", "rollback", "champion", "--json")
    assert json.loads(rolled.stdout) == {"name": "champion", "version": "one@1"}


def test_entries_of_the_file_are_read_only(arena: Arena, data: Path, folder: Path) -> None:
    data.mkdir()
    file = data / "arena.toml"
    file.write_text(f'[[models]]\nname = "mine"\nsource = {json.dumps(str(folder), ensure_ascii=False)}\n')
    assert "mine@1" in arena("models", "list").stdout
    for words in (("remove", "mine"), ("rollback", "mine"), ("add", "mine", "--no-check", "--note", "x")):
        done = arena("models", *words)
        # A terminal breaks long paths wherever it must.
        told = done.stderr.replace(" ", "")
        assert (done.returncode, f"anentryof{file}" in told) == (2, True), done.stderr
    assert arena("models", "add", "mine", "--no-check", "--name", "variant").returncode == 0
    file.write_text("")
    listed = json.loads(arena("models", "list", "--json").stdout)
    assert [row["reference"] for row in listed] == ["variant@1"]


def test_chat_streams_keeps_the_conversation_and_stops_on_ctrl_c(
    data: Path, scripted_server: str, tmp_path: Path
) -> None:
    """Ctrl+C stops the answer alone: what came stays in the conversation, and the next line is answered."""
    url = f"{scripted_server}/v1"
    command = [sys.executable, "-m", "arena.cli.main", "models", "chat", f"openai:slow:chat@{url}"]
    env = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env
    ) as chat:
        assert chat.stdin is not None
        assert chat.stdout is not None
        chat.stdin.write("/system 짧게 답하세요.\n수도는 어디인가요?\n")
        chat.stdin.flush()
        begun = chat.stdout.read(len("The capital"))
        chat.send_signal(signal.SIGINT)
        rest = chat.stdout.readline()
        chat.stdin.write("그럼 여기는?\n")
        chat.stdin.flush()
        assert chat.stdout.read(3) == "The"
        chat.send_signal(signal.SIGINT)
        chat.stdout.readline()
        chat.stdin.write("/exit\n")
        chat.stdin.close()
        assert chat.wait(30) == 0
    import httpx

    body = httpx.get(f"{scripted_server}/seen/slow:chat", trust_env=False).json()["body"]
    assert [(each["role"], each["content"]) for each in body["messages"]] == [
        ("system", "짧게 답하세요."), ("user", "수도는 어디인가요?"), ("assistant", (begun + rest).rstrip("\n")),
        ("user", "그럼 여기는?"),
    ]  # fmt: skip
    assert len(begun + rest) < 200, "it was stopped long before its end"
