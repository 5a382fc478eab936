"""LLM judges: prompts, both orders, readings, biases measured, juries, cost. See docs/judging.md."""

from evaluators.judge.judges import Judge, JudgeOptions
from evaluators.judge.jury import JuryReport, NoJury, decide, jury_battles
from evaluators.judge.prompts import (
    BadJudgePrompts,
    Criterion,
    JudgePrompt,
    PromptSet,
    Rubric,
    load_prompts,
    load_rubric,
    own_prompts,
)
from evaluators.judge.running import JudgePlan, JudgeReport, plan_run, run_judge
from evaluators.judge.spending import Budget, Estimate, NoPrice
from evaluators.judge.stored import UnknownJudge, find_judge, known_judges
from evaluators.judge.subjects import BadSelection, Selection, parse_selection, select_subjects
from evaluators.judge.summary import JudgeSummary, summarise_judge

__all__ = [
    "BadJudgePrompts",
    "BadSelection",
    "Budget",
    "Criterion",
    "Estimate",
    "Judge",
    "JudgeOptions",
    "JudgePlan",
    "JudgePrompt",
    "JudgeReport",
    "JudgeSummary",
    "JuryReport",
    "NoJury",
    "NoPrice",
    "PromptSet",
    "Rubric",
    "Selection",
    "UnknownJudge",
    "decide",
    "find_judge",
    "jury_battles",
    "known_judges",
    "load_prompts",
    "load_rubric",
    "own_prompts",
    "parse_selection",
    "plan_run",
    "run_judge",
    "select_subjects",
    "summarise_judge",
]
