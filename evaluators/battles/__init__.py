"""Battles from scripts: a file of prompts and some models become battles that people and judges can decide."""

from evaluators.battles.planning import NoPairs, ScriptOptions
from evaluators.battles.prompt_files import BadPrompts, Prompt, read_prompts
from evaluators.battles.running import Failure, ScriptReport, run_battles

__all__ = [
    "BadPrompts",
    "Failure",
    "NoPairs",
    "Prompt",
    "ScriptOptions",
    "ScriptReport",
    "read_prompts",
    "run_battles",
]
