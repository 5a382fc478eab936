"""Named operations: the only way to write, in this process and over the loopback alike."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Generic, Literal, TypeVar

import pyarrow as pa
from pydantic import BaseModel, TypeAdapter
from pydantic_core import PydanticSerializationError

from results.store._database import Database
from results.store._transaction import Transaction
from results.store.errors import BadWrite

P = TypeVar("P", bound=BaseModel)
R = TypeVar("R")

Kind = Literal["write", "write alone", "read", "whole database"]


@dataclass(frozen=True)
class Operation(Generic[P, R]):
    """One thing that can be asked of the store. All writes are idempotent: clients send them again when an
    owner dies.

    `run` takes a transaction (a read-only one for kind `read`; one of its own for `write alone`; the
    `Database` for `whole database`) and the payload. With `takes_rows` an Arrow table travels beside it.
    """

    name: str
    payload: type[P]
    result: Any
    run: Callable[..., R]
    kind: Kind = "write"
    takes_rows: bool = False
    timeout: float = 60.0

    @cached_property
    def answers(self) -> TypeAdapter[R]:
        """Turns results to JSON and back."""
        return TypeAdapter(self.result)

    def apply(self, target: Transaction | Database, payload: P, rows: pa.Table | None) -> R:
        """Run against a transaction (or the whole database)."""
        return self.run(target, payload, rows) if self.takes_rows else self.run(target, payload)


def as_json(payload: BaseModel) -> bytes:
    """The payload as JSON. Raises BadWrite for text that no database can hold (half of a surrogate pair)."""
    try:
        return payload.model_dump_json().encode()
    except PydanticSerializationError as error:
        raise BadWrite(f"the text cannot be stored, it holds half of a character: {error}") from error


class Nothing(BaseModel):
    """The payload of operations that need none."""
