"""A process that votes from several threads and notes each acknowledged vote; run by the fault tests.

Arguments: data directory, file for notes, threads, votes per thread (0: until SIGTERM). Any error ends the
process with its traceback: owners that die or hand over are no reason for one.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import traceback
from pathlib import Path

from results.ids import new_id
from results.records import BattleRecord, ModelVersionRecord, TurnRecord, VoteRecord, VoterRecord
from results.store import open_store


def main(data_dir: str, notes: str, threads: int, votes: int) -> None:
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    noting = os.open(notes, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    with open_store(Path(data_dir)) as store:
        first, second = store.upsert_model_versions(
            [ModelVersionRecord(model="가람", digest="1"), ModelVersionRecord(model="나래", digest="1")]
        )

        def vote() -> None:
            try:
                voter = VoterRecord(id=new_id())
                store.register_voter(voter)
                cast = 0
                while not stop.is_set() and (not votes or cast < votes):
                    battle = BattleRecord(
                        id=new_id(), version_a=first.version_key, version_b=second.version_key
                    )
                    store.create_battle(
                        battle, TurnRecord(battle_id=battle.id, number=1, message="무엇이 낫나요?")
                    )
                    store.record_vote(
                        VoteRecord(
                            battle_id=battle.id,
                            voter_id=voter.id,
                            request_id=new_id(),
                            verdict=("a", "b")[cast % 2],
                        )
                    )
                    os.write(noting, f"{battle.id}\n".encode())
                    cast += 1
            except BaseException:  # noqa: BLE001 - a thread must not die unseen
                traceback.print_exc()
                sys.stderr.flush()
                os._exit(3)

        workers = [threading.Thread(target=vote) for _ in range(threads)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
