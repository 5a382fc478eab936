"""How many renderings a second: our text, our ids, and transformers' `apply_chat_template` in one run.

    python tests/benchmarks/formats.py [SECONDS]

A conversation of 30 rounds. Timings on a shared machine mean little; ratios within one run mean more. Exits 1
where a format of ours renders fewer than 1,000 conversations a second as text.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

from rich.console import Console
from rich.table import Table
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from prompt_formats import Conversation, built_in, load_tokenizer, render, resolve
from prompt_formats.resolve import format_from_template

ROUNDS = 30
LEAST = 1000.0
FORMATS = ("openhermes-2.5", "llama-2-default", "llama-3.1", "qwen3", "gemma-3", "mistral-nemo", "gpt-oss")


def conversation() -> Conversation:
    """30 rounds of Korean and English, a question last."""
    talk = Conversation().add("system", "간단히 답하세요.")
    for number in range(ROUNDS):
        talk = talk.add("user", f"{number}. 서울에서 부산까지 얼마나 걸리나요? How long does it take?")
        talk = talk.add("assistant", "기차로 두 시간 반, 자동차로 다섯 시간쯤 걸립니다. " * 2)
    return talk.add("user", "고마워요. 그럼 비행기로는?")


def per_second(work: Callable[[], object], seconds: float) -> float:
    """Calls a CPU second of this process, after one to warm up."""
    work()
    count, start = 0, time.process_time()
    while time.process_time() - start < seconds:
        work()
        count += 1
    return count / (time.process_time() - start)


def byte_tokenizer() -> Tokenizer:
    """A byte-level tokenizer with ChatML's control tokens."""
    vocabulary = {c: i for i, c in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.add_special_tokens([AddedToken(t, special=True) for t in ("<|im_start|>", "<|im_end|>")])
    return tokenizer


def main() -> int:
    """Print the table; 1 where text is too slow."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 1.0
    talk = conversation()
    chat = talk.as_chat()
    template = (
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    backend = byte_tokenizer()
    peer = PreTrainedTokenizerFast(tokenizer_object=backend, chat_template=template)
    ours = load_tokenizer(backend)
    found = resolve(tokenizer=peer)
    given = format_from_template(template, "file", name="the same template, in the worker")
    results: list[tuple[str, float]] = [
        (f"text, {name}", per_second(lambda name=name: render(talk, built_in()[name]), seconds))  # type: ignore[misc]
        for name in FORMATS
    ]
    slowest = min(speed for _, speed in results)
    results += [
        (
            "text, a template that is not ours (CPU of this side only)",
            per_second(lambda: render(talk, given), seconds),
        ),
        (
            "text, apply_chat_template",
            per_second(
                lambda: peer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True), seconds
            ),
        ),
        ("ids, ours, sanitised", per_second(lambda: render(talk, found, tokenizer=ours), seconds)),
        (
            "ids, apply_chat_template, sanitised",
            per_second(
                lambda: peer.apply_chat_template(
                    chat, add_generation_prompt=True, sanitize_control_tokens=True
                ),
                seconds,
            ),
        ),
    ]
    table = Table("30 rounds", "a CPU second", title="Renderings")
    for label, speed in results:
        table.add_row(label, f"{speed:,.0f}")
    Console().print(table)
    return 0 if slowest >= LEAST else 1


if __name__ == "__main__":
    sys.exit(main())
