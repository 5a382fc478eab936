"""The HTML of the Datasets page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from arena.roster import Contestant
from arena.web._i18n import text
from arena.web._templates import render
from arena.web.pages.datasets_rows import (
    MOST_COUNTED,
    MOST_MEASURED,
    ROWS_SHOWN,
    Measured,
    measured,
    shown_rows,
    tokens_of,
)
from results.figures import histogram_plot
from results.store import Store
from results.store.contamination import contamination_flags, dataset_duplicates, flagged_rows, known_checks
from results.store.datasets import StoredDataset
from trainers.datasets import Added, BadRows, Built, Reject

_REJECTS_SHOWN = 50
_FLAGS_SHOWN = 20
_ORIGINS = ("file", "source", "shape", "battles", "rows_left_out", "duplicates_left_out")


def list_html(store: Store, versions: Sequence[StoredDataset], chosen: str | None, locale: str) -> str:
    """The table of dataset versions, the newest first, with what checks against test suites found."""
    checks: dict[str, list[UUID]] = {}
    for check_id, check in known_checks(store).items():
        checks.setdefault(check.dataset_digest, []).append(check_id)
    overlaps = {
        version.label: _overlap(store, checks.get(version.digest, []), locale) for version in versions
    }
    languages = {version.label: ", ".join(_languages(version.statistics, locale)) for version in versions}
    return render(
        "datasets_list.html", locale, versions=list(reversed(versions)), chosen=chosen, overlaps=overlaps,
        languages=languages,
    )  # fmt: skip


def detail_html(
    store: Store, dataset: StoredDataset, first: int, model: Contestant | None, locale: str
) -> str:
    """One dataset: where it comes from, its figures, and rows as stored or as `model` sees them.

    Raises:
        MissingRows, EngineError, PromptFormatError: as `shown_rows`.
    """
    data_dir = store.data_dir
    spec = model.spec if model is not None else None
    rows = shown_rows(data_dir, dataset, first, spec)
    found = measured(data_dir, dataset.digest, dataset.kind)
    facts = [*_facts(dataset, found, locale)]
    notes = []
    if dataset.licence is None:
        notes.append(text(locale, "datasets.no_licence"))
    if dataset.row_count > MOST_MEASURED:
        notes.append(text(locale, "datasets.measured", count=f"{MOST_MEASURED:,}"))
    if model is not None:
        counted = tokens_of(data_dir, dataset, model.spec)
        name = model.version.label
        facts += [
            (text(locale, f"datasets.fact.{key}", model=name), _spread(getattr(counted, key), locale))
            for key in ("tokens", "trained")
        ]
        if dataset.row_count > MOST_COUNTED:
            notes.append(text(locale, "datasets.counted", count=MOST_COUNTED))
        notes += [
            text(locale, "datasets.refused_rows", count=count, why=why)
            for why, count in counted.refused.items()
        ]
    checks = list(known_checks(store, dataset.digest))
    flags = contamination_flags(store, checks)
    facts.append((text(locale, "datasets.overlap"), _overlap(store, checks, locale)))
    near = dataset_duplicates(store, dataset.digest)
    if near is not None:
        found_near = text(
            locale, "datasets.near", rows=f"{near.extra_rows:,}", clusters=f"{near.cluster_count:,}"
        )
        facts.append((text(locale, "datasets.fact.near"), found_near))
    figure = histogram_plot(found.characters, title=text(locale, "datasets.lengths"))
    return render(
        "datasets_detail.html",
        locale,
        dataset=dataset,
        facts=[(name, value) for name, value in facts if value],
        notes=notes,
        figure=figure.svg(standalone=False),
        flags=flags.slice(0, _FLAGS_SHOWN).to_pylist(),
        flagged=_by_row(flags.to_pylist(), first),
        more_flags=max(flags.num_rows - _FLAGS_SHOWN, 0),
        rows=rows,
        first=first,
        last=min(first + ROWS_SHOWN - 1, dataset.row_count),
        model=model.version.label if model is not None else None,
    )


def _by_row(flags: Sequence[Mapping[str, Any]], first: int) -> dict[int, list[Mapping[str, Any]]]:
    """The findings of the rows that are shown, by the number of the row from 1."""
    found: dict[int, list[Mapping[str, Any]]] = {}
    for flag in flags:
        number = int(flag["row_number"]) + 1
        if first <= number < first + ROWS_SHOWN:
            found.setdefault(number, []).append(flag)
    return found


def _overlap(store: Store, checks: Sequence[UUID], locale: str) -> str:
    """How many rows overlap items of test suites, as far as that was looked for."""
    if not checks:
        return text(locale, "datasets.unchecked")
    count = len(flagged_rows(store, checks))
    return text(locale, "datasets.overlaps", count=f"{count:,}") if count else text(locale, "datasets.clean")


def _facts(dataset: StoredDataset, found: Measured, locale: str) -> list[tuple[str, str]]:
    figures, origin = dataset.statistics, dataset.origin

    def named(key: str, value: Any) -> tuple[str, str]:
        return text(locale, f"datasets.fact.{key}"), str(value)

    written = ", ".join(f"{model} {count:,}" for model, count in list(found.written_by.items())[:8])
    unsaid = text(locale, "datasets.unsaid", count=f"{found.unsaid:,}") if found.unsaid else ""
    return [
        named("kind", text(locale, f"datasets.kind.{dataset.kind}")),
        named("digest", dataset.digest[:16]),
        named("made", f"{dataset.created_at:%Y-%m-%d %H:%M} UTC"),
        named("rows", f"{dataset.row_count:,}"),
        named("held_out", f"{dataset.held_out_count:,}"),
        named("licence", dataset.licence or text(locale, "datasets.unknown")),
        *(named(key, _plain(origin[key])) for key in _ORIGINS if origin.get(key) not in (None, "", 0)),
        named("filter", _filter(origin.get("filter", {}), locale)),
        named("left_out", _counts(origin.get("left_out", {}))),
        named("characters", _spread(figures.get("characters"), locale)),
        named("turns", _spread(figures.get("turns"), locale)),
        named("languages", _counts(_languages(figures, locale))),
        named("labels", _counts(figures.get("labels", {}))),
        named("duplicates", f"{figures.get('duplicates', 0):,}"),
        named("diversity", f"{figures.get('distinct_words', 0):.0%}"),
        named("written_by", " · ".join(part for part in (written, unsaid) if part)),
    ]


def rejects_html(error: BadRows, locale: str) -> str:
    """The rows that cannot be used, and that nothing was added."""
    headline = text(
        locale, "datasets.nothing_added", bad=f"{error.total:,}", all=f"{error.total + error.good:,}"
    )
    shown: Sequence[Reject] = error.rejects[:_REJECTS_SHOWN]
    return render(
        "datasets_rejects.html", locale, headline=headline, rejects=shown, more=error.total - len(shown)
    )


def problem_html(message: str, locale: str) -> str:
    """What went wrong, in words."""
    return render("datasets_rejects.html", locale, headline=message, rejects=(), more=0)


def added_html(added: Added, locale: str) -> str:
    """What became of a file."""
    dataset = added.dataset
    headline = text(
        locale,
        "datasets.known" if added.known else "datasets.added",
        label=dataset.label,
        rows=f"{dataset.row_count:,}",
        held_out=f"{dataset.held_out_count:,}",
        shape=added.shape,
    )
    left_out = [
        (text(locale, f"datasets.fact.{key}"), int(dataset.origin.get(key, 0)))
        for key in ("rows_left_out", "duplicates_left_out")
    ]
    return _done(dataset, headline, [(name, count) for name, count in left_out if count], locale)


def built_html(built: Built, locale: str) -> str:
    """What came of the votes."""
    dataset = built.dataset
    headline = text(
        locale,
        "datasets.built",
        label=dataset.label,
        rows=f"{dataset.row_count:,}",
        held_out=f"{dataset.held_out_count:,}",
        battles=f"{built.battles:,}",
    )
    return _done(dataset, headline, list(built.left_out.items()), locale)


def _done(dataset: StoredDataset, headline: str, left_out: list[tuple[str, int]], locale: str) -> str:
    notes = [text(locale, "datasets.no_licence")] if dataset.licence is None else []
    if not dataset.held_out_count:
        notes.append(text(locale, "datasets.none_held_out"))
    return render(
        "datasets_done.html", locale, headline=headline, left_out=left_out, notes=notes, label=dataset.label
    )


def _spread(spread: Any, locale: str) -> str:
    if spread is None:
        return ""
    values = spread if isinstance(spread, Mapping) else spread.model_dump()
    return text(
        locale, "datasets.spread", **{key: f"{values[key]:,.0f}" for key in ("mean", "p50", "p95", "largest")}
    )


def _languages(figures: Mapping[str, Any], locale: str) -> dict[str, int]:
    """Rows by language; those too short to tell stand under a word of the reader's."""
    found: Mapping[str, int] = figures.get("languages") or {}
    return {text(locale, "datasets.unclear") if name == "?" else name: count for name, count in found.items()}


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.items())


_FILTERS = {
    "agreement": "datasets.agreement",
    "least_verdicts": "datasets.least",
    "categories": "datasets.categories",
    "languages": "datasets.votes_languages",
    "models": "datasets.votes_models",
}


def _filter(values: Mapping[str, Any], locale: str) -> str:
    """The filters that a dataset of votes was built with, as the form calls them."""
    told = []
    if "source" in values:
        told.append(text(locale, f"leaderboard.source.{values['source']}"))
    told += [
        f"{text(locale, label)}: {_plain(values[key])}" for key, label in _FILTERS.items() if values.get(key)
    ]
    if values.get("commercial"):
        told.append(text(locale, "datasets.commercial"))
    return ", ".join(told)


def _plain(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return f"{value:,}" if isinstance(value, int) else str(value)
