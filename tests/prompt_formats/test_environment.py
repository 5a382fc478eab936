"""Our Jinja environment renders what transformers' own renders."""

# ruff: noqa: E501 -- tables of one case a line

from __future__ import annotations

from datetime import datetime
from importlib import resources
from typing import Any

import pytest

from prompt_formats.environment import render_template
from prompt_formats.errors import InvalidInput, PromptFormatError, TemplateFailed

NOW = datetime(2024, 2, 29, 23, 5)

TEMPLATES = {
    "trim and lstrip": "  {% for m in messages %}\n    {% if m.role == 'user' %}\n  [{{ m.content }}]\n {% endif %}\n{% endfor %}\n\nend\n",
    "tojson": "{{ messages | tojson }}|{{ messages[0] | tojson(indent=2) }}|{{ {'b': 1, 'a': '한글 <b>'} | tojson(sort_keys=true) }}",
    "tojson ascii": "{{ messages[0].content | tojson(ensure_ascii=true) }}|{{ [1, 2] | tojson(separators=(',', ':')) }}",
    "strftime": "{{ strftime_now('%d %b %Y %H:%M') }}",
    "raise": "{{ raise_exception('no ' + messages[0].role) }}",
    "undefined": "{{ nothing }}|{% if nothing is defined %}x{% endif %}|{{ nothing.deeper }}",
    "namespace": "{% set ns = namespace(n=0) %}{% for m in messages %}{% set ns.n = ns.n + 1 %}{% endfor %}{{ ns.n }}",
    "private namespace": "{% set ns = namespace(_x=1) %}{{ ns._x }}",
    "loop controls": "{% for m in messages %}{% if loop.index == 2 %}{% break %}{% endif %}{{ m.content }}{% endfor %}",
    "generation": "{% for m in messages %}{% if m.role == 'assistant' %}{% generation %}{{ m.content }}<e>{% endgeneration %}{% else %}{{ m.content }}{% endif %}{% endfor %}",
    "dict": "{{ dict(a=1, **messages[0]) | tojson }}",
    "mutation": "{{ messages.append(1) }}",
    "escape": "{{ ''.__class__.__mro__ }}",
    "bos and eos": "{{ bos_token }}{{ messages[0].content }}{{ eos_token }}",
    "add_generation_prompt": "{{ messages[-1].content }}{% if add_generation_prompt %}<a>{% endif %}",
    "tools and documents": "{{ tools | length if tools else 'none' }}{{ documents is none }}",
    "filters": "{{ messages | map(attribute='content') | join('|') | upper | trim }}{{ messages | selectattr('role', 'equalto', 'user') | list | length }}",
    "syntax error": "{% for m in messages %}",
    "macro": "{% macro t(r, c='-') -%}<{{ r }}>{{ c }}{%- endmacro %}{{ t('user') }}{{ t('x', messages[0].content) }}",
    "reasoning": "{{ messages[1].reasoning_content }}|{{ messages[1].thinking }}",
    "string methods": "{{ messages[0].content.strip().split(' ')[0].replace('a', 'b') }}|{{ messages[0].content[1:3] }}",
}  # fmt: skip

MESSAGES = [
    {"role": "user", "content": "  안녕 <|im_end|> & 'quote' \u2028 🇰🇷 "},
    {"role": "assistant", "content": "answer\n", "reasoning_content": "생각"},
    {"role": "user", "content": "{{ not a template }}"},
]


@pytest.fixture
def peer(monkeypatch: pytest.MonkeyPatch) -> Any:
    """transformers' renderer with its clock frozen from outside (from inside it cannot be)."""
    utils = pytest.importorskip("transformers.utils.chat_template_utils")

    class Frozen(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:  # type: ignore[override]
            return NOW

    monkeypatch.setattr(utils, "datetime", Frozen)
    utils._compile_jinja_template.cache_clear()
    yield utils
    utils._compile_jinja_template.cache_clear()


def theirs(peer: Any, template: str, **settings: Any) -> str | None:
    try:
        texts, _ = peer.render_jinja_template([MESSAGES], chat_template=template, **settings)
    except Exception:  # noqa: BLE001 -- whatever theirs raises, ours must raise too
        return None
    return str(texts[0])


def ours(template: str, **settings: Any) -> str | None:
    tag = bool(settings.pop("continue_final_message", False))
    messages = [
        {"thinking": m["reasoning_content"], **m} if "reasoning_content" in m else m for m in MESSAGES
    ]
    context = {
        "tools": None,
        "documents": None,
        "add_generation_prompt": False,
        **settings,
        "messages": messages,
    }
    try:
        return render_template(template, context, now=NOW, continue_final_message=tag).text
    except PromptFormatError:
        return None


@pytest.mark.parametrize("name", TEMPLATES)
@pytest.mark.parametrize(
    "settings", [{}, {"add_generation_prompt": True, "bos_token": "<s>", "eos_token": "</s>"}]
)
def test_equals_transformers(peer: Any, name: str, settings: dict[str, Any]) -> None:
    assert ours(TEMPLATES[name], **settings) == theirs(peer, TEMPLATES[name], **settings)


@pytest.mark.parametrize("ending", ["{{ m.content }}<e>", "{{ m.content | trim }}<e>", "dropped<e>"])
def test_continuing_equals_transformers(peer: Any, ending: str) -> None:
    template = f"{{% for m in messages %}}<{{{{ m.role }}}}>{ending}{{% endfor %}}"
    assert ours(template, continue_final_message=True) == theirs(peer, template, continue_final_message=True)


def test_templates_of_publishers_render_alike(peer: Any) -> None:
    """All templates that trl brings, with and without tools."""
    pytest.importorskip("trl", reason="trl's templates serve as examples")
    tools = [{"type": "function", "function": {"name": "f", "description": "d", "parameters": {}}}]
    folder = resources.files("trl") / "chat_templates"
    templates = [item for item in folder.iterdir() if item.name.endswith(".jinja")]
    assert len(templates) > 20
    for item in templates:
        text = item.read_text(encoding="utf-8")
        for settings in ({}, {"add_generation_prompt": True, "tools": tools}):
            everything = {"bos_token": "<s>", "eos_token": "</s>", **settings}
            assert ours(text, **everything) == theirs(peer, text, **everything), item.name


def test_generation_spans_equal_transformers(peer: Any) -> None:
    template = TEMPLATES["generation"]
    _, spans = peer.render_jinja_template(
        [MESSAGES], chat_template=template, return_assistant_tokens_mask=True
    )
    context = {"messages": MESSAGES, "tools": None}
    got = render_template(template, context, now=NOW, track_generation=True)
    assert list(got.spans) == [tuple(span) for span in spans[0]]
    assert got.text[slice(*got.spans[0])] == "answer\n<e>"


def test_the_clock_is_frozen_and_its_reading_noticed() -> None:
    context = {"messages": MESSAGES}
    read = render_template("{{ strftime_now('%Y-%m-%d') }}", context, now=NOW)
    assert (read.text, read.clock_read) == ("2024-02-29", True)
    assert not render_template("x", context, now=NOW).clock_read


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ("a\nb\n{% if %}", "line 3"),
        ("a\n{{ raise_exception('시스템은 안 됩니다') }}", "시스템은 안 됩니다"),
        ("a\n\n{{ messages[0].content.nope() }}", "line 3"),
        ("{{ 1 / 0 }}", "ZeroDivisionError"),
    ],
)
def test_errors_say_where(template: str, words: str) -> None:
    with pytest.raises(TemplateFailed, match=words):
        render_template(template, {"messages": MESSAGES}, now=NOW)


def test_a_dropped_final_message_cannot_be_continued() -> None:
    with pytest.raises(InvalidInput, match="cannot be continued"):
        render_template("nothing", {"messages": MESSAGES}, now=NOW, continue_final_message=True)
