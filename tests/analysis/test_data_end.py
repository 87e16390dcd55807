"""Where the data ended long ago, whoever counts windows from today is told."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from aimwell.analysis.data_end import find_last_day, tell_old_data
from aimwell.analysis.rule_text import parse_rule
from aimwell.analysis.segments import save_segment
from aimwell.analysis.step import describe
from aimwell.cli.app import app
from aimwell.engine.workspace import Workspace
from tests.analysis.shop import AS_OF, load_shop, make_workspace


def noon(days: int) -> datetime:
    return datetime(AS_OF.year, AS_OF.month, AS_OF.day, 4, tzinfo=UTC) + timedelta(days=days)


def test_windows_that_begin_after_the_data_end_are_told(tmp_path: Path) -> None:
    shop = make_workspace(tmp_path)
    assert tell_old_data(shop) is None
    load_shop(shop)
    with shop.read() as reader:
        last = find_last_day(reader)
    assert last is not None and last <= AS_OF
    assert tell_old_data(shop, noon(0)) is None
    told = tell_old_data(shop, noon(400))
    assert told is not None
    for language in ("en", "zh"):
        text = told.render(language)
        assert last.isoformat() in text and f"--as-of {last + timedelta(days=1)}" in text


@pytest.fixture
def old(tmp_path: Path) -> Workspace:
    shop = make_workspace(tmp_path)
    load_shop(shop)
    save_segment(shop.store, "recent", parse_rule("recency_days <= 30"))
    describe(shop, as_of=AS_OF)
    return shop


def test_commands_that_count_from_today_say_so(old: Workspace) -> None:
    folder, out = str(old.path), str(old.path / "x.csv")
    run = CliRunner()
    plain = ["-w", folder, "analysis", "segment", "export", "recent", "--channel", "email", "--out", out]
    assert "windows count from today" not in run.invoke(app, plain).output
    up_to = run.invoke(app, ["-w", folder, "analysis", "segment", "refresh", "--as-of", AS_OF.isoformat()])
    assert up_to.exit_code == 0 and "windows count from today" not in up_to.output
    live = run.invoke(app, [*plain, "--live"])
    assert live.exit_code == 0 and "windows count from today" in " ".join(live.output.split())
    told = run.invoke(app, ["-w", folder, "--language", "zh", "analysis", "segment", "refresh"])
    assert told.exit_code == 0 and "时间窗从今天" in told.output
