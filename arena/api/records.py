"""What is kept of calls: Prometheus metrics, and the request log as JSON lines.

Battle traffic stands in the metrics without its models. The log lies in the data folder beside the database, which
knows the models as well; it holds no secrets, and what was said only where the settings ask for it.
"""

from __future__ import annotations

import json
import logging
import logging.handlers
import os
import queue
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from pydantic import BaseModel, ConfigDict

from arena.config import LogSettings
from arena.engines.observed import Observation, Telemetry
from arena.engines.pool import EngineStatus

FIRST_TOKEN_BUCKETS = (0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
SPEED_BUCKETS = (1, 2.5, 5, 10, 20, 40, 80, 160, 320, 640)
DURATION_BUCKETS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)
BATTLES = ""
"""The model label of all battles together."""
ERROR_CHARACTERS = 300


class ApiEvent(BaseModel):
    """One HTTP request to /v1. `status` is null where the client left before the response began; `code` is the
    error's, or 'disconnected'."""

    model_config = ConfigDict(frozen=True)

    request_id: str
    endpoint: str
    status: int | None
    code: str | None
    model: str | None
    caller: str | None
    duration: float


class Recorder:
    """Turns observations and API events into metrics and log lines. Safe to use from any thread."""

    def __init__(
        self,
        telemetry: Telemetry,
        status: Callable[[], list[EngineStatus]],
        log: RequestLog | None = None,
    ) -> None:
        self._log = log
        self.registry = registry = CollectorRegistry()
        by = ("source", "model")
        self._requests = Counter(
            "palaestra_requests", "Calls of engines that ended", (*by, "outcome"), registry=registry
        )
        self._errors = Counter(
            "palaestra_errors", "Calls of engines that failed", (*by, "kind"), registry=registry
        )
        self._tokens = Counter(
            "palaestra_tokens", "Tokens read (in) and generated (out)", (*by, "direction"), registry=registry
        )
        self._first = Histogram(
            "palaestra_time_to_first_token_seconds", "From the call to the first text", by,
            buckets=FIRST_TOKEN_BUCKETS, registry=registry,
        )  # fmt: skip
        self._speed = Histogram(
            "palaestra_tokens_per_second", "Tokens after the first by their time, one answer", by,
            buckets=SPEED_BUCKETS, registry=registry,
        )  # fmt: skip
        self._duration = Histogram(
            "palaestra_duration_seconds", "Whole calls", by, buckets=DURATION_BUCKETS, registry=registry
        )
        self._responses = Counter(
            "palaestra_api_responses", "Responses of /v1", ("endpoint", "status"), registry=registry
        )
        registry.register(_Now(telemetry, status))
        telemetry.listen(self.observed)

    def observed(self, observation: Observation) -> None:
        """Take in one call of an engine."""
        source = observation.source
        model = BATTLES if source == "battle" else observation.model
        self._requests.labels(source, model, observation.outcome).inc()
        if observation.failed:
            self._errors.labels(source, model, observation.outcome).inc()
        self._tokens.labels(source, model, "in").inc(observation.prompt_tokens or 0)
        self._tokens.labels(source, model, "out").inc(observation.completion_tokens or 0)
        self._duration.labels(source, model).observe(observation.duration)
        if observation.time_to_first_token is not None:
            self._first.labels(source, model).observe(observation.time_to_first_token)
        if observation.tokens_per_second is not None:
            self._speed.labels(source, model).observe(observation.tokens_per_second)
        if self._log is not None:
            self._log.observed(observation)

    def api(self, event: ApiEvent) -> None:
        """Take in one request to /v1."""
        self._responses.labels(event.endpoint, str(event.status or "none")).inc()
        if self._log is not None:
            self._log.write("request", event.model_dump(exclude_none=True))

    def exposition(self) -> bytes:
        """All metrics in Prometheus' text format."""
        return generate_latest(self.registry)


class _Now(Collector):
    """Gauges, read when they are asked for."""

    def __init__(self, telemetry: Telemetry, status: Callable[[], list[EngineStatus]]) -> None:
        self._telemetry, self._status = telemetry, status

    def collect(self) -> Iterable[Metric]:
        """The metrics of this moment."""
        waiting = GaugeMetricFamily(
            "palaestra_queue_depth", "Calls without a first word yet", labels=["model"]
        )
        running = GaugeMetricFamily("palaestra_running", "Calls that are being answered", labels=["model"])
        for model, (queued, answering) in self._telemetry.open_calls().items():
            waiting.add_metric([model or BATTLES], queued)
            running.add_metric([model or BATTLES], answering)
        loaded = GaugeMetricFamily(
            "palaestra_model_loaded", "1 where the weights are loaded", labels=["model"]
        )
        memory = GaugeMetricFamily(
            "palaestra_worker_memory_bytes", "The loaded weights' size", labels=["model"]
        )
        local: dict[str, EngineStatus] = {}
        for each in self._status():
            # Several versions of a model may have engines: the loaded one speaks for it.
            if each.kind == "local" and (each.name not in local or each.phase == "ready"):
                local[each.name] = each
        for name, each in sorted(local.items()):
            loaded.add_metric([name], float(each.phase == "ready"))
            memory.add_metric([name], float(each.memory or 0))
        return [waiting, running, loaded, memory]


class RequestLog:
    """JSON lines in a file of limited size; older files are `requests.jsonl.1` and so on."""

    def __init__(self, folder: Path, settings: LogSettings) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._prompts = settings.log_prompts
        handler = logging.handlers.RotatingFileHandler(
            folder / "requests.jsonl",
            maxBytes=int(settings.max_megabytes * 1_000_000),
            backupCount=settings.keep_files,
            encoding="utf-8",
            errors="backslashreplace",
        )
        handler.setFormatter(logging.Formatter("%(message)s"))
        # Errors may quote what was asked: the file is for its user alone, as the database is.
        os.chmod(folder / "requests.jsonl", 0o600)
        # A full or slow disk must hold up no answer.
        self._queue: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._sender = logging.handlers.QueueHandler(self._queue)
        self._listener = logging.handlers.QueueListener(self._queue, handler)
        self._handler = handler
        self._listener.start()

    def observed(self, observation: Observation) -> None:
        """One line for a call of an engine."""
        fields = observation.model_dump(mode="json", exclude_none=True, exclude={"prompt", "text"})
        if not self._prompts:
            fields.pop("error", None)  # a server's words may repeat what it was asked
        else:
            fields |= {"prompt": observation.prompt, "text": observation.text}
            if observation.error:
                fields["error"] = observation.error[:ERROR_CHARACTERS]
        fields["duration"] = round(observation.duration, 4)
        fields["began"] = fields.pop("time")
        self.write("generation", fields)

    def write(self, event: str, fields: dict[str, Any]) -> None:
        """One line."""
        line = {"time": datetime.now(UTC).isoformat(timespec="milliseconds"), "event": event, **fields}
        text = json.dumps(line, ensure_ascii=False)
        self._sender.emit(logging.makeLogRecord({"msg": text, "levelno": logging.INFO}))

    def close(self) -> None:
        """Write what is queued, and close the file."""
        self._listener.stop()
        self._handler.close()
