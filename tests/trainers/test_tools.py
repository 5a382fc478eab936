"""Tools of a YAML file: sums, programs, and files that cannot be used."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from trainers.tools import BadTools, read_tools


def written(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "도구.yaml"
    file.write_text(text, encoding="utf-8")
    return file


@pytest.mark.parametrize(
    ("kind", "arguments", "result"),
    [
        ("add", "17, 25, -2", "40"),
        ("subtract", "5, 7.5", "-2.5"),
        ("multiply", "3, 4", "12"),
        ("divide", "1, 3", "0.3333333333"),
        ("calculate", "2 * (3 + 4) - -1 / 2", "14.5"),
        ("calculate", "1e20 * 10", "1e+21"),
    ],
)
def test_sums(kind: str, arguments: str, result: str, tmp_path: Path) -> None:
    (tool,) = read_tools(written(tmp_path, f"- {{token: <셈>, run: {kind}}}"))
    assert (tool.token, tool.run(arguments)) == ("<셈>", result)


@pytest.mark.parametrize(
    ("kind", "arguments"),
    [
        ("add", "둘, 셋"),
        ("divide", "1, 0"),
        ("calculate", "2 ** 9"),
        ("calculate", "__import__('os')"),
        ("calculate", "1e308 * 10"),
        ("calculate", ""),
    ],
)
def test_what_is_no_sum_is_told(kind: str, arguments: str, tmp_path: Path) -> None:
    (tool,) = read_tools(written(tmp_path, f"- {{token: <c>, run: {kind}}}"))
    with pytest.raises(ValueError, match=r"."):
        tool.run(arguments)


def test_programs_get_the_arguments_as_one_word(tmp_path: Path) -> None:
    program = tmp_path / "weather.py"
    program.write_text(
        "import sys\nprint(sys.argv[1] + ': 맑음') if sys.argv[1] else sys.exit('no city')\n", "utf-8"
    )
    words = f"[{sys.executable}, {program}]"
    (tool,) = read_tools(
        written(tmp_path, f"- token: <날씨>\n  demonstrations: '부산 <날씨>(부산)'\n  command: {words}")
    )
    assert tool.run("서울; echo x") == "서울; echo x: 맑음"
    with pytest.raises(ValueError, match="no city"):
        tool.run("")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[", "cannot be read"),
        ("", "the file: Input should be a valid list"),
        ("[]", "the file: List should have at least 1 item"),
        ("- {token: <a>}", r"0: give either `run`"),
        ("- {token: <a>, run: add, command: [x]}", r"0: give either `run`"),
        ("- {token: <a>, run: root}", r"0\.run: Input should be 'calculate'"),
        ("- {tokn: <a>, run: add}", r"0\.token: Field required; 0\.tokn: Extra"),
    ],
)
def test_bad_files_name_the_entry(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(BadTools, match=message):
        read_tools(written(tmp_path, text))
    with pytest.raises(BadTools, match="cannot be read"):
        read_tools(tmp_path / "none.yaml")
