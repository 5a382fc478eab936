"""Models that a command's options name, opened with progress; errors become exit codes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from arena.cli._common import BadInput, WorkFailed, console
from arena.config import ConfigError, Settings, load_settings

if TYPE_CHECKING:
    from arena.roster import Contestant
    from results.store import Store


def settings_of(data: Path, config: Path | None = None) -> Settings:
    """The settings in effect. Raises BadInput where they cannot be used."""
    try:
        return load_settings(data, config)
    except ConfigError as error:
        raise BadInput(str(error)) from None


@contextmanager
def open_models(data: Path) -> Iterator[Store]:
    """The store of a data folder; its errors become exit codes (bad queries and writes are the caller's)."""
    # Imported here: DuckDB takes a while, and `--help` must not wait for it.
    from results.store import BadQuery, BadWrite, StoreError, open_store

    try:
        with open_store(data) as store:
            yield store
    except (BadWrite, BadQuery):
        raise
    except StoreError as error:
        raise WorkFailed(str(error)) from None


def embedded_where_needed(store: Store, settings: Settings, data: Path, words: Sequence[str]) -> None:
    """Prepare the embedded model, with progress, where one of the words needs it."""
    from arena.cli._embedded import prepare_embedded
    from arena.roster import needs_embedded

    if needs_embedded(store, settings, data, words):
        prepare_embedded(data)


def resolve_options(store: Store, settings: Settings, data: Path, words: Sequence[str]) -> list[Contestant]:
    """The contestants that `--model` options name (see `arena.roster.resolve_models`), in their order.

    The embedded model is prepared where one of the words needs it. Raises BadInput for words that name no model,
    WorkFailed where weights cannot be read.
    """
    # Imported here: no command that names no model should wait for it.
    from arena.engines.base import EngineError
    from arena.roster import resolve_models

    try:
        embedded_where_needed(store, settings, data, words)
        with console.status("Reading the models"):
            return resolve_models(store, settings, data, words)
    except ConfigError as error:
        raise BadInput(str(error)) from None
    except EngineError as error:
        raise WorkFailed(str(error)) from None
