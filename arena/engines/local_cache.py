"""A key-value cache whose rows can join and leave while the others go on. Worker processes only.

All rows end at the same column: shorter ones are padded on the left, and the padding is masked.
Sliding-window layers keep all their keys here (their window is in the mask): this lets rows move.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from transformers.cache_utils import Cache, DynamicLayer

SPARE_COLUMNS = 128


class GrowingLayer(DynamicLayer):  # type: ignore[misc]  # transformers is untyped
    """A layer that writes into spare room, so that a new token does not copy all that came before it."""

    keys: torch.Tensor
    values: torch.Tensor
    is_initialized: bool

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Append keys and values of shape (rows, heads, new, head size); return all of them."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
            self._used = 0
            self._key_room = key_states.new_empty((*key_states.shape[:2], 0, key_states.shape[-1]))
            self._value_room = value_states.new_empty((*value_states.shape[:2], 0, value_states.shape[-1]))
        end = self._used + key_states.shape[-2]
        if end > self._key_room.shape[-2]:
            self._key_room = self._grown(self._key_room, end)
            self._value_room = self._grown(self._value_room, end)
        self._key_room[:, :, self._used : end] = key_states
        self._value_room[:, :, self._used : end] = value_states
        self._show(end)
        return self.keys, self.values

    def replace(self, keys: torch.Tensor, values: torch.Tensor) -> None:
        """Hold these keys and values instead."""
        self._used = 0
        self._key_room, self._value_room = keys, values
        self.dtype, self.device, self.is_initialized = keys.dtype, keys.device, True
        self._show(keys.shape[-2])

    def repeated(self, rows: int, spare: int) -> GrowingLayer:
        """A layer with its one row `rows` times, and room for `spare` more columns."""
        layer = copy.copy(self)
        layer._key_room, layer._value_room = (
            torch.nn.functional.pad(states.expand(rows, -1, -1, -1), (0, 0, 0, spare))
            for states in (self.keys, self.values)
        )
        layer._show(self._used)
        return layer

    def _grown(self, room: torch.Tensor, needed: int) -> torch.Tensor:
        columns = needed + max(SPARE_COLUMNS, needed // 4)
        grown = room.new_zeros((*room.shape[:2], columns, room.shape[-1]))
        grown[:, :, : self._used] = room[:, :, : self._used]
        return grown

    def _show(self, used: int) -> None:
        self._used = used
        self.keys = self._key_room[:, :, :used]
        self.values = self._value_room[:, :, :used]


def new_cache() -> Cache:
    """An empty cache of growing layers."""
    return Cache(layer_class_to_replicate=GrowingLayer)


def keep_rows(cache: Cache, rows: list[int], drop_columns: int = 0) -> None:
    """Keep only these rows, without the first `drop_columns` columns (padding in all of them)."""
    for layer in _filled(cache):
        index = torch.tensor(rows, device=layer.device)
        layer.replace(
            layer.keys[:, :, drop_columns:].index_select(0, index),
            layer.values[:, :, drop_columns:].index_select(0, index),
        )


def repeated(cache: Cache, rows: int, spare: int) -> Cache:
    """A cache of one row as one of `rows` equal ones that has room for `spare` columns; `cache` stays as it is."""
    copied = copy.copy(cache)
    copied.layers = [
        layer.repeated(rows, spare) if layer.is_initialized else copy.copy(layer) for layer in cache.layers
    ]
    return copied


def join(cache: Cache, other: Cache) -> None:
    """Append the rows of `other` to `cache`; the shorter of the two is padded on the left with zeros."""
    for mine, its in zip(_filled(cache), _filled(other), strict=True):
        columns = max(mine.keys.shape[-2], its.keys.shape[-2])
        mine.replace(
            torch.cat([_padded(mine.keys, columns), _padded(its.keys, columns)]),
            torch.cat([_padded(mine.values, columns), _padded(its.values, columns)]),
        )


def _filled(cache: Cache) -> list[GrowingLayer]:
    # Models that share keys between layers leave some layers of the cache empty.
    return [layer for layer in cache.layers if layer.is_initialized]


def _padded(states: torch.Tensor, columns: int) -> torch.Tensor:
    missing = columns - states.shape[-2]
    return torch.nn.functional.pad(states, (0, 0, missing, 0)) if missing else states
