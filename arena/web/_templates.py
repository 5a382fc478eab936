"""HTML of pages from the files of `arena/web/templates`, escaped."""

from __future__ import annotations

from functools import partial
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from arena.web._i18n import text

_ENVIRONMENT = Environment(
    loader=PackageLoader("arena.web"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def render(template: str, locale: str, **values: Any) -> str:
    """A template with `t(key, **figures)` for texts in `locale`."""
    return _ENVIRONMENT.get_template(template).render(t=partial(text, locale), locale=locale, **values)
