"""The process in which templates that are not ours render: `python -m prompt_formats._worker`.

Reads one JSON object a line from stdin, writes one a line to stdout. Whoever started it kills it when a
template does not come back in time; its memory is limited from inside, so that a template cannot take the
machine down.
"""

from __future__ import annotations

import json
import sys
from datetime import datetime
from typing import Any

from prompt_formats.environment import render_template
from prompt_formats.errors import PromptFormatError, TemplateFailed


def _limit_memory(megabytes: int) -> None:
    try:
        import resource
    except ImportError:  # not a Unix: time and output are still limited
        return
    limit = megabytes * 1024 * 1024
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """Render one request; errors come back as data."""
    try:
        rendering = render_template(
            request["template"],
            request["context"],
            now=datetime.fromisoformat(request["now"]),
            continue_final_message=request["continue_final_message"],
            track_generation=request["track_generation"],
            limit=request["limit"],
        )
    except PromptFormatError as error:
        return {"error": str(error), "kind": error.kind}
    except (MemoryError, RecursionError) as error:
        return {
            "error": f"the template ran out of memory ({type(error).__name__})",
            "kind": TemplateFailed.kind,
        }
    return {"text": rendering.text, "clock_read": rendering.clock_read, "spans": rendering.spans}


def main() -> None:
    """Serve requests until stdin closes."""
    _limit_memory(int(sys.argv[1]))
    sys.stdout.write('{"ready": true}\n')
    sys.stdout.flush()
    for line in sys.stdin:
        json.dump(answer(json.loads(line)), sys.stdout)
        sys.stdout.write("\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
