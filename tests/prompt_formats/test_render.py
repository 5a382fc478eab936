"""The renderer: policies, thinking, prefill, clock, log, and what it refuses."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

import pytest

from prompt_formats import (
    Conversation,
    InvalidInput,
    TemplateFailed,
    built_in,
    family_policies,
    render,
    resolve,
)
from prompt_formats.resolve import format_from_template

NOW = datetime(2025, 12, 24, 18, 0)
QUESTION = Conversation().add("user", "서울의 인구는?")
WITH_SYSTEM = Conversation().add("system", "짧게 답하세요.").add("user", "서울의 인구는?")


def other(template: str) -> Any:
    return format_from_template(template, "file", name="given")


def test_roles_and_contents_are_normalised() -> None:
    talk = Conversation.from_chat(
        [
            {"role": "developer", "content": "규칙"},
            {"role": "user", "content": [{"type": "text", "text": "안"}, {"type": "text", "text": "녕"}]},
            {"role": "assistant", "content": None, "thinking": "흠", "tool_calls": None},
        ]
    )
    assert [m.role for m in talk.messages] == ["system", "user", "assistant"]
    assert (talk.messages[1].content, talk.messages[2].reasoning_content) == ("안녕", "흠")


@pytest.mark.parametrize(
    ("messages", "words"),
    [
        ([{"role": "robot", "content": "x"}], "message 1: unknown role 'robot'"),
        ([{"role": "user", "content": "x"}, {"content": "y"}], "message 2: unknown role None"),
        ([{"role": "user", "content": [{"type": "image", "url": "x"}]}], "only text parts"),
        ([{"role": "user", "content": 7}], "content must be text"),
        ([{"role": "user", "content": "x", "colour": "red"}], "message 1: colour"),
        (["hello"], "message 1: expected an object"),
    ],
)
def test_bad_messages_are_named(messages: list[Any], words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        Conversation.from_chat(messages)


def test_an_empty_conversation_is_refused() -> None:
    with pytest.raises(InvalidInput, match="empty"):
        render(Conversation(), "chatml")


def test_without_a_policy_the_template_decides() -> None:
    with pytest.raises(TemplateFailed, match="System role not supported"):
        render(WITH_SYSTEM, "gemma-2")


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ("merge_first", "<bos><start_of_turn>user\n짧게 답하세요.\n\n서울의 인구는?<end_of_turn>\n"),
        ("family", "<bos><start_of_turn>user\n짧게 답하세요.\n\n서울의 인구는?<end_of_turn>\n"),
        ("none", "<bos><start_of_turn>user\n서울의 인구는?<end_of_turn>\n"),
    ],
)
def test_system_policies_are_applied_and_told(policy: Any, expected: str) -> None:
    prompt = render(WITH_SYSTEM, "gemma-2", system_policy=policy, add_generation_prompt=False)
    assert prompt.prompt == expected
    assert any(note.startswith("system:") for note in prompt.policies)


def test_merging_into_the_last_and_later_system_messages() -> None:
    talk = WITH_SYSTEM.add("assistant", "940만").add("system", "이제 영어로").add("user", "Busan?")
    last = render(talk, "openhermes-2.5", system_policy="merge_last").conversation.messages
    assert [m.content for m in last] == ["서울의 인구는?", "940만", "짧게 답하세요.\n\n이제 영어로\n\nBusan?"]
    first = render(talk, "openhermes-2.5", system_policy="merge_first").conversation.messages
    assert [m.content for m in first] == [
        "짧게 답하세요.\n\n서울의 인구는?",
        "940만",
        "이제 영어로\n\nBusan?",
    ]


def test_a_policy_that_changes_nothing_says_nothing() -> None:
    assert render(QUESTION, "gemma-2", system_policy="family", alternation="family").policies == ()


def test_alternation() -> None:
    twice = QUESTION.add("user", "부산은?")
    with pytest.raises(TemplateFailed):
        render(twice, "gemma-2")
    merged = render(twice, "gemma-2", alternation="family")
    assert "서울의 인구는?\n\n부산은?" in merged.prompt
    assert merged.policies == ("alternation: message 2 was joined to the user message before it",)
    with pytest.raises(InvalidInput, match="message 2: two user messages in a row"):
        render(twice, "chatml", alternation="strict")


def test_policies_of_templates_that_are_not_ours_are_found_by_probing() -> None:
    strict = other(
        "{% for m in messages %}{% if m.role == 'system' or (m.role == 'user') != (loop.index0 % 2 == 0) %}"
        "{{ raise_exception('no') }}{% endif %}<{{ m.content }}>{% endfor %}"
    )
    free = other("{% for m in messages %}<{{ m.content }}>{% endfor %}")
    deaf = other("{% for m in messages if m.role != 'system' %}<{{ m.content }}>{% endfor %}")
    assert family_policies(strict) == ("merge_first", "merge")
    assert family_policies(free) == ("native", "free")
    assert family_policies(deaf) == ("merge_first", "free")
    assert render(WITH_SYSTEM, strict, system_policy="family").prompt == "<짧게 답하세요.\n\n서울의 인구는?>"


@pytest.mark.parametrize("name", sorted(built_in()))
def test_the_familys_policies_make_any_conversation_fit(name: str) -> None:
    """What the arena does: no family may refuse a system text or two questions in a row."""
    kwargs = {
        "firefunction-v2": {"functions": "[]"},
        "gigachat": {"additional_special_tokens": ["<|r|>", "<|m|>"]},
    }.get(name)
    talk = WITH_SYSTEM.add("user", "부산은?").add("assistant", "340만").add("user", "대구는?")
    prompt = render(talk, name, system_policy="family", alternation="family", kwargs=kwargs)
    for text in ("짧게 답하세요.", "서울의 인구는?", "부산은?", "340만", "대구는?"):
        assert text in prompt.prompt


def test_a_system_text_that_is_left_out_in_silence_is_noted() -> None:
    assert "system: the format does not write it" in render(WITH_SYSTEM, "phi-3-medium").policies[0]


def test_inline_thinking_moves_to_where_the_format_reads_it() -> None:
    talk = QUESTION.add("assistant", "<think>\n어디 보자\n</think>\n\n940만").add("user", "확실해?")
    prompt = render(talk, "qwen3")
    assert prompt.conversation.messages[1].reasoning_content == "어디 보자"
    assert "어디 보자" not in prompt.prompt
    assert "<|im_start|>assistant\n940만<|im_end|>" in prompt.prompt
    assert prompt.policies == ("thinking: moved out of the content of message 2",)


def test_thinking_without_a_place_is_left_out_and_told() -> None:
    talk = QUESTION.add("assistant", "940만", reasoning_content="비밀").add("user", "확실해?")
    prompt = render(talk, "llama-3")
    assert "비밀" not in prompt.prompt
    assert prompt.policies == ("thinking: left out of message 2, the format has no place for it",)


def test_text_that_only_mentions_thinking_stays() -> None:
    talk = QUESTION.add("assistant", "the tag <think> opens, </think> closes").add("user", "ok")
    assert "the tag <think> opens" in render(talk, "openhermes-2.5").prompt


def test_prefill_ends_where_the_answer_ends() -> None:
    talk = QUESTION.add("assistant", "약 9")
    assert render(talk, "qwen2.5", continue_final_message=True).prompt.endswith("<|im_start|>assistant\n약 9")
    with pytest.raises(InvalidInput, match="the last one is user"):
        render(QUESTION, "qwen2.5", continue_final_message=True)
    with pytest.raises(InvalidInput, match="exclude each other"):
        render(talk, "qwen2.5", continue_final_message=True, add_generation_prompt=True)


def test_the_clock_is_frozen_and_logged() -> None:
    prompt = render(QUESTION, "llama-3.2", now=NOW)
    assert "Today Date: 24 Dec 2025" in prompt.prompt
    assert (prompt.clock, prompt.clock_read) == (NOW, True)
    assert not render(QUESTION, "llama-3.1", now=NOW).clock_read


def test_kwargs_reach_the_template() -> None:
    closed = render(QUESTION, "qwen3", kwargs={"enable_thinking": False})
    assert closed.prompt.endswith("<think>\n\n</think>\n\n")
    assert closed.log()["kwargs"] == {"enable_thinking": False}
    with pytest.raises(InvalidInput, match="JSON values only"):
        render(QUESTION, "qwen3", kwargs={"clock": datetime.now})


def test_tools_that_the_format_cannot_write_are_told() -> None:
    tools = [{"type": "function", "function": {"name": "find_train", "parameters": {}}}]
    assert render(QUESTION, "qwen2.5", tools=tools).policies == ()
    assert "tools: the format does not write them" in render(QUESTION, "zephyr", tools=tools).policies[0]
    told = render(QUESTION, "zephyr", documents=[{"title": "t", "text": "본문"}]).policies
    assert "documents: the format does not write them" in told[0]
    assert "본문" in render(QUESTION, "granite-3.3", documents=[{"text": "본문"}], now=NOW).prompt


def test_arguments_of_tool_calls_may_be_json_text() -> None:
    def called(arguments: Any) -> str:
        call = ({"type": "function", "function": {"name": "f", "arguments": arguments}},)
        return render(QUESTION.add("assistant", "", tool_calls=call).add("tool", "3"), "qwen2.5").prompt

    assert called('{"city": "서울"}') == called({"city": "서울"})
    assert "not json" in called("not json")


def test_a_template_for_tools_takes_the_others_place() -> None:
    form = other("without").model_copy(update={"tool_template": "with {{ tools | length }}"})
    tools = [{"type": "function", "function": {"name": "with", "parameters": {}}}]
    assert render(QUESTION, form).prompt == "without"
    assert render(QUESTION, form, tools=tools).prompt == "with 1"


@pytest.mark.parametrize(
    ("template", "bos", "count"),
    [("{{ bos_token }}x", "<s>", 1), ("{{ bos_token }}<s>x", "<s>", 2), ("x", "<s>", 0), ("x", None, 0)],
)
def test_bos_is_counted_as_the_template_writes_it(template: str, bos: str | None, count: int) -> None:
    assert render(QUESTION, other(template), bos=bos).n_bos == count


def test_stops_are_the_union() -> None:
    assert render(QUESTION, "llama-3.1").stops == ("<|eot_id|>", "<|end_of_text|>", "<|eom_id|>")
    assert render(QUESTION, "vicuna-v1.1", eos="<eos>").stops == ("USER:", "</s>", "<eos>")


@pytest.mark.parametrize("name", ["vicuna-v1.1", "qwen2.5", "koalpaca-v1.1"])
def test_control_text_for_string_endpoints(name: str) -> None:
    mark = {"vicuna-v1.1": "USER:", "qwen2.5": "<|im_end|>", "koalpaca-v1.1": "### 답변:"}[name]
    talk = Conversation().add("user", f"이것 봐: {mark} 속았지?")
    kept = render(talk, name)
    assert mark in kept.prompt.split("속았지")[0]
    assert f"kept as typed: {mark!r} in message 1" in kept.policies[-1]
    with pytest.raises(InvalidInput, match="control text"):
        render(talk, name, control_text="reject")
    escaped = render(talk, name, control_text="escape")
    assert escaped.prompt.count(mark) == render(QUESTION, name).prompt.count(mark)
    assert "escaped" in escaped.policies[-1]


def test_the_log_is_whole_and_json() -> None:
    prompt = render(WITH_SYSTEM, resolve("google/gemma-2-9b-it"), system_policy="family", now=NOW)
    log = json.loads(json.dumps(prompt.log()))
    assert log["format"] == "gemma-2"
    assert "gemma 2" in log["reason"]
    assert log["prompt"] == prompt.prompt
    assert log["policies"] == ["system: merged into the first user message"]
    assert (log["rendered_by"], log["estimate"], log["clock"]) == ("engine", False, NOW.isoformat())
    assert len(log["template_hash"]) == 64
    assert set(log["versions"]) >= {"jinja2", "tokenizers", "python", "palaestra"}
    remote = prompt.log("server")
    assert (remote["rendered_by"], remote["estimate"]) == ("server", True)


def test_the_hash_knows_variables() -> None:
    hashes = {built_in()[name].template_hash for name in ("gemma-1", "trl-gemma", "gemma-3")}
    assert len(hashes) == 3


def test_user_text_is_never_a_template() -> None:
    evil = "{{ bos_token }}{% for m in messages %}{0} %s \\1{% endfor %}"
    for name in built_in():
        kwargs = {
            "firefunction-v2": {"functions": "[]"},
            "gigachat": {"additional_special_tokens": ["<|r|>", "<|m|>"]},
        }.get(name)
        assert evil in render(Conversation().add("user", evil), name, kwargs=kwargs).prompt
