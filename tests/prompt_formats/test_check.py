"""`check` finds every difference between a format and a tokenizer's template, and says what it means."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from prompt_formats import built_in
from prompt_formats.check import check, probes

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def findings(made: Any, folder: Path, template: str, name: str = "openhermes-2.5") -> dict[str, Any]:
    tokenizer = made.with_control_tokens(made.byte_level(), ["<|im_start|>", "<|im_end|>", "<s>"])
    saved = made.save(tokenizer, folder, chat_template=template, bos_token="<s>", eos_token="<|im_end|>")
    return {finding.probe: finding for finding in check(built_in()[name], saved)}


def test_the_same_template_has_no_difference(made: Any, tmp_path: Path) -> None:
    found = findings(made, tmp_path, CHATML)
    assert set(found) == {probe.name for probe in probes()}
    assert all(finding.same for finding in found.values()), found


@pytest.mark.parametrize(
    ("template", "probe", "words"),
    [
        ("{{ bos_token }}" + CHATML, "one question", "BOS: 0 at the start"),
        (
            CHATML.replace("{{ m.content }}", "{{ m.content | trim }}"),
            "white space",
            "only white space differs",
        ),
        (
            CHATML.replace("{% if add", "{% if false and add"),
            "one question",
            "one is the other's beginning",
        ),
        ("<|im_start|>system\nhi<|im_end|>\n" + CHATML, "one question", "one holds the other"),
        ("{{ raise_exception('never') }}", "one question", "the tokenizer's template refuses"),
        (CHATML.replace("<|im_end|>", "<|end|>"), "one question", "from character"),
    ],
)
def test_differences_are_explained(made: Any, tmp_path: Path, template: str, probe: str, words: str) -> None:
    finding = findings(made, tmp_path, template)[probe]
    assert finding.same is False
    assert any(words in explanation for explanation in finding.explanations), finding.explanations


def test_tokens_that_the_vocabulary_lacks_are_told(made: Any, tmp_path: Path) -> None:
    finding = findings(made, tmp_path, CHATML, "llama-3")["one question"]
    assert any("'<|eot_id|>' is not a token" in text for text in finding.explanations)


def test_without_a_tokenizer_probes_are_rendered() -> None:
    found = check(built_in()["gemma-2"])
    assert all(finding.same is None for finding in found)
    refused = [finding for finding in found if finding.prompt is None]
    assert any("System role not supported" in text for finding in refused for text in finding.explanations)
