"""The private DuckDB of a file: what it answers does not depend on the machine."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

ASK = """
from aimwell.data.scratch import Scratch
with Scratch() as scratch:
    sql = "SELECT CAST(make_timestamptz(0) AS VARCHAR) AS text"
    print(scratch.query(sql)["text"][0], scratch.stream(sql).read_all()["text"][0])
"""


@pytest.mark.parametrize("zone", ["America/New_York", "Asia/Shanghai"])
def test_streamed_texts_have_no_zone_of_the_machine(zone: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", ASK],
        env={**os.environ, "TZ": zone},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == " ".join(["1970-01-01 00:00:00+00"] * 2)
