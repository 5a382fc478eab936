"""Exports in other formats come back to the same ratings; public ones hold no voter; training data has provenance."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import duckdb
import pytest

from arena.cli.main import main
from results.ids import new_id
from results.interchange import BadFile, export_answers, export_preferences, export_votes, import_votes
from results.leaderboard import leaderboard
from results.records import (
    BattleRecord,
    GenerationRecord,
    ModelVersionRecord,
    TurnRecord,
    Verdict,
    VoteRecord,
    VoterRecord,
)
from results.store import Store, open_store

DATA = Path(__file__).parents[2] / "data" / "votes"
SECRET = "제 번호는 010-1234-5678, 메일은 hong@example.com"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with open_store(tmp_path / "data") as opened:
        yield opened


def live(
    store: Store, verdicts: list[Verdict], answers: tuple[str, str] = ("답 가", "답 나"), turns: int = 1
) -> UUID:
    """A battle of this arena with votes of several voters."""
    versions = store.upsert_model_versions(
        [ModelVersionRecord(model=name, digest=f"digest-{name}") for name in ("한빛-7B", "새별-3B")]
    )
    battle = BattleRecord(
        id=new_id(),
        version_a=versions[0].version_key,
        version_b=versions[1].version_key,
        category="대화",
        language="ko",
    )
    store.create_battle(battle)
    for number in range(1, turns + 1):
        store.add_turn(TurnRecord(battle_id=battle.id, number=number, message=f"{SECRET} {number}"))
        for side, version, text in zip(("a", "b"), versions, answers, strict=True):
            store.record_generation(
                GenerationRecord(
                    id=new_id(), battle_id=battle.id, turn=number, side=side, version_key=version.version_key,  # type: ignore[arg-type]
                    text=f"{text} {number}", finish_reason="stop",
                )
            )  # fmt: skip
    for verdict in verdicts:
        voter = VoterRecord(id=new_id())
        store.register_voter(voter)
        store.record_vote(
            VoteRecord(battle_id=battle.id, voter_id=voter.id, request_id=new_id(), verdict=verdict)
        )
    return battle.id


def boards(store: Store) -> list[str]:
    return [
        leaderboard(store, method, source, by=by).model_dump_json()  # type: ignore[arg-type]
        for method in ("bt", "elo")
        for source in ("human", "judge")
        for by in ("model", "version")
    ]


@pytest.mark.parametrize("public", [False, True])
@pytest.mark.parametrize(
    ("people", "judges"),
    [
        (("lmsys", ".csv"), ("mt-bench-pair", ".jsonl")),
        (("lmsys", ".parquet"), ("alpaca-eval", ".json")),
        (("lmsys", ".arrow"), ("votes", ".feather")),
        (("fastchat", ".jsonl"), ("alpaca-eval", ".jsonl")),
        (("votes", ".json"), ("votes", ".json")),
    ],
)
def test_every_format_comes_back_to_the_same_ratings(
    store: Store, tmp_path: Path, people: tuple[str, str], judges: tuple[str, str], public: bool
) -> None:
    import_votes(store, DATA / "korean_votes.csv")
    import_votes(store, DATA / "judge_verdicts.jsonl", source="judge", fixed={"judge": "심판 A/1"})
    live(store, ["a", "b", "both_bad"], turns=2)
    ours = boards(store)
    with open_store(tmp_path / "empty") as other:
        for source, (format_, suffix) in (("human", people), ("judge", judges)):
            file = tmp_path / f"{source}{suffix}"
            out = export_votes(store, file, source=source, format=format_, public=public)  # type: ignore[arg-type]
            assert out.rows == {"human": 25, "judge": 5}[source]
            done = import_votes(other, file, source=source)  # type: ignore[arg-type]
            assert (done.format, done.added, done.rejected) == (format_, out.rows, 0)
            assert public or import_votes(store, file, source=source).added == 0  # type: ignore[arg-type]
        assert boards(other) == ours
        assert other.check() == []


def test_a_public_export_holds_no_voter_and_no_number(store: Store, tmp_path: Path) -> None:
    battle = live(store, ["a", "tie"])
    import_votes(store, DATA / "korean_votes.csv")
    private, public = tmp_path / "private.jsonl", tmp_path / "public.jsonl"
    export_votes(store, private)
    done = export_votes(store, public, public=True)
    # Both conversations of each of two votes.
    assert done.screened == {"PHONE": 4, "EMAIL": 4}
    text = public.read_text("utf-8")
    ids = store.query("SELECT id::VARCHAR AS v FROM voters UNION ALL SELECT id::VARCHAR FROM votes")[
        "v"
    ].to_pylist()
    assert all(each in private.read_text("utf-8") for each in ids)
    for secret in (*ids, str(battle), "010-1234-5678", "hong@example.com"):
        assert secret not in text
    assert "[PHONE]" in text
    rows = [json.loads(line) for line in text.split("\n") if line]
    assert len({row["voter"] for row in rows}) == len(
        {json.loads(line)["voter"] for line in private.read_text("utf-8").split("\n") if line}
    )
    again = tmp_path / "again.jsonl"
    export_votes(store, again, public=True)
    assert again.read_text("utf-8") == text, "pseudonyms are stable"


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").split("\n") if line]


def test_preference_pairs_with_provenance(store: Store, tmp_path: Path) -> None:
    battle = live(store, ["a", "a", "b"])
    done = export_preferences(store, tmp_path / "dpo.jsonl", "dpo")
    (row,) = lines(tmp_path / "dpo.jsonl")
    assert (done.rows, done.battles, done.left_out) == (1, 1, {})
    assert row["prompt"] == [{"role": "user", "content": f"{SECRET} 1"}]
    assert row["chosen"] == [{"role": "assistant", "content": "답 가 1"}]
    assert row["rejected"] == [{"role": "assistant", "content": "답 나 1"}]
    provenance = row["provenance"]
    assert provenance["battle"] == str(battle)
    assert (provenance["model"], provenance["digest"]) == ("한빛-7B@1", "digest-한빛-7B")
    assert provenance["other_model"] == "새별-3B@1"
    assert provenance["verdicts"] == {"a": 2, "b": 1}
    assert provenance["agreement"] == pytest.approx(2 / 3)
    assert provenance["source"] == "human"
    assert export_preferences(store, tmp_path / "x.jsonl", "dpo", agreement=0.7).left_out == {"no winner": 1}
    public = export_preferences(store, tmp_path / "p.jsonl", "dpo", public=True)
    assert public.screened == {"PHONE": 1, "EMAIL": 1}
    text = (tmp_path / "p.jsonl").read_text("utf-8")
    assert str(battle) not in text
    assert "010-" not in text


def test_other_shapes_of_training_data(store: Store, tmp_path: Path) -> None:
    live(store, ["b"])
    live(store, ["both_bad"], answers=("나쁨", "더 나쁨"))
    live(store, ["tie"])
    live(store, ["a"], answers=("같음", "같음"))
    left = {"no winner": 1, "equal answers": 1}
    assert export_preferences(store, tmp_path / "kto.jsonl", "kto").left_out == left
    labels = [(row["completion"][0]["content"], row["label"]) for row in lines(tmp_path / "kto.jsonl")]
    assert labels == [("답 나 1", True), ("답 가 1", False), ("나쁨 1", False), ("더 나쁨 1", False)]
    left["no winner"] = 2
    assert export_preferences(store, tmp_path / "reward.json", "reward").left_out == left
    (reward,) = json.loads((tmp_path / "reward.json").read_text("utf-8"))
    assert [message["role"] for message in reward["chosen"]] == ["user", "assistant"]
    export_preferences(store, tmp_path / "chat.jsonl", "openai-chat")
    (chat,) = lines(tmp_path / "chat.jsonl")
    assert chat["messages"][1]["content"] == "답 나 1"
    export_preferences(store, tmp_path / "pref.jsonl", "openai-preference")
    (pair,) = lines(tmp_path / "pref.jsonl")
    assert pair["input"]["messages"][-1]["role"] == "user"
    assert pair["non_preferred_output"][0]["content"] == "답 가 1"


def test_conversations_that_part_after_the_first_turn_share_the_first_message(
    store: Store, tmp_path: Path
) -> None:
    live(store, ["a"], turns=2)
    export_preferences(store, tmp_path / "dpo.jsonl", "dpo")
    (row,) = lines(tmp_path / "dpo.jsonl")
    assert len(row["prompt"]) == 1
    assert [message["role"] for message in row["chosen"]] == ["assistant", "user", "assistant"]


def test_held_out_items_are_never_written(store: Store, tmp_path: Path) -> None:
    import_votes(store, DATA / "korean_votes.csv")
    live(store, ["a"])
    folder = store.data_dir
    before = export_preferences(store, tmp_path / "all.jsonl", "dpo")
    store.close()
    with duckdb.connect(str(folder / "palaestra.duckdb")) as raw:
        raw.execute("UPDATE items SET held_out = true")
    with open_store(folder) as again:
        after = export_preferences(again, tmp_path / "rest.jsonl", "dpo")
    assert after.battles < before.battles
    assert after.rows == 1


def test_screened_votes_are_never_written(store: Store, tmp_path: Path) -> None:
    live(store, ["a"])
    votes = store.query("SELECT seq FROM comparisons").append_column("reason", [["screened:burst"]])
    store.apply_screening(votes)
    assert export_preferences(store, tmp_path / "dpo.jsonl", "dpo").battles == 0


def test_answers_for_other_evaluators(store: Store, tmp_path: Path) -> None:
    live(store, [], turns=2)
    live(store, ["a"], turns=2)
    live(store, [], answers=("", ""), turns=0)
    done = export_answers(store, tmp_path / "o.json", "alpaca-outputs")
    assert (done.rows, done.left_out) == (2, {"answered before": 2, "no answers stored": 2})
    first = json.loads((tmp_path / "o.json").read_text("utf-8"))[0]
    assert first == {
        "instruction": f"{SECRET} 1", "output": "답 가 1", "generator": "한빛-7B@1", "dataset": "palaestra",
    }  # fmt: skip
    assert (
        export_answers(store, tmp_path / "m.jsonl", "mt-bench-answers", model="새별-3B", public=True).rows
        == 1
    )
    (mt,) = lines(tmp_path / "m.jsonl")
    assert (mt["model_id"], mt["choices"]) == ("새별-3B@1", [{"index": 0, "turns": ["답 나 1", "답 나 2"]}])
    export_answers(store, tmp_path / "h.jsonl", "arena-hard-answers", model="한빛-7B@1")
    (hard,) = lines(tmp_path / "h.jsonl")
    assert [message["role"] for message in hard["messages"]] == ["user", "assistant"] * 2
    assert hard["messages"][1]["content"] == {"answer": "답 가 1"}
    with pytest.raises(BadFile, match="holds model answers"):
        import_votes(store, tmp_path / "m.jsonl")
    with pytest.raises(BadFile, match="answers can be"):
        export_answers(store, tmp_path / "x.jsonl", "answers")
    with pytest.raises(BadFile, match=r"\.jsonl or \.json"):
        export_answers(store, tmp_path / "x.csv", "alpaca-outputs")


def test_mistaken_exports(store: Store, tmp_path: Path) -> None:
    with pytest.raises(BadFile, match="there are votes, lmsys"):
        export_votes(store, tmp_path / "x.csv", format="csv")
    with pytest.raises(BadFile, match=r"ends in \.jsonl"):
        export_votes(store, tmp_path / "x.csv", format="fastchat")
    with pytest.raises(BadFile, match="--source judge"):
        export_votes(store, tmp_path / "x.jsonl", format="mt-bench-pair")
    with pytest.raises(BadFile, match="training data can be"):
        export_preferences(store, tmp_path / "x.jsonl", "ppo")
    with pytest.raises(BadFile, match=r"\.jsonl or \.json"):
        export_preferences(store, tmp_path / "x.csv", "dpo")
    assert not [path for path in tmp_path.iterdir() if path.name.startswith("x.")]


def test_the_commands(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    live(store, ["a", "b", "b"])

    def arena(*words: str | Path) -> tuple[int, Any, str]:
        monkeypatch.setattr(sys, "argv", ["arena", "votes", *map(str, words), "--data", str(store.data_dir)])
        with pytest.raises(SystemExit) as stop:
            main()
        told = capsys.readouterr()
        return (
            int(stop.value.code or 0),
            json.loads(told.out) if told.out else None,
            " ".join(told.err.split()),
        )

    code, done, told = arena("export", tmp_path / "l.csv", "--format", "lmsys", "--public", "--json")
    assert (code, done["rows"], done["format"]) == (0, 3, "lmsys")
    assert "[PHONE]" in told
    assert "read what you publish" in told
    code, done, told = arena("import", tmp_path / "l.csv", "--json")
    assert (code, done["format"], done["added"]) == (0, "lmsys", 3)
    code, done, _ = arena("export", tmp_path / "d.jsonl", "--format", "dpo", "--source", "all", "--json")
    assert (code, done["rows"]) == (0, 2)
    assert arena("export", tmp_path / "a.json", "--format", "alpaca-eval", "--json")[1]["rows"] == 0
    code, done, _ = arena("export", tmp_path / "o.json", "--format", "alpaca-outputs", "--json")
    assert (code, done["rows"]) == (0, 4), "the texts of the public file are others"
    for words in (
        ["export", tmp_path / "x.csv", "--model", "한빛-7B"],
        ["export", tmp_path / "x.csv", "--source", "all"],
        ["export", tmp_path / "x.csv", "--format", "nothing"],
        ["import", tmp_path / "l.csv", "--format", "nothing"],
        ["import", tmp_path / "l.csv", "--source", "judge"],
    ):
        assert arena(*words)[0] == 2
