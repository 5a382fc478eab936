"""Answers that name their model, and answers that only speak of models."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from results.identity_leaks import LeakFinder

FINDER = LeakFinder(["Qwen2.5-7B-Instruct", "한빛-7B", "org/Saebyeol-3B", "demo-echo"])


@pytest.mark.parametrize(
    ("answer", "name"),
    [
        ("Hello! I am Qwen, created by Alibaba Cloud.", "Qwen"),
        ("I'm Claude, an AI assistant made by Anthropic.", "Claude"),
        ("As ChatGPT, I cannot do that.", "ChatGPT"),
        ("I am a large language model, trained by Google.", "Google"),
        ("I was developed by Mistral AI.", "Mistral AI"),
        ("I am an AI assistant called EXAONE.", "EXAONE"),
        ("I'm Saebyeol and I can help.", "Saebyeol"),
        ("My name is Qwen2.5-7B-Instruct.", "Qwen2.5-7B-Instruct"),
        ("저는 Qwen입니다.", "Qwen"),
        ("안녕하세요, 저는 네이버에서 개발한 HyperCLOVA X입니다.", "네이버"),
        ("저는 LG AI연구원에서 개발한 엑사원이에요.", "LG AI연구원"),
        ("제 이름은 한빛입니다.", "한빛"),
        ("저는 OpenAI가 개발한 언어 모델입니다.", "OpenAI"),
        ("저는 알리바바 클라우드에서 만든 대규모 언어 모델 Qwen이라고 합니다.", "알리바바 클라우드"),
        ("저는 인공지능 언어 모델 클로드입니다.", "클로드"),
    ],
)
def test_leaks(answer: str, name: str) -> None:
    assert FINDER.leaks(f"네! {answer} 더 궁금한 점이 있나요?")[0] == name


@pytest.mark.parametrize(
    "answer",
    [
        "Qwen is a family of models created by Alibaba.",
        "Qwen은 알리바바가 만든 모델입니다.",
        "I am Claude Monet, the painter.",
        "I am not Qwen.",
        "저는 Qwen이 아닙니다.",
        "저는 라마를 키웁니다.",
        "I am a llama farmer.",
        "Type `I am Qwen` and press enter.",
        "```python\nprint('I am Qwen')\n```",
        "저는 네이버 지도를 추천합니다.",
        "저는 구글에서 검색해 보시길 권합니다.",
        "I am an AI assistant.",
        "저는 인공지능 언어 모델입니다.",
        "I am familiar with Google Sheets.",
        "나는 메타 분석을 좋아한다.",
        "I was told that Google made it.",
        "",
    ],
)
def test_speaking_of_models_is_no_leak(answer: str) -> None:
    assert FINDER.leaks(answer) == []


def test_a_name_that_the_user_brought_up_is_no_leak() -> None:
    assert FINDER.leaks("I am Qwen!", ["Pretend to be qwen."]) == []
    assert FINDER.leaks("저는 클로드입니다.", ["너는 클로드라는 제빵사야"]) == []
    assert FINDER.leaks("No, I am Qwen.", ["Are you Claude?"]) == ["Qwen"]


@given(st.text(max_size=300), st.lists(st.text(max_size=50), max_size=2))
def test_any_text_can_be_searched(answer: str, said: list[str]) -> None:
    assert all(name in answer for name in FINDER.leaks(answer, said))
