"""Promises of the project as a whole: its names, pins, and what may not be written into it."""

from __future__ import annotations

import re
import subprocess
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("prompt_formats", "results", "arena", "evaluators", "trainers")


def test_no_other_distribution_brings_our_package_names() -> None:
    providers = packages_distributions()
    for package in PACKAGES:
        assert set(providers.get(package, ["palaestra"])) <= {"palaestra"}, package


def test_constraints_pin_exactly_and_name_no_local_build() -> None:
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if line and line[0] != "#"]
    assert len(lines) > 50
    for line in lines:
        assert re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][A-Za-z0-9.]*", line), line


def test_every_requirement_is_pinned() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [
        *project["dependencies"],
        *(r for extra in project["optional-dependencies"].values() for r in extra),
    ]

    def plain(name: str) -> str:
        return re.sub(r"[-_.]+", "-", re.split(r"[<>=\[ ]", name)[0]).lower()

    pinned = {plain(line) for line in (ROOT / "constraints.txt").read_text().splitlines()}
    missing = {plain(requirement) for requirement in wanted} - pinned - {"palaestra"}
    assert not missing


def test_tracked_text_names_no_place_of_one_machine() -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("not run: this is no git checkout")
    pattern = r"(^|[^A-Za-z0-9_.])/(root|home/[a-z]+|Users)/"
    found = subprocess.run(
        ["git", "grep", "-nIE", pattern, "--", ".", ":!tests/test_project.py"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert found.returncode == 1, found.stdout
