"""What the Models page shows, as HTML: cards of the roster's models, and one model in full."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from arena.engines.pool import EngineStatus
from arena.engines.spec import ModelSpec
from arena.roster import find
from arena.roster.licences import Reason
from arena.roster.overview import ModelOverview, details, overview
from arena.web._frame import PageContext
from arena.web._i18n import text
from arena.web.pages.models_preview import previews
from arena.web.viewers import Viewer
from results.leaderboard import BoardQuery, rate
from results.leaderboard_facts import size_text
from trainers.lineage import training_of

PATH = "models"
_PLACES = {"source", "adapter", "base_url", "base_urls", "api_key_env"}
"""Fields of a spec that tell where things lie; only the operator sees their values."""
_LONGEST = 120

_templates = Environment(
    loader=PackageLoader("arena.web", "templates"),
    autoescape=select_autoescape(),
    trim_blocks=True,
    lstrip_blocks=True,
    undefined=StrictUndefined,
)


@dataclass(frozen=True)
class Filters:
    """Which cards are shown; '' shows all. `loaded` counts only for whom may see it."""

    name: str = ""
    commercial: str = ""
    place: str = ""
    loaded: str = ""


@dataclass(frozen=True)
class Card:
    """One model as its card shows it. `engine` is set for whom may see it, and where the model was used."""

    model: ModelOverview
    spec: Mapping[str, Any]
    reasons: tuple[Reason, ...]
    source: str
    adapters: tuple[str, ...]
    left_out: str | None
    engine: EngineStatus | None
    links: Mapping[str, str] = field(default_factory=dict)

    @property
    def phase(self) -> str:
        """Whether the model is loaded: a word of `EngineStatus`."""
        return self.engine.phase if self.engine else "remote" if self.model.kind == "openai" else "unloaded"


@dataclass(frozen=True)
class _Known:
    """What all cards are made from, read once."""

    context: PageContext
    viewer: Viewer
    models: Sequence[ModelOverview]
    specs: Mapping[int, Mapping[str, Any]]
    rated: frozenset[str]

    def card(self, model: ModelOverview) -> Card:
        """The card of one model version."""
        viewer, spec = self.viewer, self.specs[model.version_key]
        links = {}
        if model.on_roster:
            links["try"] = f"./playground?{urlencode({'model': model.model})}"
        if model.model in self.rated:
            links["battles"] = f"./leaderboard?{urlencode({'view': 'duel', 'a': model.model})}"
            parent = (model.parent or "").partition("@")[0]
            if parent in self.rated:
                duel = {"view": "duel", "a": model.model, "b": parent}
                links["parent"] = f"./leaderboard?{urlencode(duel)}"
        return Card(
            model=model,
            spec=spec,
            reasons=tuple(
                each.model_copy(update={"model": viewer.place(each.model)})
                for each in model.commercial.reasons
            ),
            source=viewer.place(model.source),
            adapters=self._adapters(model, spec),
            left_out=self.context.roster.unusable().get(model.model) if model.on_roster else None,
            engine=engine_of(self.context, model.model) if viewer.sees_engines else None,
            links=links,
        )

    def _adapters(self, model: ModelOverview, spec: Mapping[str, Any]) -> tuple[str, ...]:
        """The models of the roster that are adapters on these weights."""
        if spec.get("adapter") or model.kind != "local":
            return ()
        return tuple(
            each.model
            for each in self.models
            if each.source == model.source and self.specs[each.version_key].get("adapter")
        )


def cards_html(context: PageContext, viewer: Viewer, filters: Filters) -> str:
    """The cards of the roster that pass the filters. Raises StoreError."""
    known = _known(context, viewer)
    cards = [known.card(model) for model in known.models]
    names = {model.model for model in known.models}
    return _render(
        "models_cards.html",
        viewer,
        cards=[card for card in cards if _passes(card, filters, viewer)],
        count=len(cards),
        # Entries of a settings file whose weights were never there have no version, and so no card.
        missing={name: why for name, why in context.roster.unusable().items() if name not in names},
        memory=context.engines.memory() if context.engines is not None and viewer.sees_engines else None,
    )


def details_html(context: PageContext, viewer: Viewer, reference: str) -> tuple[str, str]:
    """One model in full, with what its prompts look like: its head, and all the rest. Raises ConfigError where there is
    none (or this release cannot read it) and StoreError."""
    found = details(context.store, reference)
    # Of what is known from imported votes alone there is no spec.
    spec = find(context.store, found.overview.reference).spec if "source" in found.spec else None
    card = _known(context, viewer).card(found.overview)
    return _render("models_head.html", viewer, card=card), _render(
        "models_details.html",
        viewer,
        card=card,
        found=found,
        links_up=list(reversed(found.lineage)),
        versions=[
            (each, [_told(change, viewer) for change in each.changes]) for each in reversed(found.versions)
        ],
        training=training_of(context.store, spec) if spec else None,
        previews=previews(spec, context.engines.data_dir) if spec and context.engines is not None else [],
        sampling={
            key: value for key, value in (found.spec.get("sampling") or {}).items() if value is not None
        },
    )


def engine_of(context: PageContext, name: str) -> EngineStatus | None:
    """Where the model's engine stands; None where it was not used yet. Of several versions' the loaded one."""
    status = context.engines.status() if context.engines is not None else []
    own = [each for each in status if each.name == name]
    return next((each for each in own if each.phase == "ready"), own[-1] if own else None)


def address(reference: str | None = None) -> str:
    """Where one model's details are, or all cards. Relative to the first page, as all addresses are."""
    return f"./{PATH}" + (f"?{urlencode({'model': reference})}" if reference else "")


def _known(context: PageContext, viewer: Viewer) -> _Known:
    rated = rate(context.store, BoardQuery(settled=True)).board.models
    return _Known(
        context,
        viewer,
        overview(context.store),
        # Fields that a version of an older release, or of imported votes, does not have are not set.
        {
            each.version_key: {**dict.fromkeys(ModelSpec.model_fields), **each.spec}
            for each in context.store.model_versions()
        },
        frozenset(row.model for row in rated),
    )


def _passes(card: Card, filters: Filters, viewer: Viewer) -> bool:
    model = card.model
    wanted = filters.name.strip().casefold()
    if wanted and not any(wanted in word.casefold() for word in (model.model, *model.tags, *model.aliases)):
        return False
    if filters.commercial and model.commercial.allowed != (filters.commercial == "allowed"):
        return False
    if filters.place and (model.kind == "openai") != (filters.place == "remote"):
        return False
    if filters.loaded and viewer.sees_engines:
        return model.kind != "openai" and (card.phase == "ready") == (filters.loaded == "yes")
    return True


def _told(change: tuple[str, Any, Any], viewer: Viewer) -> tuple[str, str, str]:
    name, before, after = change
    if name in _PLACES and not viewer.operator:
        return name, "", ""
    return name, _short(before), _short(after)


def _short(value: Any) -> str:
    if value in (None, "", [], {}):
        return "–"
    told = " ".join(str(value).split())
    return told if len(told) <= _LONGEST else told[: _LONGEST - 1] + "…"


def _render(template: str, viewer: Viewer, **figures: Any) -> str:
    return _templates.get_template(template).render(
        t=lambda key, **named: text(viewer.locale, f"models.{key}", **named),
        phase=lambda name: text(viewer.locale, f"monitoring.phase.{name}"),
        viewer=viewer,
        address=address,
        count_text=size_text,
        bytes_text=lambda size: size_text(size, "B"),
        **figures,
    )
