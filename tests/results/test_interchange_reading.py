"""Reading rows: every way in which a line can be bad costs that line alone, and is named by its number."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from results.interchange import BadFile
from results.interchange.reading import BadRow, Row, RowSource


def read(path: Path, content: bytes) -> list[Row | BadRow]:
    path.write_bytes(content)
    with RowSource(path) as source:
        return list(source)


def test_csv_lines_are_those_of_the_file(tmp_path: Path) -> None:
    content = '\ufeffa,b\r\n1,"두\r\n줄"\r\n\r\n2,"x ""y"""\r\n'.encode()
    assert read(tmp_path / "v.csv", content) == [
        Row(2, {"a": "1", "b": "두\r\n줄"}),
        Row(5, {"a": "2", "b": 'x "y"'}),
    ]


def test_bad_utf8_costs_its_row_alone(tmp_path: Path) -> None:
    rows = read(tmp_path / "v.csv", "a,b\n1,한\n2,".encode() + "한국".encode("cp949") + b"\n3,z\n")
    assert [type(row) for row in rows] == [Row, BadRow, Row]
    assert rows[1].line == 3
    assert "not UTF-8 (byte 0xc7)" in rows[1].reason
    rows = read(tmp_path / "v.jsonl", b'{"a": 1}\n{"a": "\xff"}\n{"a": 2}\n')
    assert [(type(row), row.line) for row in rows] == [(Row, 1), (BadRow, 2), (Row, 3)]


def test_ragged_rows_and_broken_quotes_are_reported(tmp_path: Path) -> None:
    rows = read(tmp_path / "v.csv", b'a,b\n1\n1,2,3\n"x"y,2\n4,5\n6,"never\nclosed\n')
    assert [(row.line, type(row)) for row in rows] == [
        (2, BadRow), (3, BadRow), (4, BadRow), (5, Row), (6, BadRow),
    ]  # fmt: skip
    assert rows[0].reason == "1 fields where the header names 2"
    assert "a quote that opens here is not closed by line 7" in rows[4].reason


def test_other_delimiters_are_seen_in_the_header(tmp_path: Path) -> None:
    assert read(tmp_path / "v.tsv", b"a\tb\n1\tx,y\n") == [Row(2, {"a": "1", "b": "x,y"})]
    assert read(tmp_path / "v.csv", b"a;b\n1;x,y\n") == [Row(2, {"a": "1", "b": "x,y"})]


def test_jsonl_is_split_at_newlines_only(tmp_path: Path) -> None:
    content = '\ufeff{"a": "하나\u2028둘\x85"}\r\n\n[1]\n{"a": \n{"a": 2}'.encode()
    rows = read(tmp_path / "v.jsonl", content)
    assert rows[0] == Row(1, {"a": "하나\u2028둘\x85"})
    assert [(row.line, type(row)) for row in rows[1:]] == [(3, BadRow), (4, BadRow), (5, Row)]
    assert "a JSON list where an object is needed" in rows[1].reason


def test_parquet_rows_are_numbered(tmp_path: Path) -> None:
    path = tmp_path / "v.parquet"
    pq.write_table(pa.table({"a": ["가", None], "c": [[{"role": "user"}], None]}), path)
    with RowSource(path) as source:
        assert source.columns == ("a", "c")
        assert list(source) == [
            Row(1, {"a": "가", "c": [{"role": "user"}]}),
            Row(2, {"a": None, "c": None}),
        ]
        assert source.position == source.size == 2


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("v.csv", b"", "is empty"),
        ("v.csv", "a,b\n".encode("utf-16"), "UTF-16"),
        ("v.csv", "모델\n".encode("cp949"), "line 1 is not UTF-8"),
        ("v.csv", b"a,a\n1,2\n", "names a more than once"),
        ("v.jsonl", b'[\n{"a": 1}]\n', "one object per line"),
        ("v.jsonl", "{}".encode("utf-16"), "UTF-16"),
        ("v.parquet", b"not parquet", "not a Parquet file"),
        ("v.xlsx", b"", "ends in .csv"),
    ],
)
def test_files_that_cannot_be_read_say_why(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    with pytest.raises(BadFile, match=message):
        read(tmp_path / name, content)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadFile, match=r"nowhere\.csv: cannot be read"):
        RowSource(tmp_path / "nowhere.csv")


@given(st.binary(max_size=300))
@settings(deadline=None)
def test_any_bytes_become_rows_or_a_clear_refusal(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    folder = tmp_path_factory.getbasetemp()
    for name in ("fuzz.csv", "fuzz.jsonl"):
        try:
            rows = read(folder / name, content)
        except BadFile:
            continue
        lines = [row.line for row in rows]
        assert lines == sorted(set(lines))


def test_arrow_files_and_streams(tmp_path: Path) -> None:
    table = pa.table({"model_a": ["가람", "나래", "다솜"], "n": [1, None, 3]})
    file, stream = tmp_path / "votes.arrow", tmp_path / "stream.feather"
    with pa.OSFile(str(file), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=2)
    with pa.OSFile(str(stream), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    for path in (file, stream):
        with RowSource(path) as rows:
            assert rows.columns == ("model_a", "n")
            assert [(row.line, row.values) for row in rows if isinstance(row, Row)] == [
                (1, {"model_a": "가람", "n": 1}), (2, {"model_a": "나래", "n": None}), (3, {"model_a": "다솜", "n": 3}),
            ]  # fmt: skip
    for broken in (b"", b"ARROW1 and nothing", b"model_a,n\n"):
        file.write_bytes(broken)
        with pytest.raises(BadFile, match="is not an Arrow file"):
            RowSource(file)
    stream.write_bytes(stream.read_bytes()[:-60])
    with RowSource(stream) as rows, pytest.raises(BadFile, match="is broken after row 0"):
        list(rows)
