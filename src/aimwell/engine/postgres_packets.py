"""Several statements as one packet to PostgreSQL, and one packet of answers.

The driver's own pipeline writes each statement by itself: for short ones, to wake the server each time costs more than
they do. This is libpq's pipeline mode through the driver's ``pq``; each statement is prepared on its connection when it
first runs there. Source: PostgreSQL's manual, "Pipeline Mode" of libpq. Reads and writes what its callers say.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple, TypeAlias

from aimwell.engine.postgres_connection import Steps

Rows: TypeAlias = list[tuple[Any, ...]]
Values: TypeAlias = Mapping[str, Any] | Sequence[Mapping[str, Any]] | tuple[Any, ...]
"""By name, or several of these in a list, or by place (SQLite only)."""
Statements: TypeAlias = Sequence[tuple[str, Values]]
_NAME = re.compile(r"(?<!:):([a-z_]+)")
_TEXT, _BINARY = 0, 1
_UNKNOWN = "26000"


def exchange(driver: Any, statements: Statements, *, ends: bool = False) -> list[Rows]:
    """The rows of each statement, and the end of the transaction if it ``ends`` here; the driver's error of the first
    that fails, and nothing after it ran.

    A transaction is begun where there is none, unless the connection commits by itself. A statement with several values
    runs once for each, and has no rows.
    """
    with driver.lock:
        found = driver.wait(_exchange(driver, statements, ends))
    rows = []
    for (_, values), results in zip(statements, found, strict=True):
        rows.append([] if isinstance(values, list) else _read(driver, results[0]))
    return rows


def _exchange(driver: Any, statements: Statements, ends: bool) -> Steps:
    from psycopg import pq, waiting

    server = driver.pgconn
    # Before anything is under way: a value that cannot be sent costs nothing but itself.
    parts = [_prepare(driver, text, values) for text, values in statements]
    server.enter_pipeline_mode()
    try:
        before = _start(driver)
        for part in parts:
            _send(server, part)
        after = _send_plain(server, b"COMMIT") if ends else 0
        server.pipeline_sync()
        while server.flush():
            if (yield waiting.Wait.RW) & waiting.Ready.R:
                server.consume_input()
        results = []
        while True:
            while server.is_busy():
                yield waiting.Wait.R
                server.consume_input()
            result = server.get_result()
            if result is None:
                continue
            if result.status == pq.ExecStatus.PIPELINE_SYNC:
                break
            results.append(result)
    except BaseException:
        # What the server still says would be taken for the answer to something else.
        server.finish()
        raise
    server.exit_pipeline_mode()
    _raise_first(driver, results)
    driver.prepared.update({part.key: part.name for part in parts if part.is_new})
    places = iter(results[before : len(results) - after])
    return [[next(places) for _ in range(part.is_new + len(part.values))][part.is_new :] for part in parts]


class _Part(NamedTuple):
    """One statement as it is sent: each of ``values`` with its formats, one execution."""

    key: str
    name: bytes
    text: bytes
    is_new: bool
    values: list[tuple[list[bytes | None], list[int]]]


def _prepare(driver: Any, text: str, values: Values) -> _Part:
    spelt, names = _spell(text)
    many: list[Any] = values if isinstance(values, list) else [values]
    told = [
        (
            [_dump(one[place]) for place in names],
            [_BINARY if isinstance(one[place], bytes) else _TEXT for place in names],
        )
        for one in many
    ]
    known = driver.prepared.get(text)
    return _Part(text, known or b"aimwell_%d" % next(driver.numbers), spelt, known is None, told)


def _start(driver: Any) -> int:
    from psycopg import pq

    idle = driver.pgconn.transaction_status == pq.TransactionStatus.IDLE
    return _send_plain(driver.pgconn, b"BEGIN") if idle and not driver.autocommit else 0


def _send_plain(server: Any, text: bytes) -> int:
    server.send_query_params(text, None)
    return 1


def _send(server: Any, part: _Part) -> None:
    if part.is_new:
        server.send_prepare(part.name, part.text)
    for dumped, formats in part.values:
        server.send_query_prepared(part.name, dumped, formats)


def _raise_first(driver: Any, results: Sequence[Any]) -> None:
    from psycopg import errors, pq

    for result in results:
        if result.status == pq.ExecStatus.FATAL_ERROR:
            error = errors.error_from_result(result)
            if error.sqlstate == _UNKNOWN:
                # Of a name that the server does not know, it knows none.
                driver.prepared.clear()
            raise error


def _read(driver: Any, result: Any) -> Rows:
    from psycopg.adapt import Transformer

    if not result.nfields:
        return []
    transformer = Transformer(driver)
    transformer.set_pgresult(result)
    rows: Rows = transformer.load_rows(0, result.ntuples, tuple)
    return rows


def _dump(value: Any) -> bytes | None:
    """As the server reads it, which knows from the statement what it is."""
    if value is None or isinstance(value, bytes):
        return value
    if isinstance(value, bool):
        return b"true" if value else b"false"
    if not isinstance(value, str | int | float):
        raise TypeError(type(value).__name__)
    told = str(value).encode()
    if b"\0" in told:
        # The server would take what stands before it.
        raise ValueError("text with a NUL")
    return told


@cache
def _spell(text: str) -> tuple[bytes, tuple[str, ...]]:
    """With numbers for names, and the names by number."""
    names: list[str] = []

    def number(found: re.Match[str]) -> str:
        if found[1] not in names:
            names.append(found[1])
        return f"${names.index(found[1]) + 1}"

    return _NAME.sub(number, text).encode(), tuple(names)
