"""What can be set on the Playground, as one value: read from the page or a link, checked, made into a request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args
from urllib.parse import urlencode

from pydantic import BaseModel, ConfigDict

from arena.engines.base import GenerationRequest, Sampling
from arena.engines.spec import ModelSpec
from prompt_formats.conversation import Conversation

WindowKind = Literal["model", "all", "last_rounds", "token_budget", "search"]
WINDOWS: tuple[WindowKind, ...] = get_args(WindowKind)
SIZED: dict[str, int] = {"last_rounds": 4, "token_budget": 1024, "search": 4}
ALTERNATIVES = 5
"""How many tokens are told for each place."""
TIMEOUT = 600.0

# Lowest, highest, whole numbers only: as `Sampling` has them.
LIMITS: dict[str, tuple[float, float, bool]] = {
    "temperature": (0, 5, False),
    "top_p": (0.01, 1, False),
    "top_k": (1, 100_000, True),
    "min_p": (0, 1, False),
    "repetition_penalty": (0.1, 10, False),
    "max_tokens": (1, 100_000, True),
    "seed": (0, 2**32 - 1, True),
    "window_size": (0, 1_000_000, True),
}


class OutOfRange(ValueError):
    """A number that cannot be used: `field`, and its lowest and highest value."""

    def __init__(self, field: str) -> None:
        super().__init__(field)
        self.field = field
        self.low, self.high, _ = LIMITS[field]


class PlaygroundSettings(BaseModel):
    """All settings. None leaves a number to the model version, then to the engine."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str = ""
    system: str = ""
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    repetition_penalty: float | None = None
    max_tokens: int | None = None
    seed: int | None = None
    stop: str = ""
    window: WindowKind = "model"
    window_size: int | None = None
    prefill: str = ""
    probabilities: bool = True

    @classmethod
    def from_values(cls, values: Sequence[Any]) -> PlaygroundSettings:
        """From the values of the page's controls, in the order of `FIELDS`. Raises `OutOfRange`."""
        given = dict(zip(FIELDS, values, strict=True))
        found = {name: value for name, value in given.items() if value is not None}
        for name in LIMITS:
            if name in found:
                found[name] = _number(name, found[name])
        return cls(**found)

    @classmethod
    def from_query(cls, query: Mapping[str, str]) -> PlaygroundSettings:
        """From a link. What cannot be used is left out: an old or mistyped link must not break the page."""
        found: dict[str, Any] = {}
        for name in FIELDS:
            value = query.get(name)
            if value is None or (name == "window" and value not in WINDOWS):
                continue
            try:
                found[name] = _number(name, value) if name in LIMITS else value
            except ValueError:
                continue
        if "probabilities" in found:
            found["probabilities"] = found["probabilities"] not in ("0", "false", "")
        return cls(**found)

    def link(self, path: str) -> str:
        """The address of the page with these settings."""
        found = self.model_dump(exclude_defaults=True, exclude_none=True)
        if not self.probabilities:
            found["probabilities"] = "0"
        return f"{path}?{urlencode(found)}"

    @property
    def stops(self) -> tuple[str, ...]:
        """Stop strings, one a line; `\\n` in a line is a line break."""
        lines = (line.removesuffix("\r").replace("\\n", "\n") for line in self.stop.split("\n"))
        return tuple(dict.fromkeys(line for line in lines if line))

    @property
    def sampling(self) -> Sampling:
        """The sampling parameters that are set."""
        return Sampling(**{name: getattr(self, name) for name in Sampling.model_fields})

    @property
    def rounds(self) -> dict[str, int] | None:
        """The window of the request: None for the model's own, {} for none."""
        if self.window == "model":
            return None
        if self.window == "all":
            return {}
        size = self.window_size if self.window_size is not None else SIZED[self.window]
        return {self.window: size if self.window == "search" else max(1, size)}

    def request(self, conversation: Conversation, seed: int) -> GenerationRequest:
        """The request for the next answer; `seed` is used where none is set."""
        return GenerationRequest(
            conversation=conversation,
            sampling=self.sampling,
            stop=self.stops,
            seed=self.seed if self.seed is not None else seed,
            timeout=TIMEOUT,
            logprobs=ALTERNATIVES if self.probabilities else None,
            window=self.rounds,
            prefill=self.prefill or None,
            tokens=True,
        )


FIELDS: tuple[str, ...] = tuple(PlaygroundSettings.model_fields)


def tells_probabilities(spec: ModelSpec) -> bool:
    """Whether a model is asked for the probabilities of its tokens unless somebody says otherwise: many chat endpoints
    refuse the question, and so does CTranslate2."""
    return spec.endpoint == "completions" if spec.kind == "openai" else spec.quantisation != "ct2-int8"


def _number(name: str, value: Any) -> float | int:
    low, high, whole = LIMITS[name]
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise OutOfRange(name) from None
    if not low <= number <= high or (whole and number != int(number)):
        raise OutOfRange(name)
    return int(number) if whole else number
