"""What a training needs of a machine, estimated before it begins."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from arena.engines.memory import estimate as inference_estimate
from trainers.plan import TrainingPlan


class TrainingMemory(BaseModel):
    """Bytes: of the machine's memory, and of a GPU's (0 where training runs on the CPU)."""

    model_config = ConfigDict(frozen=True)

    ram: int
    gpu: int = 0


def estimate(plan: TrainingPlan) -> TrainingMemory:
    """Memory of a plan at its peak."""
    return TrainingMemory(ram=inference_estimate(plan.base.path).weights * 3)
