"""What the processes of one service hold together: a folder with the buckets of keys' rates and with figures.

The supervisor makes it for the time in which it runs. Reads and writes no table.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
"""Names the folder; ``prometheus_client`` looks for it when it is imported, and then counts in files there."""


def find_folder() -> Path | None:
    """The folder that this process shares with others; None where it is the only one."""
    told = os.environ.get(VARIABLE)
    return Path(told) if told else None


@contextmanager
def open_folder() -> Iterator[Path]:
    """A new one, gone at the end with all that the processes left in it."""
    with tempfile.TemporaryDirectory(prefix="aimwell-service-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)
