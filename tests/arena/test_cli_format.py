"""`arena format` as a process: what it prints, its exit codes, and what it does not import."""

# ruff: noqa: E501 -- a table of one case a line

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from arena.engines.spec import ModelSpec
from arena.roster import enter
from results.records import ModelVersionRecord
from results.store import open_store
from results.store.aliases import set_alias

MESSAGES = [
    {"role": "system", "content": "짧게 답해."},
    {"role": "user", "content": "서울은?"},
    {"role": "assistant", "content": "수도."},
    {"role": "user", "content": "부산은? 🇰🇷"},
]
CHATML = "".join(f"<|im_start|>{m['role']}\n{m['content']}<|im_end|>\n" for m in MESSAGES)


def arena(*arguments: str | Path, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "arena.cli.main", "format", *map(str, arguments)]
    return subprocess.run(
        command, input=stdin, capture_output=True, encoding="utf-8", timeout=120, check=False
    )


def rows(done: subprocess.CompletedProcess[str]) -> list[Any]:
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.split("\n") if line]


def lines(path: Path, items: list[Any]) -> Path:
    text = "".join(
        (item if isinstance(item, str) else json.dumps(item, ensure_ascii=False)) + "\n" for item in items
    )
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture
def messages(tmp_path: Path) -> Path:
    path = tmp_path / "messages.json"
    path.write_text(json.dumps(MESSAGES, ensure_ascii=False), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tokenizer of one id a byte, with ChatML tokens and a template of its own."""
    folder = tmp_path_factory.mktemp("tokenizer")
    vocabulary = {c: i for i, c in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    made = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    made.add_special_tokens(["<|im_start|>", "<|im_end|>"])
    made.save(str(folder / "tokenizer.json"))
    template = (
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    config = {"chat_template": template, "eos_token": "<|im_end|>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return folder


def test_render_by_format(messages: Path) -> None:
    done = arena("render", "--format", "chatml", "--messages", messages, "--json")
    answer = json.loads(done.stdout)
    assert answer["prompt"] == CHATML + "<|im_start|>assistant\n"
    assert answer["ids"] is None
    assert answer["stops"] == ["<|im_end|>"]
    assert "chatml" in answer["reason"]


def test_render_for_people_keeps_data_and_notes_apart(messages: Path) -> None:
    done = arena(
        "render", "--model", "google/gemma-2-2b-it", "--messages", messages, "--system-policy", "family"
    )
    assert done.stdout.startswith("<bos><start_of_turn>user\n짧게 답해.\n\n서울은?")
    assert "merged into the first user message" in done.stderr


def test_render_options(messages: Path, tokenizer: Path) -> None:
    done = arena(
        "render", "--tokenizer", tokenizer, "--messages", messages, "--window", "last_rounds=1",
        "--no-generation-prompt", "--json",
    )  # fmt: skip
    answer = json.loads(done.stdout)
    assert answer["dropped_rounds"] == [{"number": 1, "begins": "서울은?"}]
    assert "수도" not in answer["prompt"]
    assert len(answer["ids"]) > 10
    dated = arena(
        "render",
        "--format",
        "llama-3.2",
        "--messages",
        "-",
        "--now",
        "2020-02-02",
        stdin=messages.read_text(),
    )
    assert "Today Date: 02 Feb 2020" in dated.stdout
    closed = arena(
        "render", "--format", "qwen3", "--messages", messages, "--kwargs", '{"enable_thinking": false}'
    )
    assert closed.stdout.endswith("</think>\n\n\n")


def test_render_cases_in_bulk(tmp_path: Path, tokenizer: Path) -> None:
    budget = {"window": {"token_budget": 90}, "format": "chatml", "tokenizer": str(tokenizer)}
    cases: list[Any] = [
        {"format": "chatml", "messages": MESSAGES},
        {"format": "no-such-format", "messages": MESSAGES},
        {"format": "gemma-2", "messages": MESSAGES},
        "{not json",
        {"format": "chatml", "messages": []},
        {"format": "chatml", "messages": [{"role": "robot", "content": "x"}]},
        {"messages": MESSAGES},
        {"format": "chatml", "template": "x", "messages": MESSAGES},
        {"tokenizer": str(tokenizer), "messages": MESSAGES},
        {**budget, "messages": MESSAGES},
        {**budget, "messages": [{"role": "user", "content": "길" * 60}]},
        {"template": "{{ bos_token }}[{{ messages[0].content }}]", "messages": MESSAGES, "bos": "<s>"},
        {"template": "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}", "messages": MESSAGES},
        {"model": "nobody/knows", "messages": MESSAGES},
        {"format": "llama-3.2", "messages": MESSAGES, "now": "2021-05-06T07:08:09"},
        {"format": "chatml", "messages": MESSAGES, "colour": "red"},
        {"format": "qwen2.5", "messages": [*MESSAGES, {"role": "assistant", "content": "항구"}], "add_generation_prompt": False, "continue_final_message": True},
        {"format": "chatml", "messages": [{"role": "user", "content": "줄\u2028바꿈"}]},
    ]  # fmt: skip
    got = rows(arena("render", "--cases", lines(tmp_path / "cases.jsonl", cases)))
    assert len(got) == len(cases)
    kinds = [row.get("kind") for row in got]
    assert kinds == [
        None, "unknown_format", "template", "invalid", "invalid", "invalid", "invalid", "invalid", None, None,
        "over_budget", None, "template", None, None, "invalid", None, None,
    ]  # fmt: skip
    assert got[0]["prompt"] == CHATML + "<|im_start|>assistant\n"
    assert got[8]["prompt"] == got[0]["prompt"]
    assert len(got[9]["ids"]) <= 90
    assert got[9]["dropped_rounds"]
    assert (got[11]["prompt"], got[11]["n_bos"]) == ("<s>[짧게 답해.]", 1)
    assert "stopped" in got[12]["error"]
    assert got[13]["format"] == "plain"
    assert "06 May 2021" in got[14]["prompt"]
    assert got[16]["prompt"].endswith("항구")


def test_resolve(tmp_path: Path) -> None:
    ids = [{"model": "Qwen/Qwen3-8B"}, {"model": "nobody/knows"}, {"id": "x"}]
    got = rows(arena("resolve", "--ids", lines(tmp_path / "ids.jsonl", ids)))
    assert (got[0]["format"], got[0]["family"]) == ("qwen3", "qwen3")
    assert got[1]["family"] == "plain"
    assert got[1]["warning"]
    assert got[2]["kind"] == "invalid"
    one = json.loads(arena("resolve", "google/gemma-2-2b", "--json").stdout)
    assert one["family"] == "plain"
    assert "base model" in one["reason"]


def test_parse(tmp_path: Path) -> None:
    cases = [
        {"format": "qwen3", "chunks": ["<thi", "nk>생", "각</think>\n", "\n답<|im", "_end|>"]},
        {
            "family": "gpt-oss",
            "prompt_tail": "<|start|>assistant",
            "chunks": ["<|channel|>final<|message|>네<|return|>"],
        },
        {"format": "llama-3", "bytes_hex": ["ec84", "9cec9ab8"], "stop": ["!"]},
        {"format": "llama-3", "bytes_hex": ["zz"]},
        {"format": "llama-3"},
    ]
    got = rows(arena("parse", "--cases", lines(tmp_path / "parse.jsonl", cases)))
    assert [(r.get("thinking"), r.get("content"), r.get("finish")) for r in got[:3]] == [
        ("생각", "답", "stop"),
        (None, "네", "stop"),
        (None, "서울", "length"),
    ]
    assert [r.get("kind") for r in got[3:]] == ["invalid", "invalid"]


def test_list_and_show(tmp_path: Path) -> None:
    listed = json.loads(arena("list", "--json").stdout)
    assert len(listed) > 100
    assert {"name", "family", "verified", "source", "stops"} <= set(listed[0])
    shown = json.loads(arena("show", "meta-llama/Llama-2-7b-chat-hf", "--json").stdout)
    assert shown["name"] == "llama-2-default"
    assert "llama 2" in shown["reason"]
    assert "[INST]" in shown["template"]
    assert "no prompt format is known" in arena("show", "nobody/knows").stdout
    folder = tmp_path / "formats" / "mine"
    folder.mkdir(parents=True)
    (folder / "m.yaml").write_text("family: mine\ntemplate: m.jinja\nname: mine\n")
    (folder / "m.jinja").write_text("<{{ messages[0].content }}>")
    own = json.loads(arena("list", "--family", "mine", "--data", tmp_path, "--json").stdout)
    assert own[0]["origin"] == "user"


def test_convert_and_unrender(tmp_path: Path, messages: Path) -> None:
    shared = tmp_path / "share.json"
    done = arena("convert", messages, "--from", "openai", "--to", "sharegpt")
    assert done.returncode == 0
    shared.write_text(done.stdout, encoding="utf-8")
    back = arena("convert", shared, "--from", "sharegpt", "--to", "openai")
    assert json.loads(back.stdout)["messages"] == MESSAGES
    many = lines(tmp_path / "many.jsonl", [{"instruction": "번역", "input": "a", "output": "b"}] * 2)
    converted = arena("convert", many, "--from", "alpaca", "--to", "openai")
    assert len(rows(converted)) == 2
    assert "lost the border between instruction and input" in converted.stderr
    raw = tmp_path / "raw.txt"
    raw.write_bytes((CHATML + "<|im_start|>assistant\n").encode())
    found = json.loads(arena("unrender", raw, "--json").stdout)
    assert found["ambiguous"]
    assert found["candidates"][0]["messages"] == MESSAGES


def test_check(tokenizer: Path) -> None:
    same = arena("check", str(tokenizer), "--json")
    assert same.returncode == 0, same.stdout
    assert json.loads(same.stdout)["same"] is True
    differs = arena("check", str(tokenizer), "--format", "zephyr")
    assert differs.returncode == 3
    assert "differs" in differs.stdout
    assert "from character" in differs.stdout


def test_names_of_the_roster(tmp_path: Path, tokenizer: Path, messages: Path) -> None:
    (tmp_path / "arena.toml").write_text(
        f'''
[[models]]
name = "set"
source = "{tokenizer}"
prompt_format = "zephyr"
[[models]]
name = "own"
source = "{tokenizer}"
[[models]]
name = "remote"
kind = "openai"
source = "google/gemma-2-9b-it"
base_url = "http://127.0.0.1:9/v1"
'''
    )
    shown = {
        name: json.loads(arena("show", name, "--data", tmp_path, "--json").stdout)
        for name in ("set", "own", "remote")
    }
    assert (shown["set"]["name"], shown["remote"]["name"]) == ("zephyr", "gemma-2")
    assert "own template" in shown["own"]["reason"]
    done = arena("render", "--model", "own", "--messages", messages, "--data", tmp_path, "--json")
    assert json.loads(done.stdout)["ids"]
    (tmp_path / "arena.toml").write_text("[serverr]\nport = 1\n")
    broken = arena("show", "own", "--data", tmp_path)
    assert broken.returncode == 2
    assert "serverr" in broken.stderr


def test_names_of_the_database(tmp_path: Path, tokenizer: Path, messages: Path) -> None:
    looked = arena("show", "own", "--data", tmp_path / "data")
    assert looked.returncode == 0
    assert not (tmp_path / "data").exists()  # to look makes no database
    data = tmp_path / "data"
    with open_store(data) as store:
        for form in (None, "zephyr"):
            spec = ModelSpec(
                name="own", kind="openai", source="x", base_url="http://127.0.0.1:9/v1", prompt_format=form
            )
            version = enter(store, spec, data).version
        local = ModelSpec(name="local", source=str(tokenizer))
        (known,) = store.upsert_model_versions(
            [ModelVersionRecord(model="local", digest="d", spec=local.model_dump(mode="json"))]
        )
        set_alias(store, "champion", known.version_key)
    assert version.number == 2
    shown = {
        name: json.loads(arena("show", name, "--data", data, "--json").stdout)
        for name in ("own", "own@2", "own@1", "champion")
    }
    assert [shown[name]["name"] for name in ("own", "own@2", "own@1")] == ["zephyr", "zephyr", "plain"]
    assert "own template" in shown["champion"]["reason"]
    cases = [{"model": "champion", "messages": MESSAGES}] * 2
    got = rows(arena("render", "--cases", lines(tmp_path / "cases.jsonl", cases), "--data", data))
    assert all(row["prompt"].startswith(CHATML) and row["ids"] for row in got)
    assert arena("check", "local@1", "--data", data).returncode == 0
    nothing = arena("show", "own@3", "--data", data)
    assert nothing.returncode == 2
    assert "'own' has versions 1, 2" in " ".join(nothing.stderr.split())


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["render", "--format", "chatml"], 2, "give --messages"),
        (["render", "--format", "chatmll", "--messages", "MESSAGES"], 2, "did you mean"),
        (["render", "--messages", "MESSAGES"], 2, "nothing says which prompt format"),
        (["render", "--format", "gemma-2", "--messages", "MESSAGES"], 1, "System role not supported"),
        (["render", "--format", "chatml", "--messages", "MESSAGES", "--kwargs", "{"], 2, "not valid JSON"),
        (["render", "--format", "chatml", "--messages", "MESSAGES", "--window", "big"], 2, "NAME=NUMBER"),
        (["render", "--format", "chatml", "--messages", "MESSAGES", "--now", "noon"], 2, "ISO 8601"),
        (["list", "--family", "nobody"], 2, "no family is named"),
        (["resolve"], 2, "give a model id"),
        (["convert", "MESSAGES", "--from", "xml", "--to", "openai"], 2, "one of openai"),
    ],
)
def test_errors_and_exit_codes(messages: Path, arguments: list[str], code: int, words: str) -> None:
    done = arena(*[str(messages) if a == "MESSAGES" else a for a in arguments])
    assert done.returncode == code, done.stderr
    assert words in " ".join(done.stderr.split())


def test_a_broken_users_format_is_named(tmp_path: Path) -> None:
    (tmp_path / "formats").mkdir()
    (tmp_path / "formats" / "bad.yaml").write_text("family: [\n")
    done = arena("list", "--data", tmp_path)
    assert done.returncode == 2
    assert "bad.yaml, line 2" in " ".join(done.stderr.split())


def test_text_needs_neither_torch_nor_a_tokenizer(messages: Path) -> None:
    code = (
        "import sys; sys.argv = ['arena', 'format', 'render', '--format', 'qwen3', '--messages', sys.argv[1]]\n"
        "from arena.cli.main import main\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code\n"
        "heavy = {'torch', 'gradio', 'transformers', 'tokenizers', 'duckdb', 'mistral_common'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(messages)], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert "서울은?" in done.stdout
