"""The Models page in a browser: cards, one model in full, and what its operator does, on a real arena."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from arena.roster import current, find
from results.store import open_store
from results.store.aliases import set_alias
from tests.arena.model_folders import save_adapter, save_model
from tests.browser.conftest import Arena, start_arena

pytestmark = pytest.mark.browser

LOADING = 150_000  # milliseconds for real weights on a busy machine


@pytest.fixture(scope="module")
def arena(
    scripted_server: str, model_data_dir: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Arena]:
    data_dir = tmp_path_factory.mktemp("models-page")
    folder = save_model(data_dir / "weights" / "누리-base", license="cc-by-nc-4.0", language=["ko"])
    adapter = save_adapter(data_dir / "weights" / "담당-lora", str(folder), license="mit")
    (data_dir / "arena.toml").write_text(
        "embedded = false\n"
        '[[models]]\nname = "smollm2"\nsource = "embedded:SmolLM2-135M-Instruct"\nlicence = "Apache-2.0"\n'
        f'[[models]]\nname = "누리-base"\nsource = "{folder}"\n'
        f'[[models]]\nname = "담당-lora"\nsource = "{folder}"\nadapter = "{adapter}"\nparent = "누리-base"\n'
        f'[[models]]\nname = "chat"\nkind = "openai"\nsource = "korean"\nbase_url = "{scripted_server}/v1"\n'
        'licence = "apache-2.0"\nsystem_prompt = "한국어로 <b>답하세요</b>."\ntags = ["고객지원"]\n',
        encoding="utf-8",
    )
    started = start_arena(data_dir)
    yield started
    started.stop()


def visit(page: Page, arena: Arena, query: str = "") -> None:
    page.goto(f"{arena.url}models{query}")
    expect(page.locator("#models .models")).to_be_visible()


def test_cards_say_what_takes_part_and_filters_choose_among_them(page: Page, arena: Arena) -> None:
    visit(page, arena)
    cards = page.locator(".card")
    all_of_them = cards.count()
    assert all_of_them >= 4
    nuri = page.locator(".card", has_text="담당-lora").filter(has_text="Adapters on it")
    expect(nuri).to_contain_text("No commercial use")
    expect(nuri).to_contain_text("48 parameters")
    lora = page.locator(".card", has_text="담당-lora").filter(has_not_text="Adapters on it")
    lora.get_by_text("Why this mark").click()
    expect(lora).to_contain_text("forbids commercial use")
    expect(lora.get_by_role("link", name="Try it")).to_have_attribute("href", re.compile("playground.model="))

    page.locator("#filter-name textarea, #filter-name input").first.fill("고객지원")
    expect(cards).to_have_count(1)
    expect(cards).to_contain_text("chat")
    page.locator("#filter-name textarea, #filter-name input").first.fill("")
    expect(cards).to_have_count(all_of_them)
    page.locator("#filter-commercial input").click()
    page.get_by_role("option", name="not allowed or unknown").click()
    expect(cards).to_have_count(2)
    expect(page.locator("#models .note").first).to_contain_text(f"2 of {all_of_them} models")
    visit(page, arena, "?place=remote")
    expect(cards).to_have_count(1)


def test_one_model_in_full_and_aliases(page: Page, arena: Arena) -> None:
    visit(page, arena, "?model=담당-lora")
    body = page.locator("main")
    expect(body.locator(".tree")).to_contain_text(re.compile("누리-base@1.*담당-lora@1", re.DOTALL))
    expect(body.locator("pre").nth(1)).to_contain_text(
        "<|user|>프랑스의 수도는 어디인가요?<|assistant|>파리입니다."
    )
    expect(page.locator("#do-remove")).to_be_hidden()  # the settings file owns it
    body.locator(".tree a").first.click()
    expect(body.locator("h2")).to_contain_text("누리-base")
    expect(body.locator(".tree")).to_contain_text("담당-lora@1")

    visit(page, arena, "?model=chat")
    expect(body).to_contain_text("한국어로 <b>답하세요</b>.")
    expect(body).to_contain_text("renders prompts itself, unseen")
    page.locator("#alias input, #alias textarea").first.fill("champion")
    page.locator("#do-alias_set").click()
    expect(page.locator("#status")).to_contain_text("champion stands for chat@1 now.")
    expect(body).to_contain_text("champion → chat@1")
    page.locator("#do-alias_back").click()
    expect(page.locator("#status .bad")).to_contain_text("nothing else before")
    with open_store(arena.data_dir) as store:
        assert find(store, "champion").version.label == "chat@1"
        set_alias(store, "champion", find(store, "누리-base").version.version_key)
    page.locator("#do-alias_back").click()
    expect(page.locator("#status")).to_contain_text("champion stands for chat@1 now.")
    page.goto(f"{arena.url}models?model=nothing")
    expect(page.get_by_role("alert")).to_contain_text("there is no model 'nothing'")
    page.get_by_role("link", name="All models").click()
    expect(page.locator(".card").first).to_be_visible()


def test_a_model_is_added_after_a_check_edited_and_taken_off_again(
    page: Page, arena: Arena, scripted_server: str
) -> None:
    visit(page, arena)
    before = page.locator(".card").count()
    page.locator("#add-model > button").click()

    def add(source: str, name: str, **more: str) -> None:
        for field, value in {"source": source, "name": name, **more}.items():
            page.locator(f"#add-{field} textarea, #add-{field} input").first.fill(value)
        page.get_by_role("button", name="Check and add").click()

    add(f"openai:absent@{scripted_server}/none", "new")
    expect(page.locator("#status .bad")).to_be_visible(timeout=60_000)
    expect(page.locator(".card")).to_have_count(before)
    add(f"openai:korean:listed@{scripted_server}/v1", "<img src=x>새 모델")
    expect(page.locator("#status .good")).to_contain_text(
        "takes part now. Its first answer: 대한민국의", timeout=60_000
    )
    expect(page.locator(".card")).to_have_count(before + 1)
    page.locator("#add-more > button").click()
    add(
        "<img src=x>새 모델",
        "<img src=x>새 모델",
        system_prompt="짧게.",
        few_shot='[{"user": "1+1?", "assistant": "2"}]',
    )
    expect(page.locator("#status .good")).to_contain_text("새 모델@2 takes part now", timeout=60_000)
    with open_store(arena.data_dir) as store:
        spec = find(store, "<img src=x>새 모델").spec
        assert (spec.system_prompt, spec.few_shot[0].assistant) == ("짧게.", "2")

    page.get_by_role("link", name="<img src=x>새 모델", exact=True).click()
    expect(page.locator("#model-details table")).to_contain_text("system_prompt: – → 짧게.")
    page.locator("#do-rollback").click()
    expect(page.locator("#status")).to_contain_text("새 모델@1 takes part now")
    page.locator("#do-remove").click()
    expect(page.locator("#status")).to_contain_text("is off the roster")
    page.locator("#do-enter").click()
    expect(page.locator("#status")).to_contain_text("takes part now")
    page.locator("#do-remove").click()
    expect(page.locator("#status")).to_contain_text("is off the roster")
    with open_store(arena.data_dir) as store:
        assert "<img src=x>새 모델" not in [each.spec.name for each in current(store)]


@pytest.mark.model
def test_the_real_model_is_loaded_and_unloaded(page: Page, arena: Arena) -> None:
    arena.wait_for(r"smollm2: ready", 150)
    visit(page, arena)
    page.get_by_role("link", name="smollm2", exact=True).click()
    expect(page.locator("#do-unload")).to_be_enabled(timeout=LOADING)
    page.locator("#do-unload").click()
    expect(page.locator("#status")).to_contain_text("its memory is free")
    expect(page.locator("#models .chip")).to_contain_text("not loaded")
    page.locator("#do-load").click()
    expect(page.locator("#status")).to_contain_text("is loaded (", timeout=LOADING)
    expect(page.locator("#models .chip")).to_contain_text("ready")
    expect(page.locator("#model-details dl").first).to_contain_text("counted with")
    page.locator("#do-pin input").check()
    expect(page.locator("#status")).to_contain_text("stays loaded once it is")
    expect(page.locator("#model-details pre").first).to_contain_text("<|im_start|>user")


def test_korean_on_a_phone_fetches_nothing_elsewhere(chromium: Browser, arena: Arena) -> None:
    context = chromium.new_context(
        locale="ko-KR", viewport={"width": 390, "height": 844}, color_scheme="dark"
    )
    page = context.new_page()
    elsewhere: list[str] = []
    problems: list[str] = []
    page.on(
        "request",
        lambda r: None if r.url.startswith((arena.url, "data:", "blob:")) else elsewhere.append(r.url),
    )
    page.on("pageerror", lambda error: problems.append(str(error)))
    for query in ("", "?model=담당-lora", "?model=chat"):
        visit(page, arena, query)
        assert page.evaluate("document.documentElement.scrollWidth") <= 390, query
        assert not re.search(r"\bmodels\.\w+", page.locator("main").inner_text())
    expect(page.locator("#models")).to_contain_text("상업적 이용 가능")
    assert elsewhere == []
    assert problems == []
    context.close()


def test_a_model_is_let_battle_its_parent(page: Page, arena: Arena) -> None:
    visit(page, arena, "?model=담당-lora")
    button = page.locator("#do-duel_begin")
    expect(button).to_have_text("Battle against its parent")
    button.click()
    expect(page.locator("#status")).to_contain_text("담당-lora and 누리-base meet in 80% of the battles")
    expect(button).to_have_text("End the battles against its parent")
    button.click()
    expect(page.locator("#status")).to_contain_text("Battles are drawn as before")
    expect(button).to_have_text("Battle against its parent")
    visit(page, arena, "?model=누리-base")
    expect(button).to_be_hidden()
