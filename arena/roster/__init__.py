"""The roster: which models take part, each as an immutable version that the store knows.

The database is the roster. Entries come from `arena.toml` (owned by the file, brought in at each start), from the
command line, from training, and from the embedded models. A model that cannot be used stays on the roster with the
reason, and battles are drawn among the rest.
"""

from arena.roster._entries import Contestant, Roster, enrol
from arena.roster._opening import needs_embedded, open_roster, resolve_models, sync
from arena.roster._references import UnknownModel, current, enter, find, refusal_of_name
from arena.roster._specs import check_formats, spec_from_text, specs_from_tables

__all__ = [
    "Contestant",
    "Roster",
    "UnknownModel",
    "check_formats",
    "current",
    "enrol",
    "enter",
    "find",
    "needs_embedded",
    "open_roster",
    "refusal_of_name",
    "resolve_models",
    "spec_from_text",
    "specs_from_tables",
    "sync",
]
