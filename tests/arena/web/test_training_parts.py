"""Parts of the Training page: form and file say the same; downloads are for the operator and hold what was left."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from arena.api.access import Access
from arena.api.tokens import issue
from arena.battle import BattleService
from arena.config import Settings
from arena.matchmaking import Uniform
from arena.roster import Roster
from arena.web._frame import PageContext
from arena.web._i18n import texts
from arena.web.operators import SCOPE_KEY, Operators
from arena.web.pages.training_files import file_address, routes, zip_address, zip_chunks
from arena.web.pages.training_form import FIELDS, recipe_from, recipe_text, sections, values_of
from arena.web.voters import VoterCookies
from results.ids import new_id
from results.store import Store, open_store
from results.store.jobs import Claim, Ending, JobRecord, add_job, claim_job, end_job
from results.store.tokens import add_token
from trainers.recipes import BadRecipe, make_recipe, presets

NAMES = {"name": "학생", "base": "tiny@1", "dataset": "대화@2"}


@pytest.mark.parametrize("preset", [*presets(), None])
def test_form_and_file_say_the_same(preset: str | None) -> None:
    more = {"preset": preset} if preset else {"lora": {"layers": [0, 3], "targets": ["q_proj", "v_proj"]}}
    helpers = {"distillation": {"teacher": "선생"}, "reinforcement": {"reward_model": "심사"}}
    recipe = make_recipe({**NAMES, **helpers, **more})
    written = recipe_text(values_of(recipe))
    assert recipe_from(written) == recipe
    assert "seed" not in written  # what stands at its default is not said


def test_every_field_has_a_place_and_what_is_emptied_returns_to_its_default() -> None:
    assert len({field.key for field in FIELDS}) == len(FIELDS)
    recipe = make_recipe({**NAMES, "note": "x", "optimiser": {"max_steps": 4}})
    values = values_of(recipe)
    keys = [field.key for field in FIELDS]
    for key in ("note", "optimiser.max_steps", "lora.targets", "optimiser.learning_rate"):
        values[keys.index(key)] = "" if key in ("note", "lora.targets") else None
    assert recipe_from(recipe_text(values)) == make_recipe(NAMES)
    values[keys.index("frozen_layers")] = "1, two"
    with pytest.raises(BadRecipe, match=r"frozen_layers\.1"):
        recipe_from(recipe_text(values))


def test_files_that_are_no_recipes_are_told() -> None:
    for written, reason in {
        "name: [": "not valid YAML",
        "": "list of `key: value`",
        "name: a\nbase: b\ndataset: c\noptimiser: {learning_rte: 1}": r"optimiser\.learning_rte.*learning_rate",
    }.items():
        with pytest.raises(BadRecipe, match=reason):
            recipe_from(written)


def test_help_is_what_the_recipe_says_of_itself() -> None:
    for section, docstring in sections().items():
        assert texts("en")[f"training.help.{section or 'run'}"] == docstring, (
            f"change en.yaml and ko.yaml: {section}"
        )
    for name, values in presets().items():
        assert texts("en")[f"training.preset.{name}"] == values["about"], (
            f"change en.yaml and ko.yaml: {name}"
        )


def test_a_zip_is_whole_however_it_is_cut(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "글.txt").write_text("안녕" * 1000, "utf-8")
    (tmp_path / "model.safetensors").write_bytes(bytes(range(256)) * 20_000)
    chunks = list(zip_chunks(tmp_path))
    assert len(chunks) > 5
    with zipfile.ZipFile(io.BytesIO(b"".join(chunks))) as archive:
        assert archive.testzip() is None
        assert archive.read("model.safetensors") == (tmp_path / "model.safetensors").read_bytes()
        assert archive.read("deep/글.txt").decode() == "안녕" * 1000


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with open_store(tmp_path / "data") as opened:
        yield opened


@pytest.fixture
def browser(store: Store) -> Callable[[], TestClient]:
    """Clients of the downloads alone, as the frame asks who is the operator."""
    settings = Settings()
    operators = Operators(Access(store, settings.server), "s" * 40)
    battles = BattleService(store, Roster([]), lambda spec: None, Uniform(), settings.battle)  # type: ignore[arg-type, return-value]
    app = Starlette(
        routes=list(routes(PageContext(settings, store, Roster([]), battles, VoterCookies("s" * 40))))
    )

    async def framed(scope, receive, send):  # type: ignore[no-untyped-def]
        scope[SCOPE_KEY] = operators
        await app(scope, receive, send)

    return lambda: TestClient(framed, base_url="http://127.0.0.1:7860")


def test_downloads_are_for_the_operator_and_hold_the_artifact_alone(
    store: Store, tmp_path: Path, browser: Callable[[], TestClient]
) -> None:
    folder = tmp_path / "data" / "jobs" / "one" / "artifact"
    folder.mkdir(parents=True)
    (folder / "README.md").write_text("# 학생", "utf-8")
    (folder.parent / "secret.txt").write_text("no", "utf-8")
    record = JobRecord(id=new_id(), name="학생", recipe={})
    add_job(store, record)
    assert claim_job(store, Claim(id=record.id, pid=1, process_start=1.0))
    end_job(store, Ending(id=record.id, pid=1, state="done", result={"artifact": str(folder)}))
    client = browser()
    address = file_address(record.id, "README.md").removeprefix(".")
    assert client.get(address).text == "# 학생"
    assert client.get(address).headers["content-disposition"].startswith("attachment")
    packed = client.get(zip_address(record.id).removeprefix("."))
    assert packed.headers["content-disposition"] == f"attachment; filename*=utf-8''{quote('학생')}.zip"
    with zipfile.ZipFile(io.BytesIO(packed.content)) as archive:
        assert archive.namelist() == ["README.md"]
    for wrong in ("../secret.txt", "%2e%2e/secret.txt", "none"):
        assert client.get(f"/training/files/{record.id}/{wrong}").status_code == 404
    assert client.get(f"/training/zip/{new_id()}").status_code == 404
    assert client.get("/training/zip/nonsense").status_code == 404

    token, _ = issue("somebody", "operator")
    add_token(store, token)
    for each in (address, zip_address(record.id).removeprefix(".")):
        assert client.get(each).status_code == 403
