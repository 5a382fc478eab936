"""Which address the next attempt goes to, when, and when to give up."""

from __future__ import annotations

import asyncio
import random
import time
from dataclasses import dataclass

from arena.engines.remote_endpoints import Endpoint, Endpoints, Place
from arena.engines.remote_errors import Failure


@dataclass(frozen=True)
class RetryPolicy:
    """How often and how long a request is tried before its first token. Times are seconds.

    `tries` counts attempts that failed (no connection, 5xx, no proper answer), `silent_tries` those that got no
    first token within `silence`. "Too many requests" is not counted but waited out, for `patience` altogether. The
    wait grows from `first_wait` to `longest_wait`, with jitter, where the server does not say how long.
    """

    tries: int = 5
    silent_tries: int = 2
    patience: float = 120.0
    first_wait: float = 0.5
    longest_wait: float = 20.0
    connect: float = 10.0
    silence: float = 120.0


class Tries:
    """The attempts of one request."""

    def __init__(
        self, policy: RetryPolicy, endpoints: Endpoints, urls: tuple[str, ...], deadline: float | None
    ) -> None:
        self._policy = policy
        self._endpoints = endpoints
        self._urls = urls
        self._deadline = deadline
        self._failed: dict[str, int] = {}
        self._turned_away = 0
        self._patience_ends: float | None = None
        self._tried: set[str] = set()

    @property
    def number(self) -> int:
        """How many attempts have failed."""
        return self._turned_away + sum(self._failed.values())

    def endpoint(self) -> Endpoint:
        """Where the next attempt goes."""
        return self._endpoints.choose(self._urls, self._tried)

    async def wait_after(self, failure: Failure, endpoint: Endpoint, place: Place) -> None:
        """Wait until it is worth trying again.

        Raises the failure's error where it is not, or not within the time allowed.
        """
        now = time.monotonic()
        if failure.kind == "final":
            raise failure.error
        if failure.kind == "busy":
            endpoint.too_many(place, failure.retry_after)
            seconds = self._wait_turned_away(failure, now)
        else:
            endpoint.failed()
            seconds = self._wait_failed(failure)
        self._tried.add(endpoint.url)
        if self._another_is_ready():
            return
        self._tried.clear()
        if self._deadline is not None and now + seconds >= self._deadline:
            raise failure.error
        await asyncio.sleep(seconds)

    def _wait_turned_away(self, failure: Failure, now: float) -> float:
        self._turned_away += 1
        if self._patience_ends is None:
            self._patience_ends = now + self._policy.patience
        seconds = self._backoff(self._turned_away)
        if failure.retry_after is not None:
            seconds = failure.retry_after * random.uniform(1.0, 1.25)  # noqa: S311
        if now + seconds > self._patience_ends:
            raise failure.error
        return seconds

    def _wait_failed(self, failure: Failure) -> float:
        count = self._failed[failure.kind] = self._failed.get(failure.kind, 0) + 1
        most = self._policy.silent_tries if failure.kind == "silent" else self._policy.tries
        if count >= max(most, len(self._urls)):
            raise failure.error
        return self._backoff(count)

    def _backoff(self, count: int) -> float:
        longest = min(self._policy.longest_wait, self._policy.first_wait * 2.0 ** min(count - 1, 60))
        return longest * random.uniform(0.5, 1.0)  # noqa: S311

    def _another_is_ready(self) -> bool:
        others = (self._endpoints.of(url) for url in self._urls if url not in self._tried)
        return any(other.rest_left == 0.0 and other.pause_left == 0.0 for other in others)
