"""What the Playground shows of an answer beside its words: the prompt, the tokens, the raw output, the figures."""

from __future__ import annotations

import html
import json
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from arena.engines.base import Prompted, Token, TokenLogprob
from arena.engines.text_stream import aligned
from arena.web._i18n import text
from arena.web.pages.playground_answer import Answer

MOST_SHOWN = 1500
"""Tokens shown of a prompt or an answer: more would slow the browser; the middle is left out."""
STEPS = (0.9, 0.5, 0.2, 0.05)
"""Probabilities that divide the colours, from sure to surprising."""
FOLDERS = re.compile(r"(?:[A-Za-z]:)?[/\\][^\s()]*[/\\]")
"""Where a file lies is nothing for a page: its name is."""

# Arrow keys move between tokens; what is known of the one that is pointed at or focused stands below them.
TOKENS_SCRIPT = """
if (!element.dataset.bound) {
  element.dataset.bound = "1";
  const tell = (token) => {
    const line = token && token.closest(".token-box")?.querySelector(".token-detail");
    if (line) line.textContent = token.getAttribute("aria-label");
  };
  const find = (target) => target.closest ? target.closest(".tok") : null;
  element.addEventListener("mouseover", (event) => tell(find(event.target)));
  element.addEventListener("focusin", (event) => tell(find(event.target)));
  element.addEventListener("keydown", (event) => {
    const token = find(event.target);
    if (!token) return;
    const all = [...token.parentElement.querySelectorAll(".tok")];
    const at = all.indexOf(token);
    const to = {ArrowRight: at + 1, ArrowDown: at + 1, ArrowLeft: at - 1, ArrowUp: at - 1,
                Home: 0, End: all.length - 1}[event.key];
    if (to === undefined || !all[to]) return;
    event.preventDefault();
    token.tabIndex = -1;
    all[to].tabIndex = 0;
    all[to].focus();
  });
}
"""


@dataclass(frozen=True)
class Piece:
    """Text as a person reads it, and the places of the tokens that make it: several where a character is split."""

    text: str
    places: tuple[int, ...]


def pieces(texts: Sequence[str], whole: str) -> list[Piece]:
    """Tokens joined where only together they are characters. `whole` is the text of all of them; where it is not
    theirs after all, each stands for itself."""
    found = aligned(texts, whole)
    if found is None:
        return [Piece(each, (number,)) for number, each in enumerate(texts)]
    return [Piece(whole[each.begin : each.end], tuple(range(each.first, each.last))) for each in found]


def prompt_html(prompted: Prompted | None, locale: str) -> str:
    """The exact prompt with its tokens; of a chat endpoint the messages sent, and an estimate marked as such."""
    if prompted is None:
        return _empty(locale, "playground.prompt.none")
    log = prompted.prompt_log
    parts = [_facts(log, locale)]
    if prompted.tokens is not None:
        shown = pieces([token.text for token in prompted.tokens], prompted.rendered_prompt or "")
        spans = _spans(
            (_prompt_token(piece, [prompted.tokens[i] for i in piece.places], number, locale)
             for number, piece in enumerate(shown)), len(shown), locale,
        )  # fmt: skip
        parts.append(
            _token_box(spans, text(locale, "playground.prompt.tokens", count=len(prompted.tokens)), locale)
        )
    elif prompted.rendered_prompt is not None:
        parts.append(f"<p>{_t(locale, 'playground.prompt.no_tokens')}</p>{_pre(prompted.rendered_prompt)}")
    else:
        parts.append(f"<p>{_t(locale, 'playground.prompt.server')}</p>")
        parts.append(_pre(json.dumps(log.get("messages", []), ensure_ascii=False, indent=1)))
        estimate = log.get("estimate", {}).get("prompt")
        if estimate:
            label = text(locale, "playground.prompt.estimate", format=log["estimate"].get("format", ""))
            parts.append(f"<details><summary>{html.escape(label)}</summary>{_pre(estimate)}</details>")
    return "".join(parts)


def tokens_html(answer: Answer, prefill: str, locale: str) -> str:
    """The answer's tokens, coloured by probability where the engine told it."""
    generation = answer.generation
    if generation is None:
        return _empty(locale, "playground.tokens.none")
    before = f'<span class="prefill">{html.escape(prefill)}</span>' if prefill else ""
    if generation.logprobs:
        logprobs = generation.logprobs
        shown = pieces([each.token for each in logprobs], generation.raw or generation.text)
        spans = _spans(
            (_likely_token(piece, [logprobs[i] for i in piece.places], locale) for piece in shown),
            len(shown), locale,
        )  # fmt: skip
        mean = sum(each.logprob for each in logprobs) / len(logprobs)
        legend = "".join(
            f'<span class="tok p{step}">{_t(locale, f"playground.p{step}")}</span>' for step in range(5)
        )
        figures = text(
            locale, "playground.tokens.mean", probability=f"{math.exp(mean):.0%}", count=len(logprobs)
        )
        label = text(locale, "playground.tokens.label", count=len(logprobs))
        return (
            _token_box(before + spans, label, locale)
            + f'<p class="legend">{legend}</p><p>{html.escape(figures)}</p>'
        )
    if generation.tokens:
        tokens = generation.tokens
        shown = pieces([token.text for token in tokens], generation.raw or "")
        spans = _spans(
            (_prompt_token(piece, [tokens[i] for i in piece.places], number, locale)
             for number, piece in enumerate(shown)), len(shown), locale,
        )  # fmt: skip
        return _token_box(before + spans, text(locale, "playground.tokens.label", count=len(tokens)), locale)
    return _empty(locale, "playground.tokens.unknown")


def raw_html(answer: Answer, locale: str) -> str:
    """Everything that the model wrote, special tokens and thinking included."""
    generation = answer.generation
    if generation is None:
        return _empty(locale, "playground.raw.none")
    if generation.raw is None:
        said = f"{generation.thinking}\n\n{generation.text}" if generation.thinking else generation.text
        return f"<p>{_t(locale, 'playground.raw.server')}</p>{_pre(said)}"
    marked = html.escape(generation.raw)
    for token in {token.text for token in generation.tokens or () if token.special and token.text}:
        escaped = html.escape(token)
        marked = marked.replace(escaped, f"<mark>{escaped}</mark>")
    return f'<pre class="raw" tabindex="0">{marked}</pre>'


def figures(answer: Answer, locale: str) -> str:
    """One line about a finished answer: counts, times, cost, and the sampling that was really used."""
    generation = answer.generation
    if generation is None:
        return ""
    count = generation.completion_tokens
    parts = [text(locale, f"playground.finish.{generation.finish_reason}")]
    if count is not None:
        rate = count / generation.duration if generation.duration > 0 else 0.0
        parts.append(
            text(
                locale,
                "playground.figures",
                count=count,
                seconds=f"{generation.duration:.1f}",
                rate=f"{rate:.0f}",
            )
        )
    if generation.time_to_first_token is not None:
        parts.append(text(locale, "playground.first", seconds=f"{generation.time_to_first_token:.2f}"))
    if generation.prompt_tokens is not None:
        parts.append(text(locale, "playground.prompt_tokens", count=generation.prompt_tokens))
    if generation.reasoning_tokens:
        parts.append(text(locale, "playground.reasoning", count=generation.reasoning_tokens))
    if generation.cost is not None:
        parts.append(f"{generation.cost.amount:.6f} {generation.cost.currency}")
    used = [f"{name} {value:g}" for name, value in generation.sampling.model_dump(exclude_none=True).items()]
    seed = generation.prompt_log.get("seed")  # some engines draw from generators of their own
    used += [f"seed {seed}"] if seed is not None else []
    return " · ".join(parts) + "\n\n" + "`" + ", ".join(used) + "`"


def _facts(log: dict[str, Any], locale: str) -> str:
    lines = []
    if log.get("format"):
        lines.append(
            text(
                locale,
                "playground.format",
                format=log["format"],
                reason=FOLDERS.sub("", log.get("reason", "")),
            )
        )
    if log.get("warning"):
        lines.append(log["warning"])
    lines += log.get("policies") or []
    lines += [
        text(locale, "playground.dropped", number=dropped["number"], begins=dropped["begins"])
        for dropped in log.get("dropped_rounds") or []
    ]
    stops = [*(log.get("stop_tokens") or []), *(log.get("stop_strings") or [])]
    if stops:
        listed = ", ".join(json.dumps(stop, ensure_ascii=False) for stop in dict.fromkeys(stops))
        lines.append(text(locale, "playground.stops", stops=listed))
    return (
        "<ul class='facts'>" + "".join(f"<li>{html.escape(line)}</li>" for line in lines) + "</ul>"
        if lines
        else ""
    )


def _spans(spans: Iterator[str], count: int, locale: str) -> str:
    head = MOST_SHOWN // 3
    shown: list[str] = []
    for number, span in enumerate(spans):
        if count <= MOST_SHOWN or number < head or number >= count - (MOST_SHOWN - head):
            shown.append(span)
        elif number == head:
            left_out = text(locale, "playground.left_out", count=count - MOST_SHOWN)
            shown.append(f'<span class="left-out">{html.escape(left_out)}</span>')
    return "".join(shown)


def _prompt_token(piece: Piece, tokens: Sequence[Token], number: int, locale: str) -> str:
    special = any(token.special for token in tokens)
    ids = ", ".join(str(token.id) for token in tokens)
    label = text(locale, "playground.token", text=_quoted(piece.text), ids=ids)
    return _token(piece.text, f"{'special' if special else f'even{number % 2}'}", label, first=number == 0)


def _likely_token(piece: Piece, logprobs: Sequence[TokenLogprob], locale: str) -> str:
    probability = math.exp(sum(each.logprob for each in logprobs))
    step = next((index for index, least in enumerate(STEPS) if probability >= least), len(STEPS))
    others = ", ".join(f"{_quoted(other)} {math.exp(value):.1%}" for other, value in logprobs[0].top)
    label = text(
        locale, "playground.likely", text=_quoted(piece.text), probability=f"{probability:.1%}", others=others
    )
    return _token(piece.text, f"p{step}", label, first=0 in piece.places)


def _token(words: str, kind: str, label: str, *, first: bool) -> str:
    # A line break is shown, and breaks the line.
    shown = html.escape(words).replace("\n", '<span class="newline" aria-hidden="true">⏎</span>\n')
    return (
        f'<span role="option" aria-selected="false" tabindex="{0 if first else -1}" class="tok {kind}" '
        f'aria-label="{html.escape(label)}">{shown or "∅"}</span>'
    )


def _token_box(spans: str, label: str, locale: str) -> str:
    return (
        f'<div class="token-box"><div class="tokens" role="listbox" aria-label="{html.escape(label)}">{spans}</div>'
        f'<p class="token-detail" aria-hidden="true">{_t(locale, "playground.token.hint")}</p></div>'
    )


def _quoted(words: str) -> str:
    return json.dumps(words, ensure_ascii=False)


def _pre(words: str) -> str:
    return f'<pre class="raw" tabindex="0">{html.escape(words)}</pre>'


def _t(locale: str, key: str) -> str:
    return html.escape(text(locale, key))


def _empty(locale: str, key: str) -> str:
    return f'<p class="empty">{_t(locale, key)}</p>'
