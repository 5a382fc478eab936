"""Ids: a thin face over `tokenizers` that keeps control tokens typed by people from becoming control tokens.

The method is that of transformers' `apply_chat_template(sanitize_control_tokens=True)` (>= 5.20): control
tokens in the input are wrapped in private-use characters before rendering, and what stands between those is
encoded without added tokens. It is done here on `tokenizers` alone because training masks need offsets, which
transformers does not return for sanitised text, and because importing transformers takes most of a second.
Tests compare the two.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from prompt_formats.environment import literal_text
from prompt_formats.errors import InvalidInput
from prompt_formats.registry import built_in

_OPEN, _CLOSE = "\U000f0000", "\U000f0001"
_LOOKS_LIKE_CONTROL = re.compile(r"<\|[^<>]*\|?>|<｜.*>|\[/?[A-Z_]+\]|</?s>|<\|[a-z_]+>|<[a-z_]+\|>")


@dataclass(frozen=True)
class Encoded:
    """Token ids and, where asked for, the (start, end) of each in characters of the text that was encoded."""

    ids: tuple[int, ...]
    offsets: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True)
class ChatTokenizer:
    """A tokenizer with what its folder says about chats.

    `special_tokens` maps names such as `bos_token` to texts; `eos_ids` is the union of `generation_config`'s
    `eos_token_id` and the tokenizer's EOS; `template` is the publisher's chat template or None.
    """

    backend: Any
    special_tokens: Mapping[str, str] = field(default_factory=dict)
    template: str | None = None
    tool_template: str | None = None
    generation_eos: tuple[int, ...] = ()
    chat_control_tokens: tuple[str, ...] | None = None
    name: str = ""

    @cached_property
    def _added(self) -> dict[str, tuple[int, bool]]:
        return {
            token.content: (number, bool(token.special))
            for number, token in self.backend.get_added_tokens_decoder().items()
        }

    @property
    def bos(self) -> str:
        return self.special_tokens.get("bos_token", "")

    @property
    def eos(self) -> str:
        return self.special_tokens.get("eos_token", "")

    def id_of(self, token: str) -> int | None:
        """The id of a token's text, or None where the vocabulary does not hold it."""
        number: int | None = self.backend.token_to_id(token)
        return number

    def text_of(self, number: int) -> str | None:
        """The text of a token id as the vocabulary writes it."""
        text: str | None = self.backend.id_to_token(number)
        return text

    @cached_property
    def eos_ids(self) -> tuple[int, ...]:
        """Ids that end an answer: those of `generation_config.json` first, then the tokenizer's EOS."""
        own = self.id_of(self.eos) if self.eos else None
        return tuple(dict.fromkeys((*self.generation_eos, *(() if own is None else (own,)))))

    def control_tokens(self, template: str) -> tuple[str, ...]:
        """Texts of tokens that only the template may write, longest first.

        All special tokens; other added tokens where `template` writes them or where they look like control
        tokens (templates may build those from pieces).
        """
        if self.chat_control_tokens is not None:
            listed = set(self.chat_control_tokens)
            chosen = [text for text, (_, special) in self._added.items() if special or text in listed]
        else:
            written = literal_text(template)
            chosen = [
                text
                for text, (_, special) in self._added.items()
                if special
                or (
                    not text.isspace()
                    and (
                        text in written
                        or text in _known_control_texts()
                        or _LOOKS_LIKE_CONTROL.fullmatch(text)
                    )
                )
            ]
        return tuple(sorted(chosen, key=lambda t: (-len(t), t)))

    def encode(self, text: str, *, offsets: bool = False) -> Encoded:
        """Encode text as it stands: control tokens in it become control tokens; nothing is added (no BOS)."""
        return _encode(self.backend, text, offsets=offsets)

    def encode_marked(self, marked: str, *, offsets: bool = False) -> tuple[str, Encoded]:
        """Encode a rendering of marked input (`mark`): returns the text without marks, and its ids and
        offsets.

        Marked control tokens are encoded as plain text. Raises `InvalidInput` for a token that no plain
        encoding can avoid.
        """
        if _OPEN not in marked and _CLOSE not in marked:
            return marked, self.encode(marked, offsets=offsets)
        _, marks = _patterns(tuple(sorted(self._added, key=lambda t: (-len(t), t))))
        ids: list[int] = []
        places: list[tuple[int, int]] = []
        text = ""
        for number, piece in enumerate(marks.split(marked)):
            if not piece:
                continue
            as_text = number % 2 == 1
            encoded = self._encode_piece(piece, as_text=as_text, first=number == 0)
            ids += encoded.ids
            places += [(start + len(text), end + len(text)) for start, end in encoded.offsets]
            text += piece
        return text, Encoded(tuple(ids), tuple(places) if offsets else ())

    def _encode_piece(self, piece: str, *, as_text: bool, first: bool) -> Encoded:
        if not as_text:
            return (
                _encode(self.backend, piece, offsets=True)
                if first
                else _encode_without_prefix(self.backend, piece)
            )
        forbidden = self._added[piece][0]
        ids = _plain_ids(self.backend, piece)
        if forbidden in ids:
            # The model's own vocabulary spells the control token: encode it a character at a time.
            ids = tuple(number for character in piece for number in _plain_ids(self.backend, character))
        if forbidden in ids:
            raise InvalidInput(f"control token {piece!r} cannot be encoded as plain text; take it out")
        return Encoded(ids, ((0, len(piece)),) * len(ids))


def _encode(backend: Any, text: str, *, offsets: bool = False) -> Encoded:
    encoding = backend.encode(text, add_special_tokens=False)
    return Encoded(tuple(encoding.ids), tuple(encoding.offsets) if offsets else ())


def _encode_without_prefix(backend: Any, text: str) -> Encoded:
    # SentencePiece puts a space before a string's start; after a newline it does not. The newline is cut off
    # again.
    newline = _encode(backend, "\n").ids
    whole = _encode(backend, "\n" + text, offsets=True)
    if whole.ids[: len(newline)] != newline:
        return _encode(backend, text, offsets=True)
    offsets = tuple((max(0, start - 1), max(0, end - 1)) for start, end in whole.offsets[len(newline) :])
    return Encoded(whole.ids[len(newline) :], offsets)


def _plain_ids(backend: Any, text: str) -> tuple[int, ...]:
    """Ids of `text` by the tokenizer's own pipeline without its added tokens (switching off special tokens
    would not do: <think> or <tool_call> often are not special), and without SentencePiece's leading space."""

    def run(piece: str) -> tuple[int, ...]:
        if backend.normalizer is not None:
            piece = backend.normalizer.normalize_str(piece)
        splits = [piece]
        if backend.pre_tokenizer is not None:
            splits = [split for split, _ in backend.pre_tokenizer.pre_tokenize_str(piece)]
        return tuple(token.id for split in splits for token in backend.model.tokenize(split))

    newline = _encode(backend, "\n").ids
    whole = run("\n" + text)
    return whole[len(newline) :] if whole[: len(newline)] == newline else run(text)


@lru_cache(maxsize=1)
def _known_control_texts() -> frozenset[str]:
    """The control texts of all families."""
    return frozenset(text for form in built_in().values() for text in form.control_texts)


@lru_cache(maxsize=64)
def _patterns(tokens: tuple[str, ...]) -> tuple[re.Pattern[str], re.Pattern[str]]:
    """A pattern for any of `tokens`, and one for a marked token or a lone mark."""
    any_token = "|".join(map(re.escape, tokens)) or "(?!)"
    return re.compile(any_token), re.compile(f"{_OPEN}({any_token}){_CLOSE}|[{_OPEN}{_CLOSE}]")


def mark(value: Any, tokens: tuple[str, ...]) -> Any:
    """Wrap `tokens` (longest first) in every string of `value` (a string, list or dict; keys are left
    alone)."""
    pattern, _ = _patterns(tokens)
    return _mark(value, pattern)


def _mark(value: Any, pattern: re.Pattern[str]) -> Any:
    if isinstance(value, str):
        # Marks already in the text are dropped first: they could forge a marked token.
        text = value.replace(_OPEN, "").replace(_CLOSE, "")
        return pattern.sub(f"{_OPEN}\\g<0>{_CLOSE}", text)
    if isinstance(value, Mapping):
        return {key: _mark(item, pattern) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_mark(item, pattern) for item in value]
    return value


def unmark(text: str) -> str:
    """`text` without marks."""
    return text.replace(_OPEN, "").replace(_CLOSE, "")


def load_tokenizer(source: Any) -> ChatTokenizer:
    """A `ChatTokenizer` from a folder (`tokenizer.json` and the files beside it), a hub id in the local
    cache, a `tokenizers.Tokenizer`, or a fast transformers tokenizer.

    Raises `InvalidInput` saying what is missing. Reads no network.
    """
    if isinstance(source, ChatTokenizer):
        return source
    if isinstance(source, str | Path):
        return _load_folder(find_folder(str(source)))
    backend = getattr(source, "backend_tokenizer", None)
    if backend is not None:
        return _from_transformers(source, backend)
    if hasattr(source, "encode") and hasattr(source, "get_added_tokens_decoder"):
        return ChatTokenizer(source)
    raise InvalidInput(
        f"cannot use {type(source).__name__} as a tokenizer: give a folder or a fast tokenizer"
    )


def _from_transformers(source: Any, backend: Any) -> ChatTokenizer:
    template = source.chat_template
    templates = template if isinstance(template, dict) else {"default": template}
    specials = {key: text for key, text in source.special_tokens_map.items() if isinstance(text, str)}
    return ChatTokenizer(
        backend,
        specials,
        templates.get("default"),
        templates.get("tool_use"),
        chat_control_tokens=_as_texts(getattr(source, "chat_control_tokens", None)),
        name=str(getattr(source, "name_or_path", "")),
    )


def find_folder(source: str) -> Path:
    """The folder of a tokenizer: given as such, or as the id of a model in the local hub cache.

    Raises `InvalidInput` where it is neither. Reads no network.
    """
    folder = Path(source)
    if folder.is_dir():
        return folder
    if folder.name == "tokenizer.json" and folder.is_file():
        return folder.parent
    if re.fullmatch(r"[\w.-]+/[\w.-]+", source):
        from huggingface_hub import try_to_load_from_cache

        cached = try_to_load_from_cache(source, "tokenizer.json")
        if isinstance(cached, str):
            return Path(cached).parent
    raise InvalidInput(
        f"tokenizer {source!r}: no such folder, and the local hub cache does not hold it; give a folder with "
        "tokenizer.json"
    )


@lru_cache(maxsize=16)
def _load_cached(folder: Path, stamp: int) -> ChatTokenizer:
    import tokenizers

    path = folder / "tokenizer.json"
    try:
        backend = tokenizers.Tokenizer.from_file(str(path))
    except Exception as error:  # tokenizers raises bare Exception for anything wrong with the file
        raise InvalidInput(f"{path}: not a tokenizer file: {error}") from error
    config = _read_json(folder / "tokenizer_config.json")
    templates = read_templates(folder)
    specials = _special_tokens({**_read_json(folder / "special_tokens_map.json"), **config})
    eos = _read_json(folder / "generation_config.json").get("eos_token_id")
    return ChatTokenizer(
        backend,
        specials,
        templates.get("default"),
        templates.get("tool_use"),
        tuple(eos) if isinstance(eos, list) else (() if eos is None else (int(eos),)),
        _as_texts(config.get("chat_control_tokens")),
        name=str(folder),
    )


def _load_folder(folder: Path) -> ChatTokenizer:
    path = folder / "tokenizer.json"
    if not path.is_file():
        raise InvalidInput(
            f"{folder}: no tokenizer.json; a slow tokenizer must be converted first "
            "(transformers: AutoTokenizer.from_pretrained(folder).save_pretrained(folder))"
        )
    newest = max(file.stat().st_mtime_ns for file in folder.iterdir() if file.suffix in {".json", ".jinja"})
    return _load_cached(folder.resolve(), newest)


def _read_json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InvalidInput(f"{path}: not valid JSON: {error}") from error
    if not isinstance(data, dict):
        raise InvalidInput(f"{path}: expected a JSON object")
    return data


def _special_tokens(config: Mapping[str, Any]) -> dict[str, str]:
    specials = {}
    for key, value in config.items():
        text = value.get("content") if isinstance(value, dict) else value
        if key.endswith("_token") and isinstance(text, str):
            specials[key] = text
    return specials


def read_templates(folder: Path) -> dict[str, str]:
    """The folder's chat templates by name; `chat_template.jinja` wins over JSON files, as in transformers."""
    config = _read_json(folder / "tokenizer_config.json")
    given = config.get("chat_template") or _read_json(folder / "chat_template.json").get("chat_template")
    templates: dict[str, str] = {}
    if isinstance(given, str):
        templates["default"] = given
    elif isinstance(given, list):
        templates.update({str(entry["name"]): str(entry["template"]) for entry in given})
    for path in (folder / "additional_chat_templates").glob("*.jinja"):
        templates[path.stem] = path.read_text(encoding="utf-8")
    own = folder / "chat_template.jinja"
    if own.is_file():
        templates["default"] = own.read_text(encoding="utf-8")
    return templates


def _as_texts(tokens: Iterable[Any] | None) -> tuple[str, ...] | None:
    return None if tokens is None else tuple(str(token) for token in tokens)
