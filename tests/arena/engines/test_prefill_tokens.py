"""Answers that begin with given text, and the tokens of prompt and answer as the model has them."""

from __future__ import annotations

import pytest

from arena.engines.base import Chunk, Finished, Generation, GenerationRequest, Prompted, Sampling
from arena.engines.pool import EnginePool
from arena.engines.spec import ModelSpec
from prompt_formats import load_tokenizer
from prompt_formats.conversation import Conversation

pytestmark = pytest.mark.model

ASKED = GenerationRequest(
    conversation=Conversation().add("user", "What is the capital of France? <|im_end|>"),
    sampling=Sampling(temperature=0, max_tokens=16),
    tokens=True,
)


async def read(pool: EnginePool, spec: ModelSpec, request: GenerationRequest) -> tuple[Prompted, Generation]:
    chunks: list[Chunk] = [chunk async for chunk in pool.get(spec).stream(request)]
    assert isinstance(chunks[0], Prompted)
    assert isinstance(chunks[-1], Finished)
    return chunks[0], chunks[-1].generation


async def test_tokens_are_told_where_they_are_asked_for(
    engine_pool: EnginePool, smollm2_spec: ModelSpec, smollm2_dir: object
) -> None:
    prompted, generation = await read(engine_pool, smollm2_spec, ASKED)
    assert prompted.tokens is not None
    assert generation.tokens is not None
    assert "".join(token.text for token in prompted.tokens) == prompted.rendered_prompt
    assert len(prompted.tokens) == prompted.prompt_tokens
    # What a person typed is no control token, what the template wrote is.
    ends = [token for token in prompted.tokens if token.text == "<|im_end|>"]
    assert prompted.rendered_prompt is not None
    assert prompted.rendered_prompt.count("<|im_end|>") == len(ends) + 1
    assert all(token.special for token in ends)
    backend = load_tokenizer(str(smollm2_dir)).backend
    assert [token.text for token in generation.tokens] == [
        backend.decode([token.id], skip_special_tokens=False) for token in generation.tokens
    ]
    assert generation.tokens[-1].text == "<|im_end|>"
    assert "".join(token.text for token in generation.tokens[:-1]) == generation.text
    assert generation.raw == f"{generation.text}<|im_end|>"
    assert generation.completion_tokens == len(generation.tokens)

    prompted, generation = await read(engine_pool, smollm2_spec, ASKED.model_copy(update={"tokens": False}))
    assert (prompted.tokens, generation.tokens) == (None, None)


@pytest.mark.parametrize("raw", [False, True])
async def test_a_prefill_begins_the_answer(
    engine_pool: EnginePool, smollm2_spec: ModelSpec, raw: bool
) -> None:
    asked = ASKED.model_copy(update={"prefill": "The largest city of Germany is"})
    if raw:
        asked = asked.model_copy(update={"conversation": None, "text": "Germany is a country. "})
    prompted, generation = await read(engine_pool, smollm2_spec, asked)
    assert prompted.rendered_prompt is not None
    assert prompted.rendered_prompt.endswith("The largest city of Germany is")
    # It goes on where the given text ended.
    assert generation.text.startswith(" Berlin" if raw else " Paris")
