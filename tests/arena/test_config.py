from pathlib import Path

import pytest

from arena.config import ConfigError, load_settings


def write(folder: Path, text: str) -> Path:
    path = folder / "arena.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_defaults_without_a_file(tmp_path: Path) -> None:
    settings = load_settings(tmp_path)
    assert settings.server.host == "127.0.0.1"
    assert settings.server.port == 7860
    assert settings.matchmaking.strategy == "uniform"


def test_the_environment_goes_over_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, '[server]\nport = 9000\nhost = "localhost"\n')
    monkeypatch.setenv("ARENA_SERVER__PORT", "9001")
    monkeypatch.setenv("ARENA_DATA", str(tmp_path))  # another variable of ours that is no setting
    settings = load_settings(tmp_path)
    assert (settings.server.port, settings.server.host) == (9001, "localhost")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[server]\nprot = 1\n", r"server\.prot: unknown key \(did you mean 'port'\?\)"),
        ("[matchmaker]\n", r"matchmaker: unknown key \(did you mean 'matchmaking'\?\)"),
        ("[server]\nport = 70000\n", r"server\.port: .*less than or equal to 65535"),
        ("[battle]\nmax_turns = 0\n", r"battle\.max_turns: "),
        (
            '[matchmaking]\nboost = {pair = ["a", "b"], probability = 0.5, side = "a"}\n',
            r"boost\.side: unknown key",
        ),
        ('[matchmaking.weights]\n"모형" = -1\n', r"weights\.모형: .*greater than 0"),
        (
            '[[endpoints]]\nurl = "http://a/v1"\nmax_conccurrent = 3\n',
            r"endpoints\.0\.max_conccurrent: unknown key \(did you mean 'max_concurrent'\?\)",
        ),
        (
            '[prices."모형"]\ninput = 1\noutput = 2\ncurency = "KRW"\n',
            r"prices\.모형\.curency: unknown key \(did you mean 'currency'\?\)",
        ),
        ("port = \n", r"not valid TOML"),
    ],
)
def test_bad_settings_name_file_key_and_remedy(tmp_path: Path, text: str, says: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(ConfigError, match=says) as caught:
        load_settings(tmp_path)
    assert str(path) in str(caught.value)


def test_a_bad_variable_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARENA_SERVER__PORT", "many")
    with pytest.raises(ConfigError, match=r"ARENA_SERVER__PORT: "):
        load_settings(tmp_path)


def test_a_named_file_must_exist(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        load_settings(tmp_path, tmp_path / "absent.toml")
