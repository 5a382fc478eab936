"""Figures: well-formed, truthful in their text alternative, and safe with any name."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from results.figures import Interval, Series, count_map, interval_plot, line_plot, ratings_plot, win_rate_map
from results.figures._figure import shortened, text_width, ticks
from results.leaderboard import Leaderboard, LeaderboardRow

NASTY = "</svg><script>alert(1)</script>\x00\ud800&'\""
SVG = "{http://www.w3.org/2000/svg}"


def texts(svg: str) -> list[str]:
    """The texts that a figure shows, without tooltips."""
    return [element.text or "" for element in ElementTree.fromstring(svg).iter(f"{SVG}text")]


def test_a_leaderboard_shows_itself_in_a_notebook(tmp_path: Path) -> None:
    rows = [
        LeaderboardRow(rank=1, model="한빛-7B", rating=1100.4, lower=1050, upper=1150, votes=9,
                       wins=6, losses=3, ties=0),
        LeaderboardRow(rank=None, model="무패", rating=None, lower=1200, upper=None, votes=2, wins=2, losses=0, ties=0),
    ]  # fmt: skip
    board = Leaderboard(
        method="bt", votes=11, excluded={}, models=tuple(rows), source="human", by="model", level=0.9
    )
    figure = ratings_plot(board)
    svg = figure._repr_svg_()
    assert ElementTree.fromstring(svg).attrib["aria-label"] == (
        "Ratings with 90% intervals. 한빛-7B 1100 (1050 – 1150); 무패 > 1200"
    )
    assert {"한빛-7B", "1100 (1050 – 1150)", "무패", "> 1200"} <= set(texts(svg))
    assert "url(" not in svg
    figure.save(tmp_path / "ratings.svg")
    assert (tmp_path / "ratings.svg").read_text(encoding="utf-8") == svg
    assert len(texts(ratings_plot(board, most=1).svg())) < len(texts(svg))


def test_intervals_stand_where_their_numbers_are() -> None:
    svg = interval_plot([Interval("a", 1000, 900, 1100), Interval("b", 1100, 1000, 1200)], width=700).svg()
    root = ElementTree.fromstring(svg)
    bars = [
        (float(e.attrib["x1"]), float(e.attrib["x2"]))
        for e in root.iter(f"{SVG}line")
        if e.attrib["class"] == "bar"
    ]
    dots = [float(e.attrib["cx"]) for e in root.iter(f"{SVG}circle")]
    per_point = (bars[0][1] - bars[0][0]) / 200
    assert bars[1][0] - bars[0][0] == pytest.approx(100 * per_point, abs=0.2)
    assert dots == pytest.approx([sum(bar) / 2 for bar in bars], abs=0.2)


def test_heat_maps_say_every_number_and_leave_out_what_never_met() -> None:
    wins, games = np.array([[0, 3.0, 0], [1, 0, 0], [0, 0, 0]]), np.array([[0, 4.0, 0], [4, 0, 0], [0, 0, 0]])
    shown = texts(win_rate_map(["가", "나", "다"], wins, games, title="t").svg())
    assert shown.count("75") == shown.count("25") == 1
    assert "nan" not in " ".join(shown)
    root = ElementTree.fromstring(win_rate_map(["가", "나", "다"], wins, games).svg())
    assert [e.attrib["class"] for e in root.iter(f"{SVG}rect") if "class" in e.attrib] == [
        "more", "none", "less", "none", "none", "none",
    ]  # fmt: skip
    assert "1k" in texts(count_map(["가", "나"], np.array([[0, 1234.0], [1234, 0]])).svg())


def test_lines_are_named_at_their_ends_without_overlap() -> None:
    start = datetime(2026, 1, 1, tzinfo=UTC)
    times = tuple(start + timedelta(days=k) for k in range(5))
    series = [Series(f"모델 {k}", times, (None, *(1000.0 + k + step for step in range(4)))) for k in range(6)]
    svg = line_plot(series, title="t", description="d").svg()
    places = [float(y) for y in re.findall(r'y="([\d.]+)"[^>]*>모델 \d<', svg)]
    assert len(places) == 6
    assert min(np.diff(sorted(places))) >= 14.9
    # Dashes differ, so that lines are told apart without colour.
    dashes = re.findall(r'class="line c\d" d="[^"]+"( stroke-dasharray="[^"]+")?', svg)
    assert len(set(dashes)) == 6
    assert ElementTree.fromstring(line_plot([], title="t").svg()) is not None


@pytest.mark.parametrize("standalone", [True, False])
def test_no_name_breaks_out_of_a_figure(standalone: bool) -> None:
    time = datetime(2026, 1, 1, tzinfo=UTC)
    for figure in (
        interval_plot([Interval(NASTY, 1, 0, 2)], title=NASTY),
        count_map([NASTY, "b"], np.array([[0, 1.0], [1, 0]]), title=NASTY, description=NASTY),
        line_plot([Series(NASTY, (time, time + timedelta(days=1)), (1.0, 2.0))], title=NASTY),
    ):
        svg = figure.svg(standalone=standalone)
        svg.encode()
        tags = {element.tag.removeprefix(SVG) for element in ElementTree.fromstring(svg).iter()}
        assert "script" not in tags
        assert tags <= {"svg", "style", "rect", "line", "text", "title", "path", "circle"}


def test_korean_takes_twice_the_room_and_is_cut_to_fit() -> None:
    assert text_width("한빛") == 24
    assert shortened("한빛-7B-지시학습-최종", 60).endswith("…")
    assert text_width(shortened("한빛-7B-지시학습-최종", 60)) <= 60
    assert shortened("짧다", 60) == "짧다"


def test_ticks_are_round_and_inside() -> None:
    assert ticks(900, 1210, 7) == [900, 1000, 1100, 1200]
    assert all(0.2 <= tick <= 0.9 for tick in ticks(0.2, 0.9, 5))
