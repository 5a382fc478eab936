"""`arena db` as a user runs it: exit codes, stdout and stderr, and what lies in the folder afterwards."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import pytest

from results.leaderboard import leaderboard
from results.store import _schema as schema
from results.store import list_backups, new_backup_path, open_store, prune_backups
from results.store.errors import BadWrite
from tests.arena.conftest import Arena

KOREAN = Path(__file__).parents[1] / "data" / "votes" / "korean_votes.csv"


@pytest.fixture
def data(tmp_path: Path, arena: Arena) -> Path:
    """A data directory with the Korean votes in it."""
    folder = tmp_path / "자료"
    assert arena("votes", "import", KOREAN, "--data", folder).returncode == 0
    return folder


@contextmanager
def serving(data: Path, *words: str) -> Iterator[subprocess.Popen[str]]:
    """`arena db serve` as a process of its own, once it says that it serves."""
    with subprocess.Popen(
        [sys.executable, "-m", "arena.cli.main", "db", "serve", "--json", "--data", str(data), *words],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, encoding="utf-8",
    ) as process:  # fmt: skip
        assert process.stdout is not None
        try:
            assert event(process)["event"] == "serving"
            yield process
        finally:
            if process.poll() is None:
                os.kill(process.pid, signal.SIGCONT)
                process.kill()


def event(process: subprocess.Popen[str]) -> dict[str, Any]:
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line, process.stderr.read() if process.stderr else ""
    found: dict[str, Any] = json.loads(line)
    return found


def tamper(data: Path, sql: str) -> None:
    with duckdb.connect(str(data / "palaestra.duckdb")) as raw:
        raw.execute(sql)


def board(data: Path) -> str:
    with open_store(data) as store:
        return leaderboard(store).model_dump_json()


def test_check_tells_and_repairs(arena: Arena, data: Path) -> None:
    good = board(data)
    assert arena("db", "check", "--data", data)[0] == 0
    tamper(data, "UPDATE pair_counts SET n = n + 5 WHERE verdict = 'a'")
    bad = arena("db", "check", "--data", data)
    assert bad.returncode == 1
    assert "pair_counts holds" in bad.stdout
    assert "--repair" in bad.stderr
    assert json.loads(arena("db", "check", "--json", "--data", data).stdout)["problems"]
    repaired = arena("db", "check", "--repair", "--json", "--data", data)
    assert repaired.returncode == 0, repaired.stderr
    said = json.loads(repaired.stdout)
    assert said["problems"] == []
    assert said["repaired"]
    assert board(data) == good


def test_what_repair_cannot_mend_stays_a_failure(arena: Arena, data: Path) -> None:
    tamper(data, "DELETE FROM voters")
    done = arena("db", "check", "--repair", "--data", data)
    assert done.returncode == 1
    assert "votes without their voter" in done.stdout


def test_without_a_database_the_folder_is_named(arena: Arena, tmp_path: Path) -> None:
    for words in (["check"], ["backup"], ["migrate"], ["compact"]):
        done = arena("db", *words, "--data", tmp_path / "없음")
        assert done.returncode == 2
        assert "there is no database" in done.stderr
    assert not (tmp_path / "없음").exists(), "asking makes no folder"


def test_backup_and_restore_bring_every_rating_back(arena: Arena, data: Path, tmp_path: Path) -> None:
    before = board(data)
    made = arena("db", "backup", "--json", "--data", data)
    assert made.returncode == 0, made.stderr
    file = Path(json.loads(made.stdout)["file"])
    assert file.parent == data.resolve() / "backups"
    assert json.loads(made.stdout)["bytes"] == file.stat().st_size
    tamper(data, "DELETE FROM votes; DELETE FROM pair_counts")
    assert board(data) != before
    done = arena("db", "restore", file.name, "--json", "--data", data)
    assert done.returncode == 0, done.stderr
    assert board(data) == before
    aside = Path(json.loads(done.stdout)["kept_aside"])
    with duckdb.connect(str(aside), read_only=True) as old:
        assert old.execute("SELECT count(*) FROM votes").fetchone() == (0,)
    elsewhere = tmp_path / "다른 곳"
    assert arena("db", "restore", file, "--data", elsewhere).returncode == 0
    assert board(elsewhere) == before
    assert arena("db", "restore", aside, "--data", data).returncode == 0, "and back again"
    assert not list(data.glob("restoring*"))


def test_a_backup_with_a_log_beside_it_is_restored_with_it(arena: Arena, data: Path, tmp_path: Path) -> None:
    """The database of an owner that was killed: its last writes lie in the log alone."""
    with serving(data):
        pass
    copied = tmp_path / "killed" / "palaestra.duckdb"
    copied.parent.mkdir()
    code = (
        "import os, sys\nfrom results.store import open_store\nfrom results.records import ModelVersionRecord\n"
        "store = open_store(sys.argv[1])\n"
        "store.upsert_model_versions([ModelVersionRecord(model='새별', digest='1')])\nos._exit(9)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(data)], check=False).returncode == 9
    log = data / "palaestra.duckdb.wal"
    assert log.stat().st_size
    copied.write_bytes((data / "palaestra.duckdb").read_bytes())
    copied.with_name(log.name).write_bytes(log.read_bytes())
    other = tmp_path / "other"
    done = arena("db", "restore", copied, "--data", other)
    assert done.returncode == 0, done.stderr
    with open_store(other) as store:
        assert "새별" in [version.model for version in store.model_versions()]


def test_bad_backups_are_refused_and_nothing_changes(arena: Arena, data: Path, tmp_path: Path) -> None:
    before = board(data)
    absent = arena("db", "restore", "nothing.duckdb", "--data", data)
    assert absent.returncode == 2
    noise = tmp_path / "noise.duckdb"
    noise.write_bytes(b"not a database" * 1000)
    damaged = tmp_path / "damaged.duckdb"
    assert arena("db", "backup", damaged, "--data", data).returncode == 0
    content = bytearray(damaged.read_bytes())
    content[9000:200_000] = bytes(len(content[9000:200_000]))
    damaged.write_bytes(content)
    foreign = tmp_path / "foreign.duckdb"
    with duckdb.connect(str(foreign)) as raw:
        raw.execute("CREATE TABLE t (a INT)")
    newer = tmp_path / "newer.duckdb"
    assert arena("db", "backup", newer, "--data", data).returncode == 0
    with duckdb.connect(str(newer)) as raw:
        raw.execute("INSERT INTO schema_version VALUES (99, 'tomorrow', now())")
    for file, words in (
        (noise, "cannot be read"), (damaged, "damaged"), (foreign, "not made by Palaestra"), (newer, "schema 99"),
    ):  # fmt: skip
        done = arena("db", "restore", file, "--data", data)
        assert done.returncode == 1, (file, done)
        assert words in done.stderr
    unsound = tmp_path / "unsound.duckdb"
    assert arena("db", "backup", unsound, "--data", data).returncode == 0
    with duckdb.connect(str(unsound)) as raw:
        raw.execute("UPDATE pair_counts SET n = 99")
    refused = arena("db", "restore", unsound, "--data", data)
    assert refused.returncode == 1
    assert "--force" in refused.stderr
    assert board(data) == before
    assert not list(data.glob("restoring*"))
    assert not list(data.glob("*before-restore*"))
    assert arena("db", "restore", unsound, "--force", "--data", data).returncode == 0
    assert arena("db", "check", "--repair", "--data", data).returncode == 0
    assert board(data) == before


def test_restore_and_compact_are_refused_while_an_owner_lives(arena: Arena, data: Path) -> None:
    file = Path(json.loads(arena("db", "backup", "--json", "--data", data).stdout)["file"])
    with serving(data) as owner:
        for words in (["restore", file], ["compact"], ["serve"]):
            done = arena("db", *words, "--data", data)
            assert done.returncode == 1
            assert str(owner.pid) in done.stderr
        assert arena("db", "check", "--data", data).returncode == 0
        hot = arena("db", "backup", "--data", data)
        assert hot.returncode == 0, hot.stderr
        owner.send_signal(signal.SIGTERM)
        assert owner.wait(30) == 0
        assert event(owner) == {"event": "stopped"}
    assert arena("db", "restore", file, "--data", data).returncode == 0


def test_backups_are_not_overwritten_and_only_automatic_ones_are_removed(arena: Arena, data: Path) -> None:
    own = data / "backups" / "밤.duckdb"
    assert arena("db", "backup", own, "--data", data).returncode == 0
    again = arena("db", "backup", own, "--data", data)
    assert again.returncode == 2
    assert "exists already" in again.stderr
    made = [
        Path(json.loads(arena("db", "backup", "--json", "--keep", "2", "--data", data).stdout)["file"])
        for _ in range(4)
    ]
    assert [path.exists() for path in made] == [False, False, True, True]
    assert own.exists()
    assert own.stat().st_mode & 0o777 == 0o600
    assert list_backups(data) == [data / "backups" / path.name for path in made[2:]]
    with pytest.raises(BadWrite, match="at least one"):
        prune_backups(data, 0)
    assert not new_backup_path(data).exists()


def test_serve_backs_up_on_a_schedule_and_outlives_a_failed_backup(arena: Arena, data: Path) -> None:
    with serving(data, "--backup-every", "0.2s", "--keep", "2") as owner:
        made = [event(owner) for _ in range(4)]
        assert [each["event"] for each in made] == ["backup"] * 4
        assert len(list_backups(data)) == 2
        backups = data / "backups"
        backups.rename(data / "away")
        backups.write_text("in the way")
        said = event(owner)
        while said["event"] == "backup":
            said = event(owner)
        assert said["event"] == "backup failed"
        assert arena("db", "check", "--data", data).returncode == 0
        backups.unlink()
        (data / "away").rename(backups)
        while event(owner)["event"] != "backup":
            pass
    for wrong in ("soon", "0h", "5 weeks"):
        assert arena("db", "serve", "--backup-every", wrong, "--data", data).returncode == 2
    assert arena("db", "serve", "--keep", "2", "--data", data).returncode == 2


def test_migrate_says_from_and_to_and_backs_up(
    arena: Arena, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = board(data)
    idle = arena("db", "migrate", "--json", "--data", data)
    known = schema.migrations()
    newest = len(known)
    assert json.loads(idle.stdout) == {"from": newest, "to": newest, "backup": None}
    longer = [*known, schema.Migration(newest + 1, "later", "CREATE TABLE later (id UUID PRIMARY KEY)")]
    with monkeypatch.context() as patch:
        patch.setattr(schema, "migrations", lambda: longer)
        done = arena("db", "migrate", "--json", "--data", data)
        assert done.returncode == 0, done.stderr
        said = json.loads(done.stdout)
        assert (said["from"], said["to"]) == (newest, newest + 1)
    refused = arena("db", "migrate", "--data", data)
    assert refused.returncode == 1
    assert "Update Palaestra" in refused.stderr
    assert "backups" in refused.stderr
    assert arena("db", "restore", said["backup"], "--data", data).returncode == 0
    assert board(data) == before


def test_compacting_leaves_no_bytes_of_what_was_deleted(arena: Arena, data: Path) -> None:
    needle = "지울 내용".encode()
    with open_store(data) as store:
        before = leaderboard(store)
    tamper(
        data,
        "INSERT INTO items SELECT uuid(), md5(i::TEXT) || '지울 내용 ' || sha256(i::TEXT), '', '', 'import', "
        "false, NULL, now() FROM range(5000) r(i); CHECKPOINT; "
        "DELETE FROM items WHERE text LIKE '%지울 내용%'; CHECKPOINT",
    )
    file = data / "palaestra.duckdb"
    assert needle in file.read_bytes(), (
        "DuckDB leaves old bytes in free blocks; else this command is not needed"
    )
    done = arena("db", "compact", "--json", "--data", data)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["after"] == file.stat().st_size < said["before"]
    assert needle not in file.read_bytes()
    with open_store(data) as store:
        assert leaderboard(store) == before
        assert store.check() == []


@pytest.mark.faults
def test_an_owner_that_is_killed_costs_nothing(arena: Arena, data: Path) -> None:
    before = board(data)
    with serving(data) as owner:
        owner.kill()
        owner.wait(20)
        assert arena("db", "check", "--data", data).returncode == 0
    assert board(data) == before


@pytest.mark.faults
def test_an_owner_that_hangs_is_named(arena: Arena, data: Path) -> None:
    with serving(data) as owner:
        os.kill(owner.pid, signal.SIGSTOP)
        started = time.monotonic()
        done = arena("db", "check", "--wait", "0.5", "--data", data)
        assert done.returncode == 1
        assert f"process {owner.pid} holds" in done.stderr
        assert time.monotonic() - started < 20


@pytest.mark.faults
def test_a_damaged_database_is_named_with_its_backups(arena: Arena, data: Path) -> None:
    assert arena("db", "backup", "--data", data).returncode == 0
    before = board(data)
    (data / "palaestra.duckdb").write_bytes(b"\0" * 100_000)
    done = arena("db", "check", "--data", data)
    assert done.returncode == 1
    assert "restore a backup" in done.stderr
    (newest,) = list_backups(data)
    assert arena("db", "restore", newest.name, "--data", data).returncode == 0
    assert board(data) == before


FULL = """
import resource, sys
from arena.cli.main import main
limit = int(sys.argv.pop(1))
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
main()
"""


@pytest.mark.faults
@pytest.mark.parametrize("command", ["backup", "restore"])
def test_a_full_disk_leaves_no_half_file(arena: Arena, data: Path, command: str) -> None:
    """Files may not grow beyond 300 kB, as on a disk with that much left."""
    file = Path(json.loads(arena("db", "backup", "--json", "--data", data).stdout)["file"])
    before = board(data)
    folders = sorted(path.name for folder in (data, data / "backups") for path in folder.iterdir())
    words = ["restore", file.name] if command == "restore" else ["backup", "full.duckdb"]
    done = subprocess.run(
        [sys.executable, "-c", FULL, "300000", "db", *words, "--data", str(data)],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert "disk" in done.stderr
    left = sorted(path.name for folder in (data, data / "backups") for path in folder.iterdir())
    assert [name for name in left if name not in folders] in ([], ["palaestra.duckdb.wal"])
    assert not Path("full.duckdb").exists()
    assert board(data) == before


@pytest.mark.faults
def test_a_folder_that_may_not_be_written_is_named(tmp_path: Path) -> None:
    code = (
        "import os, results.store, results.store._client, results.store._backups\n"
        "from arena.cli.main import main\n"
        "if os.geteuid() == 0:\n    os.setgid(65534); os.setuid(65534)\nmain()"
    )
    base = Path("/tmp") / f"read-only-{os.getpid()}-{time.monotonic_ns()}"
    base.mkdir()
    try:
        open_store(base).close()
        (base / "palaestra.duckdb.lock").chmod(0o444)
        base.chmod(0o555)
        for words in (["check"], ["backup"], ["compact"]):
            done = subprocess.run(
                [sys.executable, "-c", code, "db", *words, "--data", str(base)],
                capture_output=True, text=True, check=False, timeout=60,
            )  # fmt: skip
            assert done.returncode == 1, done.stderr
            assert "Traceback" not in done.stderr
            assert "cannot be written" in " ".join(done.stderr.split())
    finally:
        base.chmod(0o755)
        for file in base.iterdir():
            file.rmdir() if file.is_dir() else file.unlink()
        base.rmdir()
