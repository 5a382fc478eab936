"""The one interface through which every model answers, and what can go wrong with it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from typing import Any, Literal, Protocol, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from prompt_formats.conversation import Conversation

FinishReason = Literal["stop", "length", "cancelled"]


class EngineError(Exception):
    """An engine could not answer. The message is for people: what happened, and what to do about it."""

    kind = "error"


class EngineUnavailable(EngineError):
    """The model cannot be reached or loaded: endpoint down, worker crashed, files missing."""

    kind = "unavailable"


class EngineRejected(EngineError):
    """The engine understood the request and refused it: bad parameters, missing key, content policy."""

    kind = "rejected"


class EngineTimedOut(EngineError):
    """No answer, or no next token, within the time allowed."""

    kind = "timed_out"


class OverContext(EngineError):
    """The prompt and the answer asked for do not fit the model's context."""

    kind = "over_context"


class BrokenAnswer(EngineError):
    """The answer broke off before its end, or came as something that cannot be understood."""

    kind = "broken"


class Sampling(BaseModel):
    """Sampling parameters. `None` leaves the choice to the model version's defaults, then to the engine."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    temperature: float | None = Field(default=None, ge=0, le=5)
    top_p: float | None = Field(default=None, gt=0, le=1)
    top_k: int | None = Field(default=None, ge=1)
    min_p: float | None = Field(default=None, ge=0, le=1)
    repetition_penalty: float | None = Field(default=None, gt=0, le=10)
    max_tokens: int | None = Field(default=None, ge=1)

    def over(self, defaults: Sampling) -> Sampling:
        """These parameters, with those that are not set taken from `defaults`."""
        return defaults.model_copy(update=self.model_dump(exclude_none=True))


class GenerationRequest(BaseModel):
    """A conversation, raw text, or text as `ids` of the model's own tokens (local engines), to be continued by one
    model version."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    conversation: Conversation | None = None
    text: str | None = None
    ids: tuple[int, ...] | None = None
    sampling: Sampling = Sampling()
    stop: tuple[str, ...] = ()
    seed: int | None = None
    timeout: float | None = Field(default=None, gt=0, description="seconds for the whole answer")
    logprobs: int | None = Field(default=None, ge=0, le=20, description="alternatives to tell for each token")
    window: dict[str, int] | None = Field(
        default=None, description="instead of the model version's; {} for none"
    )
    prefill: str | None = Field(default=None, description="how the answer begins; its text is what follows")
    tokens: bool = Field(
        default=False, description="tell the tokens of prompt and answer, where they are known"
    )


class TokenLogprob(BaseModel):
    """A generated token and its natural log-probability under the model, before temperature and cut-offs.

    `token` is its text alone (a token that holds part of a character shows U+FFFD there), `top` the likeliest
    tokens at its place, likeliest first.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    token: str
    token_id: int | None = None
    logprob: float
    top: tuple[tuple[str, float], ...] = ()


class Token(BaseModel):
    """One token as the model has it: its id, its text alone, and whether it is a special token."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: int
    text: str
    special: bool = False


class Cost(BaseModel):
    """What an answer cost, by the price table of the settings."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    amount: float
    currency: str


class Generation(BaseModel):
    """A finished answer. Durations are seconds; `rendered_prompt` is what the model saw.

    `rendered_by` is `engine` where the prompt is exactly known and `server` where a remote chat endpoint
    rendered it unseen (then `rendered_prompt` is null or marked as an estimate in `prompt_log`).
    `completion_tokens` counts all that was generated, `reasoning_tokens` how many of those were thinking (null
    where nobody said). `cost` is null for local models and where no price is known. `tokens` are the answer's,
    the one that ended it included, where the request asked for them and the engine knows them, and `raw` their text
    with special tokens written out.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    text: str
    thinking: str | None = None
    finish_reason: FinishReason
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    reasoning_tokens: int | None = None
    cost: Cost | None = None
    time_to_first_token: float | None = None
    duration: float
    rendered_prompt: str | None = None
    rendered_by: Literal["engine", "server"]
    prompt_log: dict[str, Any] = {}
    sampling: Sampling = Sampling()
    logprobs: tuple[TokenLogprob, ...] | None = None
    tokens: tuple[Token, ...] | None = None
    raw: str | None = None


class ScoreRequest(BaseModel):
    """Continuations to be scored after one context: raw text, or a conversation that the assistant answers. Or a
    `whole` text (or its ids) instead, with nothing before it but what the tokenizer puts there.

    With `alternatives` the scores tell each token, with that many of the likeliest at its place. The trace of a whole
    text begins with its first token; where nothing stands before that one, it has no probability (0 is told) and is
    not among the score's `tokens`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    conversation: Conversation | None = None
    text: str | None = None
    continuations: tuple[str, ...] = ()
    whole: str | tuple[int, ...] | None = None
    alternatives: int | None = Field(default=None, ge=0, le=20)

    @model_validator(mode="after")
    def _something_to_score(self) -> Self:
        if bool(self.continuations) == (self.whole is not None):
            raise ValueError("give continuations, or a whole text")
        if self.whole is not None and not (self.conversation is None and self.text is None):
            raise ValueError("a whole text has no context")
        return self


class Score(BaseModel):
    """How likely a continuation is: the sum of its tokens' log-probabilities (natural logarithm), their number,
    and whether each of them is the model's first choice. `trace` tells each token where that was asked for (and the
    engine can)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    logprob: float
    tokens: int
    greedy: bool
    trace: tuple[TokenLogprob, ...] = ()


class Embeddings(BaseModel):
    """One vector of unit length for each text, in order, and how many tokens the texts have together (where known)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    vectors: tuple[tuple[float, ...], ...]
    tokens: int | None = None


class Prompted(BaseModel):
    """What the model is asked, before its first word (see `Generation` for the fields). Not every engine knows."""

    model_config = ConfigDict(frozen=True)

    rendered_prompt: str | None
    rendered_by: Literal["engine", "server"]
    prompt_tokens: int | None = None
    prompt_log: dict[str, Any] = {}
    tokens: tuple[Token, ...] | None = None


class TextDelta(BaseModel):
    """More text of the answer. `logprobs`, where asked for, are those of the tokens that came with it."""

    model_config = ConfigDict(frozen=True)

    text: str = ""
    thinking: str = ""
    logprobs: tuple[TokenLogprob, ...] = ()


class Finished(BaseModel):
    """The last chunk of every stream that did not raise."""

    model_config = ConfigDict(frozen=True)

    generation: Generation


Chunk = Prompted | TextDelta | Finished


class Engine(Protocol):
    """What answers for one model version. Methods raise `EngineError`; they never return an error as text."""

    def stream(self, request: GenerationRequest) -> AsyncGenerator[Chunk, None]:
        """Text as it is generated, then one `Finished`.

        Closing the iterator (`aclose`, or cancelling the task that reads it) stops the model
        within one token.
        """
        ...

    async def generate(self, requests: Sequence[GenerationRequest]) -> list[Generation]:
        """Answers to many requests, in order, batched where the engine can."""
        ...

    async def close(self) -> None:
        """Free what the engine holds (worker process, connections). The engine can be used again after it."""
        ...


class Scorer(Protocol):
    """An engine that can also tell how likely given text is."""

    async def loglikelihood(self, requests: Sequence[ScoreRequest]) -> list[tuple[Score, ...]]:
        """For each request the scores of its continuations, in order. Raises `EngineError`."""
        ...


class Embedder(Protocol):
    """An engine that can also make vectors of texts."""

    async def embed(self, texts: Sequence[str]) -> Embeddings:
        """A vector for each text. Raises `EngineError`, `EngineRejected` where the model has none."""
        ...
