"""Who may do what: API callers by bearer token, operators by an operator's token, the local user on loopback."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from uuid import UUID

from arena.api.errors import ApiError
from arena.api.tokens import TokenGuard
from arena.config import ServerSettings
from results.store import Store
from results.store.tokens import Scope, TokenRecord

LOOPBACK = ("127.0.0.1", "localhost", "::1")
FORWARDING = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip", "via")


@dataclass(frozen=True)
class Caller:
    """Who sent a request: a token's holder, or the local user (`token_id` null)."""

    name: str
    operator: bool
    token_id: UUID | None = None


LOCAL = Caller("local", operator=True)


class Access:
    """The rules of one server. Blocking (tokens lie in the store): call it from a thread.

    On loopback, without a proxy in front, whoever reaches the server is its user: what no token guards yet is open.
    """

    def __init__(self, store: Store, server: ServerSettings) -> None:
        self.guard = TokenGuard(store)
        self._loopback = server.host in LOOPBACK and not server.root_path and not server.allowed_hosts

    def caller(self, headers: Mapping[str, str]) -> Caller:
        """Who sent an API request with these headers (names in lower case).

        Raises:
            ApiError: 401, where a token is needed and none, or no active one, was sent.
        """
        text = _bearer(headers)
        if text is not None and (found := self.guard.active(text)) is not None:
            return _holder(found)
        if self._is_local(headers) and not self.guard.any_made():
            return LOCAL
        raise ApiError(
            401,
            "a bearer token is needed: `arena tokens create NAME` makes one (send Authorization: Bearer TOKEN)"
            if text is None
            else "this is no active token: it is mistyped, has ended, or was revoked",
            code="invalid_api_key",
            headers={"www-authenticate": "Bearer"},
        )

    def operator(self, headers: Mapping[str, str]) -> Caller:
        """The operator who sent a request.

        Raises:
            ApiError: 401 where nobody is known, 403 where the token is of another scope.
        """
        text = _bearer(headers)
        found = self.guard.active(text) if text is not None else None
        if found is not None:
            if found.scope == "operator":
                return _holder(found)
            raise ApiError(403, "this needs an operator's token", code="operator_needed")
        if self.is_open(headers, "operator"):
            return LOCAL
        raise ApiError(
            401,
            "an operator's token is needed: `arena tokens create NAME --scope operator` makes one",
            code="invalid_api_key",
            headers={"www-authenticate": "Bearer"},
        )

    def is_open(self, headers: Mapping[str, str], *scopes: Scope) -> bool:
        """Whether the request comes from this machine and no token of these scopes was ever made."""
        return self._is_local(headers) and not self.guard.any_made(*scopes)

    def _is_local(self, headers: Mapping[str, str]) -> bool:
        # A proxy on this machine brings in others; it says so, or was named in the settings.
        return self._loopback and not any(name in headers for name in FORWARDING)


def _bearer(headers: Mapping[str, str]) -> str | None:
    scheme, _, text = headers.get("authorization", "").partition(" ")
    return text.strip() if scheme.lower() == "bearer" and text.strip() else None


def _holder(found: TokenRecord) -> Caller:
    return Caller(found.name, found.scope == "operator", found.id)
