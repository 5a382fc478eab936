"""Templates that are not ours: stopped when they overrun, kept from everything but their input."""

from __future__ import annotations

import os
import threading
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from prompt_formats import Conversation, TemplateFailed, render
from prompt_formats import sandbox as sandbox_module
from prompt_formats.environment import render_template
from prompt_formats.resolve import format_from_template
from prompt_formats.sandbox import Limits, render_untrusted

NOW = datetime(2025, 1, 2, 3, 4)
CONTEXT: dict[str, Any] = {"messages": [{"role": "user", "content": "안녕\u2028 🇰🇷\n"}]}
SHORT = Limits(seconds=1.0)
LOOP = "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}"


def run(template: str, limits: Limits = SHORT) -> str:
    return render_untrusted(template, CONTEXT, now=NOW, limits=limits).text


def test_renders_like_the_trusted_way() -> None:
    template = "{{ bos }}{{ messages[0].content | tojson }}{{ strftime_now('%Y') }}{% generation %}x{% endgeneration %}"
    expected = render_template(template, CONTEXT, now=NOW, track_generation=True)
    assert render_untrusted(template, CONTEXT, now=NOW, track_generation=True) == expected


def test_an_endless_loop_is_stopped_and_the_next_template_works() -> None:
    run("warm")
    start = time.monotonic()
    with pytest.raises(TemplateFailed, match="did not finish in 1 s"):
        run(LOOP)
    assert time.monotonic() - start < 8
    assert run("still {{ messages[0].role }}") == "still user"


def test_huge_output_is_stopped() -> None:
    with pytest.raises(TemplateFailed, match="more than 1,000 characters"):
        run("{% for i in range(9999) %}xxxxxxxxxx{% endfor %}", Limits(seconds=5, characters=1000))


@pytest.mark.parametrize("template", ["{{ 'x' * 10**11 }}", "{{ ('%099999999999d' % 1) | length }}"])
def test_memory_is_limited(template: str) -> None:
    with pytest.raises(TemplateFailed):
        run(template, Limits(seconds=10, megabytes=300))
    assert run("alive", Limits(seconds=10, megabytes=300)) == "alive"


def test_a_recursion_without_end_is_an_error() -> None:
    with pytest.raises(TemplateFailed):
        run("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", Limits(seconds=10))


@pytest.mark.parametrize(
    "template",
    [
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ self.__init__.__globals__ }}",
        "{{ messages.append(1) }}",
        "{{ messages[0].update(role='x') }}",
        "{{ cycler.__init__.__globals__.os }}",
    ],
)
def test_the_sandbox_holds(template: str) -> None:
    with pytest.raises(TemplateFailed):
        run(template)


def test_the_worker_sees_no_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_API_KEY", "do-not-tell")
    sandbox_module._pool.close()
    assert run("fresh") == "fresh"
    worker = sandbox_module._pool._idle[-1]
    environment = Path(f"/proc/{worker._process.pid}/environ").read_text(encoding="utf-8")
    assert "do-not-tell" not in environment


def test_a_worker_killed_from_outside_is_replaced() -> None:
    run("warm")
    for worker in sandbox_module._pool._idle:
        os.kill(worker._process.pid, 9)
        worker._process.wait()
    assert run("again") == "again"


def test_a_warm_worker_is_reused() -> None:
    run("warm")
    before = {worker._process.pid for worker in sandbox_module._pool._idle}
    for _ in range(5):
        run("{{ messages[0].content }}")
    assert {worker._process.pid for worker in sandbox_module._pool._idle} <= before


def test_threads_render_at_once() -> None:
    results: list[str] = []
    threads = [threading.Thread(target=lambda n=n: results.append(run(f"t{n}"))) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == ["t0", "t1", "t2", "t3"]


def test_a_large_conversation_passes_through_the_pipes() -> None:
    talk = Conversation().add("user", "가나다라 " * 200_000)
    form = format_from_template("{{ messages[0].content }}", "file", name="given")
    assert render(talk, form).prompt == talk.messages[0].content


def test_errors_keep_their_line() -> None:
    with pytest.raises(TemplateFailed, match="template line 3"):
        run("a\nb\n{{ raise_exception('stop here') }}")
