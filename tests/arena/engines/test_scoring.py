"""Log-likelihoods: equal to lm-eval's own HFLM in float32, for less work."""

from __future__ import annotations

import copy
import dataclasses
import random
import time
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers.processors import TemplateProcessing

from arena.engines.base import EngineRejected, OverContext, Score, ScoreRequest
from arena.engines.local import LocalEngine
from arena.engines.local_model import LoadedModel, load
from arena.engines.local_prefixes import clusters
from arena.engines.local_score import score_batch, scoring_job
from arena.engines.pool import EnginePool
from arena.engines.protocol import ScoreMany, WorkerConfig
from arena.engines.spec import ModelSpec
from prompt_formats.conversation import Conversation

pytestmark = pytest.mark.model

CASES = [
    ("The capital of France is", (" Paris", " Berlin", " a large city on the river Seine", " 파리")),
    ("대한민국의 수도는", (" 서울이다.", " 부산이다.", " 서울")),
    ("Question: 2+2=?\nAnswer: ", ("4", "5", "four")),
    ("", ("Hello world", "안녕하세요")),
    ("One two three four five six seven eight nine ten. " * 12, (" Eleven", " One two")),
]


@pytest.fixture(scope="module")
def loaded(smollm2_dir: Path) -> LoadedModel:
    torch.set_num_threads(1)  # two threads on a busy machine wait for each other
    return load(WorkerConfig(path=smollm2_dir, dtype="float32", device="cpu"), lambda stage: None)


def hflm(loaded: LoadedModel, cases: list[tuple[str, tuple[str, ...]]]) -> list[list[tuple[float, bool]]]:
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    model: Any = HFLM(pretrained=loaded.model, tokenizer=loaded.tokenizer, batch_size=16, device="cpu")
    pairs = [(context, more) for context, continuations in cases for more in continuations]
    requests = [
        Instance(request_type="loglikelihood", doc={}, arguments=pair, idx=i, metadata=("x", i, 1))
        for i, pair in enumerate(pairs)
    ]
    flat = iter(model.loglikelihood(requests, disable_tqdm=True))
    return [[next(flat) for _ in continuations] for _, continuations in cases]


def ours(loaded: LoadedModel, cases: list[tuple[str, tuple[str, ...]]]) -> list[list[tuple[float, bool]]]:
    requests = tuple(ScoreRequest(text=context, continuations=more) for context, more in cases)
    job = scoring_job(loaded, ScoreMany(id=1, requests=requests))
    while not job.done:
        score_batch(loaded, job)
    return [[(score.logprob, score.greedy) for score in scores] for scores in job.scores()]


def test_scores_equal_lm_evals(loaded: LoadedModel) -> None:
    for mine, theirs in zip(ours(loaded, CASES), hflm(loaded, CASES), strict=True):
        for (logprob, greedy), (expected, expected_greedy) in zip(mine, theirs, strict=True):
            assert logprob == pytest.approx(expected, abs=1e-4)
            assert greedy == expected_greedy


def trace(loaded: LoadedModel, request: ScoreRequest) -> tuple[Score, list[tuple[str, float]]]:
    job = scoring_job(loaded, ScoreMany(id=1, requests=(request,)))
    while not job.done:
        score_batch(loaded, job)
    ((score,),) = job.scores()
    return score, [(each.token, each.logprob) for each in score.trace]


def test_a_whole_text_is_scored_as_the_prompt_that_it_would_be(loaded: LoadedModel) -> None:
    text = "The capital of France is Paris."
    after, told = trace(loaded, ScoreRequest(text="The", continuations=(text[3:],), alternatives=0))
    whole, found = trace(loaded, ScoreRequest(whole=text, alternatives=0))
    assert found[0] == ("The", 0.0)  # nothing stands before it
    assert [token for token, _ in found[1:]] == [token for token, _ in told]
    assert (whole.tokens, whole.logprob) == (after.tokens, pytest.approx(after.logprob, abs=1e-4))
    ids = tuple(loaded.tokenizer(text)["input_ids"])
    assert trace(loaded, ScoreRequest(whole=ids, alternatives=0))[1] == found
    assert trace(loaded, ScoreRequest(whole=ids[:1], alternatives=0))[1] == found[:1]
    # A tokenizer that begins every text with a token of its own: that one is not told, and all others are scored.
    adding = copy.deepcopy(loaded.tokenizer)
    bos = adding.bos_token
    adding.backend_tokenizer.post_processor = TemplateProcessing(
        single=f"{bos} $A", special_tokens=[(bos, adding.bos_token_id)]
    )
    other = dataclasses.replace(loaded, tokenizer=adding)
    score, begun = trace(other, ScoreRequest(whole=text, alternatives=0))
    assert "".join(token for token, _ in begun) == text
    assert (score.tokens, begun[0][1] < 0) == (len(begun), True)
    assert score.logprob == pytest.approx(ours(loaded, [("", (text,))])[0][0][0], abs=1e-4)


@pytest.mark.parametrize(
    ("own", "tokens", "least"), [(60, 6, 2.0), (8, 1, 2.0)], ids=["several tokens", "few-shot letters"]
)
def test_choices_cost_less_than_half_of_lm_evals(
    loaded: LoadedModel, own: int, tokens: int, least: float
) -> None:
    rng = random.Random(0)
    words = [
        "time",
        "year",
        "people",
        "way",
        "day",
        "man",
        "thing",
        "woman",
        "life",
        "child",
        "world",
        "school",
    ]

    def text(count: int) -> str:
        return " ".join(rng.choices(words, k=count))

    examples = text(60) + "\n" if tokens == 1 else ""
    cases = [
        (examples + text(own), tuple(f" {word if tokens == 1 else text(tokens)}" for word in words[:4]))
        for _ in range(6)
    ]
    began = time.process_time()
    mine = ours(loaded, cases)
    middle = time.process_time()
    theirs = hflm(loaded, cases)
    assert (middle - began) * least < time.process_time() - middle
    for (logprob, greedy), (expected, expected_greedy) in zip(chain(*mine), chain(*theirs), strict=True):
        assert logprob == pytest.approx(expected, abs=1e-4)
        assert greedy == expected_greedy


def test_clusters_save_most_and_hold_everything() -> None:
    def sequence(*parts: tuple[int, int]) -> list[int]:
        return [token for token, count in parts for _ in range(count)]

    one = [sequence((1, 100), (i, 5)) for i in (7, 8, 9)]
    two = [sequence((1, 50), (2, 80), (i, 5)) for i in (7, 8)]
    lonely = [sequence((5, 200)), sequence((6, 40)), []]
    mixed = [lonely[0], one[0], two[0], lonely[1], one[1], two[1], one[2], lonely[2]]
    assert sorted((sorted(members), shared) for members, shared in clusters(mixed)) == [
        ([0, 3, 7], 0),
        ([1, 4, 6], 100),
        ([2, 5], 130),
    ]
    assert clusters([]) == []
    assert clusters([[1] * 20, [1] * 20]) == [([0, 1], 0)]  # 20 tokens are not worth it
    assert clusters([[1] * 90] * 3) == [([0, 1, 2], 90)]


def test_batches_and_their_order_change_nothing(loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    from arena.engines.local_score import BATCH_TOKENS

    together = ours(loaded, CASES)
    monkeypatch.setitem(BATCH_TOKENS, "cpu", 1)
    for mine, alone in zip(together, ours(loaded, CASES), strict=True):
        assert [logprob for logprob, _ in mine] == pytest.approx([logprob for logprob, _ in alone], abs=1e-4)


def test_models_whose_rows_cannot_share_a_mask_give_the_same(loaded: LoadedModel) -> None:
    import dataclasses

    one_by_one = ours(dataclasses.replace(loaded, joinable=False), CASES[:3])
    for mine, alone in zip(ours(loaded, CASES[:3]), one_by_one, strict=True):
        assert [logprob for logprob, _ in mine] == pytest.approx([logprob for logprob, _ in alone], abs=1e-4)


async def test_an_engine_scores_conversations_and_text(
    engine_pool: EnginePool, smollm2_spec: ModelSpec
) -> None:
    engine = engine_pool.get(smollm2_spec)
    assert isinstance(engine, LocalEngine)
    question = Conversation().add("user", "What is the capital of France?")
    answers = ("The capital of France is Paris.", "The capital of France is Berlin.", "")
    (scores, text) = await engine.loglikelihood(
        [
            ScoreRequest(conversation=question, continuations=answers),
            ScoreRequest(text="The capital of France is", continuations=(" Paris", " London")),
        ]
    )
    assert scores[0].logprob > scores[1].logprob
    assert (scores[0].tokens, scores[0].greedy) == (7, True)
    assert (scores[2].logprob, scores[2].tokens) == (0.0, 0)
    assert text[0].logprob > text[1].logprob
    with pytest.raises(OverContext, match="8,192"):
        await engine.loglikelihood([ScoreRequest(text="말 " * 9000, continuations=("a",))])
    with pytest.raises(EngineRejected, match="either"):
        await engine.loglikelihood([ScoreRequest(continuations=("a",))])
    assert await engine.loglikelihood([]) == []
