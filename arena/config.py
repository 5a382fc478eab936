"""Settings: `arena.toml` and `ARENA_*` environment variables over defaults, validated at the edge.

Command line options win over the environment, the environment over the file, the file over defaults.
"""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ByteSize, ConfigDict, Field, PrivateAttr, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict


class ConfigError(Exception):
    """A setting cannot be used. The message names the file or variable, the key, and what would be right."""


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ServerSettings(_Section):
    """Where `arena serve` listens, and for whom."""

    host: str = "127.0.0.1"
    port: int = Field(default=7860, ge=1, le=65535)
    root_path: str = Field(default="", pattern=r"^(/[^\s]*[^\s/])?$")
    allowed_hosts: tuple[str, ...] = ()
    join_code: str | None = Field(default=None, min_length=6)


class BattleSettings(_Section):
    """What a battle may cost. Lengths are characters, times seconds; `max_tokens` caps every answer."""

    max_prompt_chars: int = Field(default=8_000, ge=1)
    max_turns: int = Field(default=12, ge=1)
    max_tokens: int = Field(default=512, ge=1)
    answer_timeout: float = Field(default=300, gt=0)
    per_voter_per_hour: int = Field(default=120, ge=1)


class PairBoost(_Section):
    """With `probability`, the pair (in either order) is drawn; otherwise the base strategy draws."""

    pair: tuple[str, str]
    probability: float = Field(gt=0, lt=1)


class MatchmakingSettings(_Section):
    """How the pair of a battle is drawn (see `arena.matchmaking`)."""

    strategy: Literal["uniform", "weighted"] = "uniform"
    weights: dict[str, Annotated[float, Field(gt=0)]] = {}
    boost: PairBoost | None = None


class EndpointSettings(_Section):
    """What may be asked of one endpoint, by all models that it serves together. A limit that is not set is not kept.

    `max_concurrent` counts open requests; tokens are those of prompts and answers.
    """

    url: str = Field(pattern=r"^https?://")
    max_concurrent: int = Field(default=32, ge=1)
    requests_per_minute: int | None = Field(default=None, ge=1)
    tokens_per_minute: int | None = Field(default=None, ge=1)


class Price(_Section):
    """What a million tokens cost. `cached_input` is for prompt tokens that the server took from its cache."""

    input: float = Field(ge=0)
    output: float = Field(ge=0)
    cached_input: float | None = Field(default=None, ge=0)
    currency: str = Field(default="USD", pattern=r"^[A-Z]{3}$")


class ApiSettings(_Section):
    """What the HTTP API takes. `answer_timeout` is seconds; open requests are counted for each token."""

    max_body_bytes: int = Field(default=4_000_000, ge=1_000)
    max_concurrent: int = Field(default=64, ge=1)
    max_choices: int = Field(default=16, ge=1)
    answer_timeout: float = Field(default=600, gt=0)
    drain_seconds: float = Field(default=20, ge=0)


class LogSettings(_Section):
    """The request log, DATA/logs/requests.jsonl. With `log_prompts` it holds prompts and answers too."""

    requests: bool = True
    log_prompts: bool = False
    max_megabytes: float = Field(default=20, gt=0)
    keep_files: int = Field(default=5, ge=1)


class StoreSettings(_Section):
    """Backups that `arena serve` makes by itself; the newest `keep_backups` stay. And what it forgets by itself: all
    that voters of this arena gave more than `retention_days` ago; with `retention_keeps_verdicts` their votes stay,
    anonymous."""

    backup_every_hours: float | None = Field(default=None, gt=0)
    keep_backups: int = Field(default=14, ge=1)
    retention_days: float | None = Field(default=None, gt=0)
    retention_keeps_verdicts: bool = False


Share = Annotated[float, Field(gt=0, le=1)]
Amount = Annotated[ByteSize, Field(gt=1)]


class EngineSettings(_Section):
    """What local models may take of the machine: a share (0.5) or an amount ("10GiB"). Not set: most of it.

    Models named in `pinned` are never unloaded for others. `dtype` "float32" makes answers that share a batch equal
    to those made alone.
    """

    memory_budget: Share | Amount | None = None
    gpu_memory_budget: Share | Amount | None = None
    pinned: tuple[str, ...] = ()
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"


class Settings(BaseSettings):
    """All settings. `models` are roster entries as tables; `arena.roster` makes model specs of them."""

    model_config = SettingsConfigDict(
        env_prefix="ARENA_", env_nested_delimiter="__", extra="forbid", frozen=True
    )

    server: ServerSettings = ServerSettings()
    battle: BattleSettings = BattleSettings()
    matchmaking: MatchmakingSettings = MatchmakingSettings()
    engines: EngineSettings = EngineSettings()
    api: ApiSettings = ApiSettings()
    log: LogSettings = LogSettings()
    store: StoreSettings = StoreSettings()
    embedded: bool = True
    models: tuple[dict[str, Any], ...] = ()
    endpoints: tuple[EndpointSettings, ...] = ()
    prices: dict[str, Price] = {}

    _file: Path | None = PrivateAttr(default=None)

    @property
    def file(self) -> Path | None:
        """The settings file that these were read from, or would be if it were there."""
        return self._file

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment goes over the values of the file, which come in as init arguments."""
        return env_settings, init_settings


def load_settings(data_dir: Path, config: Path | None = None) -> Settings:
    """Settings from `config` (default: `arena.toml` in the data directory, where there is one) and environment.

    Raises:
        ConfigError: the file is missing (where named), is not TOML, or holds an unknown key or a bad value.
    """
    path = config if config is not None else data_dir / "arena.toml"
    tables: dict[str, Any] = {}
    if config is not None or path.exists():
        try:
            tables = tomllib.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise ConfigError(f"{path}: no such file") from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ConfigError(f"{path}: not valid TOML: {error}") from None
    try:
        settings = Settings(**tables)
    except ValidationError as error:
        raise ConfigError(_explain(error, path if tables else None, os.environ)) from None
    settings._file = path.resolve()
    return settings


def _explain(error: ValidationError, path: Path | None, environ: Mapping[str, str]) -> str:
    lines = []
    for problem in error.errors():
        keys = [str(part) for part in problem["loc"]]
        dotted = ".".join(keys)
        variable = "ARENA_" + "__".join(keys).upper()
        where = variable if variable in environ else f"{path}: {dotted}" if path else dotted
        message = problem["msg"]
        if problem["type"] == "extra_forbidden":
            message = "unknown key" + nearest(keys[-1], _known_keys(keys[:-1]))
        lines.append(f"{where}: {message}")
    return "\n".join(lines)


def nearest(word: str, known: list[str]) -> str:
    """` (did you mean 'x'?)` for the known word nearest to `word`, else the list of what is known."""
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f" (did you mean '{close[0]}'?)" if close else f" (known: {', '.join(known)})"


def _known_keys(section: list[str]) -> list[str]:
    model: type[BaseModel] = Settings
    for key in section:
        field = model.model_fields.get(key)
        if field is None:
            continue  # the number of a table in a list, or a name that the user chose
        kinds = (field.annotation, *get_args(field.annotation))
        inner = [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)]
        model = inner[0] if inner else model
    return list(model.model_fields)
