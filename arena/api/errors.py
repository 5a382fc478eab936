"""Errors as OpenAI's clients expect them: a status, and `{"error": {message, type, param, code}}`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from arena.engines.base import EngineError

INVALID, SERVER = "invalid_request_error", "server_error"


class ApiError(Exception):
    """A request that gets no answer. `param` names the field that is to blame, `code` is for programs."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        kind: str = INVALID,
        code: str | None = None,
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.kind = kind
        self.code = code
        self.param = param
        self.headers = dict(headers or {})

    def body(self, request_id: str) -> dict[str, Any]:
        """The response body; the request's id stands in the message, so that it is in every bug report."""
        message = f"{str(self).rstrip('. ')}. (request {request_id})"
        return {"error": {"message": message, "type": self.kind, "param": self.param, "code": self.code}}


def from_engine(error: EngineError, param: str | None = None) -> ApiError:
    """What an engine's error is over HTTP. `param` is the field that holds the prompt."""
    message = str(error)
    match error.kind:
        case "over_context":
            return ApiError(400, message, code="context_length_exceeded", param=param)
        case "rejected":
            return ApiError(400, message, code="engine_rejected")
        case "unavailable":
            return ApiError(
                503, message, kind=SERVER, code="engine_unavailable", headers={"retry-after": "5"}
            )
        case "timed_out":
            return ApiError(504, message, kind=SERVER, code="timed_out")
        case "broken":
            return ApiError(502, message, kind=SERVER, code="broken_answer")
    return ApiError(500, message, kind=SERVER, code="engine_error")


def unsupported(param: str, message: str) -> ApiError:
    """A field that cannot be honoured, and is not ignored in silence."""
    return ApiError(400, f"{param}: {message}", code="unsupported_parameter", param=param)
