"""Windows: what stays, what is named, and what can never happen."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers

from prompt_formats import (
    Compose,
    Conversation,
    InvalidInput,
    LastRounds,
    Message,
    OverBudget,
    Search,
    Summary,
    TokenBudget,
    load_tokenizer,
    render,
    window_from,
)
from prompt_formats.windows import bm25, split_rounds


def byte_tokenizer() -> Tokenizer:
    """One id a byte: counts are predictable, any text can be encoded."""
    vocabulary = {c: i for i, c in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    return tokenizer


TOKENIZER = load_tokenizer(byte_tokenizer())

TALK = (
    Conversation()
    .add("system", "친절하게.")
    .add("user", "첫째: 김치찌개 끓이는 법?")
    .add("assistant", "김치와 돼지고기를 볶습니다.")
    .add("user", "둘째: 서울에서 부산까지?")
    .add("assistant", "기차로 두 시간 반입니다.")
    .add("user", "셋째: 김치찌개에 두부를 넣나요?")
)

texts = st.text(alphabet="가나다abc \n", min_size=1, max_size=12)


@st.composite
def conversations(draw: st.DrawFn) -> Conversation:
    talk = Conversation()
    if draw(st.booleans()):
        talk = talk.add("system", draw(texts))
    for _ in range(draw(st.integers(0, 6))):
        talk = talk.add("user", draw(texts))
        if draw(st.integers(0, 5)) == 0:
            talk = talk.add("user", draw(texts))
        talk = talk.add("assistant", draw(texts))
        if draw(st.integers(0, 6)) == 0:
            talk = talk.add("system", draw(texts))
    return talk.add("user", draw(texts))


def count(talk: Conversation) -> int:
    return len(render(talk, "openhermes-2.5", tokenizer=TOKENIZER).ids or ())


@given(conversations(), st.integers(1, 500))
def test_a_budget_is_never_exceeded_and_never_wasted(talk: Conversation, tokens: int) -> None:
    try:
        prompt = render(talk, "openhermes-2.5", tokenizer=TOKENIZER, window=TokenBudget(tokens))
    except OverBudget:
        least = render(talk, "openhermes-2.5", tokenizer=TOKENIZER, window=LastRounds(1))
        assert len(least.ids or ()) > tokens
        return
    assert len(prompt.ids or ()) <= tokens
    kept = prompt.conversation.messages
    assert kept[-1] == talk.messages[-1]
    assert [m for m in kept if m.role == "system"] == [m for m in talk.messages if m.role == "system"]
    # The longest suffix: one more round would not have fitted.
    if prompt.dropped_rounds:
        rounds = len(split_rounds(talk).rounds) - len(prompt.dropped_rounds)
        more = render(talk, "openhermes-2.5", tokenizer=TOKENIZER, window=LastRounds(rounds + 1))
        assert len(more.ids or ()) > tokens


@given(conversations(), st.integers(1, 5))
def test_last_rounds_keep_a_suffix(talk: Conversation, k: int) -> None:
    prompt = render(talk, "openhermes-2.5", window=LastRounds(k))
    spoken = [m for m in talk.messages if m.role != "system"]
    kept = [m for m in prompt.conversation.messages if m.role != "system"]
    assert kept == spoken[len(spoken) - len(kept) :]
    whole = split_rounds(talk)
    assert len(prompt.dropped_rounds) == max(0, len(whole.rounds) - k)


@given(conversations())
def test_rounds_divide_without_loss(talk: Conversation) -> None:
    assert split_rounds(talk).conversation() == talk


def test_dropped_rounds_are_named() -> None:
    prompt = render(TALK, "llama-3", window=LastRounds(1))
    assert [(r.number, r.begins) for r in prompt.dropped_rounds] == [
        (1, "첫째: 김치찌개 끓이는 법?"),
        (2, "둘째: 서울에서 부산까지?"),
    ]
    assert "둘째" not in prompt.prompt
    assert "친절하게." in prompt.prompt
    assert prompt.log()["dropped_rounds"][0]["number"] == 1


def test_the_last_turn_alone_must_fit() -> None:
    with pytest.raises(OverBudget, match=r"takes \d+ tokens, the budget is 20"):
        render(TALK, "llama-3", tokenizer=TOKENIZER, window=TokenBudget(20))


def test_a_budget_needs_a_tokenizer() -> None:
    with pytest.raises(InvalidInput, match="give a tokenizer"):
        render(TALK, "llama-3", window=TokenBudget(100))


def test_search_keeps_the_round_that_matters() -> None:
    prompt = render(TALK, "llama-3", window=Search(1))
    assert [r.number for r in prompt.dropped_rounds] == [2]
    assert "첫째" in prompt.prompt


def test_search_takes_an_embedding() -> None:
    asked: list[str] = []

    def similarity(question: str, candidates: Sequence[str]) -> list[float]:
        asked.append(question)
        return [float("부산" in text) for text in candidates]

    prompt = render(TALK, "llama-3", window=Search(1, similarity))
    assert [r.number for r in prompt.dropped_rounds] == [1]
    assert asked == ["셋째: 김치찌개에 두부를 넣나요?"]


def test_a_summary_replaces_older_rounds() -> None:
    seen: list[str] = []

    def summarise(text: str) -> str:
        seen.append(text)
        return "찌개와 기차 이야기를 했다."

    prompt = render(TALK, "llama-3", window=Summary(summarise, k=1))
    assert prompt.summary == "찌개와 기차 이야기를 했다."
    assert "친절하게.\n\nSummary of the earlier conversation:\n찌개와 기차" in prompt.prompt
    assert seen[0].startswith("user: 첫째")
    assert "셋째" not in seen[0]
    assert prompt.log()["summary"] == prompt.summary


def test_windows_compose() -> None:
    both = Compose((Summary(lambda text: "요약", k=2), TokenBudget(10_000), LastRounds(1)))
    prompt = render(TALK, "llama-3", tokenizer=TOKENIZER, window=both)
    assert "요약" in prompt.prompt
    assert [r.number for r in prompt.dropped_rounds] == [1, 2]
    same = window_from({"last_rounds": 2, "token_budget": 10_000})
    assert render(TALK, "llama-3", tokenizer=TOKENIZER, window=same).dropped_rounds[0].number == 1


@pytest.mark.parametrize(
    "setting",
    [{"first_rounds": 1}, {"last_rounds": 0}, {"token_budget": "9"}, {"last_rounds": True}, {"search": -1}],
)
def test_bad_windows_are_refused(setting: dict[str, int]) -> None:
    with pytest.raises(InvalidInput):
        render(TALK, "llama-3", tokenizer=TOKENIZER, window=window_from(setting))


def test_tool_results_stay_with_their_round() -> None:
    call = ({"function": {"name": "f", "arguments": {}}},)
    messages = (
        Message(role="user", content="old"),
        Message(role="assistant", content="a"),
        Message(role="user", content="q"),
        Message(role="assistant", tool_calls=call),
        Message(role="tool", content="r"),
    )
    kept = render(Conversation(messages=messages), "qwen2.5", window=LastRounds(1)).conversation.messages
    assert kept == messages[2:]


def test_bm25_prefers_shared_words_and_korean_stems() -> None:
    scores = bm25(
        "김치찌개를 어떻게 만들어요?", ["버스는 몇 시에 오나요", "김치찌개는 쉽습니다", "날씨가 좋다"]
    )
    assert scores.index(max(scores)) == 1
    assert bm25("nothing shared", ["가", "나"]) == [0.0, 0.0]
