"""Datasets: training data as immutable, checked versions, from files or from the arena's own verdicts."""

from trainers.datasets.adding import HELD_OUT, Added, BadRows, Reject, add_dataset
from trainers.datasets.files import MissingRows, read_rows, row_digests
from trainers.datasets.finding import UnknownDataset, find_dataset
from trainers.datasets.from_votes import Built, NothingToBuild, VoteFilter, dataset_from_votes
from trainers.datasets.preview import RenderedRow, TokenStatistics, preview, token_statistics
from trainers.datasets.rows import (
    ROW_OF,
    ChatRow,
    KtoRow,
    LabelledRow,
    PreferenceRow,
    PromptRow,
    Row,
    TextRow,
)
from trainers.datasets.shapes import SHAPES, UnknownShape
from trainers.datasets.statistics import Spread, Statistics, statistics

__all__ = [
    "HELD_OUT",
    "ROW_OF",
    "SHAPES",
    "Added",
    "BadRows",
    "Built",
    "ChatRow",
    "KtoRow",
    "LabelledRow",
    "MissingRows",
    "NothingToBuild",
    "PreferenceRow",
    "PromptRow",
    "Reject",
    "RenderedRow",
    "Row",
    "Spread",
    "Statistics",
    "TextRow",
    "TokenStatistics",
    "UnknownDataset",
    "UnknownShape",
    "VoteFilter",
    "add_dataset",
    "dataset_from_votes",
    "find_dataset",
    "preview",
    "read_rows",
    "row_digests",
    "statistics",
    "token_statistics",
]
