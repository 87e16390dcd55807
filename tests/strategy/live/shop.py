"""A small workspace with a plan that was optimised, and a clock that stands within its first day."""

from __future__ import annotations

import atexit
import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from aimwell.engine.workspace import Workspace
from aimwell.strategy.step import plan
from tests.strategy.test_step import DAY, fill, learn, read

__all__ = ["DAY", "NOW_MS", "call", "make_shop", "read"]
NOW_MS = int(datetime(DAY.year, DAY.month, DAY.day, 12, tzinfo=UTC).timestamp() * 1000)
PLAN = f"r1-rollout-{DAY}"


_made: dict[bool, Path] = {}


@contextmanager
def make_shop(folder: Path, *, planned: bool = True) -> Iterator[Workspace]:
    """A copy of one that is made once: planning takes longer than most tests."""
    if planned not in _made:
        kept = Path(tempfile.mkdtemp(prefix="aimwell-live-"))
        atexit.register(shutil.rmtree, kept, ignore_errors=True)
        workspace = Workspace.create(kept / "shop", name="shop", zone="UTC", currency="USD")
        fill(workspace, 60)
        plan(workspace, as_of=DAY, wave="pilot", goal="profit", round_number=1)
        if planned:
            learn(workspace)
            plan(workspace, as_of=DAY, wave="rollout", goal="profit", round_number=1, budget=Decimal("28"))
        workspace.close()
        _made[planned] = kept / "shop"
    shutil.copytree(_made[planned], folder / "shop")
    workspace = Workspace.open(folder / "shop")
    yield workspace
    workspace.close()


def call(workspace: Workspace, *words: str, as_json: bool = True, fails: bool = False) -> Any:
    """``aimwell strategy live …``: its JSON, its page, or the error that it raised."""
    from aimwell.cli.output import State
    from aimwell.cli.strategy import app

    found = CliRunner().invoke(app, ["live", *words], obj=State(workspace.path, as_json))
    if fails:
        return found.exception
    assert found.exception is None, found.exception
    return json.loads(found.output) if as_json else found.output


def stop_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """The commands' own clock stands at noon of the plan's first day."""
    monkeypatch.setattr("aimwell.cli.strategy_live._find_today", lambda workspace: DAY)
    monkeypatch.setattr("aimwell.cli.strategy_live._clock", lambda: NOW_MS / 1000)
