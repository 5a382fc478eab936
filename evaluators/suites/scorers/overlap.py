"""Overlap with reference texts: chrF and BLEU (sacrebleu), ROUGE (rouge-score), and summaries.

rouge-score's own tokeniser drops every letter that is not Latin, so it gets ours: words, and Hangul by the syllable.
"""

from __future__ import annotations

from functools import cache
from typing import Any, Self

from pydantic import Field, model_validator

from evaluators.suites.scorers.base import Answer, Case, Fields, NoOptions, Scored, Scorer
from evaluators.suites.scorers.text import Ignoring, contains, has_hangul, plain, tokens


class _Tokens:
    def tokenize(self, text: str) -> list[str]:
        return tokens(text)


@cache
def _rouge() -> Any:
    from rouge_score.rouge_scorer import RougeScorer

    return RougeScorer(["rouge1", "rouge2", "rougeL"], tokenizer=_Tokens())


def chrf(text: str, references: tuple[str, ...]) -> float:
    """Sentence chrF2 (character 6-grams, beta 2) as sacrebleu computes it, from 0 to 1."""
    import sacrebleu

    return float(sacrebleu.sentence_chrf(text, list(references)).score) / 100


def bleu(text: str, references: tuple[str, ...]) -> float:
    """Sentence BLEU-4 with exponential smoothing as sacrebleu computes it, from 0 to 1; Korean by characters."""
    import sacrebleu

    tokenize = "char" if has_hangul(" ".join(references)) else "13a"
    return float(sacrebleu.sentence_bleu(text, list(references), tokenize=tokenize).score) / 100


def rouge(text: str, references: tuple[str, ...]) -> dict[str, float]:
    """F-measures of ROUGE-1, -2 and -L, each against its best reference."""
    scores = _rouge().score_multi(list(references), text)
    return {name: float(scores[key].fmeasure) for key, name in _NAMES.items()}


_NAMES = {"rouge1": "rouge1", "rouge2": "rouge2", "rougeL": "rouge_l"}


class References(Fields):
    """`references` or one `target`."""

    references: tuple[str, ...] = ()
    target: str | None = None

    @model_validator(mode="after")
    def _any(self) -> Self:
        if not self.references and self.target is None:
            raise ValueError("give references (a list of texts) or target (a text)")
        return self

    @property
    def all(self) -> tuple[str, ...]:
        """All reference texts."""
        return self.references if self.target is None else (self.target, *self.references)


def overlap(answer: Answer, case: Case) -> Scored:
    """chrF, BLEU and ROUGE against the references."""
    text, references = plain(answer.text.strip()), tuple(plain(each) for each in case.fields.all)
    return Scored({"chrf": chrf(text, references), "bleu": bleu(text, references), **rouge(text, references)})


class SummaryFields(Fields):
    """`references`, `must_mention` (each fact as the texts that state it) and `max_words` (in Korean: eojeol)."""

    references: tuple[str, ...] = Field(min_length=1)
    must_mention: tuple[tuple[str, ...], ...] = ()
    max_words: int | None = Field(default=None, ge=1)


def summary(answer: Answer, case: Case) -> Scored:
    """`facts`: the share of facts that are mentioned; 0 where the length is not kept by more than half, so that
    copying the document is no way to a score. Overlap beside it, and `length_kept`."""
    text = plain(answer.text.strip())
    references = tuple(plain(each) for each in case.fields.references)
    words, most = len(text.split()), case.fields.max_words
    ignoring = Ignoring(spaces=has_hangul(text))
    missing = [
        fact[0]
        for fact in case.fields.must_mention
        if not any(contains(text, each, ignoring) for each in fact)
    ]
    facts = None
    if case.fields.must_mention:
        far_too_long = most is not None and words > 1.5 * most
        facts = 0.0 if far_too_long else 1 - len(missing) / len(case.fields.must_mention)
    return Scored(
        {
            "facts": facts,
            "chrf": chrf(text, references),
            "rouge_l": rouge(text, references)["rouge_l"],
            "length_kept": None if most is None else float(0 < words <= most),
        },
        {"missing": missing, "words": words},
    )


SCORERS = (
    Scorer("overlap", References, NoOptions, ("chrf", "bleu", "rouge1", "rouge2", "rouge_l"), overlap),
    Scorer("summary", SummaryFields, NoOptions, ("facts", "chrf", "rouge_l", "length_kept"), summary),
)
