"""Tokenizers made on the spot: one of each kind, with every family's control tokens."""

from __future__ import annotations

import json
from pathlib import Path

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from prompt_formats import built_in

TEXTS = [
    "안녕하세요, 서울의 인구는 몇 명인가요? 약 940만 명입니다.",
    "Hello! How can I help you today? The capital of France is Paris.",
    "user\nassistant\nsystem\n<div> [x] | end of turn\n",
] * 4  # fmt: skip


def control_tokens() -> list[str]:
    """The control texts of every format that are single tokens in the models' vocabularies."""
    found: set[str] = set()
    for form in built_in().values():
        found.update(text for text in form.control_texts if " " not in text and not text[0].isalnum())
    return sorted(text for text in found if not text.startswith(("#", "\n", "[|Human", "[|AI")))


def byte_level() -> Tokenizer:
    """Byte-level BPE, as GPT-2, Llama 3 and Qwen."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=500, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(TEXTS, trainer)
    return tokenizer


def sentencepiece_bpe() -> Tokenizer:
    """BPE with a leading space and byte fallback, as Llama 2 and Mistral: specials stand in the model's
    vocabulary."""
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    alphabet = sorted(
        {c for text in TEXTS for c in text if c != " "} | {"▁", "\n"} | set(map(chr, range(33, 127)))
    )
    trainer = trainers.BpeTrainer(
        vocab_size=600, initial_alphabet=alphabet, show_progress=False,
        special_tokens=["<unk>", "<s>", "</s>", *[f"<0x{n:02X}>" for n in range(256)]],
    )  # fmt: skip
    tokenizer.train_from_iterator(TEXTS, trainer)
    return tokenizer


def unigram() -> Tokenizer:
    """Unigram with Metaspace, as Gemma's and T5's kin; its vocabulary spells one control token as a piece."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=300, unk_token="<unk>", special_tokens=["<unk>"], show_progress=False,
        initial_alphabet=sorted({chr(n) for n in range(33, 127)} | {"\n"}),
    )  # fmt: skip
    tokenizer.train_from_iterator(TEXTS, trainer)
    state = json.loads(tokenizer.to_str())
    # A piece of the model that is at the same time a control token, with a score that Unigram prefers.
    state["model"]["vocab"].append(["<start_of_turn>", 0.0])
    return Tokenizer.from_str(json.dumps(state))


KINDS = {"byte_level": byte_level, "sentencepiece_bpe": sentencepiece_bpe, "unigram": unigram}


def with_control_tokens(tokenizer: Tokenizer, tokens: list[str]) -> Tokenizer:
    """Every second token special, the others not: both kinds must be kept out of people's text."""
    tokenizer.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in tokens[::2]])
    tokenizer.add_tokens([AddedToken(t, special=False, normalized=False) for t in tokens[1::2]])
    return tokenizer


def save(tokenizer: Tokenizer, folder: Path, **config: object) -> Path:
    """A tokenizer's folder as the hub holds it."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps(config, ensure_ascii=False), encoding="utf-8")
    return folder
