"""`arena serve` refuses what it cannot serve before it starts anything, and starts with the models that it can load."""

from __future__ import annotations

import logging
import socket
from pathlib import Path
from typing import Any

import pytest

from arena.api.service import Readiness
from arena.cli._common import BadInput
from arena.cli.serve import _load, serve
from arena.engines.pool import EnginePool
from arena.engines.spec import ModelSpec
from arena.roster import Contestant, Roster
from results.records import ModelVersionRecord
from results.store import open_store


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


class FaultyPool(EnginePool):
    """Engines of which one has a fault that nobody thought of."""

    def get(self, spec: ModelSpec) -> Any:
        if spec.name == "faulty":
            raise ZeroDivisionError("seven")
        return super().get(spec)


async def test_however_loading_ends_the_others_go_on_and_the_server_becomes_ready(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    specs = [
        ModelSpec(name="missing", source="/no/such/folder"),
        ModelSpec(name="faulty", source="x"),
        ModelSpec(name="remote", kind="openai", source="x", base_url="http://127.0.0.1:9/v1"),
    ]
    with open_store(tmp_path) as store:
        records = [ModelVersionRecord(model=spec.name, digest=spec.name) for spec in specs]
        versions = store.upsert_model_versions(records)
    roster = Roster(Contestant(spec, version) for spec, version in zip(specs, versions, strict=True))
    readiness = Readiness()
    readiness.expect(roster.available())
    pool = FaultyPool(tmp_path)
    with caplog.at_level(logging.WARNING):
        await _load(pool, roster, readiness)
    await pool.close()
    assert readiness.loading() == []
    assert roster.available() == ["remote"]
    assert readiness.left_out() == roster.unusable()
    assert readiness.left_out()["faulty"] == "ZeroDivisionError: seven"
    assert "/no/such/folder" in readiness.left_out()["missing"]
    (fault,) = (record for record in caplog.records if record.exc_info)
    assert "faulty" in fault.getMessage()
