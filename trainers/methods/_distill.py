"""Distillation: soft targets of a teacher mixed with the hard targets of the data."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional
from trl import SFTTrainer

from trainers.recipes.recipe import Distillation


def soft_loss(
    student: torch.Tensor, teacher: torch.Tensor, labels: torch.Tensor, temperature: float
) -> torch.Tensor:
    """Mean KL(teacher || student) over the labelled places, times temperature squared (Hinton et al.,
    arXiv 1503.02531).

    `student`, `teacher`: logits (batch, length, vocabulary); `labels`: (batch, length), -100 where nothing is
    learned. Places are shifted by one, as in the cross-entropy.
    """
    learned = labels[:, 1:] != -100
    ours = functional.log_softmax(student[:, :-1][learned].float() / temperature, dim=-1)
    theirs = functional.log_softmax(teacher[:, :-1][learned].float() / temperature, dim=-1)
    return functional.kl_div(ours, theirs, log_target=True, reduction="batchmean") * temperature**2


class DistillationSFTTrainer(SFTTrainer):  # type: ignore[misc]  # trl has no types
    """SFT whose loss is alpha x cross-entropy + (1 - alpha) x soft loss; evaluation reports the same mixture."""

    def __init__(self, *args: Any, teacher: Any, distillation: Distillation, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._teacher = self.accelerator.prepare_model(teacher.eval(), evaluation_mode=True)
        self._distillation = distillation
        # The mixture is a mean over this batch, not a sum to be divided by the tokens of all of them.
        self.model_accepts_loss_kwargs = False

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """The mixed loss (and the student's outputs)."""
        taught = {
            key: value
            for key, value in inputs.items()
            if key in ("input_ids", "attention_mask", "position_ids")
        }
        with torch.no_grad():
            teacher = self._teacher(**taught).logits
        outputs = model(**inputs)
        how = self._distillation
        soft = soft_loss(outputs.logits, teacher, inputs["labels"], how.temperature)
        loss = how.alpha * outputs.loss + (1 - how.alpha) * soft
        return (loss, outputs) if return_outputs else loss
