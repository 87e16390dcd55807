"""A network between two programs that a test cuts, or that swallows what it is given."""

from __future__ import annotations

import select
import socket
import threading
import time
from contextlib import suppress


class Wire:
    """Carries what comes to ``port`` to the port ``target`` of this machine, and back.

    ``unheard``: how many connections came while nothing came through.
    """

    def __init__(self, target: int) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._open: list[socket.socket] = []
        self._silent: set[socket.socket] = set()
        self.is_cut = False
        self.is_hushed = False
        self.unheard = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """Every connection breaks, and no new one comes through."""
        self.is_cut = True
        for one in self._open:
            # At once, with whatever was on its way.
            with suppress(OSError):
                one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                one.shutdown(socket.SHUT_RDWR)
                one.close()
        self._open.clear()

    def hush(self) -> None:
        """Nothing comes through any more, nobody is told, and connections of now never speak again."""
        self.is_hushed = True
        self._silent |= set(self._open)

    def mend(self) -> None:
        """New connections come through."""
        self.is_cut = self.is_hushed = False

    def close(self) -> None:
        self._listener.close()
        self.cut()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                if self.is_cut:
                    near.close()
                    continue
                if self.is_hushed:
                    self.unheard += 1
                    self._silent.add(near)
                    self._open.append(near)
                    continue
                far = socket.create_connection(("127.0.0.1", self._target))
                self._open += [near, far]
                threading.Thread(target=self._carry, args=(near, far), daemon=True).start()

    def _carry(self, near: socket.socket, far: socket.socket) -> None:
        with suppress(OSError, ValueError):
            while True:
                ready, _, _ = select.select([near, far], [], [], 1.0)
                for one in ready:
                    if one in self._silent:
                        time.sleep(0.05)
                        continue
                    piece = one.recv(1 << 16)
                    if not piece:
                        near.close()
                        far.close()
                        return
                    (far if one is near else near).sendall(piece)
