"""PromptFormat: all that is known of the prompt structure a model was trained on."""

from __future__ import annotations

import hashlib
import re
from functools import cached_property
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

SystemPolicy = Literal["native", "merge_first", "merge_last", "none"]
AlternationPolicy = Literal["free", "strict", "merge"]
Origin = Literal["registry", "user", "file", "adapter", "tokenizer", "gguf"]

# How control text looks in templates: <|im_start|>, <｜User｜>, [INST], [|user|], <start_of_turn>, <<SYS>>.
_CONTROL_TEXT = re.compile(
    r"<\|[^|<>\s][^<>\s]{0,60}?\|?>|<｜[^<>\s]{1,60}?>|\[\|[a-z]{1,20}\|\]|\[/?[A-Z][A-Z_]{1,30}\]"
    r"|</?[A-Za-z_][A-Za-z0-9_:]{0,40}>|<</?[A-Z]+>>|<[a-z_]{2,20}\|>"
)


class Thinking(BaseModel):
    """How a family writes thinking.

    `field`: `reasoning_content` where the template reads that field, `inline` where it expects the markers
    inside the content, `absent` where history cannot hold thinking at all.
    `answer_start` is a mark that opens the answer proper, where a family writes one (<response>).
    `history`: `keep` all thinking, `drop` it, or keep it only `after_last_user` (tool use within a turn).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    start: str
    end: str
    field: Literal["reasoning_content", "inline", "absent"] = "inline"
    history: Literal["keep", "drop", "after_last_user"] = "drop"
    answer_start: str = ""


class PromptFormat(BaseModel):
    """A chat template with what a template alone cannot say.

    `template` is Jinja source (`tool_template` takes its place where tools are given); `variables` are constants that
    it reads (a default system text, a role name). `stop` are strings that end an answer, `stop_tokens` single tokens
    that do. `system_policy` and `alternation` say what to do where the family knows no system message or wants strict
    turns; they are applied only when asked for. `markers` are plain-text role marks ("USER:") that no tokenizer can
    protect. `models` are the patterns by which the resolver finds the format (see `prompt_formats.resolve`).
    `verified` is true where renderings were compared with the publisher's own.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(min_length=1)
    family: str = Field(min_length=1)
    aliases: tuple[str, ...] = ()
    template: str
    tool_template: str | None = None
    variables: dict[str, Any] = {}
    bos: str = ""
    eos: str = ""
    stop: tuple[str, ...] = ()
    stop_tokens: tuple[str, ...] = ()
    system_policy: SystemPolicy = "native"
    alternation: AlternationPolicy = "free"
    thinking: Thinking | None = None
    channels: Literal["harmony"] | None = None
    tools: bool = False
    documents: bool = False
    markers: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    encoder: str | None = None
    source: str = ""
    verified: bool = False
    note: str = ""
    origin: Origin = "registry"
    path: str | None = None

    @property
    def trusted(self) -> bool:
        """Whether the template is our own: others run in a worker that can be killed."""
        return self.origin == "registry"

    @property
    def default_system(self) -> str | None:
        """The system text that the template writes when the conversation has none."""
        text = self.variables.get("default_system")
        return text if isinstance(text, str) and text else None

    @cached_property
    def template_hash(self) -> str:
        """SHA-256 over the template and its variables: what shapes a rendering besides its input."""
        digest = hashlib.sha256(self.template.encode())
        digest.update(repr(sorted(self.variables.items())).encode())
        digest.update((self.tool_template or "").encode())
        return digest.hexdigest()

    @cached_property
    def stops(self) -> tuple[str, ...]:
        """Every string that ends an answer, without repeats: stop strings, stop tokens, EOS."""
        given = (*self.stop, *self.stop_tokens, self.eos)
        return tuple(dict.fromkeys(text for text in given if text))

    @cached_property
    def control_texts(self) -> tuple[str, ...]:
        """Texts that would act as structure if a user typed them, longest first: control tokens as the
        template writes them, BOS, EOS, stops, thinking marks and the family's plain-text role marks."""
        from prompt_formats.environment import literal_text

        found = set(_CONTROL_TEXT.findall(literal_text(self.template)))
        for value in self.variables.values():
            if isinstance(value, str) and len(value) < 80:
                found.update(_CONTROL_TEXT.findall(value))
        found.update((self.bos, self.eos, *self.stop_tokens, *self.stop, *self.markers))
        if self.thinking is not None:
            found.update((self.thinking.start, self.thinking.end))
        return tuple(sorted((text for text in found if text.strip()), key=lambda t: (-len(t), t)))
