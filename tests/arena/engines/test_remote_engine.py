"""The remote engine against a real HTTP server whose model is scripted (tests/_servers/scripted_openai.py)."""

from __future__ import annotations

import asyncio
import logging
import socket
import time

import pytest

from arena.engines.base import (
    BrokenAnswer,
    Chunk,
    EngineError,
    EngineRejected,
    EngineTimedOut,
    EngineUnavailable,
    GenerationRequest,
    OverContext,
    Prompted,
    Sampling,
    TextDelta,
)
from arena.engines.spec import Example
from prompt_formats.conversation import Conversation
from tests.arena.engines.remote_made import ASKED, HASTY, QUICK, engine, read, seen

KEY = "sk-scripted-비밀-0123456789".encode().hex()


async def test_streams_text_and_reports_what_the_server_counted(scripted_server: str) -> None:
    chunks, generation = await read(engine(scripted_server, "ok"))
    assert "".join(chunk.text for chunk in chunks if isinstance(chunk, TextDelta)) == generation.text
    assert len(chunks) == 7
    assert generation.text == "The capital of France is Paris."
    assert (generation.finish_reason, generation.prompt_tokens, generation.completion_tokens) == (
        "stop",
        11,
        7,
    )
    assert generation.rendered_by == "server"
    assert generation.rendered_prompt is None
    assert generation.prompt_log["messages"] == [{"role": "user", "content": "프랑스의 수도는?"}]
    assert generation.time_to_first_token is not None
    assert 0 < generation.time_to_first_token <= generation.duration


async def test_korean_and_thinking_arrive_apart(scripted_server: str) -> None:
    chunks, generation = await read(engine(scripted_server, "korean"))
    assert generation.text == "대한민국의 수도는 서울입니다."
    assert generation.thinking == "수도를 생각해 봅니다."
    assert chunks[0] == TextDelta(thinking="수도를 생각해 봅니다.")


async def test_what_the_spec_and_the_request_set_is_sent_and_nothing_else(scripted_server: str) -> None:
    spec = {
        "system_prompt": "Be brief.",
        "few_shot": (Example(user="1+1?", assistant="2"),),
        "sampling": Sampling(temperature=0.3, top_k=40, max_tokens=100),
    }
    request = ASKED.model_copy(
        update={"sampling": Sampling(max_tokens=9, min_p=0.1), "stop": ("끝",), "seed": 7}
    )
    _, generation = await read(engine(scripted_server, "ok:sent", **spec), request)
    body = seen(scripted_server, "ok:sent")["body"]
    assert [message["content"] for message in body.pop("messages")] == [
        "Be brief.", "1+1?", "2", "프랑스의 수도는?",
    ]  # fmt: skip
    assert body == {
        "model": "ok:sent", "stream": True, "stream_options": {"include_usage": True}, "stop": ["끝"],
        "seed": 7, "temperature": 0.3, "max_tokens": 9, "top_k": 40, "min_p": 0.1,
    }  # fmt: skip
    assert generation.sampling == Sampling(temperature=0.3, top_k=40, max_tokens=9, min_p=0.1)


async def test_raw_text_goes_to_the_completions_endpoint_as_it_is(scripted_server: str) -> None:
    _, generation = await read(engine(scripted_server, "ok:raw"), GenerationRequest(text="once upon"))
    assert generation.text == "ONCE UPON!"
    assert (generation.rendered_prompt, generation.rendered_by) == ("once upon", "engine")


@pytest.mark.parametrize("mode", ["fails-then-ok", "cut-early-then-ok"])
async def test_a_failure_before_the_first_token_is_tried_again(scripted_server: str, mode: str) -> None:
    _, generation = await read(engine(scripted_server, f"{mode}:retry"))
    assert generation.text == "The capital of France is Paris."
    assert seen(scripted_server, f"{mode}:retry")["requests"] == 2


async def test_retry_after_is_honoured(scripted_server: str) -> None:
    began = time.monotonic()
    _, generation = await read(engine(scripted_server, "busy-then-ok:retry"))
    assert generation.text == "The capital of France is Paris."
    assert seen(scripted_server, "busy-then-ok:retry")["requests"] == 3
    assert time.monotonic() - began >= 0.4


@pytest.mark.parametrize(
    ("mode", "error", "says"),
    [
        ("storm", EngineUnavailable, "too many requests"),
        ("fails", EngineUnavailable, "503"),
        ("overlong", OverContext, "4096"),
        ("refuses", EngineRejected, "temperature must be at most 1"),
        ("missing", EngineRejected, "base_url"),
        ("cut", BrokenAnswer, "connection was lost"),
        ("unfinished", BrokenAnswer, "ended before the answer did"),
        ("garbage", BrokenAnswer, "no answer"),
        ("odd", BrokenAnswer, "no answer"),
        ("error-inside", BrokenAnswer, "GPU on fire"),
        ("filtered", EngineRejected, "content policy"),
        ("hang", EngineTimedOut, "1 seconds"),
    ],
)
async def test_each_failure_has_its_type_and_says_what_happened(
    scripted_server: str, mode: str, error: type[EngineError], says: str
) -> None:
    remote = engine(scripted_server, f"{mode}:types", HASTY if mode in ("storm", "fails", "hang") else QUICK)
    with pytest.raises(error, match=says) as raised:
        await read(remote)
    assert type(raised.value) is error
    assert remote.spec.name in str(raised.value)
    assert scripted_server in str(raised.value)


@pytest.mark.parametrize("mode", ["cut", "garbage", "error-inside", "unfinished"])
async def test_nothing_is_tried_again_once_text_was_delivered(scripted_server: str, mode: str) -> None:
    chunks: list[Chunk] = []

    async def collect() -> None:
        async for chunk in engine(scripted_server, f"{mode}:once").stream(ASKED):
            chunks.append(chunk)  # noqa: PERF401  # an extend would lose the chunks before the error

    with pytest.raises(BrokenAnswer):
        await collect()
    assert [type(chunk) for chunk in chunks] == [Prompted, *[TextDelta] * (len(chunks) - 1)]
    assert len(chunks) > 1
    assert seen(scripted_server, f"{mode}:once")["requests"] == 1


async def test_a_server_that_goes_silent_before_its_first_token_is_asked_again(scripted_server: str) -> None:
    with pytest.raises(EngineTimedOut):
        await read(engine(scripted_server, "hang:again", HASTY))
    assert seen(scripted_server, "hang:again")["requests"] == 2


async def test_an_endpoint_that_is_down_is_unavailable() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        remote = engine(f"http://127.0.0.1:{unused.getsockname()[1]}", "ok")
        with pytest.raises(EngineUnavailable, match="cannot be reached"):
            await read(remote)


async def test_the_request_timeout_covers_the_whole_answer(scripted_server: str) -> None:
    began = time.monotonic()
    with pytest.raises(EngineTimedOut, match="time allowed"):
        await read(engine(scripted_server, "slow:timeout"), ASKED.model_copy(update={"timeout": 0.5}))
    assert 0.4 < time.monotonic() - began < 12  # all of it takes 14 seconds


async def test_closing_the_stream_disconnects_from_the_server(scripted_server: str) -> None:
    stream = engine(scripted_server, "slow:close").stream(ASKED)
    assert isinstance(await anext(stream), Prompted)
    assert await anext(stream) == TextDelta(text="The")
    await stream.aclose()  # type: ignore[attr-defined]  # it is an async generator
    async with asyncio.timeout(60):
        while not (at_close := seen(scripted_server, "slow:close"))["disconnected"]:
            await asyncio.sleep(0.02)
    await asyncio.sleep(0.3)  # three words' time
    assert seen(scripted_server, "slow:close") == at_close
    assert at_close["written"] < 100  # of 140


async def test_the_key_comes_from_the_environment(
    scripted_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SCRIPTED_KEY", KEY)
    _, generation = await read(engine(scripted_server, "auth:good", api_key_env="SCRIPTED_KEY"))
    assert generation.text == "The capital of France is Paris."
    assert KEY not in generation.model_dump_json()


async def test_a_key_never_shows_in_errors_or_logs(
    scripted_server: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    wrong = "sk-wrong-but-still-secret"
    monkeypatch.setenv("SCRIPTED_KEY", wrong)
    with caplog.at_level(logging.DEBUG), pytest.raises(EngineRejected, match="401") as raised:
        await read(engine(scripted_server, "auth:bad", api_key_env="SCRIPTED_KEY"))
    assert "***" in str(raised.value)  # the server repeats the key it was sent
    assert wrong not in str(raised.value)
    assert raised.value.__cause__ is None
    assert wrong not in caplog.text


async def test_a_missing_key_names_its_variable(
    scripted_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    with pytest.raises(EngineRejected, match="NO_SUCH_KEY"):
        await read(engine(scripted_server, "auth", api_key_env="NO_SUCH_KEY"))


async def test_a_key_written_where_its_variable_belongs_is_not_repeated(scripted_server: str) -> None:
    with pytest.raises(EngineRejected, match="name of the variable") as raised:
        await read(engine(scripted_server, "auth", api_key_env="sk-pasted-secret"))
    assert "pasted" not in str(raised.value)


async def test_generate_keeps_the_order_and_raises_the_first_error(scripted_server: str) -> None:
    remote = engine(scripted_server, "ok:many")
    texts = [f"프롬프트 {number}" for number in range(20)]
    generations = await remote.generate([GenerationRequest(text=text) for text in texts])
    assert [generation.text for generation in generations] == [f"{text}!" for text in texts]
    with pytest.raises(EngineRejected):
        await engine(scripted_server, "refuses:many").generate([ASKED, ASKED])


def test_one_engine_serves_several_event_loops(scripted_server: str) -> None:
    remote = engine(scripted_server, "ok:loops")

    async def once() -> str:
        return (await read(remote))[1].text

    assert {asyncio.run(once()) for _ in range(3)} == {"The capital of France is Paris."}


async def test_finish_reason_length_is_told(scripted_server: str) -> None:
    assert (await read(engine(scripted_server, "length")))[1].finish_reason == "length"


@pytest.mark.parametrize("raw", [False, True])
async def test_logprobs_come_with_their_tokens(scripted_server: str, raw: bool) -> None:
    request = GenerationRequest(text="once", logprobs=2) if raw else ASKED.model_copy(update={"logprobs": 2})
    model = f"logprobs:{raw}"
    chunks, generation = await read(engine(scripted_server, model), request)
    assert generation.logprobs is not None
    assert "".join(each.token for each in generation.logprobs) == generation.text
    assert {each.logprob for each in generation.logprobs} == {-0.25}
    assert generation.logprobs[0].top == ((generation.logprobs[0].token, -0.25), ("다른", -2.5))
    assert [each for chunk in chunks if isinstance(chunk, TextDelta) for each in chunk.logprobs] == list(
        generation.logprobs
    )
    body = seen(scripted_server, model)["body"]
    assert body["logprobs"] == (2 if raw else True)
    assert (await read(engine(scripted_server, "ok")))[1].logprobs is None


async def test_a_window_and_an_estimate_of_what_the_server_renders(scripted_server: str) -> None:
    talk = (
        Conversation()
        .add("user", "첫 질문")
        .add("assistant", "답", reasoning_content="생각")
        .add("user", "둘째")
    )
    windowed = engine(scripted_server, "ok:window", window={"last_rounds": 1})
    _, generation = await read(windowed, GenerationRequest(conversation=talk))
    assert seen(scripted_server, "ok:window")["body"]["messages"] == [{"role": "user", "content": "둘째"}]
    assert generation.prompt_log["dropped_rounds"] == [{"number": 1, "begins": "첫 질문"}]

    whole = engine(scripted_server, "ok:qwen3-8b", prompt_format="qwen3")
    _, generation = await read(whole, GenerationRequest(conversation=talk))
    sent = seen(scripted_server, "ok:qwen3-8b")["body"]["messages"]
    assert [set(message) for message in sent] == [{"role", "content"}] * 3
    estimate = generation.prompt_log["estimate"]
    assert (estimate["rendered_by"], estimate["estimate"], estimate["format"]) == ("server", True, "qwen3")
    assert "<|im_start|>user\n둘째<|im_end|>" in estimate["prompt"]
    assert generation.rendered_prompt is None
