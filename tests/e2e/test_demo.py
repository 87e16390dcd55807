"""The demo as a newcomer runs it, from an empty folder; interrupted once on its way."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

KEYS = {
    "goal",
    "data",
    "analysis",
    "models",
    "strategy",
    "deployment",
    "evaluation",
    "truth",
    "real_experiment",
    "rounds",
}
COMMAND = [sys.executable, "-m", "aimwell", "demo", "--rounds", "1"]


def interrupt_when(folder: Path, word: str) -> str:
    """Run the demo, interrupt it as Ctrl+C does once it says ``word``; returns what it printed."""
    printed = []
    with subprocess.Popen(
        COMMAND, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as running:
        assert running.stdout is not None
        for line in running.stdout:
            printed.append(line)
            if word in line:
                running.send_signal(signal.SIGINT)
                break
        printed.append(running.stdout.read())
        assert running.wait(timeout=300) == 130
    return "".join(printed)


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, str]:
    """The folder of a demo that was interrupted at its first plan, and what both runs printed."""
    folder = tmp_path_factory.mktemp("demo")
    first = interrupt_when(folder, "4 Strategy")
    time.sleep(0.5)
    second = subprocess.run(COMMAND, cwd=folder, capture_output=True, text=True, timeout=600)
    assert second.returncode == 0, second.stderr
    return folder, first, second.stderr + second.stdout


@pytest.fixture(scope="module")
def figures(demo: tuple[Path, str, str]) -> dict[str, Any]:
    """What report.json holds."""
    found: dict[str, Any] = json.loads((demo[0] / "demo" / "report.json").read_text(encoding="utf-8"))
    return found


@pytest.mark.slow
def test_an_interrupted_demo_goes_on_where_it_stopped(demo: tuple[Path, str, str]) -> None:
    _, first, second = demo
    assert "Traceback" not in first + second
    assert "Loading Complete Journey" in first
    assert "Loading Complete Journey" not in second
    assert "Round 1, pilot · 3 Models" not in second
    assert "Round 1, pilot · 4 Strategy" in second


@pytest.mark.slow
def test_the_report_holds_what_was_promised(figures: dict[str, Any]) -> None:
    assert set(figures) >= KEYS
    assert figures["strategy"]["gap"] <= 0.001
    assert all(row["kept"] for row in figures["strategy"]["constraints"])
    assert set(figures["evaluation"]["incremental_profit"]) >= {"estimate", "lower", "upper", "n", "method"}
    assert isinstance(figures["truth"]["covered"], bool)
    assert figures["evaluation"]["simulated"] is True
    assert figures["real_experiment"]["default"]["estimate"] == pytest.approx(0.106, abs=0.001)
    assert figures["rounds"][0]["true_incremental_profit"] > 0
    assert figures["analysis"]["tags"]["count"] >= 40


@pytest.mark.slow
def test_mails_were_really_sent_and_everybody_adds_up(
    demo: tuple[Path, str, str], figures: dict[str, Any]
) -> None:
    mails = list((demo[0] / "demo" / "workspace" / "mail" / "round-1-rollout").rglob("*.eml"))
    email = next(row for row in figures["deployment"]["by_channel"] if row["channel"] == "email")
    assert len(mails) == email["sent"] > 0
    states = figures["deployment"]["states"]
    assert sum(states.values()) == figures["deployment"]["audience"]
    assert figures["deployment"]["sums_up"] is True


@pytest.mark.slow
def test_the_page_needs_no_network(demo: tuple[Path, str, str]) -> None:
    page = (demo[0] / "demo" / "report.html").read_text(encoding="utf-8")
    assert "Content-Security-Policy" in page
    assert "<script src" not in page
    assert "<link" not in page
