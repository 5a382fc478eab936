import re

from results.figures import Curve, curve_plot, histogram_plot


def test_curves_are_told_apart_and_begin_and_end_where_they_do() -> None:
    steps = tuple(float(n) for n in range(1, 2001))
    long = Curve("loss", steps, tuple(3 / step for step in steps))
    figure = curve_plot([long, Curve("held out", (1.0, 2000.0), (2.0, 1.0))], title="Loss")
    svg = figure.svg()
    assert "loss 3 → 0.0015; held out 2 → 1" in svg
    paths = re.findall(r'<path class="line c(\d)" d="M([^"]+)"( stroke-dasharray="[^"]+")?/>', svg)
    assert {style for style, _, dash in paths if not dash} == {"0"}
    assert {style for style, _, dash in paths if dash} == {"1"}
    points = [float(pair.split()[1]) for pair in paths[0][1].split("L")]
    assert len(points) == 400
    assert points[0] < points[-1] <= figure.height  # a falling loss falls on the page
    assert "nan" not in svg


def test_a_curve_that_stays_the_same_and_none_at_all() -> None:
    assert "nan" not in curve_plot([Curve("memory", (1.0,), (5.0,))]).svg()
    assert curve_plot([Curve("loss", (), ())]).body == ""


def test_a_histogram_counts_every_row_once() -> None:
    values = [10.0] * 150 + [20.0] * 49 + [100_000.0]
    figure = histogram_plot(values, title="길이")
    counts = [int(n.replace(",", "")) for n in re.findall(r"<title>[^<]*: ([\d,]+)</title>", figure.body)]
    assert sum(counts) == 200
    assert "≥" in figure.body
    assert "200 rows, median 10, largest 100,000" in figure.svg()
    assert sum(int(n) for n in re.findall(r": (\d+)</title>", histogram_plot([0.0, 0.0]).body)) == 2
