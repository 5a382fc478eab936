import pytest

from arena.config import ConfigError
from arena.engines.spec import ModelSpec
from arena.roster import check_formats, spec_from_text, specs_from_tables
from prompt_formats import built_in


@pytest.mark.parametrize(
    ("word", "kind", "name", "source"),
    [
        ("Qwen/Qwen3-0.6B", "local", "Qwen3-0.6B", "Qwen/Qwen3-0.6B"),
        ("./모형/", "local", "모형", "./모형/"),
        ("openai:org/qwen3@http://localhost:8000/v1", "openai", "org-qwen3", "org/qwen3"),
    ],
)
def test_models_named_by_a_word(word: str, kind: str, name: str, source: str) -> None:
    spec = spec_from_text(word)
    assert (spec.kind, spec.name, spec.source) == (kind, name, source)


def test_a_key_is_asked_for_where_it_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    local, real = "openai:m@http://localhost:8000/v1", "openai:m@https://api.openai.com/v1"
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    assert [spec_from_text(word).api_key_env for word in (local, real)] == [None, "OPENAI_API_KEY"]
    monkeypatch.setenv("OPENAI_API_KEY", "sk-1")
    assert spec_from_text(local).api_key_env == "OPENAI_API_KEY"


@pytest.mark.parametrize("word", ["openai:model", "openai:@http://x", "openai:m@localhost:8000", "/"])
def test_words_that_name_no_model(word: str) -> None:
    with pytest.raises(ConfigError, match=r"openai:MODEL@BASE_URL"):
        spec_from_text(word)


@pytest.mark.parametrize(
    ("table", "says"),
    [
        (
            {"name": "x", "sorce": "y", "source": "z"},
            r"models\[1\] \(x\): sorce: unknown key \(did you mean 'source'",
        ),
        ({"source": "z"}, r"\(no name\): name: Field required"),
        ({"name": "x", "source": "y", "quantisation": "int3"}, r"quantisation: Input should be"),
        ({"name": "a@2", "source": "y"}, r"name: String should match"),
        ({"name": "x", "source": "y", "window": {"rounds": 2}}, r"window: .*unknown window 'rounds'"),
        (
            {"name": "x", "kind": "openai", "source": "y", "window": {"token_budget": 9}},
            r"cannot be counted here",
        ),
    ],
)
def test_bad_entries_name_place_and_remedy(table: dict[str, object], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        specs_from_tables([table])


def test_a_name_stands_once() -> None:
    with pytest.raises(ConfigError, match="twice"):
        specs_from_tables([{"name": "x", "source": "y"}] * 2)


def test_an_unknown_prompt_format_is_refused_before_a_voter_meets_it() -> None:
    check_formats([ModelSpec(name="x", source="y", prompt_format="alpaca")], built_in())
    with pytest.raises(ConfigError, match=r"x: prompt_format: .*alpca"):
        check_formats([ModelSpec(name="x", source="y", prompt_format="alpca")], built_in())
