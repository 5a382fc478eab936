"""The registry: prompt formats as data, one YAML file a family with its Jinja templates beside it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from prompt_formats.environment import compiled
from prompt_formats.errors import InvalidInput, PromptFormatError, UnknownFormat
from prompt_formats.prompt_format import Origin, PromptFormat

BUILT_IN = Path(__file__).parent / "formats"

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class Registry(Mapping[str, PromptFormat]):
    """Formats by name; names and aliases are looked up without regard to case.

    Iterating gives names without aliases. A later format of the same name replaces an earlier one, so that a
    user's folder can correct a format of ours.
    """

    def __init__(self, formats: Iterator[PromptFormat] | list[PromptFormat]) -> None:
        self._formats: dict[str, PromptFormat] = {}
        self._names: dict[str, str] = {}
        for form in formats:
            self._formats[form.name] = form
            for alias in form.aliases:
                self._names.setdefault(alias.lower(), form.name)
        self._names.update({name.lower(): name for name in self._formats})

    def __getitem__(self, name: str) -> PromptFormat:
        known = self._names.get(name.lower())
        if known is None:
            raise UnknownFormat(f"no prompt format is named {name!r}{self._hint(name)}")
        return self._formats[known]

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name.lower() in self._names

    def __iter__(self) -> Iterator[str]:
        return iter(self._formats)

    def __len__(self) -> int:
        return len(self._formats)

    # Two registries are the same only if they are one: a registry is a key of the resolver's cache.
    __hash__ = object.__hash__

    def __eq__(self, other: object) -> bool:
        return self is other

    def families(self) -> dict[str, list[PromptFormat]]:
        """The formats of each family, families in alphabetical order."""
        grouped: dict[str, list[PromptFormat]] = {}
        for form in sorted(self._formats.values(), key=lambda f: (f.family, f.name)):
            grouped.setdefault(form.family, []).append(form)
        return grouped

    def _hint(self, name: str) -> str:
        import difflib

        near = difflib.get_close_matches(name.lower(), self._names, n=3)
        return f"; did you mean {' or '.join(near)}?" if near else "; `arena format list` shows all"


@lru_cache(maxsize=1)
def built_in() -> Registry:
    """The formats that come with Palaestra."""
    return Registry(list(_read_folder(BUILT_IN, "registry")))


@lru_cache(maxsize=8)
def _with_user_formats(folder: Path, stamp: tuple[tuple[str, int, int], ...]) -> Registry:
    return Registry([*built_in().values(), *_read_folder(folder, "user")])


def load_registry(user_folder: Path | None = None) -> Registry:
    """The built-in formats, with those found under `user_folder` (any depth) added or replacing them.

    Read again when a file there changes. Raises `InvalidInput` naming file and place for YAML that does not
    parse, unknown keys, missing templates and templates that do not compile.
    """
    if user_folder is None or not user_folder.is_dir():
        return built_in()
    stamp = tuple(
        (str(path), path.stat().st_mtime_ns, path.stat().st_size)
        for path in sorted(user_folder.rglob("*"))
        if path.suffix in {".yaml", ".yml", ".jinja"}
    )
    return _with_user_formats(user_folder, stamp)


def _read_folder(folder: Path, origin: Origin) -> Iterator[PromptFormat]:
    for path in sorted(p for p in folder.rglob("*") if p.suffix in {".yaml", ".yml"}):
        yield from read_family(path, origin)


def read_family(path: Path, origin: Origin = "user") -> list[PromptFormat]:
    """The formats in one YAML file. Top-level keys are defaults of every entry of `formats`; `template` names
    a Jinja file beside the YAML file. Raises `InvalidInput` naming the file and the place."""
    try:
        data = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)  # noqa: S506 -- a safe loader
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise InvalidInput(f"{path}{place}: {error.problem}") from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InvalidInput(f"{path}: cannot be read: {error}") from error
    if not isinstance(data, dict):
        raise InvalidInput(f"{path}: expected a mapping with `family` and `formats`")
    entries = data.pop("formats", None) or [{}]
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise InvalidInput(f"{path}: `formats` must be a list of mappings")
    data.setdefault("family", path.stem)
    return [_build(path, {**data, **entry}, origin) for entry in entries]


def _build(path: Path, entry: dict[str, Any], origin: Origin) -> PromptFormat:
    where = f"{path}: format {entry.get('name', '(no name)')!r}"
    entry.setdefault("name", entry["family"])
    template = entry.get("template")
    if not isinstance(template, str):
        raise InvalidInput(f"{where}: `template` must name a Jinja file beside {path.name}")
    source = path.parent / template
    try:
        # Within a folder of formats only: `template: ../../etc/passwd` would put any file into a prompt.
        source.resolve().relative_to(path.parent.resolve())
        entry["template"] = source.read_text(encoding="utf-8")
    except ValueError as error:
        raise InvalidInput(
            f"{where}: template {template!r} lies outside the folder of {path.name}"
        ) from error
    except OSError as error:
        raise InvalidInput(
            f"{where}: template {template!r} cannot be read: {os.strerror(error.errno or 0)}"
        ) from error
    try:
        form = PromptFormat.model_validate({**entry, "origin": origin, "path": str(source)})
        if origin != "registry":  # ours are compiled when first used: reading all must stay fast
            compiled(form.template)
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise InvalidInput(f"{where}: {problems}") from error
    except PromptFormatError as error:
        raise InvalidInput(f"{source}: {error}") from error
    return form
