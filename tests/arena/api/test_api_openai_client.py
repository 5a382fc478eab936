"""/v1 as the official `openai` client sees it, on the real SmolLM2."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import openai
import pytest
from tokenizers import Tokenizer

pytestmark = pytest.mark.model

PARIS: list[Any] = [{"role": "user", "content": "What is the capital of France?"}]


def test_models_are_listed_with_what_is_ours_under_one_key(client: openai.OpenAI) -> None:
    listed = {model.id: model for model in client.models.list()}
    assert "smollm2" in listed
    one = client.models.retrieve("smollm2@1")
    assert one.id == "smollm2@1"
    extras = one.model_extra["palaestra"]
    assert extras["version"] == "smollm2@1"
    assert extras["licence"] == "Apache-2.0"
    assert "base_url" not in str(client.models.retrieve("ok").model_extra)
    assert "api_key" not in str(listed)


def test_a_chat_is_answered(client: openai.OpenAI) -> None:
    raw = client.chat.completions.with_raw_response.create(model="smollm2", messages=PARIS, temperature=0)
    answer = raw.parse()
    assert answer.choices[0].message.content == "The capital of France is Paris."
    assert answer.choices[0].finish_reason == "stop"
    assert answer.model == "smollm2@1"
    assert answer.usage is not None
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    assert answer.usage.completion_tokens == 8
    assert raw.headers["x-request-id"].startswith("req_")
    assert raw.headers["x-request-id"].removeprefix("req_") in answer.id


def test_a_stream_says_the_same_and_tells_its_usage_at_the_end(client: openai.OpenAI) -> None:
    whole = client.chat.completions.create(model="smollm2", messages=PARIS)
    chunks = list(
        client.chat.completions.create(
            model="smollm2", messages=PARIS, stream=True, stream_options={"include_usage": True}
        )
    )
    *said, last = chunks
    assert said[0].choices[0].delta.role == "assistant"
    assert "".join(chunk.choices[0].delta.content or "" for chunk in said) == whole.choices[0].message.content
    assert [chunk.choices[0].finish_reason for chunk in said][-1] == "stop"
    assert len(said) > 5  # it came in pieces
    assert last.choices == []
    assert last.usage == whole.usage
    assert {chunk.id for chunk in chunks} == {last.id}


def test_several_answers_stops_lengths_and_seeds(client: openai.OpenAI) -> None:
    drawn = client.chat.completions.create(
        model="smollm2", messages=PARIS, n=3, seed=5, temperature=1.5, max_tokens=12
    )
    again = client.chat.completions.create(
        model="smollm2", messages=PARIS, n=3, seed=5, temperature=1.5, max_completion_tokens=12
    )
    texts = [choice.message.content for choice in drawn.choices]
    assert [choice.index for choice in drawn.choices] == [0, 1, 2]
    assert len(set(texts)) > 1
    assert len(again.choices) == 3
    assert drawn.usage is not None
    assert drawn.usage.prompt_tokens < 100  # the prompt was counted once
    stopped = client.chat.completions.create(model="smollm2", messages=PARIS, stop=[" France", "국"])
    assert stopped.choices[0].message.content == "The capital of"
    assert stopped.choices[0].finish_reason == "stop"
    cut = client.chat.completions.create(model="smollm2", messages=PARIS, max_tokens=3)
    assert (cut.choices[0].message.content, cut.choices[0].finish_reason) == ("The capital of", "length")
    streamed = client.chat.completions.create(
        model="smollm2", messages=PARIS, n=2, stream=True, max_tokens=4, extra_body={"top_k": 1, "min_p": 0.1}
    )
    by_index: dict[int, str] = {}
    for chunk in streamed:
        choice = chunk.choices[0]
        by_index[choice.index] = by_index.get(choice.index, "") + (choice.delta.content or "")
    assert by_index == dict.fromkeys((0, 1), "The capital of France")


def test_log_probabilities(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(
        model="smollm2", messages=PARIS, logprobs=True, top_logprobs=2, max_tokens=3
    )
    told = answer.choices[0].logprobs
    assert told is not None
    assert told.content is not None
    assert [each.token for each in told.content] == ["The", " capital", " of"]
    for each in told.content:
        assert each.logprob <= 0
        assert bytes(each.bytes or []).decode() == each.token
        assert each.top_logprobs[0].logprob >= each.top_logprobs[1].logprob
    streamed = client.chat.completions.create(
        model="smollm2", messages=PARIS, logprobs=True, max_tokens=3, stream=True
    )
    tokens = [
        each.token
        for chunk in streamed
        if chunk.choices[0].logprobs
        for each in chunk.choices[0].logprobs.content or ()
    ]
    assert tokens == ["The", " capital", " of"]


def test_raw_text_is_continued(client: openai.OpenAI) -> None:
    prompt = "The capital of France is"
    answer = client.completions.create(
        model="smollm2", prompt=[prompt, "One, two, three,"], max_tokens=3, logprobs=1, temperature=0
    )
    assert [choice.index for choice in answer.choices] == [0, 1]
    assert answer.choices[0].text.startswith(" Paris")
    told = answer.choices[0].logprobs
    assert told is not None
    assert told.tokens is not None
    assert "".join(told.tokens) == answer.choices[0].text
    assert told.text_offset == [0, len(told.tokens[0]), len(told.tokens[0]) + len(told.tokens[1])]
    streamed = client.completions.create(model="smollm2", prompt=prompt, max_tokens=3, stream=True)
    assert "".join(chunk.choices[0].text for chunk in streamed) == answer.choices[0].text
    echoed = client.completions.create(model="smollm2", prompt=prompt, max_tokens=3, echo=True)
    assert echoed.choices[0].text == prompt + answer.choices[0].text


def test_thinking_stays_apart(client: openai.OpenAI) -> None:
    whole = client.chat.completions.create(model="korean", messages=[{"role": "user", "content": "수도는?"}])
    message = whole.choices[0].message
    assert message.content == "대한민국의 수도는 서울입니다."
    assert message.model_extra == {"reasoning_content": "수도를 생각해 봅니다."}
    streamed = client.chat.completions.create(
        model="korean", messages=[{"role": "user", "content": "수도는?"}], stream=True
    )
    deltas = [chunk.choices[0].delta for chunk in streamed]
    thinking = "".join((delta.model_extra or {}).get("reasoning_content", "") for delta in deltas)
    assert thinking == "수도를 생각해 봅니다."
    assert "".join(delta.content or "" for delta in deltas) == "대한민국의 수도는 서울입니다."
    # What the client got can be sent back as it is.
    history: Any = [{"role": "user", "content": "수도는?"}, message.model_dump(exclude_none=False)]
    following = client.chat.completions.create(
        model="smollm2", messages=[*history, {"role": "user", "content": "Thanks!"}], max_tokens=4
    )
    assert following.choices[0].message.content


@pytest.mark.parametrize(
    ("model", "error", "status", "code"),
    [
        ("nobody", openai.NotFoundError, 404, "model_not_found"),
        ("smollm2@9", openai.NotFoundError, 404, "model_not_found"),
        ("overlong", openai.BadRequestError, 400, "context_length_exceeded"),
        ("refuses", openai.BadRequestError, 400, "engine_rejected"),
        ("cut", openai.APIStatusError, 502, "broken_answer"),
    ],
)
def test_engine_errors_have_openai_shapes(
    client: openai.OpenAI, model: str, error: type[openai.APIStatusError], status: int, code: str
) -> None:
    with pytest.raises(error) as caught:
        client.chat.completions.create(model=model, messages=PARIS)
    assert caught.value.status_code == status
    assert caught.value.code == code
    assert caught.value.request_id is not None
    assert caught.value.request_id in caught.value.message


def test_an_answer_that_breaks_inside_a_stream_ends_in_an_error_event(client: openai.OpenAI) -> None:
    said: list[str] = []
    stream = client.chat.completions.create(model="cut", messages=PARIS, stream=True)
    with pytest.raises(openai.APIError, match="request req_") as caught:
        said.extend(chunk.choices[0].delta.content or "" for chunk in stream)
    assert "".join(said) == "The capital of"
    assert caught.value.code == "broken_answer"


@pytest.mark.parametrize(
    ("fields", "param", "code"),
    [
        ({"max_tokens": 100_000}, "messages", "context_length_exceeded"),
        ({"temperature": 9}, "temperature", "invalid_value"),
        ({"temperature": "hot"}, "temperature", "invalid_value"),
        ({"top_p": 0}, "top_p", "invalid_value"),
        ({"n": 5}, "n", "invalid_value"),
        ({"stop": ["ok", ""]}, "stop", "invalid_value"),
        ({"frequency_penalty": 0.5}, "frequency_penalty", "unsupported_parameter"),
        ({"logit_bias": {"5": 1}}, "logit_bias", "unsupported_parameter"),
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, "tools", "unsupported_parameter"),
        ({"response_format": {"type": "json_object"}}, "response_format", "unsupported_parameter"),
        ({"top_logprobs": 2}, "top_logprobs", "invalid_value"),
        ({"stream_options": {"include_usage": True}}, "stream_options", "invalid_value"),
        ({"temprature": 1}, "temprature", "unknown_parameter"),
        ({"messages": []}, "messages", "invalid_value"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages", "invalid_value"),
        ({"messages": [{"role": "wizard", "content": "x"}]}, "messages", "invalid_value"),
    ],
)
def test_what_cannot_be_honoured_is_refused_by_name(
    client: openai.OpenAI, fields: dict[str, Any], param: str, code: str
) -> None:
    body = {"model": "smollm2", "messages": PARIS, **fields}
    with pytest.raises(openai.BadRequestError) as caught:
        client.post("/chat/completions", body=body, cast_to=object)
    assert (caught.value.param, caught.value.code) == (param, code)


def test_fields_that_ask_for_nothing_are_taken(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(
        model="smollm2", messages=PARIS, max_tokens=2, user="me", frequency_penalty=0, presence_penalty=0.0,
        logit_bias={}, response_format={"type": "text"}, tool_choice="none", store=False, metadata={"a": "b"},
        service_tier="auto", extra_body={"top_k": -1, "repetition_penalty": 1.0},
    )  # fmt: skip
    assert answer.choices[0].message.content == "The capital"


def test_given_text_is_scored_token_by_token(client: openai.OpenAI) -> None:
    texts = ["The capital of France is Paris.", "The capital of France is cheese."]
    scored = client.completions.create(model="smollm2", prompt=texts, max_tokens=0, echo=True, logprobs=2)
    sums = []
    for text, choice in zip(texts, scored.choices, strict=True):
        told = choice.logprobs
        assert choice.text == text
        assert told is not None
        assert told.tokens is not None
        assert told.token_logprobs is not None
        assert told.top_logprobs is not None
        assert "".join(told.tokens) == text
        assert told.token_logprobs[0] is None  # nothing stands before it
        for value, top in zip(told.token_logprobs[1:], told.top_logprobs[1:], strict=True):
            assert value is not None
            assert max(top.values()) >= value
        sums.append(sum(told.token_logprobs[1:]))
    assert sums[0] > sums[1] + 3
    # As lm-eval's local-completions asks: a token of an answer follows, and is cut off by the caller.
    one = client.completions.create(model="smollm2", prompt=texts[0], max_tokens=1, echo=True, logprobs=1)
    first = one.choices[0]
    assert first.logprobs is not None
    assert first.logprobs.token_logprobs is not None
    assert sum(first.logprobs.token_logprobs[1:-1]) == pytest.approx(sums[0], abs=0.1)
    assert one.usage is not None
    assert (one.usage.completion_tokens, one.usage.prompt_tokens) == (
        1,
        len(first.logprobs.token_logprobs) - 1,
    )


def test_a_prompt_may_be_token_ids(client: openai.OpenAI, smollm2_dir: Path) -> None:
    text = "The capital of France is"
    ids = Tokenizer.from_file(str(smollm2_dir / "tokenizer.json")).encode(text, add_special_tokens=False).ids
    asked: dict[str, Any] = {
        "model": "smollm2",
        "max_tokens": 1,
        "temperature": 0,
        "echo": True,
        "logprobs": 0,
    }
    (expected,) = client.completions.create(prompt=text, **asked).choices
    found = client.completions.create(prompt=[ids, ids[:1]], **asked).choices
    assert found[0].text == expected.text == text + " Paris"
    assert found[0].logprobs is not None
    assert expected.logprobs is not None
    assert found[0].logprobs.tokens == expected.logprobs.tokens
    # Prompts of different lengths share a batch: float32 rounds otherwise there.
    some, same = found[0].logprobs.token_logprobs, expected.logprobs.token_logprobs
    assert some is not None
    assert same is not None
    assert some[0] is same[0] is None
    assert some[1:] == pytest.approx(same[1:], abs=1e-3)
    assert found[1].logprobs is not None
    assert found[1].logprobs.token_logprobs is not None
    assert found[1].logprobs.token_logprobs[0] is None
    assert client.completions.create(prompt=ids, **{**asked, "echo": False}).choices[0].text == " Paris"
    for wrong, code in (([10**6], "engine_rejected"), ([[]], "invalid_value"), ([1, "two"], "invalid_value")):
        with pytest.raises(openai.BadRequestError) as refused:
            client.completions.create(prompt=wrong, **asked)  # type: ignore[call-overload]
        assert refused.value.code == code


def test_embeddings(client: openai.OpenAI) -> None:
    texts = [
        "A cat sleeps on the sofa.",
        "The kitten naps on the couch.",
        "The bank raised interest rates by 2%.",
    ]
    made = client.embeddings.create(model="smollm2", input=texts)
    vectors = [each.embedding for each in made.data]
    assert [each.index for each in made.data] == [0, 1, 2]
    assert made.usage.prompt_tokens > 15
    for vector in vectors:
        assert sum(value * value for value in vector) == pytest.approx(1, abs=1e-4)

    def similarity(one: list[float], other: list[float]) -> float:
        return sum(a * b for a, b in zip(one, other, strict=True))

    assert similarity(vectors[0], vectors[1]) > similarity(vectors[0], vectors[2])
    alone = (
        client.embeddings.create(model="smollm2", input=texts[0], encoding_format="float").data[0].embedding
    )
    assert similarity(alone, vectors[0]) > 0.999  # padding beside others changes nothing
    with pytest.raises(openai.BadRequestError) as empty:
        client.embeddings.create(model="smollm2", input=["", "x"])
    assert empty.value.param == "input"
    with pytest.raises(openai.BadRequestError) as none:
        client.embeddings.create(model="refuses", input="x")
    assert none.value.code == "engine_rejected"
