"""The side of everybody but the owner: the same calls, over the loopback.

httpx is imported when there is an owner to talk to: it brings a quarter of a second of imports, which a command
that owns the store need not wait for.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, TypeVar

import pyarrow as pa
from pydantic import BaseModel

from results.store import _select
from results.store._endpoint import Endpoint
from results.store._operations import Operation, as_json
from results.store._server import ARROW, PAYLOAD_HEADER, SERVICE, from_ipc, to_ipc
from results.store.errors import BY_NAME, StoreBusy, StoreError, StoreUnknownOutcome

if TYPE_CHECKING:
    import httpx

P = TypeVar("P", bound=BaseModel)
R = TypeVar("R")

_CONNECT, _HELLO = 2.0, 5.0
# The owner answers a write only when it has tried it: wait a little longer than it may take.
_EXTRA = 5.0


class OwnerGone(Exception):
    """The owner died or hands over: whoever is next can be sent the same request."""


class Client:
    """Answers from the owner at an endpoint."""

    is_owner = False

    def __init__(self, endpoint: Endpoint) -> None:
        """Raises OwnerGone unless the store's owner really answers there."""
        import httpx

        self._endpoint = endpoint
        # Proxies of the environment are for other hosts; threads share the pool.
        self._http = httpx.Client(
            base_url=f"http://127.0.0.1:{endpoint.port}",
            headers={"authorization": f"Bearer {endpoint.token}"},
            trust_env=False,
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=64),
        )
        try:
            answer = self._http.get("/hello", timeout=httpx.Timeout(_HELLO, connect=_CONNECT))
            if answer.status_code != 200 or answer.json().get("service") != SERVICE:
                raise OwnerGone("somebody else answers at the owner's port")
        except (httpx.HTTPError, ValueError) as error:
            self.close()
            raise OwnerGone(str(error)) from error
        except OwnerGone:
            self.close()
            raise

    def call(self, operation: Operation[P, R], payload: P, rows: pa.Table | None) -> R:
        """Have the owner run an operation."""
        body, headers = as_json(payload), {"content-type": "application/json"}
        if rows is not None:
            headers = {"content-type": ARROW, PAYLOAD_HEADER: body.decode("ascii")}
            body = to_ipc(rows)
        answer = self._post(
            f"/do/{operation.name}", body, headers, operation.timeout, operation.kind == "read"
        )
        return operation.answers.validate_json(answer)

    def select(self, sql: str, params: _select.Params) -> pa.Table:
        """Have the owner run a read-only query."""
        body = json.dumps({"sql": sql, "params": _select.to_json(params)}).encode()
        return from_ipc(self._post("/query", body, {}, _select.QUERY_TIMEOUT, reads=True))

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def _post(self, path: str, body: bytes, headers: dict[str, str], timeout: float, reads: bool) -> bytes:
        import httpx

        try:
            answer = self._http.post(
                path, content=body, headers=headers, timeout=httpx.Timeout(timeout + _EXTRA, connect=_CONNECT)
            )
        except (httpx.ReadTimeout, httpx.WriteTimeout) as error:
            silent = (
                f"the owner of the store (process {self._endpoint.pid}) has not answered for {timeout:.0f} s"
            )
            if reads:
                raise StoreBusy(f"{silent}: try again later, or end that process.") from error
            raise StoreUnknownOutcome(
                f"{silent}; whether the write was stored is not known. Send it again, or end that process first."
            ) from error
        except (httpx.HTTPError, RuntimeError) as error:
            # RuntimeError: another thread has closed this client because the owner is gone.
            raise OwnerGone(str(error)) from error
        if answer.status_code == 503:
            raise OwnerGone("the owner is closing")
        if answer.status_code == 401:
            raise OwnerGone("the token is another owner's")
        if answer.status_code != 200:
            raise _error(answer)
        return answer.content


def _error(answer: httpx.Response) -> StoreError:
    try:
        said = answer.json()
        return BY_NAME.get(said["error"], StoreError)(said["message"])
    except (ValueError, KeyError, TypeError):
        return StoreError(
            f"the owner of the store failed with status {answer.status_code}: {answer.text[:200]}"
        )
