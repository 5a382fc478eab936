"""Rows become ids as the model sees them in use: through the same prompt formats that serve it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from itertools import takewhile
from pathlib import Path
from typing import Any

from prompt_formats import Conversation, Resolution, encode_for_training, load_registry, render, resolve
from prompt_formats import load_tokenizer as chat_tokenizer
from prompt_formats.errors import PromptFormatError
from trainers.datasets import ChatRow, KtoRow, LabelledRow, PreferenceRow, PromptRow, Row, TextRow
from trainers.plan import TrainingPlan

# Templates that write a date get the same one in every row and in every run.
CLOCK = datetime(2026, 1, 1)


@dataclass
class Encoder:
    """Encodes rows for one plan; counts what it cannot use, by reason."""

    plan: TrainingPlan
    tokenizer: Any
    data_dir: Path
    labels: tuple[str, ...] = ()
    refused: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        base = self.plan.base
        self._chat = chat_tokenizer(self.tokenizer)
        self.resolution: Resolution = resolve(
            base.model_id,
            explicit=base.spec.prompt_format,
            adapter=base.adapter,
            tokenizer=self._chat,
            parent=base.spec.parent,
            registry=load_registry(self.data_dir / "formats"),
        )

    def rows(self, rows: Iterator[Row]) -> Iterator[dict[str, Any]]:
        """One encoded row for each that can be used."""
        encode = self._encoding_of(self.plan.recipe.objective)
        for row in rows:
            try:
                encoded = encode(row)
            except PromptFormatError as error:
                self._refuse(f"the prompt format refuses it: {error}")
                continue
            if encoded is not None:
                yield encoded

    def _encoding_of(self, objective: str) -> Callable[[Any], dict[str, Any] | None]:
        encoders: dict[str, Callable[[Any], dict[str, Any] | None]] = {
            "sft": self._chat_row,
            "distill": self._chat_row,
            "pretrain": self._text_row,
            "classify": self._labelled_row,
            "dpo": self._preference_row,
            "reward": self._reward_row,
            "kto": self._kto_row,
            "rloo": self._prompt_row,
            "grpo": self._prompt_row,
        }
        return encoders[objective]

    def _chat_row(self, row: ChatRow) -> dict[str, Any] | None:
        encoding = encode_for_training(
            Conversation.from_chat(row.messages), self.resolution, self._chat, tools=row.tools, now=CLOCK
        )
        longest = self.plan.recipe.optimiser.max_length
        ids, mask = list(encoding.ids[:longest]), encoding.mask[:longest]
        if not any(mask):
            self._refuse(f"no answer within {longest} tokens")
            return None
        labels = [token if learned else -100 for token, learned in zip(ids, mask, strict=True)]
        return {"input_ids": ids, "labels": labels}

    def _text_row(self, row: TextRow) -> dict[str, Any]:
        ids = list(self.tokenizer(row.text)["input_ids"])
        if self.tokenizer.eos_token_id is not None and ids[-1:] != [self.tokenizer.eos_token_id]:
            ids.append(self.tokenizer.eos_token_id)
        if not self.plan.recipe.optimiser.packing:
            ids = ids[: self.plan.recipe.optimiser.max_length]
        return {"input_ids": ids, "labels": list(ids)}

    def _labelled_row(self, row: LabelledRow) -> dict[str, Any] | None:
        if row.label not in self.labels:
            self._refuse(f"label '{row.label}' does not occur in training rows")
            return None
        longest = self.plan.recipe.optimiser.max_length
        ids = self.tokenizer(row.text, truncation=True, max_length=longest)["input_ids"]
        return {"input_ids": ids, "labels": self.labels.index(row.label)}

    def _preference_row(self, row: PreferenceRow) -> dict[str, Any] | None:
        chosen, rejected = self._whole(row.prompt, row.chosen), self._whole(row.prompt, row.rejected)
        asked = self._asked(row.prompt)
        start = min(_common(asked, chosen), _common(asked, rejected))
        if start >= self.plan.recipe.optimiser.max_length:
            self._refuse(f"no answer within {self.plan.recipe.optimiser.max_length} tokens")
            return None
        return {"prompt_ids": asked[:start], "chosen_ids": chosen[start:], "rejected_ids": rejected[start:]}

    def _reward_row(self, row: PreferenceRow) -> dict[str, Any] | None:
        chosen, rejected = self._whole(row.prompt, row.chosen), self._whole(row.prompt, row.rejected)
        if max(len(chosen), len(rejected)) > self.plan.recipe.optimiser.max_length:
            # A reward of half an answer would be learned as that of the whole.
            self._refuse(f"longer than {self.plan.recipe.optimiser.max_length} tokens")
            return None
        return {"chosen_ids": chosen, "rejected_ids": rejected}

    def _kto_row(self, row: KtoRow) -> dict[str, Any] | None:
        whole, asked = self._whole(row.prompt, row.completion), self._asked(row.prompt)
        start = _common(asked, whole)
        if start >= self.plan.recipe.optimiser.max_length:
            self._refuse(f"no answer within {self.plan.recipe.optimiser.max_length} tokens")
            return None
        return {"prompt_ids": asked[:start], "completion_ids": whole[start:], "label": row.label}

    def _prompt_row(self, row: PromptRow | ChatRow) -> dict[str, Any] | None:
        messages = row.prompt if isinstance(row, PromptRow) else row.messages[:-1]
        prompt = render(
            Conversation.from_chat(messages), self.resolution, tokenizer=self._chat, now=CLOCK,
            system_policy="family", alternation="family",
        ).prompt  # fmt: skip
        bos = self.tokenizer.bos_token
        # The trainer's tokenizer adds its own.
        adds = bool(bos) and self.tokenizer("x")["input_ids"][:1] == [self.tokenizer.bos_token_id]
        return {"prompt": prompt.removeprefix(bos) if adds else prompt}

    def _whole(self, prompt: list[dict[str, Any]], answer: list[dict[str, Any]]) -> list[int]:
        """Ids up to the end of the last answer, its end-of-turn mark included."""
        encoding = encode_for_training(
            Conversation.from_chat([*prompt, *answer]), self.resolution, self._chat, now=CLOCK, only_last=True
        )
        end = max(place for place, learned in enumerate(encoding.mask) if learned) + 1
        return list(encoding.ids[:end])

    def _asked(self, prompt: list[dict[str, Any]]) -> list[int]:
        rendered = render(
            Conversation.from_chat(prompt), self.resolution, tokenizer=self._chat, now=CLOCK,
            add_generation_prompt=True,
        )  # fmt: skip
        return list(rendered.ids or ())

    def _refuse(self, reason: str) -> None:
        self.refused[reason] = self.refused.get(reason, 0) + 1


def _common(first: list[int], second: list[int]) -> int:
    """How many ids both begin with."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(first, second, strict=False)))
