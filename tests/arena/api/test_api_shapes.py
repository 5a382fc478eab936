"""Log-probabilities of text completions, where characters are split among tokens."""

from __future__ import annotations

from arena.api.shapes import completion_logprobs
from arena.engines.base import TokenLogprob

SPLIT = [
    TokenLogprob(token="서", logprob=-1.0, top=(("서", -1.0), ("부", -2.0))),
    TokenLogprob(token="\ufffd", logprob=-3.0, top=(("\ufffd", -0.5), ("a", -1.5))),
    TokenLogprob(token="\ufffd", logprob=-0.1, top=(("\ufffd", -0.1),)),
    TokenLogprob(token=" is", logprob=-0.2, top=((" is", -0.2),)),
]


def test_parts_of_a_character_begin_where_it_begins() -> None:
    told = completion_logprobs(SPLIT, text="서울 is")
    assert told["text_offset"] == [0, 1, 1, 2]
    assert completion_logprobs(SPLIT[1:3], text="울")["text_offset"] == [0, 0]
    # Where the text is not that of the tokens, they stand one after another.
    assert completion_logprobs(SPLIT, 5, text="다른 글")["text_offset"] == [5, 6, 7, 8]
    assert completion_logprobs(SPLIT, 5)["text_offset"] == [5, 6, 7, 8]


def test_a_part_that_only_looks_like_the_first_choice_is_not_told_as_it() -> None:
    told = completion_logprobs(SPLIT)
    for value, top in zip(told["token_logprobs"], told["top_logprobs"], strict=True):
        assert max(top.values()) >= value
    assert max(told["top_logprobs"][1].values()) == -0.5 > told["token_logprobs"][1]
    assert max(told["top_logprobs"][2].values()) == told["token_logprobs"][2]


def test_a_token_that_ended_the_answer_is_counted() -> None:
    told = completion_logprobs(SPLIT, first_is_given=True, text="서울 is", unspoken=1)
    assert told["tokens"] == ["서", "\ufffd", "\ufffd", " is", ""]
    assert told["token_logprobs"] == [None, -3.0, -0.1, -0.2, None]
    assert told["top_logprobs"][0] is told["top_logprobs"][-1] is None
    assert told["text_offset"] == [0, 1, 1, 2, 5]
