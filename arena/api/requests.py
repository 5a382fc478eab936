"""What may be asked of /v1: OpenAI's request bodies, as far as open models can honour them.

A field that is not known here is an error, and so is a known one that could only be ignored: an answer made with
other settings than those asked for is worse than none.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from arena.api.errors import ApiError, unsupported
from arena.config import nearest
from arena.engines.base import Sampling
from prompt_formats.conversation import Conversation
from prompt_formats.errors import InvalidInput

MOST_PROMPTS = 256
IGNORED_IN_MESSAGES: dict[str, Any] = {
    "type": "text",
    "refusal": None,
    "audio": None,
    "annotations": [],
    "tool_calls": [],
}
"""What other parts of OpenAI's own protocol put beside a message without meaning anything by it."""

Id = Annotated[int, Field(ge=0, lt=2**31)]
Stop = Annotated[str, Field(min_length=1, max_length=1000)]


class _Body(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


B = TypeVar("B", bound=_Body)


class StreamOptions(_Body):
    """`include_usage`: a last chunk that tells the tokens used."""

    include_usage: bool = False
    include_obfuscation: bool | None = None


class ResponseFormat(_Body):
    """The form of the answer; only plain text can be promised."""

    model_config = ConfigDict(extra="allow")

    type: str = "text"


class _Generating(_Body):
    """What chat and text completions share. The names and defaults are OpenAI's; `top_k`, `min_p` and
    `repetition_penalty` are what open models' servers add. Fields not set follow the model version's own defaults."""

    model: str = Field(min_length=1, max_length=300)
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    n: int | None = Field(default=None, ge=1, le=128)
    stop: Stop | Annotated[list[Stop], Field(max_length=16)] | None = None
    seed: int | None = Field(default=None, ge=-(2**63), lt=2**64)
    temperature: float | None = Field(default=None, ge=0, le=5)
    top_p: float | None = Field(default=None, gt=0, le=1)
    top_k: int | None = Field(default=None, ge=-1)
    min_p: float | None = Field(default=None, ge=0, le=1)
    repetition_penalty: float | None = Field(default=None, gt=0, le=10)
    max_tokens: int | None = Field(default=None, ge=0)
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    logit_bias: dict[str, float] | None = None
    # Without meaning for an answer: who asks, and how OpenAI's own service is to treat the request.
    user: str | None = None
    metadata: dict[str, Any] | None = None
    store: bool | None = None
    service_tier: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    prompt_cache_retention: str | None = None

    @model_validator(mode="after")
    def _options_of_a_stream(self) -> Self:
        if self.stream_options is not None and not self.stream:
            raise ValueError("stream_options: only allowed with stream=true")
        return self

    @property
    def choices(self) -> int:
        """How many answers are wanted."""
        return self.n or 1

    @property
    def stops(self) -> tuple[str, ...]:
        """The stop strings."""
        return () if self.stop is None else (self.stop,) if isinstance(self.stop, str) else tuple(self.stop)

    @property
    def wants_usage(self) -> bool:
        """Whether a stream is to end with the tokens used."""
        return self.stream_options is not None and self.stream_options.include_usage

    def sampling(self) -> Sampling:
        """The sampling parameters that were set."""
        return Sampling(
            temperature=self.temperature,
            top_p=self.top_p,
            top_k=self.top_k if self.top_k and self.top_k > 0 else None,
            min_p=self.min_p,
            repetition_penalty=self.repetition_penalty,
            max_tokens=self.most_tokens(),
        )

    def most_tokens(self) -> int | None:
        """The longest answer wanted, in tokens."""
        return self.max_tokens or None

    def refuse_unsupported(self, most_choices: int) -> None:
        """Raises `ApiError` for what is set and cannot be honoured."""
        for name in ("frequency_penalty", "presence_penalty"):
            if getattr(self, name):
                raise unsupported(name, "not known to these engines; use repetition_penalty")
        if self.logit_bias:
            raise unsupported("logit_bias", "not known to these engines")
        if self.choices > most_choices:
            raise ApiError(
                400, f"n: at most {most_choices} (`max_choices` under [api])", code="invalid_value", param="n"
            )


class ChatRequest(_Generating):
    """POST /v1/chat/completions."""

    messages: list[dict[str, Any]] = Field(min_length=1)
    max_completion_tokens: int | None = Field(default=None, ge=1)
    logprobs: bool | None = None
    top_logprobs: int | None = Field(default=None, ge=0, le=20)
    response_format: ResponseFormat | None = None
    tools: list[Any] | None = None
    tool_choice: Any = None
    functions: list[Any] | None = None
    function_call: Any = None
    parallel_tool_calls: bool | None = None
    reasoning_effort: str | None = None
    modalities: list[str] | None = None
    prediction: Any = None
    audio: Any = None
    verbosity: str | None = None
    web_search_options: Any = None

    @field_validator("messages")
    @classmethod
    def _readable(cls, messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
        try:
            Conversation.from_chat(_plain(message) for message in messages)
        except InvalidInput as error:
            raise ValueError(str(error)) from None
        return messages

    @model_validator(mode="after")
    def _alternatives_of_what(self) -> Self:
        if self.top_logprobs is not None and not self.logprobs:
            raise ValueError("top_logprobs: only allowed with logprobs=true")
        if self.max_tokens == 0:
            raise ValueError("max_tokens: at least 1")
        return self

    def conversation(self) -> Conversation:
        """The messages."""
        return Conversation.from_chat(_plain(message) for message in self.messages)

    def most_tokens(self) -> int | None:
        """`max_completion_tokens`, or `max_tokens` as it was called before."""
        return self.max_completion_tokens or self.max_tokens

    @property
    def alternatives(self) -> int | None:
        """How many alternatives to tell for each token; None for no log-probabilities."""
        return (self.top_logprobs or 0) if self.logprobs else None

    def refuse_unsupported(self, most_choices: int) -> None:
        """Raises `ApiError` for what is set and cannot be honoured."""
        super().refuse_unsupported(most_choices)
        if self.tools or self.functions:
            raise unsupported(
                "tools" if self.tools else "functions",
                "tool calls are not offered here; describe what you want in the prompt and read the answer",
            )
        if self.response_format is not None and self.response_format.type != "text":
            raise unsupported(
                "response_format",
                f"'{self.response_format.type}' cannot be promised: answers are plain text. Ask for JSON in the "
                "prompt and check what comes",
            )
        if self.tool_choice not in (None, "none", "auto"):
            raise unsupported("tool_choice", "tool calls are not offered here")
        if self.modalities not in (None, ["text"]):
            raise unsupported("modalities", "answers are text")
        for name in (
            "reasoning_effort",
            "prediction",
            "audio",
            "verbosity",
            "web_search_options",
            "function_call",
        ):
            if getattr(self, name) not in (None, "none"):
                raise unsupported(name, "not known to these engines")


class CompletionRequest(_Generating):
    """POST /v1/completions. A prompt is text, or token ids of the model. With `echo` it comes back before the answer,
    with `logprobs` scored token by token; `max_tokens=0` then only scores it."""

    prompt: (
        str
        | Annotated[list[str], Field(min_length=1, max_length=MOST_PROMPTS)]
        | Annotated[list[Id], Field(min_length=1)]
        | Annotated[
            list[Annotated[list[Id], Field(min_length=1)]], Field(min_length=1, max_length=MOST_PROMPTS)
        ]
    )
    echo: bool | None = None
    logprobs: int | None = Field(default=None, ge=0, le=20)
    best_of: int | None = None
    suffix: str | None = None

    @property
    def prompts(self) -> list[str | tuple[int, ...]]:
        """The prompts, each to be continued."""
        if isinstance(self.prompt, str):
            return [self.prompt]
        if isinstance(self.prompt[0], int):
            return [tuple(each for each in self.prompt if isinstance(each, int))]
        return [
            each if isinstance(each, str) else tuple(each)
            for each in self.prompt
            if not isinstance(each, int)
        ]

    def refuse_unsupported(self, most_choices: int) -> None:
        """Raises `ApiError` for what is set and cannot be honoured."""
        super().refuse_unsupported(most_choices)
        if self.best_of not in (None, 1, self.choices):
            raise unsupported("best_of", "answers are not chosen among here; use n")
        if self.suffix:
            raise unsupported("suffix", "text cannot be filled in between")
        if self.max_tokens == 0 and not self.echo:
            raise ApiError(
                400, "max_tokens: 0 asks for nothing; with echo=true it scores the prompt", param="max_tokens",
                code="invalid_value",
            )  # fmt: skip
        if self.echo and self.stream:
            raise unsupported("echo", "not with stream=true")


class EmbeddingRequest(_Body):
    """POST /v1/embeddings."""

    model: str = Field(min_length=1, max_length=300)
    input: str | Annotated[list[str], Field(min_length=1, max_length=2048)] | list[int] | list[list[int]]
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: int | None = None
    user: str | None = None

    @property
    def texts(self) -> list[str]:
        """The texts to be embedded."""
        found = [self.input] if isinstance(self.input, str) else self.input
        return [each for each in found if isinstance(each, str)]

    def refuse_unsupported(self) -> None:
        """Raises `ApiError` for what is set and cannot be honoured."""
        if len(self.texts) != (1 if isinstance(self.input, str) else len(self.input)) or not self.texts:
            raise unsupported("input", "token ids are not taken: send text")
        if self.dimensions is not None:
            raise unsupported("dimensions", "embeddings have the model's own size")


def parsed(kind: type[B], body: bytes) -> B:
    """The request that a body holds. Raises `ApiError` (400) naming the field; what was sent is not repeated."""
    try:
        return kind.model_validate_json(body)
    except ValidationError as error:
        raise _explained(kind, error) from None


def _explained(kind: type[BaseModel], error: ValidationError) -> ApiError:
    problem = error.errors(include_url=False, include_input=False)[0]
    # Unions name the alternative that was tried after the field: that is no part of the caller's path.
    path = [str(part) for part in problem["loc"]]
    param = path[0] if path else None
    if problem["type"] == "json_invalid":
        return ApiError(400, f"the body is not valid JSON: {problem['msg']}", code="invalid_json")
    if problem["type"] == "extra_forbidden":
        where = ".".join(path)
        known = list(kind.model_fields) if len(path) == 1 else []
        hint = nearest(path[-1], known) if known else ""
        return ApiError(400, f"{where}: unknown field{hint}", code="unknown_parameter", param=where)
    if problem["type"] == "missing":
        return ApiError(
            400, f"{'.'.join(path)} is missing", code="missing_required_parameter", param=".".join(path)
        )
    message = problem["msg"].removeprefix("Value error, ")
    if param is None:
        # Checks across fields name their field first.
        param = message.partition(":")[0] if message.partition(":")[0] in kind.model_fields else None
        return ApiError(400, message, code="invalid_value", param=param)
    return ApiError(400, f"{param}: {message}", code="invalid_value", param=param)


def _plain(message: dict[str, Any]) -> dict[str, Any]:
    return {
        key: value
        for key, value in message.items()
        if not (key in IGNORED_IN_MESSAGES and value == IGNORED_IN_MESSAGES[key])
    }
