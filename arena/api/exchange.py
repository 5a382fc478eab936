"""One HTTP exchange: reading a body with a limit, answering in JSON or as server-sent events, telling errors."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from starlette.types import Message, Receive, Scope, Send

from arena.api.access import Caller
from arena.api.errors import ApiError


class Disconnected(Exception):
    """The client has gone; nobody reads what we would send."""


class Exchange:
    """A request and its response, which begins once."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, request_id: str) -> None:
        self.scope, self.request_id = scope, request_id
        self._receive, self._send = receive, send
        self.headers: dict[str, str] = {
            name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]
        }
        self.caller: Caller | None = None
        self.model: str | None = None
        self.status: int | None = None

    @property
    def begun(self) -> bool:
        """Whether the response has begun: after that an error can only be told inside it."""
        return self.status is not None

    async def body(self, most: int) -> bytes:
        """The request's body. Raises `ApiError` (413) where it is longer than `most` bytes, and `Disconnected`."""
        too_long = ApiError(
            413, f"the request is longer than {most:,} bytes (`max_body_bytes` under [api])", code="too_large"
        )
        length = self.headers.get("content-length", "")
        if length.isdecimal() and int(length) > most:
            raise too_long
        parts, size = [], 0
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise Disconnected
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            if size > most:
                raise too_long
            if not message.get("more_body"):
                return b"".join(parts)

    async def disconnected(self) -> None:
        """Returns when the client has gone. Call it after `body`."""
        while (await self._receive())["type"] != "http.disconnect":
            continue

    async def json(self, data: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> None:
        """Answer with one JSON document."""
        body = json.dumps(data, ensure_ascii=False).encode("utf-8", "surrogatepass")
        await self.whole(body, "application/json", status, headers)

    async def whole(
        self, body: bytes, content_type: str, status: int = 200, headers: Mapping[str, str] | None = None
    ) -> None:
        """Answer with a body that is known at once."""
        await self._begin(status, {"content-length": str(len(body)), **(headers or {})}, content_type)
        await self._send({"type": "http.response.body", "body": body})

    async def event(self, data: Any) -> None:
        """Send one server-sent event; the first one begins the response."""
        if not self.begun:
            # Proxies that buffer would turn a stream into one late answer.
            await self._begin(200, {"x-accel-buffering": "no"}, "text/event-stream; charset=utf-8")
        text = data if isinstance(data, str) else json.dumps(data, ensure_ascii=False)
        await self._part(f"data: {text}\n\n".encode("utf-8", "surrogatepass"), more=True)

    async def end_events(self) -> None:
        """End the stream of events."""
        await self._part(b"", more=False)

    async def fail(self, error: ApiError) -> None:
        """Tell an error, by status where nothing was sent yet and as an event inside a stream."""
        if not self.begun:
            await self.json(error.body(self.request_id), error.status, error.headers)
        else:
            await self.event(error.body(self.request_id))
            await self.end_events()

    async def _begin(self, status: int, headers: Mapping[str, str], content_type: str) -> None:
        self.status = status
        fields = {"content-type": content_type, "cache-control": "no-store", **headers}
        start: Message = {
            "type": "http.response.start",
            "status": status,
            "headers": [(name.encode("latin-1"), value.encode("latin-1")) for name, value in fields.items()],
        }
        await self._send(start)

    async def _part(self, body: bytes, more: bool) -> None:
        await self._send({"type": "http.response.body", "body": body, "more_body": more})
