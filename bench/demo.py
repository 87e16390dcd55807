"""Claim: the demo, two rounds on 1.47 million order lines, ends within 5 minutes on 2 cores and within 4 GB.

Runs ``aimwell demo`` in an empty folder, as a user would. Run it with ``make bench``.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time

LIMIT_SECONDS = 300
LIMIT_GB = 4.0


def main() -> int:
    """Print time and memory; 1 when the claim does not hold or the demo fails."""
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        command = [sys.executable, "-m", "aimwell", "demo"]
        done = subprocess.run(command, cwd=folder, stdout=subprocess.DEVNULL)
        seconds = time.perf_counter() - began
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    # Linux counts in KiB, macOS in bytes.
    gigabytes = used.ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e9
    cpu = used.ru_utime + used.ru_stime
    print(f"{seconds:.0f} s elapsed (at most {LIMIT_SECONDS}), {cpu:.0f} s of CPU")
    print(f"{gigabytes:.2f} GB at the peak of its largest process (at most {LIMIT_GB})")
    return int(done.returncode != 0 or seconds > LIMIT_SECONDS or gigabytes > LIMIT_GB)


if __name__ == "__main__":
    sys.exit(main())
