"""Whatever is sent is either a request or an error that names what is wrong."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arena.api.errors import ApiError
from arena.api.requests import ChatRequest, CompletionRequest, EmbeddingRequest, parsed
from arena.engines.base import GenerationRequest

KINDS = (ChatRequest, CompletionRequest, EmbeddingRequest)
NAMES = sorted({name for kind in KINDS for name in kind.model_fields} | {"모름"})
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
MESSAGES = st.lists(
    st.fixed_dictionaries(
        {
            "role": st.sampled_from(["user", "assistant", "system", "tool", "developer", "?"]),
            "content": ANYTHING,
        },
        optional={"name": ANYTHING, "refusal": st.none(), "type": st.just("text")},
    ),
    max_size=4,
)
BODIES = st.fixed_dictionaries(
    {},
    optional={
        **dict.fromkeys(NAMES, ANYTHING),
        "model": st.text(min_size=1, max_size=9),
        "messages": MESSAGES | ANYTHING,
        "prompt": st.text(max_size=20)
        | st.lists(st.text(max_size=9) | st.integers() | st.lists(st.integers(), max_size=2), max_size=3)
        | ANYTHING,
        "temperature": st.floats(0, 5) | ANYTHING,
    },
)


@settings(max_examples=150, deadline=None)
@given(body=BODIES | ANYTHING)
def test_any_json_is_a_request_or_an_explained_error(body: Any) -> None:
    sent = json.dumps(body).encode()
    for kind in KINDS:
        found = _parsed(kind, sent)
        if isinstance(found, ApiError):
            told = found.body("req_1")["error"]
            assert 400 <= found.status < 500
            assert told["message"]
            assert json.loads(json.dumps(told)) == told
        elif isinstance(found, ChatRequest):
            GenerationRequest(conversation=found.conversation(), sampling=found.sampling(), stop=found.stops)
        elif isinstance(found, CompletionRequest):
            first = found.prompts[0]
            text, ids = (first, None) if isinstance(first, str) else (None, first)
            GenerationRequest(text=text, ids=ids, sampling=found.sampling(), logprobs=found.logprobs)
        else:
            assert found.texts


def _parsed(kind: type[Any], sent: bytes) -> ChatRequest | CompletionRequest | EmbeddingRequest | ApiError:
    try:
        asked = parsed(kind, sent)
        if isinstance(asked, EmbeddingRequest):
            asked.refuse_unsupported()
        else:
            asked.refuse_unsupported(4)
    except ApiError as error:
        return error
    return asked


@settings(max_examples=100, deadline=None)
@given(body=st.binary(max_size=200))
def test_any_bytes_are_refused_as_no_json(body: bytes) -> None:
    with pytest.raises(ApiError) as caught:
        parsed(ChatRequest, body)
    assert caught.value.status == 400


def test_nothing_that_was_sent_is_repeated_in_the_error() -> None:
    for body in (
        {"model": "m", "messages": "내 비밀"},
        {"model": "m", "temperature": "내 비밀", "messages": []},
    ):
        with pytest.raises(ApiError) as caught:
            parsed(ChatRequest, json.dumps(body).encode())
        assert "내 비밀" not in str(caught.value)
