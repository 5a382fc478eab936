"""Figures as static SVG: ratings with intervals, heat maps of pairs, ratings over time, curves of trainings.

Each function gives a `Figure`, which a notebook shows by itself (`_repr_svg_`) and which reports embed.
"""

from results.figures._figure import FIGURE_CSS, Figure
from results.figures.bars import Bar, bar_plot
from results.figures.curves import Curve, curve_plot, histogram_plot
from results.figures.heat_maps import count_map, heat_map, win_rate_map
from results.figures.intervals import Interval, interval_plot, ratings_plot
from results.figures.lines import Series, line_plot

__all__ = [
    "FIGURE_CSS",
    "Bar",
    "Curve",
    "Figure",
    "Interval",
    "Series",
    "bar_plot",
    "count_map",
    "curve_plot",
    "heat_map",
    "histogram_plot",
    "interval_plot",
    "line_plot",
    "ratings_plot",
    "win_rate_map",
]
