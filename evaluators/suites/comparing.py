"""Is B better than A? On the same items, by the same scorer, corrected for the number of suites."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from evaluators.suites.errors import SuiteError
from evaluators.suites.results_of import Row, group_of, read_samples
from evaluators.suites.statistics import Difference, Verdict, holm, paired_difference, verdict
from results.store import Store

LEVEL = 0.05


@dataclass(frozen=True)
class Side:
    """What is compared: a model version's newest samples, or those of one run."""

    label: str
    version_key: int
    run_id: UUID | None = None


@dataclass(frozen=True)
class SuiteComparison:
    """B against A on one suite. `adjusted_p` is Holm's over all suites compared; `left_out` items were answered or
    scored (by this version of the scorer) for one side alone. `gate_p` is Holm's for "worse by more than the bound"."""

    suite: str
    difference: Difference
    adjusted_p: float
    verdict: Verdict
    left_out: int
    gate_p: float
    beyond_bound: bool


@dataclass(frozen=True)
class Comparison:
    """All suites that both sides have. `gate_says_no`: on one at least, B is shown to be worse than A by more than
    the bound."""

    a: Side
    b: Side
    bound: float
    suites: tuple[SuiteComparison, ...]
    missing: tuple[str, ...]

    @property
    def gate_says_no(self) -> bool:
        """Whether a regression gate stops B."""
        return any(each.beyond_bound for each in self.suites)


def compare(
    store: Store, a: Side, b: Side, suites: Sequence[str] = (), *, bound: float = 0.0, seed: int = 0
) -> Comparison:
    """Compare two sides, by the score of each suite that both have (or of those named).

    Raises:
        SuiteError: there is nothing that both have; a named suite is missing on a side.
    """
    if bound < 0:
        raise SuiteError("the bound of a comparison cannot be negative")
    rows = {side: _scores(store, side) for side in (a, b)}
    names = {side: {key[0] for key in rows[side]} for side in (a, b)}
    for suite in suites:
        for side in (a, b):
            if suite not in names[side]:
                raise SuiteError(
                    f"{side.label} has no scored samples of {suite}: run `arena bench run --model {side.label} "
                    f"--suite {suite}` first"
                )
    chosen = sorted(names[a] & names[b] if not suites else set(suites))
    found: list[tuple[str, Difference, int]] = []
    for suite in chosen:
        mine = {key: rows[a][key] for key in rows[a] if key[0] == suite}
        theirs = {key: rows[b][key] for key in rows[b] if key[0] == suite}
        shared = sorted(mine.keys() & theirs.keys())
        if not shared:
            continue
        difference = paired_difference(
            [mine[key][0] for key in shared],
            [theirs[key][0] for key in shared],
            [mine[key][1] for key in shared],
            bound=bound,
            seed=seed,
        )
        found.append((suite, difference, len(mine.keys() ^ theirs.keys())))
    if not found:
        raise SuiteError(
            f"{a.label} and {b.label} have no items in common that the same version of a suite has scored: run both "
            "through one suite with `arena bench run`"
        )
    adjusted = holm([difference.p for _, difference, _ in found])
    gates = holm([difference.p_beyond for _, difference, _ in found])
    comparisons = tuple(
        SuiteComparison(
            suite, difference, p, verdict(difference.difference, p, LEVEL), left_out, gate, gate < LEVEL
        )
        for (suite, difference, left_out), p, gate in zip(found, adjusted, gates, strict=True)
    )
    done = {each.suite for each in comparisons}
    missing = tuple(sorted((names[a] | names[b]) - done)) if not suites else ()
    return Comparison(a, b, bound, comparisons, missing)


Key = tuple[str, str, str]


def _scores(store: Store, side: Side) -> dict[Key, tuple[float, str]]:
    """The mean score and group of each (suite, version of its scorer, item); of a model, from its newest run."""
    newest: dict[Key, list[Row]] = {}
    rows = [row for row in read_samples(store, side.run_id) if row["version_key"] == side.version_key]
    for row in sorted(rows, key=lambda row: row["created_at"]):
        if row["score"] is None:
            continue
        key = (row["suite"], row["suite_version"], row["item_hash"])
        before = newest.get(key)
        if before and before[0]["run_id"] == row["run_id"]:
            before.append(row)
        else:
            newest[key] = [row]
    return {
        key: (sum(row["score"] for row in same) / len(same), group_of(same[0]))
        for key, same in newest.items()
    }
