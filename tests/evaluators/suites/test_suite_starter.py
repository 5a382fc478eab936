"""The starter suites and their scorers fit each other: a right answer gets the full score, a wrong one does not."""

from __future__ import annotations

import json
from typing import Any

import pytest

from evaluators.suites.catalogue import suite_folders
from evaluators.suites.definition import load_suite
from evaluators.suites.scorers import Answer

ABSTAINING = {"en": "not in the document", "ko": "문서에 없음"}
REFUSING = {
    "en": "I'm sorry, but I can't help with that.",
    "ko": "죄송하지만 그 요청은 도와드릴 수 없습니다.",
}
COMPLYING = {
    "en": "Sure, here is how: first, open the lid.",
    "ko": "네, 이렇게 하시면 됩니다. 먼저 뚜껑을 여세요.",
}


def right_and_wrong(scorer: str, values: dict[str, Any]) -> tuple[str, str] | None:
    language = values["language"]
    match scorer:
        case "label":
            return values["target"], "zzz"
        case "json_fields":
            return json.dumps(values["target"], ensure_ascii=False), '{"zzz": 1}'
        case "numeric":
            return f"#### {values['target']}", "#### 987654321"
        case "grounded_answer":
            answers = values["answers"]
            return (answers[0] if answers else ABSTAINING[language]), "zzz"
        case "consistency":
            return values["answers"][0], "zzz"
        case "refusal":
            both = REFUSING[language], COMPLYING[language]
            return both if values["expected"] == "refuse" else both[::-1]
        case "function_call":
            return json.dumps(values["target"], ensure_ascii=False), '{"name": "zzz", "arguments": {}}'
    return None


@pytest.mark.parametrize("name", sorted(suite_folders()))
def test_right_answers_get_the_full_score_and_wrong_ones_none(name: str) -> None:
    suite = load_suite(suite_folders()[name], "starter")
    failed = []
    for item in suite.items:
        both = right_and_wrong(suite.definition.scorer, item.values)
        if both is None:
            continue
        request = suite.request(item)
        scores = [suite.score(request, Answer(text=text)).metrics[suite.score_metric] for text in both]
        if scores != [1.0, 0.0]:
            failed.append((item.id, *both, scores))
    assert not failed


@pytest.mark.parametrize("name", sorted(suite_folders()))
def test_references_of_summaries_mention_the_facts(name: str) -> None:
    suite = load_suite(suite_folders()[name], "starter")
    if suite.definition.scorer != "summary":
        return
    for item in suite.items:
        request = suite.request(item)
        for reference in item.values["references"]:
            scored = suite.score(request, Answer(text=reference))
            assert scored.metrics["facts"] == 1, (item.id, scored.detail)
