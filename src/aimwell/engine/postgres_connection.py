"""A connection to PostgreSQL that gives a server up which says nothing for too long.

The system's own timeouts (keep-alives) end a connection whose packets nobody acknowledges. They do not see a server
that was stopped, or something between that takes every packet and hands none on: who waits there waits for ever.
"""

from __future__ import annotations

import asyncio
import itertools
import math
import select
import time
from collections.abc import Generator, Iterator
from contextlib import closing, suppress
from functools import cache, partial
from typing import Any

import sqlalchemy as sa

from aimwell.engine.in_loop import is_in_loop, wait_here

_LOOK = 0.1
"""Seconds between two looks whether the server is silent for too long."""
_STAY = 0.003
"""So many seconds the loop stands still for an answer of the server that usually comes sooner: to go on with each
request that comes meanwhile would cost more, and it would wait for the server all the same."""
_NEW = 0.1
"""How much the newest answer counts in how soon one usually comes."""
IDLE = 300
"""Seconds after which a transaction whose client does nothing is ended: a process that was stopped must not keep all
others from writing for ever."""
_END_IDLE = """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE datname = current_database() AND usename = current_user AND application_name = 'aimwell'
        AND starts_with(state, 'idle in transaction') AND state_change < clock_timestamp() - make_interval(secs => %s)
"""
Steps = Generator[Any, Any, Any]
"""What the driver does for one question; goes on whenever something came, and ten times a second if nothing did."""


def open_connection(patience: float, *arguments: Any, **values: Any) -> Any:
    """A new connection, which waits ``patience`` seconds for the next word of the server and is closed then.

    Its ``heard`` is when the server last said something, by the monotonic clock; ``prepared`` are the names of
    statements that the server knows here (``postgres_packets``).
    ``arguments`` and ``values`` as for psycopg; ImportError where that is not installed.
    """
    connect = partial(_make_patient().connect, *arguments, **values)
    # To connect, the driver waits by itself.
    connection = wait_here(asyncio.to_thread(connect)) if is_in_loop() else connect()
    connection.patience = patience
    connection.prepared, connection.numbers = {}, itertools.count(1)
    return connection


@cache
def _make_patient() -> Any:
    # Here, for the driver is not installed everywhere.
    import psycopg

    class PatientConnection(psycopg.Connection):  # type: ignore[misc]
        patience: float
        heard = -math.inf
        prepared: dict[str, bytes]
        numbers: Iterator[int]
        usual = 0.0
        """Seconds until the server answers, usually."""

        def wait(self, gen: Steps, *arguments: Any, **values: Any) -> Any:
            if not is_in_loop():
                return super().wait(self._listen(gen), *arguments, **values)
            steps, since = self._listen(gen), time.monotonic()
            if self.usual < _STAY:
                steps = _stay(steps, self.pgconn.socket, since + _STAY)
            try:
                return wait_here(psycopg.waiting.wait_async(steps, self.pgconn.socket, _LOOK))
            finally:
                self.usual += _NEW * (time.monotonic() - since - self.usual)
                # Who is called off in the middle must know it: the connection may be of no use any more.
                steps.close()

        def _deallocate(self, name: bytes | None) -> Steps:
            yield from super()._deallocate(name)
            if name is None:
                # When it was undone, the driver makes the server forget all statements, ours with its own.
                self.prepared.clear()

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


def _stay(steps: Steps, socket: int, until: float) -> Steps:
    """``steps``, as far as they come by ``until`` without anybody else, and then one by one."""
    with closing(steps):
        try:
            wanted = next(steps)
            poll = select.poll()
            while (left := until - time.monotonic()) > 0:
                poll.register(
                    socket, (select.POLLIN if wanted & 1 else 0) | (select.POLLOUT if wanted & 2 else 0)
                )
                came = poll.poll(left * 1000)
                if not came:
                    break
                wanted = steps.send(_tell_ready(came[0][1], wanted))
            while True:
                wanted = steps.send((yield wanted))
        except StopIteration as end:
            return end.value


def _tell_ready(came: int, wanted: int) -> int:
    """What can be done now, in the driver's words; where something is wrong, whatever was wanted will find out."""
    ready = (1 if came & select.POLLIN else 0) | (2 if came & select.POLLOUT else 0)
    return ready or wanted


def end_idle(engine: sa.Engine) -> None:
    """End transactions of ours whose client does nothing: whoever waited in vain for a lock looks who has it.

    The server does it by itself (``idle_in_transaction_session_timeout``), but not after many statements that came in
    one go: the driver sends a word more behind them, which stops the server's clock and does not start it again.
    """
    import psycopg

    failures = (sa.exc.SQLAlchemyError, psycopg.Error)
    with suppress(*failures), closing(engine.raw_connection()) as connection:
        connection.cursor().execute(_END_IDLE, (IDLE,))
        connection.commit()
