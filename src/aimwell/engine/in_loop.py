"""Work that waits for the database without stopping the event loop that it runs in.

Written as if it blocked, it runs in a greenlet: where the driver waits for the server, the loop goes on, and comes back
when the answer is there. A thread could do the same, and has to take turns with the loop for the interpreter after each
answer: beside a busy loop that takes longer than the database. Reads and writes no table.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import cache
from importlib import import_module
from typing import TypeVar

Result = TypeVar("Result")


@cache
def can_run_in_loop() -> bool:
    """Whether what it takes is installed (with ``aimwell[postgresql]`` it is)."""
    try:
        import_module("greenlet")
    except ImportError:
        return False
    return True


async def run_in_loop(work: Callable[[], Result]) -> Result:
    """Run ``work`` in this loop. While it waits it must hold no lock for which others would stop the loop."""
    from sqlalchemy.util import greenlet_spawn

    return await greenlet_spawn(work)


def is_in_loop() -> bool:
    """Whether the caller runs by ``run_in_loop``."""
    from sqlalchemy.util.concurrency import in_greenlet

    return can_run_in_loop() and in_greenlet()


def wait_here(what: Awaitable[Result]) -> Result:
    """What comes of ``what``, while the loop goes on; only where ``is_in_loop``."""
    from sqlalchemy.util import await_

    return await_(what)
