"""Multiple choice through our `LM` against lm-eval's own `HFLM`: the same accuracy, and how much CPU each takes.

    python tests/benchmarks/suites.py [--data DIR] [--items N] [--rounds N] [--cases one_word several_tokens_5_shot ..]

Runs on the embedded model in float32 on one thread, both in this process, and prints one JSON object. The compared
runs take turns, so that another process's load falls on both.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

import torch  # noqa: E402  # the project is imported from the checkout

from arena.engines import embedded  # noqa: E402
from arena.engines.base import GenerationRequest, ScoreRequest  # noqa: E402
from arena.engines.local_model import load  # noqa: E402
from arena.engines.local_score import score_batch, scoring_job  # noqa: E402
from arena.engines.protocol import ScoreMany, WorkerConfig  # noqa: E402
from evaluators.suites.answering import Answered  # noqa: E402
from evaluators.suites.lm import EngineLM  # noqa: E402
from evaluators.suites.lm_tasks import LmOptions, LmTask, evaluate  # noqa: E402
from evaluators.suites.plan import RunOptions  # noqa: E402
from results.ids import new_id  # noqa: E402
from results.store.suites import AnswerRecord  # noqa: E402

WORDS = [
    "river",
    "stone",
    "window",
    "garden",
    "market",
    "letter",
    "music",
    "winter",
    "bridge",
    "forest",
    "kitchen",
    "captain",
    "silver",
    "morning",
    "engine",
    "village",
    "paper",
    "shadow",
    "summer",
    "doctor",
    "teacher",
    "island",
    "ticket",
    "mirror",
    "candle",
    "blanket",
    "harbour",
    "ladder",
    "basket",
    "feather",
]


SHOTS = 5


def rows_of(rng: random.Random, items: int, longest: int) -> list[dict[str, Any]]:
    rows = []
    for _ in range(items):
        choices = [
            " ".join(rng.choices(WORDS, k=rng.randint(max(1, longest - 4), longest))) for _ in range(4)
        ]
        right = rng.randrange(4)
        story = " ".join(rng.choices(WORDS, k=rng.randint(30, 90)))
        rows.append(
            {"question": f"{story}. Remember this: {choices[right]}. {story}. What was to be remembered?",
             "choices": choices, "right": right}
        )  # fmt: skip
    return rows


def task_of(folder: Path, items: int, longest: int) -> LmTask:
    """A multiple-choice task: which of four phrases (of up to `longest` words) stood in the text? Its examples are the
    same for all items, as MMLU's are."""
    rng = random.Random(longest)
    files = {"test": rows_of(rng, items, longest), "dev": rows_of(rng, SHOTS, longest)}
    for split, rows in files.items():
        path = folder / f"remember-{longest}-{split}.jsonl"
        path.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    spec = {
        "task": f"remember_{longest}",
        "dataset_path": "json",
        "dataset_kwargs": {
            "data_files": {split: str(folder / f"remember-{longest}-{split}.jsonl") for split in files}
        },
        "test_split": "test",
        "fewshot_split": "dev",
        "fewshot_config": {"sampler": "first_n"},
        "output_type": "multiple_choice",
        "doc_to_text": "{{question}}\nAnswer:",
        "doc_to_choice": "choices",
        "doc_to_target": "right",
        "metric_list": [{"metric": "acc"}, {"metric": "acc_norm"}],
    }
    return LmTask(str(spec["task"]), spec, "")


def ours(loaded: Any) -> EngineLM:
    """Our LM on the scoring code of local workers, in this process."""

    def answer(requests: Sequence[GenerationRequest | ScoreRequest]) -> list[Answered]:
        found: list[Answered] = []
        for first in range(0, len(requests), 256):
            part = tuple(each for each in requests[first : first + 256] if isinstance(each, ScoreRequest))
            job = scoring_job(loaded, ScoreMany(id=1, requests=part))
            while not job.done:
                score_batch(loaded, job)
            for scores in job.scores():
                choices = tuple((score.logprob, score.tokens, score.greedy) for score in scores)
                found.append(Answered(AnswerRecord(id=new_id(), version_key=1, request={}, choices=choices)))
        return found

    return EngineLM("ours", answer)


def scores_of(results: dict[str, Any], name: str) -> dict[str, float]:
    return {metric: float(results["results"][name][f"{metric},none"]) for metric in ("acc", "acc_norm")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("arena-data"))
    parser.add_argument("--items", type=int, default=48)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument(
        "--cases", nargs="*", help="one_word, several_tokens, and both with _5_shot; all by default"
    )
    arguments = parser.parse_args()
    from lm_eval.models.huggingface import HFLM

    torch.set_num_threads(1)
    folder = embedded.prepare(arguments.data)
    loaded = load(WorkerConfig(path=folder, device="cpu", dtype="float32"), lambda stage: None)
    lms = {
        "hflm": HFLM(pretrained=loaded.model, tokenizer=loaded.tokenizer, batch_size=16, device="cpu"),
        "ours": ours(loaded),
    }
    report: dict[str, Any] = {"items": arguments.items}
    with tempfile.TemporaryDirectory() as scratch:
        cases = {
            "one_word": (1, 0), "several_tokens": (8, 0), "one_word_5_shot": (1, SHOTS),
            "several_tokens_5_shot": (8, SHOTS),
        }  # fmt: skip
        for name, (longest, shots) in cases.items():
            if arguments.cases and name not in arguments.cases:
                continue
            task = task_of(Path(scratch), arguments.items, longest)
            spent: dict[str, list[float]] = {who: [] for who in lms}
            scores: dict[str, dict[str, float]] = {}
            for _ in range(arguments.rounds):
                for who, lm in lms.items():
                    began = time.process_time()
                    results = evaluate(
                        lm, task, RunOptions(), LmOptions(chat_template=False, few_shot=shots or None)
                    )
                    spent[who].append(time.process_time() - began)
                    scores[who] = scores_of(results, task.name)
            report[name] = {
                "accuracy": scores,
                "equal": scores["hflm"] == scores["ours"],
                "cpu_seconds": {who: round(min(each), 2) for who, each in spent.items()},
                "cpu_ratio": round(min(spent["hflm"]) / min(spent["ours"]), 2),
            }
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
