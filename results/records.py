"""What is written to the store: one immutable, validated record for each kind of row.

Ids are made by whoever writes (`results.ids`), so that a write can be sent again under the same id when its
answer was lost. Times are UTC. Models are named by the integer `version_key` that the store gave their version.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

Verdict = Literal["a", "b", "tie", "both_bad"]
Side = Literal["a", "b"]
Source = Literal["human", "judge"]
BattleState = Literal["open", "done", "abandoned"]
ModelOwner = Literal["file", "user", "import", "trainer"]


def _utc(time: datetime) -> datetime:
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)


UtcTime = Annotated[datetime, AfterValidator(_utc)]


def now() -> datetime:
    """The current time in UTC."""
    return datetime.now(UTC)


class Record(BaseModel):
    """Base of all records: frozen, and an unknown field is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class ModelVersionRecord(Record):
    """A model version to be known to the store; `digest` is the hash of everything that makes its answers.

    Writing an unknown (model, digest) pair makes version number n+1 of the model; a known one is found again.
    """

    model: str = Field(min_length=1)
    digest: str = Field(min_length=1)
    spec: dict[str, Any] = {}
    owner: ModelOwner = "user"


class ModelVersionRef(Record):
    """A model version as the store knows it; `label` is `name@number`."""

    version_key: int
    model: str
    number: int
    digest: str

    @property
    def label(self) -> str:
        return f"{self.model}@{self.number}"


class ModelVersion(ModelVersionRef):
    """A model version with everything the store knows of it."""

    spec: dict[str, Any]
    owner: ModelOwner
    created_at: UtcTime


class BattleRecord(Record):
    """Two model versions in front of one conversation.

    `selection_probability` is the probability with which `selection_policy` drew this ordered pair (sides
    included) from the roster; it is null for battles that nobody drew, such as imported ones.
    """

    id: UUID
    version_a: int
    version_b: int
    mode: Literal["battle", "named", "script", "import"] = "battle"
    selection_policy: str | None = None
    selection_probability: float | None = Field(default=None, gt=0, le=1)
    voter_id: UUID | None = None
    prompt: str | None = None
    category: str = ""
    language: str = ""
    created_at: UtcTime = Field(default_factory=now)


class TurnRecord(Record):
    """One user message of a battle; turns are numbered from 1."""

    battle_id: UUID
    number: int = Field(ge=1)
    message: str
    created_at: UtcTime = Field(default_factory=now)


class GenerationRecord(Record):
    """One answer of one side (or its failure: `error_kind` is set and `text` is what had arrived by then).

    `rendered_prompt` is the exact prompt that the model saw, `rendered_by` who made it (`engine` or `server`,
    where the server's own rendering cannot be seen). Durations are seconds.
    """

    id: UUID
    battle_id: UUID
    turn: int = Field(ge=1)
    side: Side
    version_key: int
    text: str
    thinking: str | None = None
    finish_reason: Literal["stop", "length", "cancelled", "error"]
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    time_to_first_token: float | None = None
    duration: float | None = None
    rendered_prompt: str | None = None
    rendered_by: Literal["engine", "server"] | None = None
    prompt_log: dict[str, Any] = {}
    sampling: dict[str, Any] = {}
    error_kind: str | None = None
    error: str | None = None
    created_at: UtcTime = Field(default_factory=now)


class VoterRecord(Record):
    """A pseudonymous voter. `consent_at` is when the voter accepted the text shown before the first battle."""

    id: UUID
    origin: Literal["web", "import", "cli"] = "web"
    consent_at: UtcTime | None = None
    created_at: UtcTime = Field(default_factory=now)


class VoteRecord(Record):
    """A voter's verdict on a battle. At most one per (battle, voter); sending the same `request_id` again
    changes nothing, a new `request_id` within `results.store.CHANGE_WINDOW` of the vote replaces the verdict.

    `verdict` names the battle's own sides; `mirrored` says that the voter saw them exchanged."""

    battle_id: UUID
    voter_id: UUID
    request_id: UUID
    verdict: Verdict
    mirrored: bool = False
    time: UtcTime = Field(default_factory=now)


class VoteOutcome(Record):
    """What became of a vote. `counted` is false where it stays out of ratings; `excluded` then says why
    (`failed_side`, `withdrawn`, `screened:...`)."""

    vote_id: UUID
    verdict: Verdict
    counted: bool
    excluded: str | None = None


class StoredBattle(Record):
    """A battle as it lies in the store. `failed_side` is the side whose generation failed first.

    `conversation_a` and `conversation_b` (lists of OpenAI-style messages) are set for imported battles that
    brought them; other battles have turns and generations, in the order of turns and sides.
    """

    battle: BattleRecord
    state: BattleState
    failed_side: Side | None
    turns: tuple[TurnRecord, ...]
    generations: tuple[GenerationRecord, ...]
    conversation_a: list[dict[str, Any]] | None = None
    conversation_b: list[dict[str, Any]] | None = None


class ImportRecord(Record):
    """One run of an import. `id` is v5 over the file's content and the mapping, so that a rerun is recognised."""

    id: UUID
    path: str
    source: Source
    judge: str | None = None
    created_at: UtcTime = Field(default_factory=now)


class ImportOutcome(Record):
    """How many comparisons an import added, and how many of its rows were there already."""

    import_id: UUID
    added: int
    known: int


class StoredImport(ImportRecord):
    """An import as the store knows it. One that is not `done` is still running, or its process died; none of
    its rows is visible."""

    state: Literal["running", "done"]
    added: int
    known: int
    finished_at: UtcTime | None
