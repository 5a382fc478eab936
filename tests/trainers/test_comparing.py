"""Trainings side by side: what is varied, jobs that are taken up again, and the report."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from arena.cli.main import app
from results.figures import Bar, bar_plot
from results.ids import new_id
from results.store import Store, open_store
from results.store.jobs import jobs
from trainers.comparing import (
    CannotCompare,
    Forgetting,
    Row,
    queue_variants,
    variants_by_method,
    variants_of_grid,
)
from trainers.comparison_report import comparison_figures, write_comparison
from trainers.plan import CannotPlan, TrainingPlan
from trainers.recipes import BadRecipe, Recipe, make_recipe

Plan = Callable[..., TrainingPlan]


def recipe(**values: object) -> Recipe:
    return make_recipe({"name": "도우미", "base": "tiny", "dataset": "chat", **values})


def test_methods_keep_the_data_and_take_their_own_rates() -> None:
    made = variants_by_method(
        recipe(optimiser={"learning_rate": 3e-4, "batch_size": 2}), ["lora", "ia3", "lora", "full"]
    )
    assert [variant.label for variant in made] == ["lora", "ia3", "full"]
    assert [variant.recipe.optimiser.learning_rate for variant in made] == [3e-4, 8e-3, 5e-5]
    assert {variant.recipe.optimiser.batch_size for variant in made} == {2}
    assert [variant.recipe.name for variant in made] == ["도우미-lora", "도우미-ia3", "도우미-full"]


def test_grids_make_every_combination() -> None:
    made = variants_of_grid(
        recipe(), {"optimiser.learning_rate": ["1e-4", "5e-4"], "data_share": ["0.1", "1"]}
    )
    assert [variant.label for variant in made] == [
        "learning_rate=1e-4 data_share=0.1", "learning_rate=1e-4 data_share=1",
        "learning_rate=5e-4 data_share=0.1", "learning_rate=5e-4 data_share=1",
    ]  # fmt: skip
    assert [variant.recipe.data_share for variant in made] == [0.1, 1, 0.1, 1]
    assert len({variant.recipe.name for variant in made}) == 4


def test_names_of_variants_are_names_of_models() -> None:
    made = variants_of_grid(recipe(), {"base": ["tiny@1", "org/other"]})
    assert [variant.recipe.name for variant in made] == ["도우미-basetiny_1", "도우미-baseorg_other"]
    assert [variant.recipe.base for variant in made] == ["tiny@1", "org/other"]


def test_what_cannot_be_compared_is_told() -> None:
    with pytest.raises(CannotCompare, match="two variants or more"):
        variants_by_method(recipe(), ["lora"])
    with pytest.raises(CannotCompare, match=r"no method 'lorra' \(did you mean 'lora'"):
        variants_by_method(recipe(), ["lora", "lorra"])
    with pytest.raises(CannotCompare, match="too many"):
        variants_of_grid(recipe(), {"seed": [str(n) for n in range(65)]})
    with pytest.raises(BadRecipe, match=r"did you mean 'rank'"):
        variants_of_grid(recipe(), {"lora.rnk": ["1", "2"]})
    with pytest.raises(BadRecipe, match="cannot train for grpo"):
        variants_by_method(recipe(objective="grpo", reinforcement={"rule": "short"}), ["lora", "ia3"])


def test_asking_again_takes_up_the_same_jobs(plan_for: Plan, store: Store) -> None:
    plan_for("chat")
    variants = variants_of_grid(recipe(), {"lora.rank": ["2", "4"]})
    first = queue_variants(store, variants)
    assert [job.id for job in queue_variants(store, variants)] == [job.id for job in first]
    more = queue_variants(store, variants_of_grid(recipe(), {"lora.rank": ["2", "8"]}))
    assert more[0].id == first[0].id
    assert len(jobs(store)) == 3
    bad = variants_of_grid(recipe(), {"base": ["tiny", "nobody"]})
    with pytest.raises(CannotPlan, match="nobody"):
        queue_variants(store, bad)
    assert len(jobs(store)) == 3


def rows() -> list[Row]:
    lost = Forgetting(
        suite="arithmetic",
        items=40,
        before=0.5,
        after=0.4,
        difference=-0.1,
        lower=-0.2,
        upper=0.01,
        verdict="inconclusive",
    )
    return [
        Row(
            label="lora <&>", job=new_id(), state="done", model="한국어@1", learning_rate=5e-4,
            trained_parameters=2_000_000, parameters=135_000_000, steps=10, tokens=1_000, seconds=60, memory=2**31,
            before={"loss": 3.0}, quality={"loss": 2.0}, forgetting=(lost,),
        ),
        Row(label="full", job=new_id(), state="failed", error="out of memory", learning_rate=5e-5),
    ]  # fmt: skip


def test_the_report_shows_figures_and_failures(tmp_path: Path) -> None:
    figures = comparison_figures(rows())
    assert [figure.title.partition(" ")[0] for figure in figures] == [
        "Held-out",
        "Time",
        "Peak",
        "Trained",
        "arithmetic:",
    ]
    assert "2.0000" in figures[0].description
    given = rows()
    steps = [{"step": 1, "loss": 3.0}, {"step": 2, "loss": 2.5}, {"step": 2, "eval_loss": 2.0}]
    page = write_comparison(
        given,
        "Methods of 도우미",
        tmp_path / "c.html",
        about="tiny on 대화@1",
        measured={given[0].job: steps},
    ).read_text(encoding="utf-8")
    assert "Training loss by step" in page
    assert "lora &lt;&amp;&gt; 3 → 2.5" in page
    assert "Held-out loss by step" not in page  # one point is no curve
    assert "tiny on 대화@1" in page
    assert "lora &lt;&amp;&gt;" in page
    assert "<&>" not in page
    assert "out of memory" in page
    assert "-0.200 – +0.010" in page
    assert "http" not in page.replace("http://www.w3.org/2000/svg", "")


def test_bars_start_at_zero_on_both_sides() -> None:
    drawn = bar_plot(
        [Bar("up", 2.0, "2"), Bar("down", -1.0, "-1", -1.5, -0.5), Bar("none", None, "")], title="t"
    )
    assert drawn.body.count("<rect") == 2
    assert 'class="more"' in drawn.body
    assert 'class="less"' in drawn.body


@pytest.mark.long
@pytest.mark.timeout(900)
def test_methods_are_trained_and_compared_with_what_they_forgot(tiny_model: Path, tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text(
        "".join(
            json.dumps({"prompt": f"{n} 더하기 1은?", "response": f"답은 {n + 1}"}) + "\n" for n in range(40)
        ),
        encoding="utf-8",
    )
    data = tmp_path / "data"
    run = CliRunner()
    assert (
        run.invoke(
            app, ["data", "add", str(file), "--name", "sums", "--held-out", "0.2", "--data", str(data)]
        ).exit_code
        == 0
    )
    words = [
        "train", "compare", "--methods", "lora,full", "--set", "name=cmp", "--set", f"base={tiny_model}",
        "--set", "dataset=sums", "--set", "optimiser.max_steps=2", "--suite", "arithmetic", "--limit", "4",
        "--out", str(tmp_path / "c.html"), "--json", "--data", str(data),
    ]  # fmt: skip
    done = run.invoke(app, words)
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert [row["state"] for row in found] == ["done", "done"]
    assert all(row["forgetting"][0]["suite"] == "arithmetic" for row in found)
    with open_store(data) as store:
        count = len(jobs(store))
    assert run.invoke(app, words).exit_code == 0
    with open_store(data) as store:
        assert len(jobs(store)) == count == 2
