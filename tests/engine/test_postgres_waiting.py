"""How a connection in the loop waits for its server: a moment by itself, then with everybody else."""

from __future__ import annotations

import socket
import time
from collections.abc import Generator, Iterator
from typing import Any

import pytest

from aimwell.engine.postgres_connection import _stay

READ, WRITE = 1, 2


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def read_twice(ours: socket.socket, seen: list[int]) -> Generator[int, int, bytes]:
    seen.append((yield READ))
    first = ours.recv(1)
    seen.append((yield READ))
    return first + ours.recv(1)


def finish(steps: Generator[Any, Any, Any], came: int) -> Any:
    with pytest.raises(StopIteration) as end:
        steps.send(came)
    return end.value.value


def test_what_is_there_soon_needs_nobody_else(ends: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = ends
    theirs.send(b"ab")
    seen: list[int] = []
    steps = _stay(read_twice(ours, seen), ours.fileno(), time.monotonic() + 60)
    with pytest.raises(StopIteration) as end:
        next(steps)
    assert end.value.value == b"ab"
    assert seen == [READ, READ]


def test_what_comes_later_is_waited_for_by_the_loop(ends: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = ends
    theirs.send(b"a")
    seen: list[int] = []
    steps = _stay(read_twice(ours, seen), ours.fileno(), time.monotonic() + 0.05)
    # The second byte is not there: the loop is asked to wait for it.
    assert next(steps) == READ
    assert seen == [READ]
    theirs.send(b"b")
    assert finish(steps, READ) == b"ab"


def test_no_time_is_no_look_at_all(ends: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = ends
    theirs.send(b"ab")
    steps = _stay(read_twice(ours, []), ours.fileno(), time.monotonic() - 1)
    assert next(steps) == READ


def test_a_socket_that_can_be_written_is_told_so(ends: tuple[socket.socket, socket.socket]) -> None:
    ours, _ = ends

    def write() -> Generator[int, int, int]:
        return (yield READ | WRITE)

    with pytest.raises(StopIteration) as end:
        next(_stay(write(), ours.fileno(), time.monotonic() + 60))
    assert end.value.value == WRITE


def test_a_server_that_is_gone_is_found_out_by_whoever_reads(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    ours, theirs = ends
    theirs.close()
    seen: list[int] = []
    with pytest.raises(StopIteration) as end:
        next(_stay(read_twice(ours, seen), ours.fileno(), time.monotonic() + 60))
    assert end.value.value == b""
    assert seen[0] & READ


def test_whoever_is_called_off_closes_what_he_waited_for(ends: tuple[socket.socket, socket.socket]) -> None:
    ours, _ = ends
    closed: list[bool] = []

    def wait() -> Generator[int, int, None]:
        try:
            yield READ
        finally:
            closed.append(True)

    steps = _stay(wait(), ours.fileno(), time.monotonic() - 1)
    next(steps)
    steps.close()
    assert closed == [True]
