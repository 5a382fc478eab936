"""Reports: suites with paired differences, and the smallest model that is good enough, or undecided."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pytest

from results.reports import Report, ReportQuery, collect, render
from results.store import Store, open_store
from tests.results.reports_made import fill


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    folder = tmp_path_factory.mktemp("choice")
    with open_store(folder / "data") as opened:
        fill(opened, folder)
        yield opened


@pytest.fixture(scope="module")
def report(store: Store) -> Report:
    return collect(store)


def test_standings_follow_the_intervals(report: Report) -> None:
    assert report.choice is not None
    first, *others = report.choice.options
    assert (first.name, first.standing) == (report.choice.leader, "leader")
    for option in others:
        expected = "good" if option.lower >= 0.45 else "worse" if option.upper < 0.45 else "open"
        assert option.standing == expected
    assert {option.standing for option in others} >= {"worse"}


def test_picks_take_the_least_among_the_good_and_say_what_is_open(store: Store, report: Report) -> None:
    assert report.choice is not None
    picks = {pick.resource: pick for pick in report.choice.picks}
    assert "cost" not in picks, "no price is known"
    memory = picks["memory"]
    assert memory.unknown == len(report.choice.options) - 3
    assert memory.cheapest is not None
    sizes = {o.name: o.facts.bytes_on_disk for o in report.choice.options if o.facts.bytes_on_disk}
    good = [o.name for o in report.choice.options if o.name in sizes and o.standing in ("leader", "good")]
    assert sizes[memory.cheapest.name] == min(sizes[name] for name in good)
    # With any loss accepted the smallest of all will do; with none at all only the leader is sure.
    free = collect(store, ReportQuery(acceptable_loss=0.49, examples=0)).choice
    strict = collect(store, ReportQuery(acceptable_loss=0.0, examples=0)).choice
    assert free is not None
    assert strict is not None
    assert free.picks[0].cheapest is not None
    assert free.picks[0].cheapest.facts.bytes_on_disk == min(sizes.values())
    assert strict.picks[0].cheapest is not None
    assert strict.picks[0].cheapest.standing == "leader"


def test_suites_are_compared_item_by_item(report: Report) -> None:
    (view,) = report.suites
    assert view.suite == "산수"
    assert [each.score for each in view.scores] == sorted((each.score for each in view.scores), reverse=True)
    best, *others = view.scores
    assert (best.behind, best.shared, best.clear) == (None, None, False)
    for each in others:
        assert each.shared == 24
        assert each.behind is not None
        assert each.lower is not None
        assert each.upper is not None
        assert each.behind == pytest.approx(best.score - each.score)
        assert each.lower < each.behind < each.upper
        assert each.error < math.sqrt(0.25 / 11) * 1.3
    assert len(view.telling) == 5


@pytest.mark.parametrize(
    ("language", "words"),
    [
        ("en", ["Quality against memory", "percentage points", "Test suites", "± "]),
        ("ko", ["품질과 메모리, 지연, 비용", "%p", "테스트 모음", "최고 모델과의 차"]),
    ],
)
def test_both_languages_say_it(report: Report, language: str, words: list[str]) -> None:
    page = render(report, language="ko" if language == "ko" else "en")
    for word in words:
        assert word in page
    assert "palaestra-choice.csv" in page
    assert "palaestra-suites.csv" in page
    assert "4.10 GB" in page
