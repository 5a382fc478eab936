"""The Playground without a browser: settings, tokens as pieces, calls, and an answer that is stopped."""

from __future__ import annotations

import ast
import asyncio
import json
import math
import shlex
from collections.abc import AsyncGenerator
from urllib.parse import parse_qsl, urlsplit

import pytest

from arena.engines.base import (
    Chunk,
    EngineUnavailable,
    Finished,
    Generation,
    Prompted,
    Sampling,
    TextDelta,
    Token,
    TokenLogprob,
)
from arena.engines.spec import ModelSpec
from arena.web.pages.playground_answer import Answer, RunningAnswer, Turn, conversation_of
from arena.web.pages.playground_calls import as_curl, as_python, request_body
from arena.web.pages.playground_settings import FIELDS, OutOfRange, PlaygroundSettings, tells_probabilities
from arena.web.pages.playground_views import (
    MOST_SHOWN,
    Piece,
    figures,
    pieces,
    prompt_html,
    raw_html,
    tokens_html,
)
from prompt_formats.conversation import Conversation

FULL = PlaygroundSettings(
    model="모형", system="짧게 & 바르게", temperature=0.7, top_p=0.9, top_k=40, min_p=0.05, repetition_penalty=1.1,
    max_tokens=64, seed=7, stop="끝\n\\n\\n", window="last_rounds", window_size=2, prefill="물론, ",
    probabilities=False,
)  # fmt: skip


def test_a_link_carries_every_setting() -> None:
    link = FULL.link("./playground")
    assert PlaygroundSettings.from_query(dict(parse_qsl(urlsplit(link).query))) == FULL
    assert PlaygroundSettings().link("./playground") == "./playground?"


def test_a_bad_link_keeps_what_can_be_used() -> None:
    query = {
        "temperature": "hot",
        "top_k": "3",
        "window": "moon",
        "unknown": "1",
        "max_tokens": "-5",
        "seed": "1e99",
    }
    assert PlaygroundSettings.from_query(query) == PlaygroundSettings(top_k=3)


def test_settings_become_a_request() -> None:
    request = FULL.request(Conversation().add("user", "?"), seed=99)
    assert request.sampling == Sampling(
        temperature=0.7, top_p=0.9, top_k=40, min_p=0.05, repetition_penalty=1.1, max_tokens=64
    )
    assert (request.stop, request.seed, request.prefill) == (("끝", "\n\n"), 7, "물론, ")
    assert (request.window, request.logprobs) == ({"last_rounds": 2}, None)
    plain = PlaygroundSettings().request(Conversation().add("user", "?"), seed=99)
    assert (plain.seed, plain.window, plain.logprobs, plain.sampling) == (99, None, 5, Sampling())
    assert PlaygroundSettings(window="all").rounds == {}
    assert PlaygroundSettings(window="token_budget").rounds == {"token_budget": 1024}


def test_stop_strings_are_lines_and_nothing_else_ends_one() -> None:
    assert PlaygroundSettings(stop="끝\u2028\r\n\n\\n").stops == ("끝\u2028", "\n")


def test_probabilities_are_asked_for_where_they_are_told() -> None:
    local = ModelSpec(name="m", source="x")
    chat = ModelSpec(name="m", kind="openai", source="x", base_url="http://a/v1")
    assert tells_probabilities(local)
    assert not tells_probabilities(local.model_copy(update={"quantisation": "ct2-int8"}))
    assert not tells_probabilities(chat)
    assert tells_probabilities(chat.model_copy(update={"endpoint": "completions"}))


@pytest.mark.parametrize(
    ("field", "value"), [("temperature", 5.1), ("top_p", 0), ("top_k", 2.5), ("max_tokens", 0), ("seed", -1)]
)
def test_numbers_out_of_range_are_named(field: str, value: float) -> None:
    values = [value if name == field else getattr(PlaygroundSettings(), name) for name in FIELDS]
    with pytest.raises(OutOfRange) as refused:
        PlaygroundSettings.from_values(values)
    assert refused.value.field == field


def test_tokens_that_split_a_character_are_one_piece() -> None:
    assert pieces(["서", "\ufffd", "\ufffd", " is", "!"], "서울 is!") == [
        Piece("서", (0,)), Piece("울", (1, 2)), Piece(" is", (3,)), Piece("!", (4,)),
    ]  # fmt: skip
    assert pieces(["a", "\ufffd", "\ufffd"], "a울")[-1] == Piece("울", (1, 2))
    # Where the text is not that of the tokens, nothing is guessed.
    assert pieces(["a", "b"], "xy") == [Piece("a", (0,)), Piece("b", (1,))]


def test_a_prompt_is_shown_token_by_token_and_nothing_in_it_is_markup() -> None:
    tokens = (
        Token(id=1, text="<|im_start|>", special=True),
        Token(id=9, text="<b>&"),
        Token(id=3, text="\n"),
    )
    prompted = Prompted(
        rendered_prompt="<|im_start|><b>&\n", rendered_by="engine", tokens=tokens,
        prompt_log={"format": "chatml", "reason": "the tokenizer's own template (/srv/models/m)",
                    "policies": ["<script>"], "dropped_rounds": [{"number": 1, "begins": "<i>"}]},
    )  # fmt: skip
    page = prompt_html(prompted, "en")
    assert page.count('role="option"') == 3
    assert "&lt;b&gt;&amp;" in page
    assert "<b>" not in page
    assert "<script>" not in page
    assert "<i>" not in page
    assert "/srv/models" not in page
    assert page.count('tabindex="0"') == 1  # one tab stop for all tokens


def test_a_long_prompt_leaves_out_its_middle() -> None:
    count = MOST_SHOWN + 500
    tokens = tuple(Token(id=n, text=f"w{n} ") for n in range(count))
    whole = "".join(token.text for token in tokens)
    page = prompt_html(Prompted(rendered_prompt=whole, rendered_by="engine", tokens=tokens), "ko")
    assert page.count('role="option"') == MOST_SHOWN
    assert "500" in page
    assert f"w{count - 1} " in page


def test_a_chat_endpoints_prompt_is_told_as_unseen() -> None:
    log = {
        "messages": [{"role": "user", "content": "안녕"}],
        "estimate": {"prompt": "USER: 안녕", "format": "vicuna"},
    }
    page = prompt_html(Prompted(rendered_prompt=None, rendered_by="server", prompt_log=log), "en")
    assert "안녕" in page
    assert "estimate" in page


def generation(**fields: object) -> Generation:
    return Generation.model_validate(
        {"text": "Paris 울", "finish_reason": "stop", "duration": 2.0, "rendered_by": "engine", **fields}
    )


def test_probabilities_colour_and_name_their_alternatives() -> None:
    logprobs = [
        TokenLogprob(
            token="Paris", logprob=math.log(0.95), top=(("Paris", math.log(0.95)), ("<b>", math.log(0.01)))
        ),
        TokenLogprob(token=" ", logprob=math.log(0.3)),
        TokenLogprob(token="\ufffd", logprob=math.log(0.1)),
        TokenLogprob(token="\ufffd", logprob=math.log(0.1)),
    ]
    answer = Answer(status="finished", generation=generation(logprobs=logprobs, raw="Paris 울</s>"))
    page = tokens_html(answer, "The <capital>: ", "en")
    assert 'class="tok p0"' in page
    assert 'class="tok p2"' in page
    assert 'class="tok p4"' in page  # 1% for both halves of 울
    assert "울" in page
    assert "95.0%" in page
    assert "&lt;b&gt;" in page
    assert "&lt;capital&gt;" in page
    assert "<capital>" not in page
    assert "told neither" in tokens_html(Answer(status="finished", generation=generation()), "", "en")


def test_raw_output_marks_special_tokens() -> None:
    tokens = [Token(id=5, text="Paris"), Token(id=2, text="</s>", special=True)]
    answer = Answer(status="finished", generation=generation(tokens=tokens, raw="Paris</s>"))
    assert "Paris<mark>&lt;/s&gt;</mark>" in raw_html(answer, "en")


def test_figures_tell_what_was_really_used() -> None:
    told = figures(
        Answer(
            status="finished",
            generation=generation(
                completion_tokens=8, prompt_tokens=30, time_to_first_token=0.25, reasoning_tokens=3,
                cost={"amount": 0.00125, "currency": "USD"}, prompt_log={"seed": 7}, sampling={"temperature": 0.5},
            ),
        ),
        "en",
    )  # fmt: skip
    for words in (
        "8 tokens in 2.0 s (4 a second)",
        "0.25",
        "30",
        "0.001250 USD",
        "temperature 0.5",
        "seed 7",
    ):
        assert words in told
    own = figures(Answer(status="finished", generation=generation(prompt_log={"seed": None})), "en")
    assert "seed" not in own


def test_calls_say_what_was_asked() -> None:
    talk = Conversation().add("system", "It's 'short'").add("user", "안녕\n$HOME `x`")
    settings = PlaygroundSettings(model="m", temperature=0, top_k=3, seed=1, stop="끝", probabilities=True)
    path, body = request_body(settings, talk, "<prompt>")
    words = shlex.split(as_curl("http://a/v1", path, body))
    assert words[1] == "http://a/v1/chat/completions"
    assert json.loads(words[-1]) == {
        "model": "m", "messages": talk.as_chat(), "temperature": 0, "top_k": 3, "seed": 1, "stop": ["끝"],
        "logprobs": True, "top_logprobs": 5,
    }  # fmt: skip
    program = as_python("http://a/v1", path, body)
    ast.parse(program)
    assert "extra_body={'top_k': 3}" in program
    # A prefill or a window can be said as the exact prompt only.
    path, body = request_body(settings.model_copy(update={"prefill": "네"}), talk, "<prompt>네")
    assert (path, body["prompt"], body["logprobs"]) == ("completions", "<prompt>네", 5)


def test_the_conversation_leaves_out_failed_turns() -> None:
    turns = [
        Turn(user="하나", text="답", prefill="네, ", thinking="음", status="finished"),
        Turn(user="둘", status="failed"),
        Turn(user="셋"),
    ]
    chat = conversation_of(turns, "짧게").as_chat()
    assert [message["content"] for message in chat] == ["짧게", "하나", "네, 답", "셋"]
    assert chat[2]["reasoning_content"] == "음"


class Stream:
    """A stream that says words until it is closed."""

    def __init__(self, words: int, error: Exception | None = None) -> None:
        self.closed = False
        self._words = words
        self._error = error

    async def chunks(self) -> AsyncGenerator[Chunk, None]:
        try:
            yield Prompted(rendered_prompt="p", rendered_by="engine")
            for _ in range(self._words):
                await asyncio.sleep(0.005)
                yield TextDelta(text="w ")
            if self._error is not None:
                raise self._error
            yield Finished(generation=generation(text="w " * self._words))
        finally:
            self.closed = True


async def test_an_answer_is_followed_to_its_end() -> None:
    stream = Stream(20)
    statuses = [answer.status async for answer in RunningAnswer(stream.chunks()).follow()]
    assert statuses[-1] == "finished"
    assert 2 <= len(statuses) <= 8  # coalesced, not one a word
    assert stream.closed


async def test_stopping_keeps_what_was_said_and_frees_the_engine() -> None:
    stream = Stream(10_000)
    running = RunningAnswer(stream.chunks())
    async for answer in running.follow():
        if len(answer.text) > 10:
            running.stop()
    assert answer.status == "stopped"
    assert answer.text.startswith("w w ")
    assert stream.closed


async def test_leaving_the_page_stops_the_model() -> None:
    stream = Stream(10_000)
    answers = RunningAnswer(stream.chunks()).follow()
    await anext(answers)
    await answers.aclose()
    await asyncio.sleep(0.05)
    assert stream.closed


async def test_an_engines_error_ends_the_answer_and_a_fault_is_raised() -> None:
    answers = [a async for a in RunningAnswer(Stream(2, EngineUnavailable("gone")).chunks()).follow()]
    assert answers[-1].status == "failed"
    assert str(answers[-1].error) == "gone"
    with pytest.raises(ZeroDivisionError):
        async for _ in RunningAnswer(Stream(2, ZeroDivisionError()).chunks()).follow():
            pass
