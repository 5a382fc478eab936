"""What the Benchmarks page says of items that a model knows from its training, and how long work is told."""

from __future__ import annotations

import asyncio

import pytest

from arena.web._work import AtWork, Work, Works
from arena.web.pages.benchmarks_views import results_html, samples_html, work_html
from evaluators.suites.catalogue import find_suite
from evaluators.suites.side_by_side import SamplePair, SidesAnswer


def test_contaminated_and_clean_parts_stand_apart() -> None:
    row = {
        "model": "mine@2", "version_key": 2, "suite": "capitals", "metric": "match", "is_score": True, "language": "",
        "value": 0.9, "stderr": 0.05, "items": 20, "samples": 20, "errors": 0,
    }  # fmt: skip
    apart = {
        "model": "mine@2", "suite": "capitals", "metric": "match", "why": {"dataset <팁>@1": 8}, "clean": None,
        "contaminated": {"value": 1.0, "stderr": 0.0, "items": 8},
    }  # fmt: skip
    summary = {
        "run": "x", "name": "", "state": "done", "note": "", "started": "2026-11-22T07:00:00", "results": [row],
        "plan": {"limit": None, "samples": 1, "seed": 0},
    }  # fmt: skip
    page = results_html("en", {**summary, "apart": [apart]})
    assert "0.900 ± 0.050" in page
    assert "seen in training" in page
    assert "1.000 ± 0.000" in page
    assert "dataset &lt;팁&gt;@1 (8)" in page
    assert "seen in training" not in results_html("en", {**summary, "apart": []})


def test_a_sample_says_who_has_seen_its_item_and_escapes_answers() -> None:
    answer = SidesAnswer("<b>서울</b>", 1.0, {"match": 1.0}, {}, "stop", None, None, None)
    pair = SamplePair("0001", "hash", "ko", "", 0, answer, None)
    page = samples_html("ko", [pair], 0, None, ["mine@2", "other@1"], [{"hash": {"dataset tips@1"}}, {}])
    assert page.count("학습 때 본 문항: dataset tips@1") == 1
    assert "&lt;b&gt;서울&lt;/b&gt;" in page
    assert "이 문항은 묻지 않음" in page


@pytest.mark.parametrize(
    ("suite", "category", "told"),
    [
        ("safety", "theft", "refuse"),
        ("classification", "topic", "delivery"),
        ("summarisation", "", "must_mention"),
    ],
)
def test_a_sample_says_what_a_right_answer_is(suite: str, category: str, told: str) -> None:
    found = find_suite(suite)
    item = next(each for each in found.items if category in ("", each.category))
    pair = SamplePair(item.id, item.digest, item.language, item.category, 0, None, None)
    page = samples_html("en", [pair], 0, found, ["mine@2"], [{}])
    told = item.values["must_mention"][0][0] if told == "must_mention" else told
    assert told in page.split('class="role">expected</span>')[1]


def test_a_question_without_an_answer_expects_to_be_told_so() -> None:
    found = find_suite("grounded_qa")
    item = next(each for each in found.items if each.values["answers"] == [])
    pair = SamplePair(item.id, item.digest, item.language, item.category, 0, None, None)
    assert "문서에 답이 없다고 말하기" in samples_html("ko", [pair], 0, found, ["mine@2"], [{}])


async def test_work_is_told_stopped_and_refused_twice() -> None:
    works, begun = Works(), asyncio.Event()

    async def forever(work: Work) -> None:
        work.done, work.total = 3, 10
        begun.set()
        await asyncio.Event().wait()

    async def fails(work: Work) -> None:
        raise ValueError("<no> model")

    works.start("bench", "first", forever)
    await begun.wait()
    with pytest.raises(AtWork, match="first"):
        works.start("bench", "second", forever)
    going = works.current("bench")
    assert going is not None
    assert going.left is not None
    assert 'value="3" max="10"' in work_html("en", going)
    await works.close()
    assert going.state == "stopped"
    assert "nothing is asked twice" in work_html("en", going)

    broken = works.start("bench", "third", fails)
    while broken.running:
        await asyncio.sleep(0)
    assert broken.state == "failed"
    assert "&lt;no&gt; model" in work_html("en", broken)
