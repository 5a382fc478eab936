"""Which suites there are: the starter set, and those of the data folder."""

from __future__ import annotations

from pathlib import Path

from evaluators.suites.definition import Suite, load_suite
from evaluators.suites.errors import SuiteError, hint

STARTER = Path(__file__).parent / "starter"
OWN = "suites"


def suite_folders(data_dir: Path | None = None) -> dict[str, Path]:
    """The folder of each suite by its name; an own suite hides a starter suite of the same name."""
    found: dict[str, Path] = {}
    for root in (STARTER, *([] if data_dir is None else [data_dir / OWN])):
        if root.is_dir():
            found |= {
                folder.name: folder
                for folder in sorted(root.iterdir())
                if (folder / f"{folder.name}.yaml").is_file()
            }
    return found


def all_suites(data_dir: Path | None = None) -> tuple[list[Suite], dict[str, str]]:
    """All suites that can be run, and for the others the reason why not, by name."""
    suites, broken = [], {}
    for name, folder in suite_folders(data_dir).items():
        try:
            suites.append(_load(folder))
        except SuiteError as error:
            broken[name] = str(error)
    return suites, broken


def find_suite(word: str, data_dir: Path | None = None) -> Suite:
    """The suite of a name, or of a folder or YAML file. Raises SuiteError naming the nearest."""
    folders = suite_folders(data_dir)
    if word in folders:
        return _load(folders[word])
    path = Path(word).expanduser()
    if path.exists():
        return load_suite(path)
    raise SuiteError(f"there is no suite '{word}'{hint(word, folders)}")


def _load(folder: Path) -> Suite:
    return load_suite(folder, "starter" if folder.parent == STARTER else "own")
