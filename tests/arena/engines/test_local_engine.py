"""The local engine on the real model in its real worker process."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from arena.engines.base import (
    Chunk,
    EngineRejected,
    EngineTimedOut,
    EngineUnavailable,
    Finished,
    Generation,
    GenerationRequest,
    OverContext,
    Sampling,
    ScoreRequest,
    TextDelta,
)
from arena.engines.local import LocalEngine
from arena.engines.pool import EnginePool
from arena.engines.protocol import Delta, FromWorker
from arena.engines.spec import Example, ModelSpec
from prompt_formats.conversation import Conversation

pytestmark = pytest.mark.model

FRANCE = "What is the capital of France?"
STORY = "Tell me a very long story about a fox."


def asked(text: str, tokens: int | None = 24, **fields: Any) -> GenerationRequest:
    sampling = fields.pop("sampling", Sampling(temperature=0, max_tokens=tokens))
    return GenerationRequest(conversation=Conversation().add("user", text), sampling=sampling, **fields)


async def read(engine: LocalEngine, request: GenerationRequest) -> tuple[list[Chunk], Generation]:
    chunks = [chunk async for chunk in engine.stream(request)]
    assert isinstance(chunks[-1], Finished)
    return chunks[:-1], chunks[-1].generation


@pytest.fixture
def engine(engine_pool: EnginePool, smollm2_spec: ModelSpec) -> LocalEngine:
    found = engine_pool.get(smollm2_spec)
    assert isinstance(found, LocalEngine)
    return found


async def test_answers_word_by_word_and_tells_exactly_what_the_model_saw(engine: LocalEngine) -> None:
    chunks, generation = await read(engine, asked(FRANCE))
    texts = [chunk.text for chunk in chunks if isinstance(chunk, TextDelta)]
    assert "".join(texts) == generation.text == "The capital of France is Paris."
    assert len(texts) == 7
    assert generation.rendered_prompt == (
        "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
        f"<|im_start|>user\n{FRANCE}<|im_end|>\n<|im_start|>assistant\n"
    )
    assert (generation.rendered_by, generation.finish_reason) == ("engine", "stop")
    assert (generation.prompt_tokens, generation.completion_tokens) == (37, 8)
    assert generation.time_to_first_token is not None
    assert 0 < generation.time_to_first_token < generation.duration
    log = generation.prompt_log
    assert log["prompt_tokens"] == 37
    assert log["stop_tokens"] == ["<|im_end|>"]
    assert len(log["template_hash"]) == 64
    assert {"torch", "transformers", "tokenizers"} <= set(log["versions"])
    assert generation.sampling.max_tokens == 24


async def test_korean_goes_in_and_comes_out_whole(engine: LocalEngine) -> None:
    sampling = Sampling(temperature=1.5, max_tokens=40)
    request = asked("다음 문장을 그대로 따라 쓰세요: 안녕하세요, 반갑습니다.", sampling=sampling, seed=3)
    chunks, generation = await read(engine, request)
    assert "안녕하세요, 반갑습니다." in (generation.rendered_prompt or "")
    assert "".join(chunk.text for chunk in chunks if isinstance(chunk, TextDelta)) == generation.text
    echo, _ = await read(engine, asked("안녕하세요? 대한민국의 수도는 어디인가요?", 30))
    text = "".join(chunk.text for chunk in echo if isinstance(chunk, TextDelta))
    assert "\ufffd" not in text


async def test_system_prompt_and_examples_of_the_spec_stand_in_front(
    engine_pool: EnginePool, smollm2_spec: ModelSpec, engine: LocalEngine
) -> None:
    example = Example(user="2+2?", assistant="4")
    spec = smollm2_spec.model_copy(update={"system_prompt": "짧게 답해라.", "few_shot": (example,)})
    other = engine_pool.get(spec)
    assert isinstance(other, LocalEngine)
    assert other.worker is engine.worker  # one copy of the weights
    _, generation = await read(other, asked("3+3?", 4))
    assert generation.rendered_prompt == (
        "<|im_start|>system\n짧게 답해라.<|im_end|>\n<|im_start|>user\n2+2?<|im_end|>\n"
        "<|im_start|>assistant\n4<|im_end|>\n<|im_start|>user\n3+3?<|im_end|>\n<|im_start|>assistant\n"
    )


async def test_the_same_seed_gives_the_same_answer(engine: LocalEngine) -> None:
    sampling = Sampling(temperature=1.0, max_tokens=16)
    first, again, other = [
        (await read(engine, asked(STORY, sampling=sampling, seed=seed)))[1] for seed in (5, 5, 6)
    ]
    assert first.text == again.text != other.text
    assert first.prompt_log["seed"] == 5


async def test_stop_strings_end_the_answer_and_never_show(engine: LocalEngine) -> None:
    chunks, generation = await read(engine, asked(FRANCE, stop=("ance is", "Berlin")))
    assert generation.text == "The capital of Fr"
    assert generation.finish_reason == "stop"
    assert "".join(chunk.text for chunk in chunks if isinstance(chunk, TextDelta)) == generation.text


async def test_max_tokens_is_exact(engine: LocalEngine) -> None:
    _, generation = await read(engine, asked(STORY, 5))
    assert (generation.completion_tokens, generation.finish_reason) == (5, "length")


async def test_closing_a_stream_stops_the_worker_within_a_token(
    engine: LocalEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    come = 0  # tokens that have come from the worker, read or not
    deliver = engine.worker._deliver

    def watch(message: FromWorker) -> None:
        nonlocal come
        come = message.tokens if isinstance(message, Delta) else come
        deliver(message)

    monkeypatch.setattr(engine.worker, "_deliver", watch)

    async def made_after_closing() -> int:
        before = engine.worker.tokens_generated
        stream = engine.stream(asked(STORY, 400))
        read_tokens = 0
        async for _ in stream:
            read_tokens += 1
            if read_tokens == 5:
                break
        at_close = come
        await stream.aclose()  # type: ignore[attr-defined]  # it is an async generator
        # A request behind the cancelled one is answered only after the worker has obeyed.
        await read(engine, asked(FRANCE, 1))
        return engine.worker.tokens_generated - before - 1 - at_close

    found: list[int] = []
    while len(found) < 8 and not (found and found[-1] <= 2):  # on a busy machine the word may go out late
        found.append(await made_after_closing())
    assert 0 <= found[-1] <= 2, f"{found} tokens were generated after the stream was closed"
    assert max(found) < 60


async def test_cancelling_the_reading_task_stops_the_worker(engine: LocalEngine) -> None:
    task = asyncio.create_task(read(engine, asked(STORY, 400)))
    while not engine.worker.busy:
        await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    before = engine.worker.tokens_generated
    await read(engine, asked(FRANCE, 1))
    assert engine.worker.tokens_generated - before < 20
    assert not engine.worker.busy


async def test_a_timeout_is_typed_and_stops_the_worker(engine: LocalEngine) -> None:
    with pytest.raises(EngineTimedOut, match=r"0\.5 seconds"):
        await read(engine, asked(STORY, 400, timeout=0.5))
    assert not engine.worker.busy


async def test_over_context_tells_the_figures(engine: LocalEngine) -> None:
    with pytest.raises(OverContext, match=r"8,156 tokens|37 tokens and 8,156 for the answer make 8,193"):
        await read(engine, asked(FRANCE, 8156))
    with pytest.raises(OverContext, match="8,192"):
        await read(engine, asked("말 " * 9000, None))


async def test_a_request_must_hold_one_thing_to_continue(engine: LocalEngine) -> None:
    with pytest.raises(EngineRejected, match="either"):
        await read(engine, GenerationRequest())
    with pytest.raises(EngineRejected, match="empty"):
        await read(engine, GenerationRequest(text=""))


async def test_raw_text_is_continued(engine: LocalEngine) -> None:
    request = GenerationRequest(
        text="The capital of France is", sampling=Sampling(temperature=0, max_tokens=3)
    )
    _, generation = await read(engine, request)
    assert "Paris" in generation.text
    assert generation.rendered_prompt == "The capital of France is"


async def test_logprobs_are_those_of_scoring(engine: LocalEngine) -> None:
    chunks, generation = await read(engine, asked(FRANCE, logprobs=3))
    assert generation.logprobs is not None
    assert "".join(each.token for each in generation.logprobs) == generation.text
    assert [each for chunk in chunks if isinstance(chunk, TextDelta) for each in chunk.logprobs] == list(
        generation.logprobs
    )
    for each in generation.logprobs:
        assert len(each.top) == 3
        assert each.top[0] == (each.token, each.logprob)  # greedy
        assert each.top[0][1] >= each.top[1][1] >= each.top[2][1]
    conversation = Conversation().add("user", FRANCE)
    (scores,) = await engine.loglikelihood(
        [ScoreRequest(conversation=conversation, continuations=(generation.text,))]
    )
    assert scores[0].logprob == pytest.approx(sum(each.logprob for each in generation.logprobs), abs=1e-3)


async def test_many_streams_share_the_worker_and_each_equals_its_solo_answer(engine: LocalEngine) -> None:
    requests = [asked(FRANCE), asked("Name a colour.", 12), asked("안녕하세요?", 12), asked(STORY, 16)]
    solo = [(await read(engine, request))[1].text for request in requests]
    together = await asyncio.gather(*(read(engine, request) for request in requests))
    assert [generation.text for _, generation in together] == solo
    assert [generation.text for generation in await engine.generate(requests)] == solo


async def test_an_idle_worker_uses_no_cpu(engine: LocalEngine) -> None:
    await read(engine, asked(FRANCE, 2))
    worker = psutil.Process(engine.worker.pid)
    used = []
    while not used or (
        used[-1] >= 0.05 and len(used) < 10
    ):  # it may still be busy with the end of that answer
        before = sum(worker.cpu_times()[:2])
        await asyncio.sleep(1)
        used.append(sum(worker.cpu_times()[:2]) - before)
    assert used[-1] < 0.05, used


@pytest.mark.faults
async def test_a_killed_worker_ends_its_streams_and_comes_back(
    engine: LocalEngine, scripted_server: str, engine_pool: EnginePool
) -> None:
    other = engine_pool.get(
        ModelSpec(name="other", kind="openai", source="slow:beside", base_url=f"{scripted_server}/v1")
    )
    beside = other.stream(asked(FRANCE))
    await anext(beside)
    stream = engine.stream(asked(STORY, 400))
    await anext(stream)
    pid = engine.worker.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(EngineUnavailable, match="signal 9"):
        _ = [chunk async for chunk in stream]
    assert isinstance(await anext(beside), TextDelta)  # the other model's stream goes on
    await beside.aclose()  # type: ignore[attr-defined]  # it is an async generator
    assert engine.state.phase == "unloaded"
    _, generation = await read(engine, asked(FRANCE))
    assert generation.text == "The capital of France is Paris."
    assert engine.worker.pid not in (None, pid)


@pytest.mark.faults
def test_a_worker_ends_with_the_arena(model_data_dir: Path, tmp_path: Path) -> None:
    import subprocess
    import sys

    program = (
        "import asyncio, sys\n"
        "from pathlib import Path\n"
        "from arena.engines.pool import EnginePool\n"
        "from arena.engines.spec import ModelSpec\n"
        "from arena.engines.embedded import NAME\n"
        "async def main():\n"
        "    engine = EnginePool(Path(sys.argv[1])).get(ModelSpec(name='m', source='embedded:' + NAME))\n"
        "    await engine.load()\n"
        "    print(engine.worker.pid, flush=True)\n"
        "    await asyncio.sleep(600)\n"
        "asyncio.run(main())\n"
    )
    arena = subprocess.Popen(
        [sys.executable, "-c", program, str(model_data_dir)], stdout=subprocess.PIPE, text=True
    )
    assert arena.stdout is not None
    worker = psutil.Process(int(arena.stdout.readline()))
    arena.kill()
    arena.wait()
    worker.wait(timeout=60)
    assert not worker.is_running()


def test_status_tells_what_is_loaded(engine_pool: EnginePool, engine: LocalEngine) -> None:
    asyncio.run(engine.load())  # from another event loop than the tests before
    status = next(status for status in engine_pool.status() if status.name == engine.spec.name)
    assert (status.phase, status.kind, status.device, status.dtype) == ("ready", "local", "cpu", "float32")
    assert status.memory is not None
    assert 500e6 < status.memory < 600e6
    assert status.answering == 0


async def test_closing_frees_the_process_and_the_next_request_loads_again(
    model_data_dir: Path, smollm2_spec: ModelSpec
) -> None:
    pool = EnginePool(model_data_dir)  # as it is by default: the dtype is chosen for this machine
    engine = pool.get(smollm2_spec)
    assert isinstance(engine, LocalEngine)
    loading = asyncio.create_task(engine.load())
    async with asyncio.timeout(60):
        while engine.state.phase != "loading":
            assert not loading.done()
            await asyncio.sleep(0.01)
    await loading
    pid = engine.worker.pid
    await pool.close()
    assert engine.worker.pid is None
    assert pid is not None
    assert not psutil.pid_exists(pid)
    began = time.monotonic()
    _, generation = await read(engine, asked(FRANCE))
    assert generation.text == "The capital of France is Paris."
    assert generation.duration < time.monotonic() - began  # loading does not count
    assert generation.prompt_log["loading_seconds"] > 0
    await pool.close()


async def test_a_window_drops_whole_rounds_and_tells_which(
    engine_pool: EnginePool, smollm2_spec: ModelSpec
) -> None:
    talk = Conversation().add("user", "옛날 이야기 " * 40).add("assistant", "네.").add("user", FRANCE)
    request = GenerationRequest(conversation=talk, sampling=Sampling(temperature=0, max_tokens=24))

    def windowed(**window: int) -> LocalEngine:
        found = engine_pool.get(smollm2_spec.model_copy(update={"window": window}))
        assert isinstance(found, LocalEngine)
        return found

    for short in (windowed(last_rounds=1), windowed(token_budget=80)):
        _, generation = await read(short, request)
        assert generation.text == "The capital of France is Paris."
        assert "옛날" not in (generation.rendered_prompt or "")
        dropped = generation.prompt_log["dropped_rounds"]
        assert [(each["number"], each["begins"][:2]) for each in dropped] == [(1, "옛날")]
    with pytest.raises(OverContext, match="10"):
        await read(windowed(token_budget=10), request)
