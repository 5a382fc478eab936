"""Votes and judgments from and to files of other tools."""

from results.interchange.answer_rows import ANSWER_FILES
from results.interchange.answers import ANSWER_FORMATS, AnswerSummary, export_answers
from results.interchange.dialects import DIALECTS
from results.interchange.errors import BadFile
from results.interchange.exporting import ExportSummary, export_votes
from results.interchange.exporting_grades import GRADE_FORMAT, export_grades
from results.interchange.fields import FIELDS
from results.interchange.importing import ImportSummary, Progress, import_votes
from results.interchange.importing_answers import AnswersSummary, import_answers
from results.interchange.preferences import PREFERENCE_FORMATS, PreferenceSummary, export_preferences
from results.interchange.rejects import Reject
from results.interchange.shapes import SHAPES

__all__ = [
    "ANSWER_FILES",
    "ANSWER_FORMATS",
    "DIALECTS",
    "FIELDS",
    "GRADE_FORMAT",
    "PREFERENCE_FORMATS",
    "SHAPES",
    "AnswerSummary",
    "AnswersSummary",
    "BadFile",
    "ExportSummary",
    "ImportSummary",
    "PreferenceSummary",
    "Progress",
    "Reject",
    "export_answers",
    "export_grades",
    "export_preferences",
    "export_votes",
    "import_answers",
    "import_votes",
]
