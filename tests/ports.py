"""Ports for servers that tell nobody which one the system gave them."""

from __future__ import annotations

import os
import random
import socket

_FIRST, _LAST = 20_000, 30_000
"""Below those that the system gives out by itself: a connection of somebody else does not take it meanwhile."""


def find_port() -> int:
    """One on which nobody listens on the loopback address."""
    chance = random.Random(os.urandom(8))
    while True:
        port = chance.randrange(_FIRST, _LAST)
        with socket.socket() as free:
            try:
                free.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
