"""Reports: one self-contained HTML file from what the store knows.

`collect` reads the store once and computes everything; `render` puts it into words and figures of one
language; `write_report` does both and writes the file whole or not at all.
"""

from results.reports._collect import collect
from results.reports._model import Report, ReportQuery
from results.reports._render import render
from results.reports._texts import LANGUAGES, Language
from results.reports._write import write_report

__all__ = ["LANGUAGES", "Language", "Report", "ReportQuery", "collect", "render", "write_report"]
