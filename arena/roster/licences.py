"""Licences of models and data: may this model be used commercially?

What is known of licences is data (`licences.yaml`); a model inherits the restrictions of what it was made from: its
base, and the data that it was trained on. What is not known is `unknown`, anywhere up the chain, and never allowed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from datetime import date
from fnmatch import fnmatchcase
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict

from arena.roster._entries import Contestant
from results.records import ModelVersion
from results.store import Store
from results.store.aliases import aliases
from results.store.model_facts import ModelFacts, model_facts
from results.store.roster import entries

Status = Literal["yes", "conditions", "no", "unknown"]

_WORST: tuple[Status, ...] = ("yes", "conditions", "unknown", "no")
_LONGEST_CHAIN = 20


class Licence(BaseModel):
    """One licence. `conditions` (by language) say what commercial use is bound to where `commercial` says so."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    name: str
    commercial: Literal["yes", "conditions", "no"]
    conditions: dict[str, str] = {}
    source: str
    aliases: tuple[str, ...] = ()
    text: tuple[str, ...] = ()
    models: tuple[str, ...] = ()


class Licences(BaseModel):
    """All licences that are known, as of the day `checked`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    checked: date
    licences: tuple[Licence, ...]

    def find(self, name: str) -> Licence | None:
        """The licence of an id, a name, or one of the ids under which cards know it; None where it is unknown."""
        return self._by_name.get(_plain(name))

    @cached_property
    def _by_name(self) -> dict[str, Licence]:
        return {_plain(name): each for each in self.licences for name in (each.id, each.name, *each.aliases)}

    def of_text(self, text: str) -> Licence | None:
        """The licence whose text this is, by phrases near its beginning; None where none fits."""
        beginning = " ".join(text[:4000].split()).lower()
        found = [
            (beginning.find(" ".join(phrase.split()).lower()), licence)
            for licence in self.licences
            for phrase in licence.text
        ]
        # The phrase that comes first is the title: the GPL's text names the LGPL further down.
        return min((each for each in found if each[0] >= 0), key=lambda each: each[0], default=(0, None))[1]

    def of_model(self, hub_id: str) -> Licence | None:
        """The licence under which a well-known model of the hub is published; None for all others."""
        wanted = hub_id.lower()
        for licence in self.licences:
            if any(fnmatchcase(wanted, pattern.lower()) for pattern in licence.models):
                return licence
        return None


class Reason(BaseModel):
    """One thing that decides about commercial use: the `licence` of `model` (or of its data, or that nothing is
    known)."""

    model_config = ConfigDict(frozen=True)

    status: Status
    model: str
    kind: Literal["licence", "data", "no_licence", "unknown_licence", "unknown_parent", "too_deep"]
    licence: str | None = None
    conditions: dict[str, str] = {}
    source: str | None = None

    def text(self, language: str = "en") -> str:
        """The reason as one sentence part, in English or Korean."""
        words = _WORDS.get(language, _WORDS["en"])
        key = self.kind if self.kind not in ("licence", "data") else f"{self.kind}_{self.status}"
        conditions = self.conditions.get(language) or self.conditions.get("en", "")
        return words[key].format(model=self.model, licence=self.licence, conditions=conditions)


class CommercialUse(BaseModel):
    """Whether a model version may be used commercially, with the reasons, its own first, then its parents'."""

    model_config = ConfigDict(frozen=True)

    status: Status
    reasons: tuple[Reason, ...]

    @property
    def allowed(self) -> bool:
        """Whether commercial use is allowed, if on conditions. What is unknown is not."""
        return self.status in ("yes", "conditions")


class Lineage:
    """Who was made from whom, as the store knows it on one moment. Reads the store once, then answers at once."""

    def __init__(self, store: Store) -> None:
        self._facts = model_facts(store)
        self._versions = {version.version_key: version for version in store.model_versions()}
        self._current = {each.version.model: each.version.version_key for each in entries(store)}
        self._aliases = {each.alias: each.version.version_key for each in aliases(store)}

    def facts(self, version_key: int) -> ModelFacts | None:
        """What is known of a version."""
        return self._facts.get(version_key)

    def find(self, reference: str) -> ModelVersion | None:
        """The version that `name@3`, a name, an alias, or a source (a hub id, a folder) means, or None."""
        by_label = {version.label: version for version in self._versions.values()}
        if reference in by_label:
            return by_label[reference]
        key = self._aliases.get(reference) or self._current.get(reference)
        if key is not None:
            return self._versions[key]
        named = [version for version in self._versions.values() if version.model == reference]
        same = named or [v for v in self._versions.values() if v.spec.get("source") == reference]
        return max(same, key=_plainness, default=None)

    def parent_of(self, version: ModelVersion) -> str | None:
        """What a version says that it was made from: as its spec says, else as its card does."""
        facts = self.facts(version.version_key)
        return version.spec.get("parent") or (facts.parent if facts else None)

    def chain(self, version_key: int) -> Iterator[ModelVersion | str]:
        """The version, its parent, the parent's parent and so on; a parent that the store does not know comes as its
        name, and ends the chain."""
        seen: set[int] = set()
        version: ModelVersion | None = self._versions[version_key]
        while version is not None and version.version_key not in seen:
            yield version
            seen.add(version.version_key)
            parent = self.parent_of(version)
            if parent is None:
                return
            version = self.find(parent)
            if version is None:
                yield parent

    def children(self, version_key: int) -> list[ModelVersion]:
        """The versions that name this one (or its model, where it is the current one) as what they were made from."""
        found = []
        for version in self._versions.values():
            parent = self.parent_of(version)
            if parent is not None and version.version_key != version_key:
                above = self.find(parent)
                if above is not None and above.version_key == version_key:
                    found.append(version)
        return found

    def licence_of(self, version: ModelVersion) -> str | None:
        """The licence of a version: as its spec says, else as was found with its files."""
        facts = self.facts(version.version_key)
        return version.spec.get("licence") or (facts.licence if facts else None)

    def data_licences(self, version: ModelVersion) -> tuple[str, ...]:
        """The licences of the data that a version was trained on, as far as anybody said."""
        facts = self.facts(version.version_key)
        return tuple(
            dict.fromkeys([*version.spec.get("data_licences", ()), *(facts.data_licences if facts else ())])
        )

    def commercial_use(self, version_key: int) -> CommercialUse:
        """Whether a version may be used commercially, by its own licence, its data's, and those of its parents."""
        reasons = list(self._reasons(version_key))
        status = max((reason.status for reason in reasons), key=_WORST.index)
        return CommercialUse(status=status, reasons=tuple(reasons))

    def _reasons(self, version_key: int) -> Iterator[Reason]:
        known = load_licences()
        for depth, each in enumerate(self.chain(version_key)):
            if depth >= _LONGEST_CHAIN:
                yield Reason(status="unknown", model=str(each), kind="too_deep")
                return
            if isinstance(each, str):
                licence = known.of_model(each)
                if licence is None:
                    yield Reason(status="unknown", model=each, kind="unknown_parent")
                else:
                    yield _reason(licence, each, "licence")
                continue
            name = self.licence_of(each)
            # What was trained here is its owners', within what its parent and its data allow.
            if name is None and not (each.owner == "trainer" and self.parent_of(each)):
                yield Reason(status="unknown", model=each.label, kind="no_licence")
            elif name is not None:
                yield _named(name, each.label, "licence")
            for data in self.data_licences(each):
                yield _named(data, each.label, "data")


def commercial_use(store: Store, contestant: Contestant) -> CommercialUse:
    """Whether a contestant may be used commercially. For many, make one `Lineage` and ask it."""
    return Lineage(store).commercial_use(contestant.version.version_key)


def commercial_uses(store: Store, version_keys: Iterable[int]) -> dict[int, CommercialUse]:
    """The same for many versions, by key."""
    lineage = Lineage(store)
    return {key: lineage.commercial_use(key) for key in version_keys}


def commercial_names(store: Store) -> set[str]:
    """The versions (`name@3`) that may be used commercially, and the models all of whose versions may."""
    lineage = Lineage(store)
    allowed: dict[str, list[bool]] = {}
    labels = set()
    for version in store.model_versions():
        verdict = lineage.commercial_use(version.version_key).allowed
        allowed.setdefault(version.model, []).append(verdict)
        if verdict:
            labels.add(version.label)
    return labels | {model for model, verdicts in allowed.items() if all(verdicts)}


@lru_cache(maxsize=1)
def load_licences() -> Licences:
    """What is known of licences."""
    text = Path(__file__).with_name("licences.yaml").read_text(encoding="utf-8")
    return Licences.model_validate(yaml.safe_load(text))


def _plainness(version: ModelVersion) -> tuple[bool, bool, bool, int]:
    """Of several versions on one source, the weights as they are come first, then the newest."""
    spec = version.spec
    framed = bool(spec.get("system_prompt") or spec.get("few_shot"))
    quantised = spec.get("quantisation", "none") != "none"
    return spec.get("adapter") is None, not quantised, not framed, version.version_key


def _named(name: str, model: str, kind: Literal["licence", "data"]) -> Reason:
    licence = load_licences().find(name)
    if licence is None:
        return Reason(status="unknown", model=model, kind="unknown_licence", licence=name)
    return _reason(licence, model, kind)


def _reason(licence: Licence, model: str, kind: Literal["licence", "data"]) -> Reason:
    return Reason(
        status=licence.commercial,
        model=model,
        kind=kind,
        licence=licence.name,
        conditions=licence.conditions,
        source=licence.source,
    )


def _plain(name: str) -> str:
    return re.sub(r"[\s_]+", "-", name.strip().lower())


_WORDS = {
    "en": {
        "licence_yes": "{model}: {licence}",
        "licence_conditions": "{model}: {licence}: {conditions}",
        "licence_no": "{model}: {licence} forbids commercial use",
        "data_yes": "data of {model}: {licence}",
        "data_conditions": "data of {model}: {licence}: {conditions}",
        "data_no": "data of {model}: {licence} forbids commercial use",
        "no_licence": "{model}: no licence is stated",
        "unknown_licence": "{model}: the licence '{licence}' is not known here",
        "unknown_parent": "{model}, from which it was made, is not known here",
        "too_deep": "the chain of parents does not end at {model}",
    },
    "ko": {
        "licence_yes": "{model}: {licence}",
        "licence_conditions": "{model}: {licence}. {conditions}",
        "licence_no": "{model}: {licence}은(는) 상업적 이용을 금지합니다",
        "data_yes": "{model}의 학습 데이터: {licence}",
        "data_conditions": "{model}의 학습 데이터: {licence}. {conditions}",
        "data_no": "{model}의 학습 데이터: {licence}은(는) 상업적 이용을 금지합니다",
        "no_licence": "{model}: 라이선스가 밝혀져 있지 않습니다",
        "unknown_licence": "{model}: '{licence}' 라이선스는 알려져 있지 않습니다",
        "unknown_parent": "바탕이 된 {model}에 대해 알려진 것이 없습니다",
        "too_deep": "{model}에서 모델의 계보가 끝나지 않습니다",
    },
}
