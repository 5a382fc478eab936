"""A process that imports comparisons; run by the fault tests.

Arguments: data directory, rows, batches, seconds to sleep after each batch. Prints a line per batch and the
outcome as JSON at its end.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pyarrow as pa

from results.ids import named_id
from results.records import ImportRecord, ModelVersionRecord
from results.store import open_store


def main(data_dir: str, rows: int, batches: int, pause: float) -> None:
    with open_store(Path(data_dir)) as store:
        first, second = store.upsert_model_versions(
            [ModelVersionRecord(model="가람", digest="1"), ModelVersionRecord(model="나래", digest="1")]
        )

        def read() -> Iterator[pa.Table]:
            for batch in range(batches):
                numbers = range(batch * rows, (batch + 1) * rows)
                yield pa.table(
                    {
                        "id": [str(named_id("row", str(n))) for n in numbers],
                        "battle_id": [str(named_id("battle", str(n // 2))) for n in numbers],
                        "prompt": [f"질문 {n // 2}" for n in numbers],
                        "version_a": [first.version_key] * rows,
                        "version_b": [second.version_key] * rows,
                        "voter_id": [str(named_id("voter", str(n % 50))) for n in numbers],
                        "verdict": [("a", "b", "tie")[n % 3] for n in numbers],
                        "time": pa.array([datetime(2026, 1, 1) + timedelta(seconds=n) for n in numbers]),
                        "category": [""] * rows,
                        "language": ["ko"] * rows,
                    }
                )
                print("batch", flush=True)
                time.sleep(pause)

        record = ImportRecord(id=named_id("import", "the file"), path="큰 파일.csv", source="human")
        print(store.import_comparisons(record, read()).model_dump_json(), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]))
