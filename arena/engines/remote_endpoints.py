"""Endpoints as this process sees them: how much each is asked, how fast it may be asked, and which of them rest.

All engines of a pool share one `Endpoints`, so that limits hold for the endpoint and not for each model on it. It
may be used from any thread and any event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Sequence
from concurrent.futures import Future, InvalidStateError
from dataclasses import dataclass, field

from arena.config import EndpointSettings

MINUTE = 60.0
FIRST_REST = 1.0
LONGEST_REST = 60.0
NARROWEST = 8
"""An endpoint is never narrowed below this part of its places: a few requests keep trying."""


@dataclass(eq=False)
class Place:
    """One open request's place at an endpoint; `tokens` are those it is thought to take."""

    began: float
    tokens: int


@dataclass(eq=False)
class _Waiting:
    called: Future[None] = field(default_factory=Future)


class Endpoint:
    """One URL. Requests wait in one line for a place.

    How many may be open at once follows what the endpoint says: an answer of "too many requests" halves it (down to an
    eighth), each answer raises it again up to `max_concurrent` (additive increase, multiplicative decrease, as in TCP;
    Chiu and Jain 1989). So the requests that waited out a Retry-After do not all come back together.
    """

    def __init__(self, settings: EndpointSettings, clock: Callable[[], float] = time.monotonic) -> None:
        self.url = settings.url
        self._settings = settings
        self._clock = clock
        self._lock = threading.Lock()
        self._open: set[Place] = set()
        self._line: deque[_Waiting] = deque()
        self._begun: deque[Place] = deque()
        self._tokens = 0
        self._width = float(settings.max_concurrent)
        self._least = max(1.0, settings.max_concurrent / NARROWEST)
        self._narrowed = -1.0
        self._paused_until = 0.0
        self._failures = 0
        self._rests_until = 0.0

    @property
    def most_at_once(self) -> int:
        """The setting `max_concurrent`."""
        return self._settings.max_concurrent

    @property
    def load(self) -> float:
        """Open and waiting requests for each place that there is now."""
        with self._lock:
            return (len(self._open) + len(self._line)) / max(1.0, self._width)

    @property
    def rest_left(self) -> float:
        """Seconds until an endpoint that failed is tried again; 0 for one that works.

        After its rest one request goes there, and the others stay away until that one succeeds.
        """
        with self._lock:
            left = max(0.0, self._rests_until - self._clock())
            return left or (FIRST_REST if self._failures and self._open else 0.0)

    @property
    def pause_left(self) -> float:
        """Seconds for which the endpoint wants no requests (Retry-After)."""
        with self._lock:
            return max(0.0, self._paused_until - self._clock())

    async def enter(self, tokens: int) -> Place:
        """Wait for a place; `tokens` is an estimate of what prompt and answer will take. Call `leave` with it."""
        waiting = _Waiting()
        with self._lock:
            self._line.append(waiting)
        try:
            while True:
                with self._lock:
                    first = self._line[0] is waiting
                    seconds = self._seconds_to_wait(tokens) if first else None
                    if seconds == 0.0:
                        self._line.popleft()
                        self._call_first()
                        return self._take(tokens)
                    waiting.called = Future()
                try:
                    async with asyncio.timeout(seconds):
                        await asyncio.wrap_future(waiting.called)
                except TimeoutError:
                    continue
        except BaseException:
            with self._lock:
                self._line.remove(waiting)
                self._call_first()
            raise

    def leave(self, place: Place, tokens: int | None) -> None:
        """Give the place back; `tokens` is what the request took, where the server told."""
        with self._lock:
            self._open.discard(place)
            if tokens is not None:
                self._tokens += tokens - place.tokens
                place.tokens = tokens
            self._call_first()

    def answered(self) -> None:
        """A request was answered: the endpoint works."""
        with self._lock:
            self._failures, self._rests_until = 0, 0.0
            self._width = min(float(self._settings.max_concurrent), self._width + 1 / self._width)

    def too_many(self, place: Place, seconds: float | None) -> None:
        """A request was turned away; `seconds` is the server's Retry-After."""
        with self._lock:
            now = self._clock()
            # Requests that were open together are turned away together: that is one sign, not many.
            if place.began > self._narrowed:
                self._width, self._narrowed = max(self._least, self._width / 2), now
            # A wish of hours is for the caller to tell; others must not wait in silence for it.
            self._paused_until = max(self._paused_until, now + min(seconds or 0.0, MINUTE))

    def failed(self) -> None:
        """A request failed although it was right: rest, longer after each failure in a row."""
        with self._lock:
            seconds = min(LONGEST_REST, FIRST_REST * 2**self._failures)
            self._failures += 1
            self._rests_until = self._clock() + seconds * random.uniform(0.75, 1.25)  # noqa: S311

    def _seconds_to_wait(self, tokens: int) -> float | None:
        """0.0: go; None: until somebody leaves."""
        now = self._clock()
        if self._paused_until > now:
            return self._paused_until - now
        if len(self._open) >= int(self._width):
            return None
        while self._begun and self._begun[0].began <= now - MINUTE:
            self._tokens -= self._begun.popleft().tokens
        requests, most = self._settings.requests_per_minute, self._settings.tokens_per_minute
        too_fast = requests is not None and len(self._begun) >= requests
        # A request larger than the limit goes alone rather than never.
        too_much = most is not None and bool(self._begun) and self._tokens + tokens > most
        return max(0.001, self._begun[0].began + MINUTE - now) if too_fast or too_much else 0.0

    def _take(self, tokens: int) -> Place:
        place = Place(self._clock(), tokens)
        self._open.add(place)
        self._begun.append(place)
        self._tokens += tokens
        return place

    def _call_first(self) -> None:
        if self._line:
            # It may have stopped waiting this moment, and then looks by itself.
            with contextlib.suppress(InvalidStateError):
                self._line[0].called.set_result(None)


class Endpoints:
    """The endpoints by URL, with the limits that the settings give them."""

    def __init__(
        self, settings: Iterable[EndpointSettings] = (), clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._settings = {_key(each.url): each for each in settings}
        self._clock = clock
        self._lock = threading.Lock()
        self._endpoints: dict[str, Endpoint] = {}

    def of(self, url: str) -> Endpoint:
        """The endpoint of a URL."""
        key = _key(url)
        with self._lock:
            found = self._endpoints.get(key)
            if found is None:
                settings = self._settings.get(key) or EndpointSettings(url=url)
                found = self._endpoints[key] = Endpoint(settings, self._clock)
            return found

    def choose(self, urls: Sequence[str], tried: Collection[str] = ()) -> Endpoint:
        """The least busy of those that neither rest nor pause; one of `tried` only where there is no other.

        Where all rest, the one whose rest ends first: better an attempt than a refusal.
        """
        candidates = [self.of(url) for url in urls]
        random.shuffle(candidates)  # equals take turns
        awake = [each for each in candidates if each.rest_left == 0.0]
        if not awake:
            return min(candidates, key=lambda each: (each.url in tried, each.rest_left))
        return min(awake, key=lambda each: (each.url in tried, each.pause_left, each.load))


def _key(url: str) -> str:
    return url.rstrip("/")
