"""What a leaderboard is asked for: which comparisons, what each of them weighs, and how they are rated."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from results.ratings import TieModel
from results.records import UtcTime

Method = Literal["bt", "elo"]
SourceFilter = Literal["human", "judge", "all"]
By = Literal["model", "version"]

_BASE = ("method", "source", "category", "language", "judge", "by", "level")
_WEIGHTING = (
    "half_life", "max_votes_per_voter", "max_votes_per_prompt", "correct_sampling", "judge_weight",
)  # fmt: skip


class BoardQuery(BaseModel):
    """Everything that decides a leaderboard; two equal queries of one store give one leaderboard.

    `method` "bt" is Bradley-Terry with intervals at `level`; "elo" is online Elo in (time, seq) order, without
    intervals. `source`, `judge`, `category`, `language`, `since` (inclusive) and `until` (exclusive) select
    comparisons. `by` "version" has a row per model version, "model" merges versions.

    Weights: `half_life` in days (age against the newest selected comparison), `max_votes_per_voter` and
    `max_votes_per_prompt` (their comparisons together weigh at most that many), `correct_sampling` (inverse
    selection probability; comparisons without one are left out), `judge_weight` (a judgment against a vote,
    with source "all").

    With `settled`, votes that their voters can still take back, the names unseen, are not counted yet: who may not know
    the names of a battle that goes on must not read them from a leaderboard that moves.

    `ties` is the tie model; `style_control` rates at equal length, headers, lists and bold; `position_bias`
    estimates what side a is worth beside the ratings; `bootstrap` takes intervals from that many resamplings;
    `simultaneous` makes the level hold for all ranks at once. `models` (names, or labels name@number) selects
    the rows that are shown; ratings and ranks stay those of the whole leaderboard.

    Raises pydantic.ValidationError, which is a ValueError, for options that exclude each other.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    method: Method = "bt"
    source: SourceFilter = "human"
    category: str | None = None
    language: str | None = None
    judge: str | None = None
    by: By = "version"
    level: float = Field(0.95, gt=0, lt=1)
    ties: TieModel = "half"
    style_control: bool = False
    position_bias: bool = False
    since: UtcTime | None = None
    until: UtcTime | None = None
    half_life: float | None = Field(None, gt=0)
    max_votes_per_voter: float | None = Field(None, gt=0)
    max_votes_per_prompt: float | None = Field(None, gt=0)
    correct_sampling: bool = False
    judge_weight: float | None = Field(None, ge=0)
    bootstrap: int | None = Field(None, ge=2)
    simultaneous: bool = False
    models: tuple[str, ...] = ()
    settled: bool = False

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        weighting = self.weighting
        problem = ""
        if self.since and self.until and self.since >= self.until:
            problem = (
                f"since ({self.since:%Y-%m-%d %H:%M}) must lie before until ({self.until:%Y-%m-%d %H:%M})"
            )
        elif self.judge_weight is not None and self.source != "all":
            problem = "judge weight sets judgments against votes: it needs source all"
        elif self.method == "elo" and (refused := [*weighting, *self._of_bradley_terry()]):
            problem = f"elo takes no {', '.join(refused)}: use method bt"
        elif self.style_control and self.ties != "half":
            problem = "style control takes a tie as half a win: use ties half with it"
        elif self.bootstrap and (weighting or self.style_control or self.ties != "half"):
            others = [*weighting, *(["style control"] if self.style_control else [])]
            others += [f"ties {self.ties}"] if self.ties != "half" else []
            problem = f"bootstrap resamples plain counts and cannot go with {', '.join(others)}"
        if problem:
            raise ValueError(problem)
        return self

    @property
    def weighting(self) -> list[str]:
        """The options in force that weigh comparisons, in words."""
        return [name.replace("_", " ") for name in _WEIGHTING if getattr(self, name) not in (None, False)]

    @property
    def needs_rows(self) -> bool:
        """Whether single comparisons have to be read, and not only their counts."""
        weights = [name for name in _WEIGHTING if name != "judge_weight"]
        return self.style_control or any(getattr(self, name) not in (None, False) for name in weights)

    @property
    def options(self) -> dict[str, Any]:
        """What is asked beyond the filters of a plain leaderboard, as JSON has it."""
        return self.model_dump(mode="json", exclude={*_BASE, "settled"}, exclude_defaults=True)

    def _of_bradley_terry(self) -> list[str]:
        asked = {
            "style control": self.style_control,
            "position bias": self.position_bias,
            "bootstrap": self.bootstrap is not None,
            "simultaneous ranks": self.simultaneous,
            f"ties {self.ties}": self.ties != "half",
        }
        return [name for name, given in asked.items() if given]
