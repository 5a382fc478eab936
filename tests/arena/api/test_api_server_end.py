"""How `arena serve` ends: open answers are finished, new ones refused; backups on a schedule before that."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from typing import Any

import httpx

from results.store import list_backups


def test_open_streams_are_finished_when_the_server_is_asked_to_stop(
    start: Callable[[str], Any], scripted_server: str
) -> None:
    served = start("[store]\nbackup_every_hours = 0.0003\nkeep_backups = 2\n[api]\ndrain_seconds = 100")
    body = {"model": "held", "messages": [{"role": "user", "content": "hi"}], "stream": True}
    lines: list[str] = []
    begun = threading.Event()

    def read() -> None:
        # No token was ever made here: the local user needs none.
        with httpx.stream("POST", f"{served.url}/v1/chat/completions", json=body, timeout=100) as response:
            for line in response.iter_lines():
                lines.append(line)
                begun.set()

    reader = threading.Thread(target=read)
    reader.start()
    assert begun.wait(30)
    deadline = time.monotonic() + 60
    while not list_backups(served.data_dir) and time.monotonic() < deadline:
        time.sleep(0.05)
    served.process.send_signal(signal.SIGTERM)
    deadline = time.monotonic() + 60
    while (late := httpx.get(f"{served.url}/readyz")).status_code == 200 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert late.status_code == 503
    assert "about to stop" in late.json()["reason"]
    refused = httpx.post(f"{served.url}/v1/chat/completions", json={**body, "stream": False})
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "shutting_down")
    assert refused.headers["retry-after"] == "5"
    assert reader.is_alive()
    httpx.post(f"{scripted_server}/release/held:api", trust_env=False)
    reader.join(60)
    assert lines[-2:] == ["data: [DONE]", ""]
    assert any('" end"' in line for line in lines)  # all that the scripted model had to say
    served.process.wait(60)
    assert 1 <= len(list_backups(served.data_dir)) <= 2
