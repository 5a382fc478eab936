"""A small real model made on the spot: every method of training in seconds, without any weights to fetch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from results.store import Store, open_store
from tests.trainers.tiny_models import planner, save_tiny
from trainers.plan import TrainingPlan


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Models this small gain nothing from more threads, and where test processes share cores their threads wait for
    each other at every product: five times slower. Processes that tests start follow."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Llama of two layers with a byte-level tokenizer and a ChatML template."""
    return save_tiny(tmp_path_factory.mktemp("models") / "tiny-llama")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with open_store(tmp_path / "data") as opened:
        yield opened


@pytest.fixture
def plan_for(store: Store, tiny_model: Path, tmp_path: Path) -> Callable[..., TrainingPlan]:
    """Makes a plan on the tiny model; values are laid over a short recipe."""
    return planner(store, tiny_model, tmp_path)
