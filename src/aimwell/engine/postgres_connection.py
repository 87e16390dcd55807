"""A connection to PostgreSQL that gives a server up which says nothing for too long.

The system's own timeouts (keep-alives) end a connection whose packets nobody acknowledges. They do not see a server
that was stopped, or something between that takes every packet and hands none on: who waits there waits for ever.
"""

from __future__ import annotations

import math
import time
from collections.abc import Generator
from functools import cache
from typing import Any

Steps = Generator[Any, Any, Any]
"""What the driver does for one question; goes on whenever something came, and ten times a second if nothing did."""


def open_connection(patience: float, *arguments: Any, **values: Any) -> Any:
    """A new connection, which waits ``patience`` seconds for the next word of the server and is closed then.

    Its ``heard`` is when the server last said something, by the monotonic clock.
    ``arguments`` and ``values`` as for psycopg; ImportError where that is not installed.
    """
    connection = _make_patient().connect(*arguments, **values)
    connection.patience = patience
    return connection


@cache
def _make_patient() -> Any:
    # Here, for the driver is not installed everywhere.
    import psycopg

    class PatientConnection(psycopg.Connection):  # type: ignore[misc]
        patience: float
        heard = -math.inf

        def wait(self, gen: Steps, *arguments: Any, **values: Any) -> Any:
            return super().wait(self._listen(gen), *arguments, **values)

        def _listen(self, gen: Steps) -> Steps:
            since = time.monotonic()
            try:
                wanted = next(gen)
                while True:
                    came = yield wanted
                    if came:
                        since = self.heard = time.monotonic()
                    elif time.monotonic() - since > self.patience:
                        self.pgconn.finish()
                        raise psycopg.OperationalError("the server is silent")
                    wanted = gen.send(came)
            except StopIteration as end:
                return end.value

    return PatientConnection
