"""Votes and judgments from and to files of other tools."""

from results.interchange.errors import BadFile
from results.interchange.exporting import ExportSummary, export_votes
from results.interchange.fields import FIELDS
from results.interchange.importing import ImportSummary, Progress, Reject, import_votes

__all__ = [
    "FIELDS",
    "BadFile",
    "ExportSummary",
    "ImportSummary",
    "Progress",
    "Reject",
    "export_votes",
    "import_votes",
]
