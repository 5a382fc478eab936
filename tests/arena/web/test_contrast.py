"""Letters of the theme stand out from what they stand on, in light and dark: WCAG 2 AA, 4.5 to 1."""

from __future__ import annotations

import re

import pytest

from arena.web._frame import static_text, theme

GROUNDS = (
    "body-background-fill",
    "background-fill-primary",
    "background-fill-secondary",
    "block-background-fill",
)
ON_GROUNDS = (
    "body-text-color", "body-text-color-subdued", "block-info-text-color", "block-title-text-color", "link-text-color",
    "link-text-color-hover", "link-text-color-visited", "link-text-color-active",
)  # fmt: skip
PAIRS = (
    ("button-primary-text-color", "button-primary-background-fill"),
    ("button-primary-text-color-hover", "button-primary-background-fill-hover"),
    ("button-secondary-text-color", "button-secondary-background-fill"),
    ("button-secondary-text-color-hover", "button-secondary-background-fill-hover"),
    ("checkbox-label-text-color-selected", "checkbox-label-background-fill-selected"),
    ("checkbox-label-text-color", "checkbox-label-background-fill"),
    ("block-label-text-color", "block-label-background-fill"),
    ("input-placeholder-color", "input-background-fill"),
    ("body-text-color", "input-background-fill"),
)


@pytest.fixture(scope="module")
def colours() -> dict[str, dict[str, str]]:
    """The theme's variables in light and dark."""
    css = theme()._get_theme_css()
    blocks = {name: dict(re.findall(r"--([\w-]+):\s*([^;]+);", block)) for name, block in _blocks(css)}
    light = blocks[":root"]
    return {"light": light, "dark": {**light, **blocks[":root .dark"]}}


def _blocks(css: str) -> list[tuple[str, str]]:
    return [
        (name.strip(), block)
        for names, block in re.findall(r"([^{}]+)\{([^{}]*)\}", css)
        for name in names.split(",")
    ]


def resolved(colours: dict[str, str], value: str) -> str:
    while match := re.fullmatch(r"var\(--([\w-]+)\)", value.strip()):
        value = colours[match[1]]
    return value.strip()


def lightness(colour: str) -> float:
    named = {"white": "#ffffff", "black": "#000000"}
    text = named.get(colour, colour).removeprefix("#")
    text = "".join(2 * letter for letter in text) if len(text) == 3 else text
    assert re.fullmatch(r"[0-9a-fA-F]{6}", text), colour
    channels = [int(text[k : k + 2], 16) / 255 for k in (0, 2, 4)]
    r, g, b = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels)
    return 0.2126 * r + 0.7152 * g + 0.0722 * b


def contrast(one: str, other: str) -> float:
    low, high = sorted((lightness(one), lightness(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("mode", ["light", "dark"])
def test_letters_of_the_theme_stand_out(colours: dict[str, dict[str, str]], mode: str) -> None:
    known = colours[mode]
    pairs = [*PAIRS, *((letters, ground) for letters in ON_GROUNDS for ground in GROUNDS)]
    weak = {}
    for letters, ground in pairs:
        one, other = (resolved(known, f"var(--{name})") for name in (letters, ground))
        if (found := contrast(one, other)) < 4.5:
            weak[letters, ground] = f"{one} on {other}: {found:.2f}"
    assert not weak


@pytest.mark.parametrize("sheet", ["work", "leaderboard", "models", "monitoring", "benchmarks", "playground"])
def test_colours_of_our_sheets_stand_out(colours: dict[str, dict[str, str]], sheet: str) -> None:
    """Rules with a fixed colour of letters, on their own ground or the page's; `.dark` rules on the dark one."""
    weak = {}
    for selector, block in _blocks(static_text(f"{sheet}.css")):
        rules = dict(re.findall(r"(?:^|[;{\s])(color|background):\s*([^;!]+)", block))
        letters = rules.get("color", "").strip()
        if not letters.startswith("#"):
            continue
        mode = "dark" if ".dark" in selector else "light"
        ground = rules.get("background", "").strip()
        if not ground.startswith("#"):
            ground = resolved(colours[mode], "var(--body-background-fill)")
        if (found := contrast(letters, ground)) < 4.5:
            weak[selector] = f"{letters} on {ground}: {found:.2f}"
    assert not weak
