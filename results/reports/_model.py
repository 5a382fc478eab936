"""What a report holds, computed and in no language yet."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from results.leaderboard import LeaderboardRow

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from results.figures import Series
    from results.leaderboard import SourceFilter
    from results.ratings import Estimate
    from results.reports._agreement import Agreement
    from results.reports._decide import Lead
    from results.reports._reading import Selection
else:
    SourceFilter = str


class ReportQuery(BaseModel):
    """Which comparisons a report is about. `seed` draws the example battles (`examples` of them) and the
    chances of being first; `level` is that of all intervals."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: SourceFilter = "human"
    judge: str | None = None
    category: str | None = None
    seed: int = 0
    examples: int = Field(5, ge=0, le=50)
    level: float = Field(0.95, gt=0, lt=1)


@dataclass(frozen=True)
class Facts:
    """Where the numbers come from. `fingerprint` is the SHA-256 of the pair counts behind the ratings; two
    reports with the same one rate the same comparisons."""

    palaestra: str
    duckdb: str
    schema: int
    created: datetime
    first: datetime | None
    last: datetime | None
    battles: int
    fingerprint: str


@dataclass(frozen=True)
class Voters:
    """Who voted: `busiest` is the share of the most active voter, `unnamed` counts votes without a voter."""

    voters: int
    votes: int
    median: float
    busiest: float
    unnamed: int


@dataclass(frozen=True)
class Group:
    """A category or language ('' where a comparison has none), rated by itself; `rows` as on a leaderboard."""

    name: str
    votes: int
    rows: tuple[LeaderboardRow, ...]


@dataclass(frozen=True)
class Speed:
    """Of one model's answers: how many, how many failed, medians of seconds and of tokens a second."""

    name: str
    answers: int
    failed: int
    first_token: float | None
    duration: float | None
    tokens_per_second: float | None


@dataclass(frozen=True)
class Message:
    """A message of an example; `length` counts the characters of the whole text, where `text` was cut."""

    role: str
    text: str
    length: int | None


@dataclass(frozen=True)
class Example:
    """One battle. `verdicts` counts (who, verdict), who being '' for people and else the judge's name."""

    id: UUID
    name_a: str
    name_b: str
    category: str
    language: str
    prompt: str | None
    side_a: tuple[Message, ...]
    side_b: tuple[Message, ...]
    verdicts: tuple[tuple[str, str, int], ...]

    @property
    def has_texts(self) -> bool:
        """Whether the store holds what either side answered."""
        return bool(self.side_a or self.side_b)


@dataclass(frozen=True)
class Exclusion:
    """Comparisons left out for one reason."""

    reason: str
    source: str
    n: int


@dataclass(frozen=True, eq=False)
class Report:
    """Everything that a report tells. `order` holds the indices (in `selection.names`) of the models in the
    order of `rows`."""

    query: ReportQuery
    facts: Facts
    selection: Selection
    rows: tuple[LeaderboardRow, ...]
    order: tuple[int, ...]
    scores: npt.NDArray[np.float64]
    lead: Lead | None
    history: tuple[Series, ...]
    categories: tuple[Group, ...]
    languages: tuple[Group, ...]
    agreement: tuple[Agreement, ...]
    position: Estimate | None
    excluded: tuple[Exclusion, ...]
    voters: Voters | None
    speed: tuple[Speed, ...]
    examples: tuple[Example, ...]

    @property
    def votes(self) -> int:
        """How many comparisons count."""
        return int(self.selection.counts.total)

    @property
    def rated(self) -> tuple[LeaderboardRow, ...]:
        """The rows that have a rating."""
        return tuple(row for row in self.rows if row.rating is not None)
