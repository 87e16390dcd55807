"""Keeps HiGHS's debugging lines out of our standard output, where ``--json`` promises one object.

The solver prints "HighsMipSolverData::…" from C, whatever ``disp`` says, when it polishes a rounded solution.
Reads and writes no tables.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

STDOUT = 1
NOISE = b"Highs"


@contextmanager
def drop_solver_output() -> Iterator[None]:
    """Within the block, lines of the solver on file descriptor 1 are dropped; all other output is passed on."""
    sys.stdout.flush()
    try:
        kept = os.dup(STDOUT)
    except OSError:  # there is no standard output
        yield
        return
    with tempfile.TemporaryFile() as caught:
        os.dup2(caught.fileno(), STDOUT)
        try:
            yield
        finally:
            sys.stdout.flush()
            os.dup2(kept, STDOUT)
            os.close(kept)
            caught.seek(0)
            for line in caught:
                if not line.startswith(NOISE):
                    os.write(STDOUT, line)
