"""Bearer tokens: making one, and finding out which one a text is.

A token is `pal_ID_SECRET`: the id finds its row, the secret (256 random bits) proves it. Only the secret's SHA-256 is
stored; a slow hash would protect nothing more, since such a secret cannot be guessed.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import threading
from datetime import datetime, timedelta
from uuid import UUID

from results.ids import new_id
from results.records import now
from results.store import Store
from results.store.tokens import Scope, TokenRecord, token, tokens, touch_token

TOKEN = re.compile(r"pal_([0-9a-f]{32})_([A-Za-z0-9_-]{43})")
TOUCH_EVERY = timedelta(minutes=1)
"""How exact the time of last use is: a write for each request would cost more than it tells."""


def issue(name: str, scope: Scope = "api", expires_at: datetime | None = None) -> tuple[TokenRecord, str]:
    """A new token: what is to be stored, and the text that its holder gets once."""
    secret = secrets.token_urlsafe(32)
    record = TokenRecord(
        id=new_id(), name=name, scope=scope, secret_sha256=_hash(secret), expires_at=expires_at
    )
    return record, f"pal_{record.id.hex}_{secret}"


class TokenGuard:
    """Finds out, request by request, whether a text is an active token: a revoked one is refused at once.

    Blocking (the store is asked): call it from a thread.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._touched: dict[UUID, datetime] = {}

    def active(self, text: str) -> TokenRecord | None:
        """The active token that `text` is, or None."""
        match = TOKEN.fullmatch(text)
        if match is None:
            return None
        found = token(self._store, UUID(hex=match[1]))
        expected = found.secret_sha256 if found is not None else "0" * 64
        right = hmac.compare_digest(_hash(match[2]), expected)
        if found is None or not right or found.state != "active":
            return None
        self._touch(found)
        return found

    def still_active(self, token_id: UUID) -> TokenRecord | None:
        """The token of that id while it is active; for holders who have shown its secret before."""
        found = token(self._store, token_id)
        return found if found is not None and found.state == "active" else None

    def any_made(self, *scopes: Scope) -> bool:
        """Whether a token of these scopes (of any, without) was ever made, also one that is revoked by now:
        revoking the last token must not open what it guarded."""
        return any(not scopes or each.scope in scopes for each in tokens(self._store))

    def _touch(self, found: TokenRecord) -> None:
        with self._lock:
            last = self._touched.get(found.id)
            if last is not None and now() - last < TOUCH_EVERY:
                return
            self._touched[found.id] = now()
        touch_token(self._store, found.id)


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
