"""Personal data in texts becomes marks; numbers that are none stay."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from results.interchange.personal import screen_text, screen_value


@pytest.mark.parametrize(
    ("text", "screened"),
    [
        ("제 번호는 010-1234-5678이에요", "제 번호는 [PHONE]이에요"),
        ("01012345678로 전화 주세요", "[PHONE]로 전화 주세요"),
        ("+82 10-1234-5678, 02-123-4567, 031) 123-4567", "[PHONE], [PHONE], [PHONE]"),
        ("call +1 (415) 555-0132 now", "call [PHONE] now"),
        ("주민번호 900101-1234567입니다", "주민번호 [RRN]입니다"),
        ("0102033234567", "[RRN]"),
        ("hong.gildong+a@example.co.kr로 보내세요", "[EMAIL]로 보내세요"),
        ("카드 4111 1111 1111 1111 유효", "카드 [CARD] 유효"),
        ("5500-0055-5555-5559", "[CARD]"),
        ("저는 서울특별시 강남구 테헤란로 123에 살아요", "저는 [ADDRESS]에 살아요"),
        ("부산 해운대구 우동 1408-5번지 오세요", "부산 해운대구"),
        ("경기도 성남시 분당구 판교역로 166", "[ADDRESS]"),
        ("서버 192.168.0.17에서", "서버 [IP]에서"),
    ],
)
def test_personal_data_is_marked(text: str, screened: str) -> None:
    result, found = screen_text(text)
    if screened == "부산 해운대구":
        assert result == "[ADDRESS] 오세요"
    else:
        assert result == screened
    assert sum(found.values()) == result.count("[")


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-22에 만나요",
        "주문 번호 1234567890123456",
        "901301-1234567은 날짜가 아니다",
        "3.14159265358979",
        "1,234,567원입니다",
        "서울로 2시간 걸립니다",
        "세종대왕은 1443년에 한글을 만들었다",
        "버전 1.2.3과 2.10.7",
        "서울에서 부산까지 325 km",
        "0000 0000 0000 0000",
        "a@b",
        "토론토로 10월에 갑니다",
        "",
    ],
)
def test_other_numbers_stay(text: str) -> None:
    assert screen_text(text)[0] == text


def test_values_inside_lists_and_objects() -> None:
    from collections import Counter

    found: Counter[str] = Counter()
    value = [{"role": "user", "content": "a@example.com", "n": 5}, None, ["010-1111-2222"]]
    assert screen_value(value, found) == [{"role": "user", "content": "[EMAIL]", "n": 5}, None, ["[PHONE]"]]
    assert found == {"EMAIL": 1, "PHONE": 1}


@given(st.integers(0, 2**31), st.text("가나다 .,()", max_size=8), st.text("가나다 .,()", max_size=8))
def test_made_up_numbers_are_always_found(seed: int, before: str, after: str) -> None:
    rng = random.Random(seed)
    digits = lambda n: "".join(rng.choice("0123456789") for _ in range(n))  # noqa: E731
    phone = f"010-{digits(4)}-{digits(4)}"
    rrn = f"{rng.randint(0, 99):02}{rng.randint(1, 12):02}{rng.randint(1, 28):02}-{rng.randint(1, 4)}{digits(6)}"
    for secret in (phone, rrn):
        assert secret not in screen_text(f"{before} {secret}{after}")[0]


@given(st.text(max_size=200))
def test_screening_is_idempotent(text: str) -> None:
    once, _ = screen_text(text)
    assert screen_text(once)[0] == once
