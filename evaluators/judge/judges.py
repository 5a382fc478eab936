"""Who judges, how, and by which prompts: what a judge's name and digest stand for."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

from arena.engines.base import Sampling
from arena.roster import Contestant
from evaluators.judge.families import families_of
from evaluators.judge.prompts import PromptMode, PromptSet, Rubric, load_rubric, own_prompts
from results.store.judging import JudgeProfile

LOGPROBS = 20


@dataclass(frozen=True)
class JudgeOptions:
    """How a judge works. `max_answer` is tokens of a reply, `timeout` seconds for one; `probe` the share of battles
    (at least ten) that are also shown with swapped labels, so that label and slot can be told apart; `references`
    shows reference answers also to grades; `tie_within` is how far grades may differ and be a tie; `name` is what
    the judge is called where its name is not to be made of the model's."""

    mode: PromptMode = "pairwise"
    prompts: PromptSet = field(default_factory=own_prompts)
    rubric: Rubric = field(default_factory=load_rubric)
    references: bool = False
    max_answer: int = 512
    logprobs: bool = True
    probe: float = 0.1
    timeout: float = 300.0
    tie_within: float = 0.1
    concurrency: int | None = None
    name: str | None = None

    @property
    def digest(self) -> str:
        """SHA-256 over what shapes verdicts."""
        parts = [
            self.mode,
            self.prompts.digest,
            str(self.references),
            str(self.max_answer),
            str(self.tie_within),
        ]
        if self.mode == "rubric":
            parts.append(self.rubric.model_dump_json())
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    @property
    def suffix(self) -> str:
        """What is added to the judge's name where it does not judge pairs by our own prompts."""
        parts: list[str] = [] if self.mode == "pairwise" else [self.mode]
        if self.mode == "rubric":
            parts.append(self.rubric.name)
        if self.references and self.mode in ("single", "rubric"):
            parts.append("ref")
        if self.prompts.name != own_prompts().name:
            parts.append(self.prompts.name)
        return "".join(f"/{part}" for part in parts)


@dataclass(frozen=True)
class Judge:
    """A model version that judges in one way."""

    contestant: Contestant
    options: JudgeOptions

    @property
    def name(self) -> str:
        """What leaderboards call it: name@number, and the way where it is not the plain one."""
        return self.options.name or f"{self.contestant.version.label}{self.options.suffix}"

    @property
    def digest(self) -> str:
        """SHA-256 over model version and way."""
        version = self.contestant.version.digest
        return hashlib.sha256(f"{version}\n{self.options.digest}".encode()).hexdigest()

    @property
    def families(self) -> frozenset[str]:
        """What the judge's model descends from."""
        spec = self.contestant.spec
        return families_of(spec.name, spec.model_dump(exclude_none=True))

    @property
    def sampling(self) -> Sampling:
        """Temperature 0, always."""
        asked = Sampling(temperature=0.0, max_tokens=self.options.max_answer)
        return asked.over(self.contestant.spec.sampling)

    @property
    def profile(self) -> JudgeProfile:
        """The judge as the store keeps it."""
        return JudgeProfile(
            name=self.name,
            version_key=self.contestant.version.version_key,
            mode=self.options.mode,
            prompts=self.options.prompts.name,
            digest=self.digest,
        )
