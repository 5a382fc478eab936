"""A TCP relay that keeps every byte the server sent, so that a test can look for what must not be there."""

from __future__ import annotations

import socket
import threading
from typing import Self


class Wire:
    """Listens on a port of its own, passes everything on to `port`, and records what comes back."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._received = bytearray()
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}/"

    def bytes_so_far(self) -> bytes:
        with self._lock:
            return bytes(self._received)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:  # closed: the test is over
                return
            server = socket.create_connection(("127.0.0.1", self._target))
            threading.Thread(target=self._pass, args=(client, server, False), daemon=True).start()
            threading.Thread(target=self._pass, args=(server, client, True), daemon=True).start()

    def _pass(self, source: socket.socket, target: socket.socket, record: bool) -> None:
        try:
            while data := source.recv(65536):
                if record:
                    with self._lock:
                        self._received += data
                else:
                    # Uncompressed, or the search through the recorded bytes would find nothing in any case.
                    data = data.replace(b"Accept-Encoding: ", b"X-Accept-Encodin: ")
                target.sendall(data)
        except OSError:  # either end hung up
            pass
        finally:
            for end in (source, target):
                try:
                    end.shutdown(socket.SHUT_RDWR)
                except OSError:
                    end.close()
