"""The registry: complete, consistent, and extended by a user's folder."""

# ruff: noqa: E501 -- tables of one case a line

from __future__ import annotations

from pathlib import Path

import pytest

from prompt_formats import Conversation, InvalidInput, UnknownFormat, built_in, load_registry, render
from prompt_formats.environment import compiled
from prompt_formats.registry import BUILT_IN

CLASSICS = (
    "alpaca vicuna-v0 vicuna-v1.1 koalpaca polyglot-ko kullm dolly-v2 open-assistant stablelm-tuned guanaco "
    "wizardlm baize redpajama-incite mpt-chat falcon-instruct xgen orca-mini starchat flan-alpaca"
)


def write(folder: Path, yaml: str, jinja: str = "{{ messages[0].content }}") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "own.yaml").write_text(yaml, encoding="utf-8")
    (folder / "own.jinja").write_text(jinja, encoding="utf-8")
    return folder


@pytest.mark.parametrize("name", CLASSICS.split())
def test_classics_are_there(name: str) -> None:
    assert name in built_in()


def test_names_and_aliases_are_unique() -> None:
    seen: dict[str, str] = {}
    for form in built_in().values():
        for name in (form.name, *form.aliases):
            assert name.lower() not in seen, (name, form.name, seen.get(name.lower()))
            seen[name.lower()] = form.name


@pytest.mark.parametrize("name", sorted(built_in()))
def test_every_format_is_sound(name: str) -> None:
    form = built_in()[name]
    compiled(form.template)
    assert form.source.startswith("https://")
    assert form.trusted
    assert form.stops or form.family == "plain"
    assert built_in()[name.upper()] is form


def test_no_file_lies_unused() -> None:
    used = {Path(form.path).name for form in built_in().values() if form.path}
    assert {path.name for path in BUILT_IN.glob("*.jinja")} == used


def test_names_ignore_case_and_hint_at_the_near() -> None:
    assert built_in()["LLAMA-3.1"].name == "llama-3.1"
    with pytest.raises(UnknownFormat, match=r"llama-3\.1"):
        built_in()["lama-3.1"]


def test_a_users_folder_adds_and_replaces(tmp_path: Path) -> None:
    write(
        tmp_path / "mine",
        "family: mine\ntemplate: own.jinja\neos: <끝>\nformats:\n  - name: mine-1\n    aliases: [m1]\n  - name: llama-3\n",
        "<나>{{ messages[0].content }}<끝>",
    )
    registry = load_registry(tmp_path)
    form = registry["M1"]
    assert (form.name, form.family, form.origin, form.trusted) == ("mine-1", "mine", "user", False)
    assert registry["llama-3"].family == "mine"
    assert built_in()["llama-3"].family == "llama-3"
    assert render(Conversation().add("user", "안녕"), form).prompt == "<나>안녕<끝>"


def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    write(tmp_path, "name: own\nfamily: own\ntemplate: own.jinja\n")
    assert "own" in load_registry(tmp_path)
    write(tmp_path, "name: renamed-to-longer\nfamily: own\ntemplate: own.jinja\n")
    assert "renamed-to-longer" in load_registry(tmp_path)


@pytest.mark.parametrize(
    ("yaml", "jinja", "words"),
    [
        ("family: [", "", r"own\.yaml, line 2"),
        ("- a\n- b\n", "", "expected a mapping"),
        ("family: own\nformats: yes\n", "", "must be a list"),
        ("family: own\n", "", "must name a Jinja file"),
        ("family: own\ntemplate: gone.jinja\n", "", "No such file"),
        ("family: own\ntemplate: ../../own.jinja\n", "", "outside the folder"),
        ("family: own\ntemplate: own.jinja\nstopp: [x]\n", "", "stopp"),
        ("family: own\ntemplate: own.jinja\nsystem_policy: sometimes\n", "", "system_policy"),
        ("family: own\ntemplate: own.jinja\n", "ok\n{% if x %}\nno end", r"own\.jinja: template line"),
    ],
)
def test_malformed_files_are_named(tmp_path: Path, yaml: str, jinja: str, words: str) -> None:
    write(tmp_path, yaml, jinja)
    with pytest.raises(InvalidInput, match=words):
        load_registry(tmp_path)
