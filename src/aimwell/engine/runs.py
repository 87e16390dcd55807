"""The record of runs, in the store: who works, on which inputs, and how it ended.

A run stands on record before it writes a file, so that nobody takes its files for left over; it ends well only in the
transaction that lists them. Writes ``runs``.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any

import sqlalchemy as sa

from aimwell import __version__
from aimwell.core.errors import Conflict
from aimwell.core.text import say
from aimwell.core.time import now
from aimwell.engine.leases import name_process
from aimwell.engine.store_tables import RUNS


def start_run(
    connection: sa.Connection,
    run_id: str,
    step: str,
    *,
    as_of: date,
    parameters: Mapping[str, Any],
    inputs: Mapping[str, int] | None = None,
    seed: int = 0,
) -> None:
    """Put a run of this process on record as running."""
    connection.execute(
        sa.insert(RUNS).values(
            run_id=run_id,
            step=step,
            as_of=as_of,
            parameters=dict(parameters),
            inputs=dict(inputs or {}),
            seed=seed,
            code_version=__version__,
            process=name_process(),
            status="running",
            started_at=now(),
        )
    )


def end_run(connection: sa.Connection, run_id: str) -> None:
    """The run is done; Conflict when another process held it for dead, and has removed its files."""
    ended = connection.execute(
        sa.update(RUNS)
        .where(RUNS.c.run_id == run_id, RUNS.c.status == "running")
        .values(status="done", finished_at=now())
    )
    if ended.rowcount != 1:
        raise Conflict(
            "engine.run_cleared",
            say("This run was cleared away by another process, which held it for dead."),
            remedy=say("Run the step again."),
        )
