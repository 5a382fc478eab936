"""`arena serve` refuses what it cannot serve before it starts anything."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from arena.cli._common import BadInput
from arena.cli.serve import serve


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"host": "0.0.0.0"}, "--join-code"),
        ({"host": "0.0.0.0", "join_code": "abc"}, "--join-code: .*at least 6"),
        ({"port": 99999}, "--port: .*65535"),
        ({"root_path": "arena/"}, "--root-path: "),
        ({"model": ["openai:x"]}, "openai:MODEL@BASE_URL"),
        (
            {"model": ["openai:모형@http://a.test/v1 openai:모형@http://b.test/v1"]},
            "two models are named '모형'",
        ),
        ({"model": ["./없음"]}, "there is no folder or file .*없음"),
        ({"config": Path("absent.toml")}, "absent.toml: no such file"),
    ],
)
def test_bad_options_say_what_to_do(tmp_path: Path, options: dict[str, object], says: str) -> None:
    with pytest.raises(BadInput, match=says):
        serve(data=tmp_path / "data", **options)  # type: ignore[arg-type]


def test_bad_files_are_named(tmp_path: Path) -> None:
    settings = tmp_path / "arena.toml"
    for text, says in [
        ("[server]\nprot = 1\n", "did you mean 'port'"),
        ('[[models]]\nname = "x"\nsource = "y"\nprompt_format = "alpca"\n', "did you mean alpaca"),
    ]:
        settings.write_text(text)
        with pytest.raises(BadInput, match=says):
            serve(data=tmp_path)


def test_a_port_in_use_is_said(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(BadInput, match="--port"):
        serve(data=tmp_path, port=taken.getsockname()[1])


def test_another_address_needs_an_operators_token(tmp_path: Path) -> None:
    with socket.create_server(("0.0.0.0", 0)) as probe:
        port = probe.getsockname()[1]
    with pytest.raises(BadInput, match="arena tokens create NAME --scope operator"):
        serve(data=tmp_path, host="0.0.0.0", port=port, join_code="열려라-참깨")
