"""The starter suites on given texts (classification, extraction, summarisation, questions) hold what they promise."""

from __future__ import annotations

import json
import re
from calendar import month_name
from collections import Counter, defaultdict
from functools import cache
from itertools import combinations
from pathlib import Path

import pytest

import evaluators.suites
from evaluators.suites.definition import Suite, load_suite
from evaluators.suites.items import Item
from evaluators.suites.scorers import Answer
from evaluators.suites.scorers.text import Ignoring, contains, has_hangul

STARTER = Path(evaluators.suites.__file__).parent / "starter"
SUITES = ("classification", "extraction", "summarisation", "grounded_qa")
BOTH = [(name, language) for name in SUITES for language in ("en", "ko")]


@cache
def suite(name: str) -> Suite:
    return load_suite(STARTER / name, "starter")


def items(name: str, language: str) -> list[Item]:
    return [item for item in suite(name).items if item.language == language]


def text_of(item: Item) -> str:
    return str(item.values.get("document") or item.input)


def squeezed(text: str) -> str:
    return re.sub(r"\s+", "", text).casefold()


def grams(text: str, n: int = 4) -> set[str]:
    plain = squeezed(text)
    return {plain[i : i + n] for i in range(max(1, len(plain) - n + 1))}


def jaccard(left: set[str], right: set[str]) -> float:
    return len(left & right) / len(left | right)


def score(name: str, item: Item, text: str) -> dict[str, float | None]:
    of = suite(name)
    return of.score(of.request(item), Answer(text)).metrics


@pytest.mark.parametrize("name", SUITES)
def test_the_description_is_complete(name: str) -> None:
    definition = suite(name).definition
    assert definition.suite == name
    assert definition.kind == "extraction"
    assert definition.licence == "CC0-1.0"
    for text in (definition.title, definition.description, definition.prompt):
        assert isinstance(text, dict)
        assert has_hangul(text["ko"])
        assert not has_hangul(text["en"])


@pytest.mark.parametrize(("name", "language"), BOTH)
def test_at_least_fifty_items_of_all_difficulties_in_their_language(name: str, language: str) -> None:
    chosen = items(name, language)
    assert len(chosen) >= 50
    assert len({item.id for item in suite(name).items}) == len(suite(name).items)
    difficulty = Counter(tag for item in chosen for tag in item.tags if tag in ("easy", "medium", "hard"))
    assert sum(difficulty.values()) == len(chosen)
    for level in ("easy", "medium", "hard"):
        assert difficulty[level] >= 0.2 * len(chosen), difficulty
    for item in chosen:
        assert item.id.startswith(f"{name}-{language}-")
        letters = [letter for letter in text_of(item) if letter.isalpha()]
        hangul = sum("가" <= letter <= "힣" for letter in letters) / len(letters)
        assert hangul > 0.75 if language == "ko" else hangul == 0, item.id


@pytest.mark.parametrize(("name", "language"), BOTH)
def test_no_text_is_nearly_another(name: str, language: str) -> None:
    by_text = {text_of(item): grams(text_of(item)) for item in items(name, language)}
    if name != "grounded_qa":  # there, questions share documents
        assert len(by_text) == len(items(name, language))
    for (left, of_left), (right, of_right) in combinations(by_text.items(), 2):
        assert jaccard(of_left, of_right) < 0.6, (left[:60], right[:60])


# --- classification


@pytest.mark.parametrize("language", ["en", "ko"])
def test_labels_are_of_their_set_and_balanced(language: str) -> None:
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for item in items("classification", language):
        counts[item.category][item.values["target"]] += 1
    sets = suite("classification").definition.label_sets
    assert counts.keys() == sets.keys()
    for category, labels in counts.items():
        of_set = sets[category]
        assert isinstance(of_set, dict)
        assert set(labels) == set(of_set[language])
        assert max(labels.values()) <= 2 * min(labels.values()), labels


def test_only_the_right_label_scores() -> None:
    for item in suite("classification").items:
        request = suite("classification").request(item)
        for label in request.offered["labels"]:
            right = float(label == item.values["target"])
            assert suite("classification").score(request, Answer(f"{label}.")).metrics["accuracy"] == right


def test_no_message_gives_its_label_away() -> None:
    """Fewer than one message in five names its label, so that looking for the word is no way to a score."""
    named = [
        item.id for item in suite("classification").items if contains(text_of(item), item.values["target"])
    ]
    assert len(named) < 0.2 * len(suite("classification").items), named


# --- extraction


def numbers_in(text: str) -> set[float]:
    """The amounts that a text states, also as "93만 5천 원"."""
    plain = re.sub(r"(?<=\d),(?=\d{3})", "", text)
    found = {float(number) for number in re.findall(r"\d+(?:\.\d+)?", plain)}
    for ten_thousands, thousands in re.findall(r"(\d+)만(?:\s*(\d)천)?", plain):
        found.add(int(ten_thousands) * 10_000 + int(thousands or 0) * 1_000)
    return found


def date_is_stated(date: str, text: str) -> bool:
    """Whether year, month and day occur in the text as numbers, the month also by its name."""
    year, month, day = (int(part) for part in date.split("-"))
    numbers = {int(number) for number in re.findall(r"\d+", text)}
    return year in numbers and day in numbers and (month in numbers or month_name[month] in text)


def time_is_stated(time: str, text: str) -> bool:
    hour, minute = (int(part) for part in time.split(":"))
    forms = {(int(h), int(m)) for h, m in re.findall(r"(\d{1,2}):(\d{2})", text)}
    forms |= {(int(h), int(m or 0)) for h, m in re.findall(r"(\d{1,2})시(?:\s*(\d{1,2})분)?", text)}
    return bool(forms & {(hour, minute), (hour - 12, minute)})


def is_stated(value: object, text: str) -> bool:
    if isinstance(value, int | float):
        return float(value) in numbers_in(text)
    words = str(value)
    if re.fullmatch(r"\d{4}-\d{2}-\d{2}", words):
        return date_is_stated(words, text)
    if re.fullmatch(r"\d{2}:\d{2}", words):
        return time_is_stated(words, text)
    return words.casefold() in text.casefold()


def test_what_is_to_be_extracted_stands_in_the_text_or_is_marked_as_derived() -> None:
    fields, derived = 0, 0
    for item in suite("extraction").items:
        marked = set(item.values.get("derived", ()))
        target = item.values["target"]
        assert marked <= target.keys(), item.id
        fields, derived = fields + len(target), derived + len(marked)
        for key, value in target.items():
            if value is not None and key not in marked:
                assert is_stated(value, text_of(item)), (item.id, key, value)
    assert derived < 0.1 * fields


@pytest.mark.parametrize("language", ["en", "ko"])
def test_items_of_a_kind_have_the_fields_that_the_prompt_names(language: str) -> None:
    of_category: dict[str, set[tuple[str, ...]]] = defaultdict(set)
    for item in items("extraction", language):
        of_category[item.category].add(tuple(item.values["target"]))
        prompt = _prompt(item)
        assert all(re.search(rf"\b{key}\b", prompt) for key in item.values["target"]), item.id
    assert len(of_category) == 5
    assert all(len(fields) == 1 for fields in of_category.values())
    missing = [item for item in items("extraction", language) if None in item.values["target"].values()]
    assert len(missing) >= 5  # what the text does not say is part of the task


def _prompt(item: Item) -> str:
    conversation = suite("extraction").request(item).ask.conversation
    assert conversation is not None
    return "\n".join(message.content for message in conversation.messages)


def test_the_target_scores_fully_and_an_invented_field_does_not() -> None:
    for item in suite("extraction").items:
        target = item.values["target"]
        assert score("extraction", item, json.dumps(target, ensure_ascii=False))["exact"] == 1
        for key in target:
            spoilt = {**target, key: "something else"}
            found = score("extraction", item, json.dumps(spoilt, ensure_ascii=False))
            assert found["exact"] == 0
            assert (found["field_f1"] or 0) < 1


# --- summarisation


@pytest.mark.parametrize("language", ["en", "ko"])
def test_documents_and_references_keep_their_length(language: str) -> None:
    """Documents have 80 to 160 words; Korean ones, whose words carry their particles and endings, 70 to 160."""
    for item in items("summarisation", language):
        assert (80 if language == "en" else 70) <= len(text_of(item).split()) <= 160, item.id
        references = item.values["references"]
        assert len(references) == 2
        assert references[0] != references[1]
        for reference in references:
            assert 5 <= len(reference.split()) <= item.values["max_words"] <= 45, item.id
            assert reference not in text_of(item)


def test_key_facts_stand_in_the_document_and_in_both_references() -> None:
    ignoring = Ignoring(spaces=True)
    for item in suite("summarisation").items:
        facts = item.values["must_mention"]
        assert 2 <= len(facts) <= 5, item.id
        for fact in facts:
            assert any(
                contains(text_of(item), form, ignoring if item.language == "ko" else None) for form in fact
            )
        for reference in item.values["references"]:
            found = score("summarisation", item, reference)
            assert found["facts"] == found["length_kept"] == found["chrf"] == 1, (item.id, reference)


def test_copying_the_document_or_its_beginning_is_no_summary() -> None:
    """The whole document scores nothing; its first words, as many as are allowed, miss most of the key facts."""
    leads = []
    for item in suite("summarisation").items:
        assert score("summarisation", item, text_of(item))["facts"] == 0
        lead = " ".join(text_of(item).split()[: item.values["max_words"]])
        leads.append(score("summarisation", item, lead)["facts"] or 0.0)
    assert sum(leads) / len(leads) < 0.6


# --- questions on documents


@pytest.mark.parametrize("language", ["en", "ko"])
def test_four_in_ten_questions_cannot_be_answered(language: str) -> None:
    chosen = items("grounded_qa", language)
    unanswerable = [item for item in chosen if not item.values["answers"]]
    assert 0.4 <= len(unanswerable) / len(chosen) <= 0.6
    for item in chosen:
        assert ("unanswerable" in item.tags) == (not item.values["answers"])
        # Korean words carry particles and endings: 60 of them hold what 80 to 90 English words hold.
        assert 60 <= len(text_of(item).split()) <= 140, item.id
    of_document: dict[str, list[Item]] = defaultdict(list)
    for item in chosen:
        of_document[str(item.group)].append(item)
    for group in of_document.values():
        assert len({text_of(item) for item in group}) == 1
        assert len({item.values["question"] for item in group}) == len(group)
        # Every document has both kinds: which document it is tells nothing.
        assert len({bool(item.values["answers"]) for item in group}) == 2
    documents = {text_of(item) for item in chosen}
    assert len(documents) == len(of_document)


def test_answers_stand_in_the_document_and_none_in_the_question() -> None:
    for item in suite("grounded_qa").items:
        answers, question = item.values["answers"], item.values["question"]
        if not answers:
            continue
        assert any(contains(text_of(item), accepted) for accepted in answers), item.id
        assert not any(contains(question, accepted) for accepted in answers), item.id


def test_right_answers_score_and_abstaining_scores_where_nothing_can_be_known() -> None:
    abstaining = {"en": "not in the document", "ko": "문서에 없음"}
    for item in suite("grounded_qa").items:
        words = abstaining[item.language]
        assert words in str(suite("grounded_qa").definition.prompt)
        answers = item.values["answers"]
        assert score("grounded_qa", item, words)["correct"] == float(not answers)
        for accepted in answers or ["1234"]:
            found = score("grounded_qa", item, accepted)
            assert found["correct"] == float(bool(answers)), (item.id, accepted)
            assert found["hallucinated"] == (None if answers else 1.0)
