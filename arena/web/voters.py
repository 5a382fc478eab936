"""Voters: pseudonymous ids in a signed cookie.

The cookie holds a random id and nothing else; without the arena's secret nobody can make one up for somebody else.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from uuid import UUID

import gradio as gr
from itsdangerous import BadSignature, URLSafeSerializer
from starlette.requests import HTTPConnection

from results import ids

COOKIE = "palaestra_voter"
JOIN_COOKIE = "palaestra_joined"
COOKIE_SECONDS = 365 * 24 * 3600


def load_secret(data_dir: Path) -> str:
    """The arena's signing secret, made on first use (`secret.key`, readable by its owner alone)."""
    path = data_dir / "secret.key"
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    except FileExistsError:
        secret = path.read_text(encoding="ascii").strip()
        if len(secret) >= 32:
            return secret
        path.unlink()  # an earlier start died between creating and writing it
        return load_secret(data_dir)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        secret = secrets.token_urlsafe(48)
        file.write(secret)
    return secret


class VoterCookies:
    """Makes and reads the cookies of one arena."""

    def __init__(self, secret: str) -> None:
        self.secret = secret
        self._voters = URLSafeSerializer(secret, salt="voter")
        self._joined = URLSafeSerializer(secret, salt="joined")

    def issue(self) -> str:
        """The cookie value of a new voter."""
        return str(self._voters.dumps(ids.new_id().hex))

    def voter(self, connection: HTTPConnection | gr.Request) -> UUID | None:
        """The voter who sent this request, or None where the cookie is missing or not ours."""
        try:
            return UUID(hex=self._voters.loads(connection.cookies.get(COOKIE, "")))
        except (BadSignature, ValueError, TypeError):
            return None

    def issue_joined(self, code: str) -> str:
        """The cookie value of somebody who gave the join code."""
        return str(self._joined.dumps(code))

    def has_joined(self, connection: HTTPConnection, code: str) -> bool:
        """Whether the request comes from somebody who gave this join code."""
        try:
            given = str(self._joined.loads(connection.cookies.get(JOIN_COOKIE, "")))
        except BadSignature:
            return False
        return secrets.compare_digest(given.encode(), code.encode())
