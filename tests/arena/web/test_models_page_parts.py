"""What the Models page shows to whom, without a browser."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from arena.battle import BattleService
from arena.config import ConfigError, Settings
from arena.engines.pool import EnginePool
from arena.matchmaking import policy_from
from arena.roster import Contestant, Roster, UnknownModel, current, find
from arena.roster.adding import add, propose
from arena.web._frame import PageContext
from arena.web.pages.models_form import FIELD_NAMES, spec_fields
from arena.web.pages.models_operator import _duel as change_duel
from arena.web.pages.models_views import Filters, cards_html, details_html
from arena.web.viewers import Viewer
from arena.web.voters import VoterCookies
from results.records import ModelVersionRecord
from results.store import open_store
from tests.arena.model_folders import save_adapter, save_model

OPERATOR = Viewer("en", operator=True, blind=False)
VOTER = Viewer("ko", operator=False, blind=False)


@pytest.fixture
def context(tmp_path: Path) -> Iterator[PageContext]:
    """An arena with a base, an adapter on it, a variant with a prompt of its own, and an endpoint that is down."""
    with open_store(tmp_path / "data") as store:

        def join(source: object, **fields: object) -> None:
            add(store, tmp_path / "data", propose(store, tmp_path / "data", str(source), fields))

        base = save_model(tmp_path / "secret-folder" / "누리", license="cc-by-nc-4.0")
        join(base)
        join(save_adapter(tmp_path / "secret-folder" / "lora", str(base), license="mit"))
        join("누리", name="짧은 누리", system_prompt="짧게 <script>")
        join("openai:far@http://inner.example:8000/v1", name="먼 모델", licence="apache-2.0", tags=("고객",))
        roster = Roster(
            current(store), {"먼 모델": "http://inner.example is down", "없는 모델": "no folder /srv/x"}
        )
        settings = Settings()
        engines = EnginePool(tmp_path / "data")
        policy = policy_from(settings.matchmaking)
        battles = BattleService(store, roster, engines.get, policy, settings.battle)
        yield PageContext(
            settings, store, roster, battles, VoterCookies("s" * 40), engines, matchmaking=policy
        )


def test_operators_see_where_things_lie_and_voters_do_not(context: PageContext) -> None:
    pages = {
        viewer: cards_html(context, viewer, Filters())
        + "".join(
            "".join(details_html(context, viewer, name)) for name in ("누리", "lora", "먼 모델", "짧은 누리")
        )
        for viewer in (OPERATOR, VOTER)
    }
    for secret in ("secret-folder", "inner.example", "/srv/x"):
        assert secret in pages[OPERATOR]
        assert secret not in pages[VOTER]
    for page in pages.values():
        assert "<script>" not in page
        assert "짧게 &lt;script&gt;" in page
        assert "없는 모델" in page
    assert "not loaded" in pages[OPERATOR]
    assert "적재되지 않음" not in pages[VOTER]  # what is loaded changes with battles
    assert "✕ 상업적 이용 불가" in pages[VOTER]


def test_states_of_engines_are_hidden_while_an_operators_own_battle_is_open(context: PageContext) -> None:
    blind = Viewer("en", operator=True, blind=True)
    page = cards_html(context, blind, Filters(loaded="yes"))
    assert "not loaded" not in page
    assert "Your own battle is still open" in page
    assert "4 of 4 models" in page  # a filter would tell as well


def test_filters(context: PageContext) -> None:
    def shown(**filters: str) -> list[str]:
        page = cards_html(context, OPERATOR, Filters(**filters))
        return [name for name in ("누리", "lora", "짧은 누리", "먼 모델") if f">{name}</a> <small>" in page]

    assert shown() == ["누리", "lora", "짧은 누리", "먼 모델"]
    assert shown(commercial="allowed") == ["먼 모델"]
    assert shown(commercial="other") == ["누리", "lora", "짧은 누리"]
    assert shown(place="remote") == ["먼 모델"]
    assert shown(name="고객") == ["먼 모델"]
    assert shown(name="LORA") == ["lora"]
    assert shown(loaded="yes") == []
    assert shown(loaded="no") == ["누리", "lora", "짧은 누리"]


def test_lineage_goes_up_and_down(context: PageContext) -> None:
    _, page = details_html(context, OPERATOR, "누리")
    assert page.index("누리@1</strong>") < page.index("lora@1")
    _, page = details_html(context, OPERATOR, "lora")
    assert page.index("누리@1") < page.index("lora@1</strong>")
    with pytest.raises(UnknownModel):
        details_html(context, OPERATOR, "nobody")


async def test_a_model_can_meet_its_parent_more_often(context: PageContext) -> None:
    matchmaking = context.matchmaking
    assert matchmaking is not None
    done, figures = await change_duel(context, "lora", "")
    assert (done, figures) == ("duel_begin", {"model": "lora", "parent": "누리", "share": "80%"})
    table = matchmaking.probabilities(context.roster.available())
    assert table["lora", "누리"] + table["누리", "lora"] > 0.8
    done, _ = await change_duel(context, "lora@1", "")
    assert (done, matchmaking.boosted) == ("duel_end", None)
    with pytest.raises(ConfigError, match="does not take part"):
        await change_duel(context, "먼 모델", "")


def test_the_training_that_made_a_model_is_told(context: PageContext) -> None:
    folder = Path(str(find(context.store, "lora").spec.adapter))
    recipe = {"name": "lora", "base": "누리", "dataset": "부탁", "objective": "sft", "method": "lora"}
    data = {"label": "부탁@1", "digest": "d" * 64, "licence": "cc0-1.0", "row_count": 1234}
    manifest = {
        "made_at": "2026-11-20T10:00:00+00:00", "job": "0193",
        "plan": {"recipe": recipe, "base": {"label": "누리@1"}, "dataset": data},
        "result": {"steps": 3, "held_out_before": {"loss": 2.5}, "held_out_after": {"loss": 0.25}},
    }  # fmt: skip
    (folder / "training.json").write_text(json.dumps(manifest), encoding="utf-8")
    for viewer in (OPERATOR, VOTER):
        _, page = details_html(context, viewer, "lora")
        for told in ("부탁@1", "1,234", "cc0-1.0", "lora · sft", "2.500 → 0.250", "2026-11-20 10:00"):
            assert told in page, told
        assert "./training?" not in page, "the job is not of this data folder"
    (folder / "training.json").write_text("{broken", encoding="utf-8")
    assert "부탁@1" not in details_html(context, OPERATOR, "lora")[1]


def test_a_model_of_imported_votes_has_its_page(context: PageContext) -> None:
    context.store.upsert_model_versions(
        [ModelVersionRecord(model="gpt-남", digest="d", spec={}, owner="import")]
    )
    head, rest = details_html(context, VOTER, "gpt-남")
    assert "참가하지 않음" in head
    assert "playground" not in head
    assert "가져온 결과" in rest
    assert "알 수 없음" in rest


def test_the_form_says_what_a_spec_needs() -> None:
    told: dict[str, object] = dict.fromkeys(FIELD_NAMES, "")
    told |= {
        "source": " ~/m ",
        "tags": "a, 나 ,",
        "temperature": "0.5",
        "few_shot": '- {user: 질문, assistant: "답"}',
    }
    fields, sampling = spec_fields(told)
    assert {key: value for key, value in fields.items() if value is not None} == {
        "source": "~/m", "tags": ("a", "나"), "few_shot": fields["few_shot"],
    }  # fmt: skip
    assert (fields["few_shot"][0].user, fields["few_shot"][0].assistant) == ("질문", "답")
    assert sampling == {"temperature": "0.5"}
    for bad in ("[1]", "{", json.dumps([{"user": "x"}])):
        with pytest.raises(ConfigError):
            spec_fields({**told, "few_shot": bad})


def test_a_running_roster_follows_and_keeps_what_could_not_be_used(context: PageContext) -> None:
    roster, store = context.roster, context.store
    changed = find(store, "누리")
    spec = changed.spec.model_copy(update={"system_prompt": "다르게"})
    roster.set_unusable("누리", "broken")
    roster.update([each for each in current(store) if each.spec.name != "lora"])
    assert set(roster.unusable()) == {"누리", "먼 모델", "없는 모델"}
    roster.update([Contestant(spec, changed.version), find(store, "먼 모델")])
    assert roster.available() == ["누리"]
    assert set(roster.unusable()) == {"먼 모델", "없는 모델"}
