"""Suites as files: what is wrong is told with file and line; a user's own cases become a suite."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from openpyxl import Workbook

from arena.engines.base import GenerationRequest, ScoreRequest
from evaluators.suites.catalogue import find_suite, suite_folders
from evaluators.suites.definition import load_suite
from evaluators.suites.errors import SuiteError
from evaluators.suites.items import read_items
from evaluators.suites.own import add_suite
from evaluators.suites.plan import RunOptions, chosen_items


def suite(folder: Path, definition: str, *items: dict[str, object]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{folder.name}.yaml").write_text(definition, encoding="utf-8")
    lines = [json.dumps(item, ensure_ascii=False) for item in items]
    (folder / "items.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


CAPITALS = "suite: capitals\nscorer: normalised\nprompt: {en: 'Capital of {{ input }}?', ko: '{{ input }}의 수도는?'}\n"
FRANCE = {"id": "1", "language": "en", "input": "France", "target": "Paris"}
KOREA = {"id": "2", "language": "ko", "input": "대한민국", "target": "서울"}


def test_a_prompt_is_chosen_by_language(tmp_path: Path) -> None:
    loaded = load_suite(suite(tmp_path / "capitals", CAPITALS, FRANCE, KOREA))
    asks = [loaded.request(item).ask for item in loaded.items]
    assert [ask.conversation.messages[0].content for ask in asks if ask.conversation] == [
        "Capital of France?",
        "대한민국의 수도는?",
    ]
    assert all(isinstance(ask, GenerationRequest) and ask.sampling.temperature == 0 for ask in asks)
    assert loaded.languages == ["en", "ko"]


def test_a_line_separator_inside_a_text_is_no_new_line(tmp_path: Path) -> None:
    path = tmp_path / "items.jsonl"
    path.write_text('{"id": "1", "input": "a\u2028b"}\n\n{"id": 2, "input": "c"}', encoding="utf-8")
    assert [(item.id, item.input) for item in read_items(path)] == [("1", "a\u2028b"), ("2", "c")]


@pytest.mark.parametrize(
    ("definition", "items", "told"),
    [
        (CAPITALS, [FRANCE, {**KOREA, "id": "1"}], r"line 2: the id '1' stands already at .*line 1"),
        (CAPITALS, [FRANCE, {"id": "2", "input": "x"}], r"line 2: .*give target"),
        (
            CAPITALS.replace("input", "country"),
            [FRANCE],
            r"item 1: the prompt cannot be made: 'country' is undefined",
        ),
        (CAPITALS.replace("normalised", "normalized"), [FRANCE], "did you mean 'normalised'"),
        (CAPITALS + "metrics: [f2]\n", [FRANCE], "has no metric f2; it has match"),
        (CAPITALS + "scorer_options: {cases: true}\n", [FRANCE], "cases"),
        (CAPITALS + "licnece: CC0\n", [FRANCE], "licnece: Extra inputs"),
        (CAPITALS, [], "no items"),
        ("suite: [", [FRANCE], "cannot be read"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(
    tmp_path: Path, definition: str, items: list[dict[str, object]], told: str
) -> None:
    with pytest.raises(SuiteError, match=told):
        load_suite(suite(tmp_path / "capitals", definition, *items))


def test_invalid_json_is_told_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "items.jsonl"
    path.write_text('{"id": "1"}\n{"id": \n', encoding="utf-8")
    with pytest.raises(SuiteError, match=r"items\.jsonl, line 2: not valid JSON"):
        read_items(path)


def test_any_edit_makes_another_item_and_another_suite(tmp_path: Path) -> None:
    one = load_suite(suite(tmp_path / "a" / "capitals", CAPITALS, FRANCE))
    two = load_suite(suite(tmp_path / "b" / "capitals", CAPITALS, {**FRANCE, "target": "paris"}))
    three = load_suite(
        suite(tmp_path / "c" / "capitals", CAPITALS + "scorer_options: {case: false}\n", FRANCE)
    )
    assert one.items[0].digest != two.items[0].digest
    assert len({one.digest, two.digest, three.digest}) == 3
    assert one.task_version == two.task_version != three.task_version


def test_a_limit_takes_languages_in_turn(tmp_path: Path) -> None:
    items = [{**FRANCE, "id": f"e{n}"} for n in range(5)] + [{**KOREA, "id": f"k{n}"} for n in range(5)]
    loaded = load_suite(suite(tmp_path / "capitals", CAPITALS, *items))
    assert [item.id for item in chosen_items(loaded, RunOptions(limit=4))] == ["e0", "e1", "k0", "k1"]
    assert len(chosen_items(loaded, RunOptions(languages=("ko",)))) == 5


def test_a_limit_takes_difficulties_in_turn_as_well(tmp_path: Path) -> None:
    tags = ["easy"] * 4 + ["hard"] * 4 + ["medium"] * 4
    items = [
        {**of, "id": f"{of['id']}-{n}", "tags": ["long", tag]}
        for of in (FRANCE, KOREA)
        for n, tag in enumerate(tags)
    ]
    loaded = load_suite(suite(tmp_path / "capitals", CAPITALS, *items))
    taken = chosen_items(loaded, RunOptions(limit=6))
    assert {(item.language, item.difficulty) for item in taken} == {
        (language, level) for language in ("en", "ko") for level in ("easy", "medium", "hard")
    }


def test_examples_are_turns_before_the_question(tmp_path: Path) -> None:
    definition = (
        "suite: kinds\nscorer: label\nlabel_sets: {place: [city, country], food: [fruit, bread]}\n"
        "prompt: '{{ input }}? One of: {{ labels | join(\", \") }}'\n"
        "examples:\n  en:\n    - {category: place, input: Rome, answer: city}\n"
        "    - {category: food, input: pear, answer: fruit}\n    - {input: oat loaf, answer: bread}\n"
    )
    item = {"id": "1", "language": "en", "category": "place", "input": "Peru", "target": "country"}
    korean = {"id": "2", "language": "ko", "category": "place", "input": "페루", "target": "country"}
    loaded = load_suite(suite(tmp_path / "kinds", definition, item, korean))
    english, other = (loaded.request(each).ask.conversation for each in loaded.items)
    assert english is not None
    assert other is not None
    assert [(message.role, message.content) for message in english.messages] == [
        ("user", "Rome? One of: city, country"),
        ("assistant", "city"),
        ("user", "oat loaf? One of: city, country"),
        ("assistant", "bread"),
        ("user", "Peru? One of: city, country"),
    ]
    assert len(other.messages) == 1
    with pytest.raises(SuiteError, match="needs an answer"):
        load_suite(suite(tmp_path / "bad", CAPITALS + "examples: {en: [{input: x}]}\n", FRANCE))


def test_choices_are_scored_and_not_generated(tmp_path: Path) -> None:
    definition = "suite: capitals\nscorer: choice\n"
    item = {"id": "1", "input": "Capital of France?", "choices": ["Paris", "Rome"], "target": 0}
    loaded = load_suite(suite(tmp_path / "capitals", definition, item))
    ask = loaded.request(loaded.items[0]).ask
    assert isinstance(ask, ScoreRequest)
    assert ask.continuations == ("Paris", "Rome")


def test_a_korean_spreadsheet_becomes_a_suite(tmp_path: Path) -> None:
    book = Workbook()
    sheet = book.worksheets[0]
    for row in (
        ["번호", "질문", "정답", "담당"],
        [1, "대한민국의 수도는?", "서울", "영업"],
        [2, "3 더하기 4는?", 7, "회계"],
    ):
        sheet.append(row)
    book.save(tmp_path / "고객.xlsx")
    named = add_suite(tmp_path / "고객.xlsx", tmp_path / "data")
    assert (named.name, named.definition.scorer) == ("고객", "normalised")
    made = add_suite(tmp_path / "고객.xlsx", tmp_path / "data", name="customers")
    assert [(item.id, item.language, item.values["target"]) for item in made.items] == [
        ("1", "ko", "서울"),
        ("2", "ko", "7"),
    ]
    assert made.items[0].values["담당"] == "영업"
    assert find_suite("customers", tmp_path / "data").digest == made.digest
    with pytest.raises(SuiteError, match="already"):
        add_suite(tmp_path / "고객.xlsx", tmp_path / "data", name="customers")
    add_suite(tmp_path / "고객.xlsx", tmp_path / "data", name="customers", replace=True)


def test_a_csv_of_windows_and_choices_by_letter(tmp_path: Path) -> None:
    text = 'question,options,answer\n"수도는, 어디?",서울 | 부산,A\n"2+2?",3|4,4\n'
    (tmp_path / "quiz.csv").write_bytes(text.encode("cp949"))
    made = add_suite(tmp_path / "quiz.csv", tmp_path / "data")
    assert made.definition.scorer == "choice_letter"
    assert [item.values["target"] for item in made.items] == ["서울", "4"]
    conversation = made.request(made.items[0]).ask.conversation
    assert conversation is not None
    assert "A. 서울\nB. 부산" in conversation.messages[0].content


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("a.csv", "x,answer\n1,2\n", r"line 2: there is no input. Columns: x, answer"),
        ("a.csv", "question\nwhat?\n", "line 2: .*give target"),
        ("a.csv", "question,question\na,b\n", "two columns are named 'question'"),
        ("a.csv", "question,answer\na,b,c\n", "line 2: 3 cells, but 2 columns"),
        ("a.csv", "", "no rows"),
        ("a.doc", "x", "cannot be read; give .csv"),
        ("a.jsonl", "[1]\n", "line 1: expected a JSON object"),
        ("a.csv", "question,options,answer\na,x|y,z\n", "line 2: the answer 'z' is none of the choices"),
        ("a.csv", "question,options,answer\na,x|y,0\nb,x|y,2\n", "line 3: the answer '2' is none"),
        (
            "a.csv",
            "input;antwort\na;b\n",
            "line 2: give target .* reads target, targets; a.csv has input, antw",
        ),
        ("a.xlsx", "no spreadsheet", "not readable as a spreadsheet"),
        ("!.csv", "question,answer\na,b\n", "give the suite a name"),
        ("classification.csv", "question,answer\na,b\n", "there is a suite 'classification' already"),
    ],
)
def test_bad_files_are_told_with_their_place(tmp_path: Path, name: str, text: str, told: str) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(SuiteError, match=told):
        add_suite(tmp_path / name, tmp_path / "data")
    assert suite_folders(tmp_path / "data") == suite_folders()


@pytest.mark.parametrize(
    ("name", "answers", "right"),
    [
        ("a.csv", (1, 2), ("x", "y")),  # people count from 1
        ("a.jsonl", (1, 2), ("y", "z")),  # programs count from 0
        ("a.csv", (0, 2), ("x", "z")),
        ("a.jsonl", (1, 3), ("x", "z")),
        ("a.csv", ("z", "B"), ("z", "y")),
    ],
)
def test_numbers_of_choices_are_counted_as_the_file_does(
    tmp_path: Path, name: str, answers: tuple[int | str, ...], right: tuple[str, ...]
) -> None:
    rows = [
        {"question": f"q{n}", "choices": ["x", "y", "z"], "answer": each} for n, each in enumerate(answers)
    ]
    lines = [json.dumps(row) for row in rows]
    if name.endswith(".csv"):
        lines = ["question;choices;answer", *(f"{row['question']};x|y|z;{row['answer']}" for row in rows)]
    (tmp_path / name).write_text("\n".join(lines), encoding="utf-8")
    made = add_suite(tmp_path / name, tmp_path / "data")
    assert tuple(item.values["target"] for item in made.items) == right


def test_short_texts_are_in_the_language_of_the_file(tmp_path: Path) -> None:
    texts = [
        "Question 1?",
        "2 + 2 =",
        "수도는 어디인가요 (capital)?",
        "Where is the office of the company?",
        "12",
        "What colour?",
    ]
    lines = ["input,target", *(f'"{text}",x' for text in texts)]
    (tmp_path / "a.csv").write_text("\n".join(lines), encoding="utf-8")
    made = add_suite(tmp_path / "a.csv", tmp_path / "data")
    assert [item.language for item in made.items] == ["en", "", "ko", "en", "", "en"]


def test_a_schema_that_is_none_is_told_before_anything_runs(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"input": "x", "schema": {"type": "objct"}}\n', encoding="utf-8")
    with pytest.raises(SuiteError, match="item 0001: scorer json_schema: the schema is not valid: 'objct'"):
        add_suite(tmp_path / "a.jsonl", tmp_path / "data", scorer="json_schema")


def test_columns_can_be_named(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text("Frage\tAntwort\nWas?\tDas\n", encoding="utf-8")
    made = add_suite(
        tmp_path / "a.tsv",
        tmp_path / "data",
        scorer="contains",
        columns={"input": "Frage", "answers": "Antwort"},
    )
    assert made.items[0].values["answers"] == ["Das"]
    with pytest.raises(SuiteError, match="no column 'x'; there are Frage, Antwort"):
        add_suite(tmp_path / "a.tsv", tmp_path / "data", columns={"input": "x"})


def test_every_starter_suite_loads() -> None:
    for name, folder in suite_folders().items():
        loaded = load_suite(folder, "starter")
        assert (loaded.name, loaded.languages) == (name, ["en", "ko"])
