"""How fast the engines are, as ratios within one run: `python tests/benchmarks/engines.py [--data DIR] [--tokens N]`.

Runs on the embedded model (prepared where that has not been done) and prints one JSON object. Compared runs
take turns, so that another process's load falls on all of them; with too much of it, run it again.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

import torch  # noqa: E402  # the project is imported from the checkout

from arena.engines import embedded, local_ct2  # noqa: E402
from arena.engines.base import Finished, Generation, GenerationRequest, Sampling, ScoreRequest  # noqa: E402
from arena.engines.local import LocalEngine  # noqa: E402
from arena.engines.local_decode import Decoder, Sequence  # noqa: E402
from arena.engines.local_model import CannotLoad, LoadedModel, load  # noqa: E402
from arena.engines.local_prompt import render  # noqa: E402
from arena.engines.local_sampling import TokenSampler  # noqa: E402
from arena.engines.local_score import score_batch, scoring_job  # noqa: E402
from arena.engines.pool import EnginePool  # noqa: E402
from arena.engines.protocol import ScoreMany, WorkerConfig  # noqa: E402
from arena.engines.spec import ModelSpec  # noqa: E402
from prompt_formats.conversation import Conversation  # noqa: E402

QUESTIONS = [f"Tell me a long story about the number {number}." for number in range(32)]


def best(runs: dict[str, Callable[[], int]], rounds: int) -> dict[str, float]:
    """Tokens per CPU second of each run: the best of `rounds` turns (one thread: other load hardly counts)."""
    found = dict.fromkeys(runs, 0.0)
    for _ in range(rounds):
        for name, run in runs.items():
            began = time.process_time()
            tokens = run()
            found[name] = max(found[name], tokens / (time.process_time() - began))
    return {name: round(value, 1) for name, value in found.items()}


def ours(loaded: LoadedModel, prompts: list[list[int]], tokens: int) -> list[list[int]]:
    decoder = (loaded.decoder or Decoder)(loaded)
    sequences = [
        Sequence(id=i, ids=list(ids), sampler=TokenSampler(Sampling(temperature=0), 0), max_tokens=tokens)
        for i, ids in enumerate(prompts)
    ]
    for sequence in sequences:
        decoder.add(sequence)
    while decoder.busy:
        for _ in decoder.step():
            pass
    return [sequence.ids[sequence.prompt_length :] for sequence in sequences]


def generates(loaded: LoadedModel, prompts: list[list[int]], tokens: int) -> list[list[int]]:
    width = max(len(ids) for ids in prompts)
    ids = torch.tensor([[0] * (width - len(p)) + p for p in prompts])
    mask = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in prompts])
    output = loaded.model.generate(ids, attention_mask=mask, max_new_tokens=tokens, do_sample=False)
    return [[int(token) for token in row[width:]] for row in output]


def count(run: Callable[..., list[list[int]]], *arguments: Any) -> int:
    return sum(len(answer) for answer in run(*arguments))


def converted(folder: Path, cache: Path) -> LoadedModel | None:
    """The model in CTranslate2's int8; None where the extra fast-cpu is not installed."""
    config = WorkerConfig(path=folder, device="cpu", quantisation="ct2-int8", cache=cache)
    try:
        return local_ct2.load(config, lambda stage: None)
    except CannotLoad as error:
        print(error, file=sys.stderr)
        return None


def decoding(folder: Path, cache: Path, tokens: int, rounds: int) -> dict[str, Any]:
    """Our loop against transformers' generate on one thread, in the dtype that workers choose here, and against
    CTranslate2's int8; tokens per CPU second."""
    torch.set_num_threads(1)
    loaded = load(WorkerConfig(path=folder, device="cpu"), lambda stage: None)
    prompts = [render(loaded.tokenizer, Conversation().add("user", question)).ids for question in QUESTIONS]
    int8 = converted(folder, cache)
    result: dict[str, Any] = {"dtype": str(loaded.dtype)}
    for rows in (1, 8, 32):
        chosen = prompts[:rows]
        runs = {
            "ours": partial(count, ours, loaded, chosen, tokens),
            "generate": partial(count, generates, loaded, chosen, tokens),
        }
        if int8 is not None:
            runs["ct2_int8"] = partial(count, ours, int8, chosen, tokens)
        speeds = best(runs, rounds)
        result[f"rows_{rows}"] = {**speeds, "ratio": round(speeds["ours"] / speeds["generate"], 2)}
        if int8 is not None:
            result[f"rows_{rows}"]["ct2_over_ours"] = round(speeds["ct2_int8"] / speeds["ours"], 2)
    one = result["rows_1"]["ours"]
    result["batch_8_over_1"] = round(result["rows_8"]["ours"] / one, 1)
    result["batch_32_over_1"] = round(result["rows_32"]["ours"] / one, 1)
    return result


def scoring(folder: Path, items: int, rounds: int) -> dict[str, Any]:
    """Multiple choice (four choices) against lm-eval's HFLM in float32 on one thread: its CPU time over ours. The
    contexts of `few_shot_letters` begin with the same three examples, the others share nothing."""
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    torch.set_num_threads(1)
    loaded = load(WorkerConfig(path=folder, device="cpu", dtype="float32"), lambda stage: None)
    theirs: Any = HFLM(pretrained=loaded.model, tokenizer=loaded.tokenizer, batch_size=16, device="cpu")
    rng = random.Random(0)
    vocabulary = [loaded.tokenizer.decode([token]) for token in range(300, 20000)]
    words = [
        w
        for w in vocabulary
        if w.startswith(" ") and w[1:].isalpha() and len(loaded.tokenizer.encode(w)) == 1
    ]

    def ours_scores(cases: list[ScoreRequest]) -> list[float]:
        job = scoring_job(loaded, ScoreMany(id=1, requests=tuple(cases)))
        while not job.done:
            score_batch(loaded, job)
        return [score.logprob for scores in job.scores() for score in scores]

    def their_scores(cases: list[ScoreRequest]) -> list[float]:
        pairs = [(case.text, more) for case in cases for more in case.continuations]
        requests = [
            Instance(request_type="loglikelihood", doc={}, arguments=pair, idx=i, metadata=("x", i, 1))
            for i, pair in enumerate(pairs)
        ]
        return [logprob for logprob, _ in theirs.loglikelihood(requests, disable_tqdm=True)]

    def text(low: int, high: int) -> str:
        return "".join(rng.choices(words, k=rng.randint(low, high)))

    def choices(low: int, high: int) -> list[ScoreRequest]:
        return [
            ScoreRequest(text=text(40, 140).strip(), continuations=tuple(text(low, high) for _ in range(4)))
            for _ in range(items)
        ]

    def question() -> str:
        return text(15, 50).strip() + "".join(f"\n{letter}.{text(4, 4)}" for letter in "ABCD") + "\nAnswer:"

    examples = "".join(f"{question()} {letter}\n\n" for letter in "CAD")
    few_shot = [
        ScoreRequest(text=examples + question(), continuations=(" A", " B", " C", " D")) for _ in range(items)
    ]
    result: dict[str, Any] = {"items": items}
    for name, cases in (
        ("single_token", choices(1, 1)),
        ("several_tokens", choices(4, 12)),
        ("few_shot_letters", few_shot),
    ):
        spent: dict[str, list[float]] = {"ours": [], "hflm": []}
        scores: dict[str, list[float]] = {}
        for _ in range(rounds):
            for who, run in (("ours", ours_scores), ("hflm", their_scores)):
                began = time.process_time()
                scores[who] = run(cases)
                spent[who].append(time.process_time() - began)
        pairs = zip(scores["ours"], scores["hflm"], strict=True)
        result[name] = {
            "cpu_ratio": round(min(spent["hflm"]) / min(spent["ours"]), 2),
            "largest_difference": max(abs(a - b) for a, b in pairs),
        }
    return result


async def answer(engine: LocalEngine, question: str, tokens: int) -> Generation:
    request = GenerationRequest(
        conversation=Conversation().add("user", question), sampling=Sampling(temperature=0, max_tokens=tokens)
    )
    async for chunk in engine.stream(request):
        if isinstance(chunk, Finished):
            return chunk.generation
    raise AssertionError("no result")


def speed(generation: Generation) -> float:
    assert generation.completion_tokens is not None
    assert generation.time_to_first_token is not None
    return (generation.completion_tokens - 1) / (generation.duration - generation.time_to_first_token)


async def two_at_once(data_dir: Path, tokens: int, rounds: int) -> dict[str, Any]:
    """Two models in two workers against one of them alone on one thread."""
    pool, alone = EnginePool(data_dir, cores=2), EnginePool(data_dir, cores=1)
    source = f"embedded:{embedded.NAME}"
    specs = [ModelSpec(name="a", source=source), ModelSpec(name="b", source=source, context_length=4096)]
    engines = [pool.get(spec) for spec in specs]
    single = alone.get(specs[0])
    assert isinstance(single, LocalEngine)
    both = [engine for engine in engines if isinstance(engine, LocalEngine)]
    for engine in (single, *both):
        await answer(engine, "warm up", 4)
    solo, together, fairness = [], [], []
    for _ in range(rounds):
        solo.append(speed(await answer(single, QUESTIONS[0], tokens)))
        pair = [speed(g) for g in await asyncio.gather(*(answer(e, QUESTIONS[0], tokens) for e in both))]
        together.append(sum(pair))
        fairness.append(min(pair) / max(pair))
    await asyncio.gather(pool.close(), alone.close())
    return {
        "one_stream_one_thread": round(max(solo), 1),
        "two_streams_together": round(max(together), 1),
        "ratio": round(max(together) / max(solo), 2),
        "slower_over_faster": round(statistics.median(fairness), 2),
    }


async def many_people(data_dir: Path, people: int, tokens: int) -> dict[str, Any]:
    """Everybody presses Send together: answers that share batches against one after the other."""
    pool = EnginePool(data_dir)
    engine = pool.get(ModelSpec(name="a", source=f"embedded:{embedded.NAME}"))
    assert isinstance(engine, LocalEngine)
    await answer(engine, "warm up", 4)
    result: dict[str, Any] = {"people": people, "tokens": tokens}
    for name, places in (("batched", people), ("one_by_one", 1)):
        turn = asyncio.Semaphore(places)
        began = time.perf_counter()

        async def person(
            question: str, turn: asyncio.Semaphore = turn, began: float = began
        ) -> tuple[float, float]:
            async with turn:
                start = time.perf_counter() - began
                generation = await answer(engine, question, tokens)
                return start + (generation.time_to_first_token or 0), time.perf_counter() - began

        times = await asyncio.gather(*(person(QUESTIONS[i % len(QUESTIONS)]) for i in range(people)))
        first, complete = (sorted(column) for column in zip(*times, strict=True))
        p95 = int(0.95 * (people - 1))
        spent = max(complete)
        result[name] = {
            "tokens_per_second": round(people * tokens / spent, 1),
            "p95_first_token": round(first[p95], 2),
            "p95_complete": round(complete[p95], 2),
        }
    result["complete_ratio"] = round(
        result["one_by_one"]["p95_complete"] / result["batched"]["p95_complete"], 1
    )
    await pool.close()
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("arena-data"))
    parser.add_argument("--tokens", type=int, default=48)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--items", type=int, default=24)
    parser.add_argument("--people", type=int, default=30)
    arguments = parser.parse_args()
    folder = embedded.prepare(arguments.data)
    report = {
        "scoring": scoring(folder, arguments.items, arguments.rounds),
        "decoding": decoding(folder, arguments.data / "cache" / "ct2", arguments.tokens, arguments.rounds),
        "two_models": asyncio.run(two_at_once(arguments.data, arguments.tokens, arguments.rounds)),
        "eight_requests": asyncio.run(many_people(arguments.data, 8, arguments.tokens)),
        "many_people": asyncio.run(many_people(arguments.data, arguments.people, arguments.tokens)),
    }
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
