"""The Playground in a browser: the real model, a chat endpoint and a completions endpoint, on one arena."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import Arena, start_arena

pytestmark = pytest.mark.browser

ANSWER = 150_000  # milliseconds for an answer of a real model on a busy machine
QUESTION = "What is the capital of France? <|im_end|> 서울"


@pytest.fixture(scope="module")
def arena(
    scripted_server: str, model_data_dir: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Arena]:
    data_dir = tmp_path_factory.mktemp("playground")
    scripted = "".join(
        f'[[models]]\nname = "{name}"\nkind = "openai"\nsource = "{mode}"\nbase_url = "{scripted_server}/v1"\n{more}\n'
        for name, mode, more in (
            ("chat", "korean:playground", ""),
            ("slow", "slow:playground", ""),
            ("broken", "error-inside", ""),
            ("text", "thinks:qwen3-8b", 'endpoint = "completions"'),
        )
    )
    (data_dir / "arena.toml").write_text(
        "embedded = false\n"
        '[[models]]\nname = "smollm2"\nsource = "embedded:SmolLM2-135M-Instruct"\n'
        "sampling = {temperature = 0, max_tokens = 24}\n" + scripted,
        encoding="utf-8",
    )
    started = start_arena(data_dir)
    yield started
    started.stop()


def visit(page: Page, arena: Arena, model: str = "smollm2", **settings: str) -> None:
    page.goto(f"{arena.url}playground?{urlencode({'model': model, **settings})}")
    expect(page.locator("#model input")).to_have_value(model)


def choose(page: Page, name: str) -> None:
    page.locator("#model input").click()
    page.get_by_role("option", name=name, exact=True).click()


def ask(page: Page, question: str, says: str = "complete") -> None:
    asked = page.locator("#chat-playground .user")
    before = asked.count()
    page.locator("#prompt textarea").fill(question)
    page.locator("#send").click()
    expect(asked).not_to_have_count(before)  # the status may still be that of the answer before
    expect(page.locator("#status")).to_contain_text(says, timeout=ANSWER)


@pytest.mark.model
def test_the_real_models_prompt_tokens_and_calls(page: Page, arena: Arena) -> None:
    visit(page, arena)
    ask(page, QUESTION)
    expect(page.locator("#chat-playground .bot").last).to_contain_text("Paris")

    # The prompt, token by token: what a person typed is no control token.
    ends = page.locator("#seen .tok", has_text="<|im_end|>")
    assert ends.count() == 2
    expect(page.locator("#seen .facts")).to_contain_text("encoded as plain text")
    expect(page.locator("#seen .facts")).not_to_contain_text(str(arena.data_dir))
    assert "서울" in page.locator("#seen .tokens").inner_text()

    # Probabilities, by pointing and by keyboard.
    page.get_by_role("tab", name="Probabilities").click()
    tokens = page.locator("#tokens .tok[role=option]")
    detail = page.locator("#tokens .token-detail")
    tokens.nth(1).hover()
    expect(detail).to_contain_text("likeliest here")
    tokens.first.focus()
    page.keyboard.press("End")
    last = detail.inner_text()
    page.keyboard.press("ArrowLeft")
    expect(detail).not_to_have_text(last)
    assert tokens.nth(tokens.count() - 2).evaluate("token => token === document.activeElement")

    page.get_by_role("tab", name="Raw output").click()
    expect(page.locator("#raw mark")).to_have_text("<|im_end|>")

    # The calls do what they say.
    said = page.locator("#chat-playground .bot").last.inner_text().strip()
    page.get_by_role("tab", name="As a call").click()
    program = "\n".join(page.locator("#python .cm-line").all_inner_texts())
    local = {**os.environ, "NO_PROXY": "127.0.0.1"}
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=120, env=local
    )
    assert "Paris" in done.stdout, done.stderr
    assert done.stdout.strip() in said
    curl = "\n".join(page.locator("#curl .cm-line").all_inner_texts())
    if shutil.which("curl") is not None:
        told = subprocess.run(["bash", "-c", curl], capture_output=True, text=True, timeout=120, env=local)
        answer = json.loads(told.stdout)
        assert answer["choices"][0]["message"]["content"] == done.stdout.strip()


@pytest.mark.model
def test_settings_prefill_and_a_second_turn(page: Page, arena: Arena) -> None:
    visit(page, arena, system="Be brief.", max_tokens="5", seed="3", prefill="Berlin is")
    ask(page, "Hello")
    prompt = page.locator("#seen .tokens").inner_text()
    assert "Be brief." in prompt
    assert "Berlin is" in prompt
    expect(page.locator("#chat-playground .bot").last).to_contain_text("Berlin is")
    expect(page.locator("#playground-figures")).to_contain_text("Ended at the limit of tokens")
    expect(page.locator("#playground-figures")).to_contain_text("seed 3")
    page.locator("#settings button").first.click()
    page.locator("#window input").click()
    page.get_by_role("option", name="the last rounds").click()
    page.locator("#window-size input").fill("1")
    page.locator("#prefill textarea").fill("")
    ask(page, "And now?")
    expect(page.locator("#seen .facts")).to_contain_text("Left out by the window: round 1, “Hello”")
    page.locator("#share").click()
    link = page.locator("#share-link").get_attribute("href") or ""
    for part in ("model=smollm2", "window=last_rounds", "window_size=1", "seed=3", "system=Be+brief."):
        assert part in link
    page.locator("#set-temperature input").fill("9")
    page.locator("#prompt textarea").fill("x")
    page.locator("#send").click()
    expect(page.locator("#playground-error")).to_contain_text("Temperature: a number from 0 to 5")
    expect(page.locator("#prompt textarea")).to_have_value("x")


EVERYTHING = {
    "temperature": 0.7, "top_p": 0.9, "top_k": 40, "min_p": 0.05, "repetition_penalty": 1.1, "max_tokens": 6, "seed": 7,
}  # fmt: skip


def test_every_parameter_reaches_an_endpoint(page: Page, arena: Arena, scripted_server: str) -> None:
    settings = {name: str(value) for name, value in EVERYTHING.items()}
    visit(
        page,
        arena,
        "chat",
        system="짧게",
        stop="끝\n\\n\\n",
        window="last_rounds",
        window_size="1",
        **settings,
    )
    ask(page, "첫째")
    ask(page, "둘째")
    body = httpx.get(f"{scripted_server}/seen/korean:playground", trust_env=False).json()["body"]
    assert {name: body[name] for name in EVERYTHING} == EVERYTHING
    assert body["stop"] == ["끝", "\n\n"]
    assert "logprobs" not in body
    assert [message["content"] for message in body["messages"]] == ["짧게", "둘째"]
    expect(page.locator("#seen .facts")).to_contain_text("첫째")
    page.locator("#settings button").first.click()
    page.locator("#probabilities input").check()
    ask(page, "셋째")
    body = httpx.get(f"{scripted_server}/seen/korean:playground", trust_env=False).json()["body"]
    assert (body["logprobs"], body["top_logprobs"]) == (True, 5)


@pytest.mark.model
def test_every_parameter_reaches_a_local_engine(page: Page, arena: Arena) -> None:
    settings = {name: str(value) for name, value in EVERYTHING.items()}
    visit(page, arena, system="Be brief.", stop="끝", prefill="The capital is", **settings)
    ask(page, QUESTION)
    used = page.locator("#playground-figures code")
    expect(used).to_have_text(", ".join(f"{name} {value:g}" for name, value in EVERYTHING.items()))
    expect(page.locator("#seen .facts")).to_contain_text('"끝"')


def test_a_chat_endpoint_is_told_as_unseen_and_refuses_a_prefill(page: Page, arena: Arena) -> None:
    visit(page, arena, "chat")
    ask(page, "프랑스의 수도는?")
    expect(page.locator("#seen")).to_contain_text("renders the prompt itself, unseen")
    expect(page.locator("#chat-playground")).to_contain_text("서울입니다")
    visit(page, arena, "chat", prefill="Sure")
    ask(page, "?", says="No answer came")
    expect(page.locator("#playground-error")).to_contain_text("a chat endpoint begins its answer itself")


def test_a_completions_endpoint_shows_what_was_sent(page: Page, arena: Arena) -> None:
    visit(page, arena, "text", prefill="Yes")
    ask(page, "hello")
    expect(page.locator("#seen")).to_contain_text("This is the text that was sent")
    expect(page.locator("#seen pre")).to_contain_text("Yes")


def test_stop_regenerate_and_an_error_as_text(page: Page, arena: Arena) -> None:
    visit(page, arena, "slow")
    page.locator("#prompt textarea").fill("tell me")
    page.locator("#send").click()
    expect(page.locator("#chat-playground .bot").last).to_contain_text("capital")
    page.locator("#stop").click()
    expect(page.locator("#status")).to_contain_text("Stopped")
    before = page.locator("#chat-playground .user").count()
    choose(page, "chat")
    page.locator("#again").click()
    expect(page.locator("#status")).to_contain_text("complete")
    assert page.locator("#chat-playground .user").count() == before
    choose(page, "broken")
    ask(page, "again", says="broke off")
    expect(page.locator("#playground-error")).to_contain_text("GPU on fire")
    expect(page.locator("#send")).to_be_visible()
    page.locator("#clear").click()
    expect(page.locator("#chat-playground .user")).to_have_count(0)


def test_korean_on_a_phone(chromium: Browser, arena: Arena) -> None:
    context = chromium.new_context(locale="ko-KR", viewport={"width": 390, "height": 844})
    page = context.new_page()
    visit(page, arena, "chat")
    ask(page, "프랑스의 수도는?", says="답이 끝났습니다")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.locator("#settings button").first.click()
    expect(page.locator("#system")).to_contain_text("시스템 프롬프트")
    visible = page.locator("main").inner_text()
    assert not re.search(r"\bplayground\.\w+", visible)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    context.close()
