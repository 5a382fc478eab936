"""Votes and judgments from and to files of other tools."""

from results.interchange.answers import ANSWER_FORMATS, AnswerSummary, export_answers
from results.interchange.dialects import DIALECTS
from results.interchange.errors import BadFile
from results.interchange.exporting import ExportSummary, export_votes
from results.interchange.fields import FIELDS
from results.interchange.importing import ImportSummary, Progress, Reject, import_votes
from results.interchange.preferences import PREFERENCE_FORMATS, PreferenceSummary, export_preferences
from results.interchange.shapes import SHAPES

__all__ = [
    "ANSWER_FORMATS",
    "DIALECTS",
    "FIELDS",
    "PREFERENCE_FORMATS",
    "SHAPES",
    "AnswerSummary",
    "BadFile",
    "ExportSummary",
    "ImportSummary",
    "PreferenceSummary",
    "Progress",
    "Reject",
    "export_answers",
    "export_preferences",
    "export_votes",
    "import_votes",
]
