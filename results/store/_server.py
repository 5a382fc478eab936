"""The owner's loopback server: named operations, read-only queries, Arrow IPC. Nothing else.

Starlette and uvicorn are imported in the server's own thread, so that a short command does not wait for them;
connections that come earlier wait in the socket's backlog.
"""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
import socket
import threading
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from pydantic import ValidationError

from results.store import _select
from results.store._catalogue import OPERATIONS
from results.store._database import Database
from results.store.errors import BadQuery, BadWrite, StoreClosed, StoreError

if TYPE_CHECKING:
    import uvicorn
    from starlette.requests import Request
    from starlette.responses import Response

log = logging.getLogger(__name__)

SERVICE = "palaestra-store"
ARROW = "application/vnd.apache.arrow.stream"
PAYLOAD_HEADER = "x-palaestra-payload"
_LAST_ANSWERS = 3
_THREAD = "store-server"


class Server:
    """Serves a database on a port of 127.0.0.1 from a thread of its own."""

    def __init__(self, database: Database) -> None:
        self.token = secrets.token_urlsafe(32)
        self._database = database
        self._refusing = False
        self._server: uvicorn.Server | None = None
        self._stopping = threading.Event()
        # With the protocol named asyncio sets TCP_NODELAY; without it each answer waits 40 ms for an ACK.
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        self._socket.bind(("127.0.0.1", 0))
        self._socket.listen(256)
        self.port: int = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, name=_THREAD, daemon=True)
        self._thread.start()

    def refuse(self) -> None:
        """Answer every new request with "gone": its sender turns to the next owner."""
        self._refusing = True

    def close(self) -> None:
        """Give the last answers, then stop listening."""
        self._stopping.set()
        if self._server is not None:
            self._server.should_exit = True
        self._thread.join()
        self._socket.close()

    def _serve(self) -> None:
        import uvicorn
        from starlette.applications import Starlette
        from starlette.routing import Route

        app = Starlette(
            routes=[
                Route("/hello", self._answer, methods=["GET"]),
                Route("/query", self._answer, methods=["POST"]),
                Route("/do/{name}", self._answer, methods=["POST"]),
            ]
        )
        # The web app may run in this process under uvicorn as well: its log must not tell of two servers.
        logging.getLogger("uvicorn.error").addFilter(_is_for_people)
        config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            lifespan="off",
            timeout_keep_alive=60,
            timeout_graceful_shutdown=_LAST_ANSWERS,
        )
        self._server = uvicorn.Server(config)
        if self._stopping.is_set():
            return
        try:
            self._server.run(sockets=[self._socket])
        except Exception:
            log.exception(
                "the store's server stopped; other processes cannot reach the store until this one ends"
            )
            raise

    async def _answer(self, request: Request) -> Response:
        from starlette.responses import JSONResponse

        sent = request.headers.get("authorization", "")
        if not secrets.compare_digest(sent.encode(), f"Bearer {self.token}".encode()):
            return JSONResponse({"error": "StoreError", "message": "wrong token"}, 401)
        if request.url.path == "/hello":
            return JSONResponse({"service": SERVICE})
        if self._refusing:
            return _gone()
        try:
            if request.url.path == "/query":
                return await self._query(request)
            return await self._do(request)
        except StoreClosed:
            return _gone()
        except StoreError as error:
            return JSONResponse({"error": type(error).__name__, "message": str(error)}, 409)

    async def _query(self, request: Request) -> Response:
        from starlette.concurrency import run_in_threadpool
        from starlette.responses import Response

        try:
            asked = json.loads(await request.body())
            sql, params = str(asked["sql"]), _select.from_json(asked["params"])
        except (ValueError, KeyError, TypeError) as error:
            raise BadQuery(f"the request cannot be read: {error!r}") from error
        table = await run_in_threadpool(_select.select, self._database, sql, params)
        return Response(await run_in_threadpool(to_ipc, table), media_type=ARROW)

    async def _do(self, request: Request) -> Response:
        from starlette.concurrency import run_in_threadpool
        from starlette.responses import Response

        operation = OPERATIONS.get(request.path_params["name"])
        if operation is None:
            raise BadWrite(f"there is no operation {request.path_params['name']!r}")
        body = await request.body()
        rows: pa.Table | None = None
        try:
            if operation.takes_rows:
                rows = await run_in_threadpool(from_ipc, body)
                body = request.headers.get(PAYLOAD_HEADER, "").encode()
            payload = operation.payload.model_validate_json(body)
        except (ValidationError, pa.ArrowInvalid) as error:
            raise BadWrite(f"{operation.name} cannot be read: {error}") from error
        result: Any
        if operation.kind == "read":
            result = await run_in_threadpool(
                self._database.read, lambda tx: operation.apply(tx, payload, rows)
            )
        elif operation.kind == "whole database":
            result = await run_in_threadpool(operation.apply, self._database, payload, rows)
        else:
            result = await asyncio.wrap_future(
                self._database.write(
                    lambda tx: operation.apply(tx, payload, rows), alone=operation.kind == "write alone"
                )
            )
        return Response(operation.answers.dump_json(result), media_type="application/json")


def _is_for_people(record: logging.LogRecord) -> bool:
    return record.levelno >= logging.WARNING or record.threadName != _THREAD


def _gone() -> Response:
    from starlette.responses import JSONResponse

    return JSONResponse({"error": "gone", "message": "this owner is closing"}, 503)


def to_ipc(table: pa.Table) -> bytes:
    """A table as an Arrow IPC stream."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


def from_ipc(data: bytes) -> pa.Table:
    """The table in an Arrow IPC stream; raises ArrowInvalid."""
    return pa.ipc.open_stream(data).read_all()
