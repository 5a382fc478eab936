"""What a report holds, computed and in no language yet."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from results.leaderboard import LeaderboardRow, SourceFilter

if TYPE_CHECKING:
    from results.figures import Series
    from results.leaderboard import Effect, Rated
    from results.ratings import PairCounts
    from results.reports._agreement import Agreement
    from results.reports._choice import Choice
    from results.reports._decide import Lead
    from results.reports._style import Style
    from results.reports._suites import SuiteView


class ReportQuery(BaseModel):
    """Which comparisons a report is about. `seed` draws the example battles (`examples` of them) and the
    chances of being first; `level` is that of all intervals. `acceptable_loss` is how many more of a hundred battles
    a smaller model may lose against the leader than an equal one would (0.05: up to 55)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: SourceFilter = "human"
    judge: str | None = None
    category: str | None = None
    seed: int = 0
    examples: int = Field(5, ge=0, le=50)
    level: float = Field(0.95, gt=0, lt=1)
    acceptable_loss: float = Field(0.05, ge=0, lt=0.5)


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
    """Everything that a report tells; what the store has nothing of is empty or null."""

    query: ReportQuery
    facts: Facts
    rated: Rated
    lead: Lead | None
    history: tuple[Series, ...]
    categories: tuple[Group, ...]
    languages: tuple[Group, ...]
    style: Style | None
    agreement: tuple[Agreement, ...]
    excluded: tuple[Exclusion, ...]
    voters: Voters | None
    speed: tuple[Speed, ...]
    suites: tuple[SuiteView, ...]
    choice: Choice | None
    examples: tuple[Example, ...]

    @property
    def votes(self) -> int:
        """How many comparisons count."""
        return self.rated.board.votes

    @property
    def rows(self) -> tuple[LeaderboardRow, ...]:
        """All models, as on the leaderboard."""
        return self.rated.board.models

    @property
    def rated_rows(self) -> tuple[LeaderboardRow, ...]:
        """The models that have a rating, best first."""
        return tuple(row for row in self.rows if row.rating is not None)

    @property
    def position(self) -> Effect | None:
        """What side a is worth, in rating points; None where the comparisons cannot tell."""
        return self.rated.board.position

    def counts_of(self, rows: tuple[LeaderboardRow, ...]) -> PairCounts:
        """The counts among these models, in their order."""
        place = {name: i for i, name in enumerate(self.rated.names)}
        return self.rated.counts.subset([place[row.model] for row in rows])
