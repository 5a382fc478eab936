"""The Judge page in a browser: judges that follow the answers, the order, or nothing; cost first; stopped; people."""

from __future__ import annotations

import asyncio
import csv
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect

from arena.engines.pool import EnginePool
from arena.engines.spec import ModelSpec
from arena.roster import Contestant
from evaluators.battles import Prompt, run_battles
from results.interchange import import_votes
from results.records import ModelVersionRecord
from results.store import Store, open_store
from tests.browser.conftest import Arena, start_arena

pytestmark = pytest.mark.browser

SERVER = Path(__file__).parents[1] / "_servers" / "scripted_judge.py"
RUN = 60_000  # milliseconds for a small run on a busy machine
BATTLES = 12


@pytest.fixture(scope="module")
def judge_server() -> Iterator[str]:
    with subprocess.Popen([sys.executable, str(SERVER)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        address = f"http://127.0.0.1:{int(process.stdout.readline())}"
        with httpx.Client(transport=httpx.HTTPTransport(retries=10), trust_env=False) as client:
            assert client.get(f"{address}/seen/nothing").json()["requests"] == 0
        yield address
        process.terminate()


def make_battles(store: Store, address: str) -> None:
    """Twelve battles between a model whose answers are worth 3 and one whose answers are worth 1."""

    def model(source: str, name: str) -> Contestant:
        spec = ModelSpec(name=name, kind="openai", source=source, base_url=f"{address}/v1")
        record = ModelVersionRecord(model=name, digest=spec.digest(""), spec=spec.model_dump(mode="json"))
        return Contestant(spec, store.upsert_model_versions([record])[0])

    async def run() -> None:
        pool = EnginePool(store.data_dir)
        prompts = [
            Prompt(id=f"q{n}", turns=(f"질문 {n}?",), category=f"c{n % 2}", language="ko")
            for n in range(BATTLES)
        ]
        await run_battles(store, pool.get, [model("worth:3", "w3"), model("worth:1", "w1")], prompts)
        await pool.close()

    # Playwright's own event loop runs in this thread.
    with ThreadPoolExecutor(1) as other:
        other.submit(lambda: asyncio.run(run())).result()


def import_people(store: Store, folder: Path) -> None:
    """Three people on 60 battles of 15 prompts, and an imported judge that repeats the first of them."""
    said = ("left", "left", "right", "tie")
    people, echo = [], []
    for number in range(60):
        base = {"id": number, "prompt": f"질문 {number % 15}", "left": "가람", "right": "나래"}
        verdicts = [said[(number * 7 + k * (number % 3 == 0)) % 4] for k in range(3)]
        people += [{**base, "worker": f"w{k}", "winner": verdict} for k, verdict in enumerate(verdicts)]
        echo.append({**base, "winner": verdicts[0]})
    mapping = {"model_a": "left", "model_b": "right", "verdict": "winner", "id": "id", "prompt": "prompt"}
    for name, rows in (("people", people), ("echo", echo)):
        path = folder / f"{name}.csv"
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, fieldnames=list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
        if name == "people":
            import_votes(store, path, source="human", mapping={**mapping, "voter": "worker"})
        else:
            import_votes(store, path, source="judge", mapping=mapping, fixed={"judge": name})


@pytest.fixture(scope="module")
def arena(judge_server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Arena]:
    data_dir = tmp_path_factory.mktemp("judge-page")
    with open_store(data_dir) as store:
        make_battles(store, judge_server)
        import_people(store, data_dir)
    models = "".join(
        f'[[models]]\nname = "{mode}"\nkind = "openai"\nsource = "{mode}"\nbase_url = "{judge_server}/v1"\n'
        for mode in ("fair", "first", "hang")
    )
    prices = "[prices.fair]\ninput = 2.0\noutput = 8.0\n"
    (data_dir / "arena.toml").write_text(f"embedded = false\n{models}{prices}", encoding="utf-8")
    started = start_arena(data_dir)
    yield started
    started.stop()


def run_tab(page: Page, *judges: str) -> None:
    page.get_by_role("tab", name="Run a judge", exact=True).click()
    box = page.locator("#judge-models input")
    for judge in judges:
        box.click()
        box.fill(judge)
        page.get_by_role("option", name=judge).first.click()
    page.keyboard.press("Escape")


def test_agreement_with_people_and_their_ceiling(page: Page, arena: Arena) -> None:
    page.goto(f"{arena.url}judge?judge=echo")
    found = page.locator("#judge-agreement")
    expect(found).to_contain_text("It can replace one more person here")
    row = found.get_by_role("row").nth(1)
    expect(row).to_contain_text("60")
    numbers = row.locator("td").all_inner_texts()
    agreement, kappa, alpha, people = (float(cell.split()[0]) for cell in numbers[1:5])
    assert agreement > people > 0.5
    assert 0 < kappa <= 1
    assert 0 < alpha <= 1
    assert all("[" in cell for cell in numbers[1:])


def test_cost_first_then_verdicts_and_biases(page: Page, arena: Arena, judge_server: str) -> None:
    page.goto(f"{arena.url}judge")
    run_tab(page, "fair")
    expect(page.locator("#start-judging")).to_be_disabled()
    page.locator("#estimate").click()
    told = page.locator("#estimated")
    expect(told.get_by_role("row").filter(has_text="fair@1")).to_contain_text("USD")
    cells = told.get_by_role("row").filter(has_text="fair@1").locator("td").all_inner_texts()
    assert cells[0] == str(BATTLES)
    assert int(cells[1]) == 2 * BATTLES + 2 * 10  # both orders, and ten battles with swapped labels
    assert httpx.get(f"{judge_server}/seen/fair", trust_env=False).json()["requests"] == 0
    # 60 battles that came without texts cannot be judged; that is said.
    expect(told).to_contain_text("60 battles left out")

    # An estimate holds for what was chosen.
    page.locator("#judge-brief input").click()
    expect(page.locator("#start-judging")).to_be_disabled()
    page.locator("#estimate").click()
    page.locator("#start-judging").click()
    expect(page.locator("#work .state")).to_have_text("done", timeout=RUN)
    expect(page.locator("#report .usable")).to_contain_text("Usable")
    expect(page.locator("#report")).to_contain_text(f"verdicts {BATTLES}")

    page.get_by_role("tab", name="Results", exact=True).click()
    summary = page.locator("#judge-summary")
    expect(summary).to_contain_text(f"{BATTLES} kept their winner")
    expect(summary.get_by_role("row").filter(has_text="First position wins")).to_contain_text("0.50")
    # Its probabilities count: 0.7 for the better one and 0.1 for a tie make 0.75.
    expect(summary.get_by_role("row").filter(has_text="w3")).to_contain_text("0.75")
    expect(summary.locator(".cost")).to_contain_text("Cost")
    expect(page.locator("#judge-agreement")).to_contain_text("No battle has been judged by both")


def test_a_judge_that_follows_the_order_is_called_unusable(page: Page, arena: Arena) -> None:
    page.goto(f"{arena.url}judge")
    run_tab(page, "first")
    page.locator("#estimate").click()
    page.locator("#start-judging").click()
    expect(page.locator("#work .state")).to_have_text("done", timeout=RUN)
    expect(page.locator("#report [role=alert]")).to_contain_text("UNUSABLE: its verdict follows the order")
    page.get_by_role("tab", name="Results", exact=True).click()
    expect(page.locator("#judges").get_by_role("row").filter(has_text="first@1")).to_contain_text(
        "no: its verdict"
    )
    page.goto(f"{arena.url}judge?judge=first%401")
    summary = page.locator("#judge-summary")
    expect(summary.locator(".unusable")).to_contain_text("outside the ratings")
    expect(summary).to_contain_text(f"{BATTLES} followed the slot")


def test_stopped_after_a_reload(page: Page, arena: Arena) -> None:
    page.goto(f"{arena.url}judge")
    run_tab(page, "hang")
    page.locator("#estimate").click()
    page.locator("#start-judging").click()
    expect(page.locator("#work .state")).to_have_text("at work")
    page.reload()
    page.get_by_role("tab", name="Run a judge", exact=True).click()
    expect(page.locator("#work .state")).to_have_text("at work")
    page.locator("#stop-judging").click()
    expect(page.locator("#work .state")).to_have_text("stopped", timeout=RUN)
    expect(page.locator("#work")).to_contain_text("nothing is asked twice")


def test_korean_on_a_phone(chromium: Browser, arena: Arena) -> None:
    context = chromium.new_context(
        locale="ko-KR", viewport={"width": 390, "height": 844}, color_scheme="dark", is_mobile=True
    )
    page = context.new_page()
    page.goto(f"{arena.url}judge?judge=echo")
    expect(page.locator("#page-title")).to_contain_text("심사 모델")
    expect(page.locator("#judge-agreement")).to_contain_text("사람 둘은")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    context.close()
