"""Every HTTP request gets an id: in the response header `x-request-id`, in error messages, and in the logs."""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from arena.engines.observed import new_request_id, request_id


class RequestIds:
    """Plain ASGI, so that streams pass through unbuffered."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        identity = new_request_id()

        async def send_marked(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {
                    **message,
                    "headers": [*message.get("headers", ()), (b"x-request-id", identity.encode())],
                }
            await send(message)

        token = request_id.set(identity)
        try:
            await self._app(scope, receive, send_marked)
        finally:
            request_id.reset(token)
