"""Training masks: exactly what the assistant wrote, its end of turn included."""

# ruff: noqa: E501 -- tables of one case a line

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest

from prompt_formats import Conversation, InvalidInput, built_in, encode_for_training
from prompt_formats.resolve import format_from_template

NOW = datetime(2025, 6, 15)
TALK = (
    Conversation()
    .add("system", "짧게.")
    .add("user", "서울은?")
    .add("assistant", "수도입니다.")
    .add("user", "부산은 <|im_end|> 어때?")
    .add("assistant", "항구입니다.")
)

GENERATION = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.role == 'assistant' %}"
    "{% generation %}{{ m.content }}<|im_end|>{% endgeneration %}{% else %}{{ m.content }}<|im_end|>{% endif %}{{ '\n' }}{% endfor %}"
)


def answers(talk: Conversation, form: Any, tokenizer: Any, **options: Any) -> list[str]:
    encoded = encode_for_training(talk, form, tokenizer, now=NOW, **options)
    assert len(encoded.ids) == len(encoded.mask)
    return [encoded.prompt.prompt[start:end] for start, end in encoded.spans]


@pytest.mark.parametrize("name", sorted(built_in()))
def test_every_format_masks_the_answers(name: str, made_tokenizer: Any) -> None:
    kwargs = {
        "firefunction-v2": {"functions": "[]"},
        "gigachat": {"additional_special_tokens": ["<|role_sep|>", "<|message_sep|>"]},
    }.get(name)
    form = built_in()[name]
    # Families without a system message, and those whose template puts it into another message, do without.
    talk = Conversation(messages=TALK.messages[1:])
    texts = answers(talk, form, made_tokenizer, kwargs=kwargs)
    assert len(texts) == 2
    assert "수도입니다." in texts[0]
    assert "항구입니다." in texts[1]
    assert not any("어때" in text or "서울" in text for text in texts)
    ends = (form.eos, *form.stop_tokens)
    if form.family == "chatml" and name != "qwen1.5":
        assert all(text.endswith(ends) for text in texts)


def test_the_mask_is_that_of_generation_blocks(made_tokenizer: Any) -> None:
    blocks = format_from_template(GENERATION, "file", name="blocks")
    ours = encode_for_training(TALK, "openhermes-2.5", made_tokenizer, now=NOW)
    theirs = encode_for_training(TALK, blocks, made_tokenizer, now=NOW)
    assert ours.ids == theirs.ids
    assert ours.mask == theirs.mask
    assert 0 < sum(ours.mask) < len(ours.mask)


def test_the_mask_equals_transformers_on_benign_text(made_tokenizer: Any) -> None:
    transformers = pytest.importorskip("transformers")
    peer = transformers.PreTrainedTokenizerFast(tokenizer_object=made_tokenizer, chat_template=GENERATION)
    benign = Conversation(messages=TALK.messages[:3])
    expected = peer.apply_chat_template(
        benign.as_chat(), return_dict=True, return_assistant_tokens_mask=True, tokenize=True
    )
    blocks = format_from_template(GENERATION, "file", name="blocks")
    got = encode_for_training(benign, blocks, made_tokenizer, now=NOW)
    assert list(got.ids) == expected["input_ids"]
    assert list(got.mask) == expected["assistant_masks"]


def test_only_the_last_answer(made_tokenizer: Any) -> None:
    assert answers(TALK, "openhermes-2.5", made_tokenizer, only_last=True) == ["항구입니다.<|im_end|>"]


def test_thinking_counts_as_written(made_tokenizer: Any) -> None:
    talk = Conversation().add("user", "1+1?").add("assistant", "2", reasoning_content="더하기다.")
    assert answers(talk, "qwen3", made_tokenizer) == ["<think>\n더하기다.\n</think>\n\n2<|im_end|>"]


def test_tool_calls_count_as_written(made_tokenizer: Any) -> None:
    call = ({"type": "function", "function": {"name": "f", "arguments": {"x": 1}}},)
    talk = (
        Conversation()
        .add("user", "가자")
        .add("assistant", "", tool_calls=call)
        .add("tool", "좋아")
        .add("assistant", "갔다")
    )
    first, second = answers(talk, "qwen2.5", made_tokenizer)
    assert first.startswith("<tool_call>")
    assert first.endswith("</tool_call><|im_end|>")
    assert second == "갔다<|im_end|>"


def test_what_cannot_be_masked_is_an_error(made_tokenizer: Any) -> None:
    with pytest.raises(InvalidInput, match="no assistant message"):
        encode_for_training(Conversation().add("user", "x"), "chatml", made_tokenizer)
    upper = format_from_template(
        "{{ messages | length }}{% for m in messages %}[{{ m.content | upper }}]{% endfor %}",
        "file",
        name="up",
    )
    with pytest.raises(InvalidInput, match="message 2: cannot tell"):
        encode_for_training(
            Conversation().add("user", "a").add("assistant", " ").add("user", "b"), upper, made_tokenizer
        )
