"""Reports of real stores: what they compute, what they say, and that the page is whole by itself."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import math
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from results.interchange import import_votes
from results.leaderboard import leaderboard
from results.ratings import PairCounts, bradley_terry
from results.reports import LANGUAGES, Report, ReportQuery, collect, render, write_report
from results.reports._summary import summarise
from results.reports._texts import Texts
from results.store import Store, open_store
from tests.results.reports_made import FORMULA, HOSTILE, UNDEFEATED, fill

SHARED = Path(__file__).parents[3] / "shared" / "data" / "llmfao_crowd_votes"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    folder = tmp_path_factory.mktemp("made")
    with open_store(folder / "data") as opened:
        fill(opened, folder)
        yield opened


@pytest.fixture(scope="module")
def report(store: Store) -> Report:
    return collect(store)


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[Store]:
    with open_store(tmp_path / "data") as opened:
        yield opened


class Page(HTMLParser):
    """The elements of a page: (tag, attributes), and its text without style."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.text = ""
        self._inside: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        self._inside.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in self._inside:
            while self._inside.pop() != tag:
                pass

    def handle_data(self, data: str) -> None:
        if not {"style", "script"} & set(self._inside):
            self.text += data

    def all(self, *tags: str) -> list[dict[str, str]]:
        return [attributes for tag, attributes in self.elements if tag in tags]


def files_in(page: str) -> dict[str, list[dict[str, str]]]:
    """The CSV files of a page, by name."""
    found = {}
    for link in Page(page).all("a"):
        if "download" in link:
            kind, _, encoded = link["href"].partition(",")
            assert kind == "data:text/csv;charset=utf-8;base64"
            content = base64.b64decode(encoded).decode("utf-8-sig")
            found[link["download"]] = list(csv.DictReader(io.StringIO(content)))
    return found


def test_ratings_are_the_leaderboards(store: Store, report: Report) -> None:
    board = leaderboard(store)
    assert report.rows == board.models
    assert report.votes == board.votes
    assert sum(each.n for each in report.excluded) == sum(board.excluded.values()) == 2
    for group in report.categories:
        assert group.rows == leaderboard(store, category=group.name).models
    assert [group.name for group in report.categories] == ["글쓰기", "coding", ""]
    assert {group.name for group in report.languages} == {"ko", "en"}


def test_more_votes_as_so_far_would_decide_with_the_promised_chance(report: Report) -> None:
    assert report.lead is not None
    open_rival = next(r for r in report.lead.open if r.more_votes is not None)
    counts = report.rated.counts
    times = 1 + (open_rival.more_votes or 0) / counts.total
    cells = counts.cells * times
    # No pseudo-comparisons: what they add vanishes with the votes, and the promise is about votes.
    grown = bradley_terry(PairCounts(cells, cells), prior=0.0)
    assert distance(report, grown, open_rival.name) == pytest.approx(1.96 + 0.84, rel=0.02)


def test_direct_battles_would_decide_with_the_promised_chance(report: Report) -> None:
    assert report.lead is not None
    open_rival = next(r for r in report.lead.open if r.direct_battles is not None)
    names, cells = report.rated.names, report.rated.counts.cells.copy()
    a, b = names.index(report.lead.name), names.index(open_rival.name)
    share = cells[:, :, 1].sum() / cells.sum()
    n, p = open_rival.direct_battles or 0, open_rival.probability
    # Outcomes with the fitted mean and about the observed share of ties.
    cells[a, b] += n * np.array([p - share / 2, share, 1 - p - share / 2])
    grown = bradley_terry(PairCounts(cells, cells), prior=0.0)
    assert distance(report, grown, open_rival.name) == pytest.approx(1.96 + 0.84, rel=0.1)


def distance(report: Report, fit: object, rival: str) -> float:
    """The gap between the leader and a rival in standard errors."""
    assert report.lead is not None
    names = report.rated.names
    a, b = names.index(report.lead.name), names.index(rival)
    spread = fit.covariance  # type: ignore[attr-defined]
    error = math.sqrt(spread[a, a] + spread[b, b] - 2 * spread[a, b])
    gap = next(r.gap for r in report.lead.rivals if r.name == rival)
    return gap / error


def test_the_chance_of_being_best_and_of_beating_one_rival_agree_for_two_models(
    empty: Store, tmp_path: Path
) -> None:
    votes = tmp_path / "two.csv"
    votes.write_text(
        "model_a,model_b,winner\n" + "가,나,model_a\n" * 12 + "나,가,model_a\n" * 6, encoding="utf-8"
    )
    import_votes(empty, votes)
    lead = collect(empty).lead
    assert lead is not None
    (rival,) = lead.rivals
    fit = collect(empty).rated.fit
    assert fit is not None
    error = math.sqrt(fit.covariance[0, 0] + fit.covariance[1, 1] - 2 * fit.covariance[0, 1])
    expected = 0.5 * (1 + math.erf(rival.gap / error / math.sqrt(2)))
    assert lead.chance == pytest.approx(expected, abs=0.01)
    assert rival.probability == pytest.approx(12 / 18, abs=1e-6)


def test_people_and_judge_are_compared_on_battles_that_both_saw(store: Store, report: Report) -> None:
    people, judge = report.agreement
    assert people.judge is None
    assert people.battles == 100
    assert judge.judge == "심판-1"
    # By hand: every vote of a judged battle against the judgment, battles weighing the same.
    rows = store.query("""
        SELECT v.battle_id, avg((replace(v.verdict, 'both_bad', 'tie') = j.verdict)::INT) AS same
        FROM comparisons v JOIN comparisons j USING (battle_id)
        WHERE v.source = 'human' AND j.source = 'judge' AND v.excluded IS NULL GROUP BY 1
    """)
    assert judge.battles == rows.num_rows
    assert judge.agreement.value == pytest.approx(float(np.mean(rows["same"].to_numpy())))


def test_examples_are_the_first_by_seed_and_nobody_chose_them(store: Store, report: Report) -> None:
    battles = store.query(
        "SELECT DISTINCT battle_id::VARCHAR AS b FROM comparisons WHERE excluded IS NULL AND source = 'human'"
    )

    def drawn(seed: int) -> list[str]:
        return sorted(
            battles["b"].to_pylist(), key=lambda b: hashlib.md5(f"{b}:{seed}".encode()).hexdigest()
        )[:5]

    assert [str(example.id) for example in report.examples] == drawn(0)
    assert [str(example.id) for example in collect(store, ReportQuery(seed=1)).examples] == drawn(1)
    assert drawn(0) != drawn(1)
    for example in report.examples:
        assert example.has_texts
        assert example.verdicts


def test_speed_and_failures_of_the_arenas_own_battles(report: Report) -> None:
    slow, fast = sorted(report.speed, key=lambda each: each.tokens_per_second or 0)
    assert (slow.name, slow.answers, slow.failed, slow.tokens_per_second) == ("한빛-7B@2", 8, 0, 20.0)
    assert (fast.name, fast.answers, fast.failed, fast.tokens_per_second) == ("Orca Mini@2", 7, 1, 40.0)


def test_style_is_looked_at_where_texts_are_stored(report: Report) -> None:
    assert report.style is not None
    (length,) = report.style.effects
    assert length.name == "length"
    assert length.lower > 0  # the votes were made to like length


def test_a_filter_selects(store: Store) -> None:
    coding = collect(store, ReportQuery(category="coding"))
    assert coding.votes == leaderboard(store, category="coding").votes
    assert coding.categories == ()
    judged = collect(store, ReportQuery(source="judge", judge="심판-1"))
    assert judged.votes == 100
    assert judged.voters is None
    assert "심판: 심판-1" in Page(render(judged, language="ko")).text


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_page_is_whole_by_itself_and_accessible(report: Report, language: str) -> None:
    page = Page(render(report, language=language, title="제목 <1>"))  # type: ignore[arg-type]
    assert page.all("script", "link", "iframe", "img", "object", "base") == []
    assert page.all("html")[0]["lang"] == language
    for attributes in page.all(*{tag for tag, _ in page.elements}):
        assert not [name for name in attributes if name.startswith("on")]
        for name in ("src", "href", "action"):
            assert attributes.get(name, "#").startswith(("#", "data:text/csv"))
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    for link in page.all("a"):
        if link["href"].startswith("#"):
            assert link["href"][1:] in ids
    for attributes in page.all("section", "article"):
        assert attributes["aria-labelledby"] in ids
    for svg in page.all("svg"):
        assert svg["role"] == "img"
        assert len(svg["aria-label"]) > 20
    assert len(page.all("caption")) + 1 == len(page.all("table"))  # the last is named by its heading
    assert all(th["scope"] in ("col", "row") for th in page.all("th"))
    for tag in ("header", "nav", "main", "footer", "h1"):
        assert len(page.all(tag)) == 1
    assert "제목 <1>" in page.text
    # Names and texts of others come out as text.
    assert HOSTILE in page.text
    assert UNDEFEATED in page.text
    assert "별빛이 조용히 내려앉습니다." in page.text


def test_the_files_inside_hold_the_exact_numbers(store: Store, report: Report) -> None:
    files = files_in(render(report))
    assert set(files) == {
        f"palaestra-{name}.csv" for name in (
            "ratings", "pairs", "leader", "history", "categories", "languages", "style", "style-ratings",
            "agreement", "excluded", "speed", "choice", "suites",
        )
    }  # fmt: skip
    for row, line in zip(report.rows, files["palaestra-ratings.csv"], strict=True):
        assert line["model"].lstrip("'") == row.model
        assert (float(line["rating"]) if line["rating"] else None) == row.rating
        assert int(line["votes"]) == row.votes
    pairs = files["palaestra-pairs.csv"]
    assert sum(int(line[k]) for line in pairs for k in ("a_won", "ties", "b_won")) == report.votes
    # A spreadsheet must not run a model's name.
    names = {line["model"] for line in files["palaestra-ratings.csv"]}
    assert "'" + FORMULA in names
    assert FORMULA not in names


def test_the_summary_says_what_is_open_and_what_is_not_known(report: Report) -> None:
    said = summarise(report, Texts("en"))
    assert report.lead is not None
    assert report.lead.name in said.standing[0]
    assert ("not certain" in said.standing[0]) == bool(report.lead.open)
    assert any(UNDEFEATED in sentence for sentence in said.unknown)


def test_a_clear_leader_needs_no_more_votes(empty: Store, tmp_path: Path) -> None:
    votes = tmp_path / "clear.csv"
    votes.write_text(
        "model_a,model_b,winner,voter\n" + "가,나,model_a,v\n" * 180 + "가,나,model_b,v\n" * 20,
        encoding="utf-8",
    )
    import_votes(empty, votes)
    report = collect(empty)
    said = summarise(report, Texts("en"))
    assert "clearly better than the other" in said.standing[0]
    assert "no more votes are needed" in said.deciding[0]
    assert any("One voter gave 100.0% of all votes" in sentence for sentence in said.unknown)
    page = Page(render(report)).text
    assert "not spread over enough moments" in page
    assert "imported without the texts" in page


def test_an_empty_store_gives_a_page_that_says_what_to_do(empty: Store, tmp_path: Path) -> None:
    for language, said in (("en", "There is nothing to compare yet"), ("ko", "아직 비교할 것이 없습니다")):
        write_report(empty, tmp_path / "empty.html", language=language)  # type: ignore[arg-type]
        page = Page((tmp_path / "empty.html").read_text(encoding="utf-8"))
        assert said in page.text
        assert "arena votes import FILE" in page.text
        assert page.all("svg") == []


def test_models_that_cannot_be_rated_are_said_to_be_so(empty: Store, tmp_path: Path) -> None:
    votes = tmp_path / "one.csv"
    votes.write_text("model_a,model_b,winner\n가,나,model_a\n", encoding="utf-8")
    import_votes(empty, votes)
    report = collect(empty)
    assert report.lead is None
    assert "none of the models can be rated yet" in Page(render(report)).text


def test_a_report_that_cannot_be_written_leaves_the_old_one(store: Store, tmp_path: Path) -> None:
    target = tmp_path / "report.html"
    target.write_text("old", encoding="utf-8")
    with pytest.raises(UnicodeEncodeError):
        write_report(store, target, title="half a character \ud800")
    assert target.read_text(encoding="utf-8") == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]
    write_report(store, target)
    assert target.read_text(encoding="utf-8").startswith("<!doctype html>")
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


def test_the_fingerprint_tells_whether_two_reports_rate_the_same_votes(store: Store, report: Report) -> None:
    assert collect(store).facts.fingerprint == report.facts.fingerprint
    assert collect(store, ReportQuery(category="coding")).facts.fingerprint != report.facts.fingerprint


def test_the_examples_of_the_documentation_run(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "votes.csv").write_text(
        "model_a,model_b,verdict\n가,나,a\n나,가,tie\n가,나,b\n", encoding="utf-8"
    )
    document = (Path(__file__).parents[2] / "docs" / "reports.md").read_text(encoding="utf-8")
    blocks = [block.split("```")[0] for block in document.split("```python\n")[1:]]
    assert len(blocks) == 2
    for block in blocks:
        names: dict[str, object] = {}
        exec(block.replace("arena-data", str(store.data_dir)), names)
        if "store" in names:
            names["store"].close()  # type: ignore[attr-defined]
    assert (tmp_path / "counts.svg").stat().st_size > 1000
    assert 'lang="ko"' in (tmp_path / "report.html").read_text(encoding="utf-8")


@pytest.mark.shared
def test_published_votes_and_judgments(empty: Store) -> None:
    if not SHARED.is_dir():
        pytest.skip("not run: the reference data do not lie beside this checkout")
    mapping = {"id": "id", "prompt": "prompt", "model_a": "left", "model_b": "right", "verdict": "winner"}
    import_votes(empty, SHARED / "crowd-comparisons.csv", mapping={**mapping, "voter": "worker"})
    import_votes(
        empty,
        SHARED / "gpt4-crowd-comparisons.csv",
        source="judge",
        mapping=mapping,
        fixed={"judge": "gpt-4"},
    )
    report = collect(empty)
    assert (report.votes, len(report.rated_rows), report.facts.battles) == (8931, 59, 2139)
    assert report.lead is not None
    assert report.lead.name == "GPT 4"
    people, judge = report.agreement
    assert judge.battles == 2139
    assert people.agreement.value == pytest.approx(0.529, abs=0.001)
    assert judge.agreement.value == pytest.approx(0.414, abs=0.001)
    assert len(Page(render(report, language="ko")).all("article")) == 5
