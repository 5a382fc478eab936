"""Ids of Mistral's own encoder (`mistral-common`, optional): it encodes piece by piece, which no text can
carry.

Formats named `mistral-common-*` use it where it is installed; their text is for reading.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from prompt_formats.conversation import Conversation
from prompt_formats.errors import InvalidInput

PREFIX = "mistral-common:"

# The tokenizer files that come with mistral-common, by the version names that Mistral uses.
_FILES = {
    "v1": "tokenizer.model.v1",
    "v2": "mistral_instruct_tokenizer_240216.model.v2",
    "v3": "mistral_instruct_tokenizer_240323.model.v3",
    "v3-tekken": "tekken_240911.json",
    "v7": "mistral_instruct_tokenizer_241114.model.v7",
}


def installed() -> bool:
    """Whether mistral-common and the SentencePiece that its tokenizers need can be imported."""
    return all(importlib.util.find_spec(name) is not None for name in ("mistral_common", "sentencepiece"))


@lru_cache(maxsize=8)
def _tokenizer(version: str) -> Any:
    if version not in _FILES:
        raise InvalidInput(f"unknown mistral-common tokenizer {version!r}; known are {', '.join(_FILES)}")
    if not installed():
        raise InvalidInput("ids of this format need the packages mistral-common and sentencepiece")
    import mistral_common
    from mistral_common.tokens.tokenizers.mistral import MistralTokenizer

    folder = Path(str(mistral_common.__file__)).parent / "data"
    return MistralTokenizer.from_file(str(folder / _FILES[version]))


def encode(
    name: str,
    conversation: Conversation,
    *,
    continue_final_message: bool = False,
    tools: Sequence[Mapping[str, Any]] | None = None,
) -> tuple[int, ...]:
    """Ids of a conversation by `name` (`mistral-common:v3`), BOS included.

    Raises `InvalidInput` with the encoder's own reason where it refuses the conversation.
    """
    tokenizer = _tokenizer(name.removeprefix(PREFIX))
    from mistral_common.exceptions import MistralCommonException
    from mistral_common.protocol.instruct.request import ChatCompletionRequest
    from pydantic import ValidationError

    messages = conversation.as_chat()
    for message in messages:
        message.pop("reasoning_content", None)
    if continue_final_message:
        messages[-1]["prefix"] = True
    try:
        request = ChatCompletionRequest.model_validate({"messages": messages, "tools": tools})
        return tuple(tokenizer.encode_chat_completion(request).tokens)
    except (MistralCommonException, ValidationError) as error:
        raise InvalidInput(f"{name} refuses the conversation: {error}") from error
