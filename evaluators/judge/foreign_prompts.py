"""Other projects' judge prompts, read as they are: FastChat's judge_prompts.jsonl and AlpacaEval's prompt files."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import yaml

from evaluators.judge.prompts import BadJudgePrompts, JudgePrompt, PromptMode, PromptSet

_FASTCHAT_KEYS = ("name", "type", "prompt_template")
_TURN = re.compile(r"<\|im_start\|>(\w+)\n(.*?)<\|im_end\|>", re.DOTALL)
# Of AlpacaEval's own configs: what a reply says when the prompt's file tells no more.
_OUTPUT_A, _OUTPUT_B = r"(?:^|\n) ?Output \(a\)", r"(?:^|\n) ?Output \(b\)"


def fastchat_prompts(path: Path, text: str) -> PromptSet:
    """FastChat's judge prompts (llm_judge/data/judge_prompts.jsonl). Those named `math` show reference answers, those
    named `multi-turn` two turns, of which the second is judged. Raises BadJudgePrompts."""
    prompts = []
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise BadJudgePrompts(f"{path}, line {number}: not valid JSON: {error}") from error
        if not isinstance(row, dict) or any(not isinstance(row.get(key), str) for key in _FASTCHAT_KEYS):
            raise BadJudgePrompts(
                f"{path}, line {number}: expected FastChat's {', '.join(_FASTCHAT_KEYS)}, found "
                f"{', '.join(row) if isinstance(row, dict) else type(row).__name__}"
            )
        prompts.append(_fastchat(path, number, row))
    if not prompts:
        raise BadJudgePrompts(f"{path}: there is no prompt in it")
    return PromptSet(name="fastchat", prompts=tuple(prompts))


def _fastchat(path: Path, number: int, row: dict[str, Any]) -> JudgePrompt:
    kinds: dict[str, PromptMode] = {"pairwise": "pairwise", "single": "single"}
    kind = kinds.get(row["type"])
    if kind is None:
        raise BadJudgePrompts(f"{path}, line {number}: the type is '{row['type']}', not pairwise or single")
    template = row["prompt_template"]
    return JudgePrompt(
        mode=kind,
        turns=2 if "{question_2}" in template else 1,
        with_reference="{ref_answer_" in template,
        system=row.get("system_prompt") or "",
        template=template,
        syntax="fields",
    )


def alpaca_prompts(path: Path, text: str) -> PromptSet:
    """One of AlpacaEval's evaluator prompts (evaluators_configs/*/*.txt), in its ChatML-like notation. How its reply
    is read comes from configs.yaml beside it, else from what the prompt itself asks for. Raises BadJudgePrompts."""
    turns = _TURN.findall(text) or [("user", text)]
    system = "\n\n".join(body.strip() for role, body in turns if role == "system")
    users = [body.strip() for role, body in turns if role == "user"]
    if len(users) != 1 or "{output_1}" not in users[0] or "{output_2}" not in users[0]:
        raise BadJudgePrompts(
            f"{path}: expected one user message with {{instruction}}, {{output_1}} and {{output_2}} (AlpacaEval's), "
            "or a .yaml or .jsonl file of judge prompts"
        )
    together = min(users[0].count(f"{{{field}}}") for field in ("instruction", "output_1", "output_2"))
    if together > 1:
        raise BadJudgePrompts(
            f"{path}: this prompt shows {together} pairs at once (AlpacaEval's batch_size). Palaestra asks for one "
            "pair at a time, so that a verdict does not depend on its neighbours and can be asked for again by itself. "
            "Use the prompt of the same set for one pair (AlpacaEval names them ..._b1_... instead of "
            f"..._b{together}_...), or leave one example in a copy of the file"
        )
    verdicts = _from_config(path) or _from_text(path, users[0])
    return PromptSet(
        name=f"alpaca-eval-{path.parent.name or path.stem}",
        prompts=(
            JudgePrompt(
                mode="pairwise", turns=1, system=system, template=users[0], syntax="fields", **verdicts
            ),
        ),
    )


def _from_config(path: Path) -> dict[str, Any] | None:
    for folder in (path.parent, path.parent.parent):
        file = folder / "configs.yaml"
        if not file.is_file():
            continue
        try:
            configs = yaml.safe_load(file.read_text(encoding="utf-8"))
        except (yaml.YAMLError, OSError, UnicodeDecodeError) as error:
            raise BadJudgePrompts(f"{file}: cannot be read: {error}") from error
        for config in configs.values() if isinstance(configs, dict) else ():
            if isinstance(config, dict) and Path(str(config.get("prompt_template"))).name == path.name:
                return _parser(file, config)
    return None


def _parser(file: Path, config: dict[str, Any]) -> dict[str, Any] | None:
    options = config.get("completion_parser_kwargs") or {}
    match config.get("fn_completion_parser"):
        case "logprob_parser":
            first = str(options.get("numerator_token"))
            others = [str(token) for token in options.get("denominator_tokens") or [] if str(token) != first]
            if len(others) != 1:
                raise BadJudgePrompts(f"{file}: logprob_parser needs two denominator_tokens")
            return {"verdicts": "identifiers", "marks": (first, others[0])}
        case "regex_parser":
            patterns = {
                str(key): str(value) for key, value in (options.get("outputs_to_match") or {}).items()
            }
            if not {"1", "2"} <= patterns.keys():
                raise BadJudgePrompts(f"{file}: regex_parser needs outputs_to_match with 1 and 2")
            return {"verdicts": "patterns", "marks": (patterns["1"], patterns["2"])}
        case "ranking_parser":
            return {"verdicts": "ranking", "marks": ("model_1", "model_2")}
    return None


def _from_text(path: Path, prompt: str) -> dict[str, Any]:
    identifiers = re.findall(r'"model_identifier":\s*"(\w+)"', prompt)
    if len(identifiers) == 2:
        return {"verdicts": "identifiers", "marks": tuple(identifiers)}
    if "model_1" in prompt and "rank" in prompt:
        return {"verdicts": "ranking", "marks": ("model_1", "model_2")}
    if re.search(r"Output \(a\)", prompt):
        return {"verdicts": "patterns", "marks": (_OUTPUT_A, _OUTPUT_B)}
    raise BadJudgePrompts(
        f"{path}: how its replies are read is not known: put AlpacaEval's configs.yaml beside it"
    )
