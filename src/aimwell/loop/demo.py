"""``aimwell demo``: whole rounds on Complete Journey with the simulated market, and one real experiment.

Everything is done by the same steps that a company's own round runs; only the customers' answers are simulated.
An interrupted demo goes on where it stopped.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date, datetime, timedelta
from datetime import time as time_of_day
from pathlib import Path
from typing import Any

from aimwell.core.errors import Conflict
from aimwell.core.steps import StepResult
from aimwell.core.text import say
from aimwell.core.time import zone
from aimwell.deployment.channels.smtp import Server, SmtpChannel
from aimwell.deployment.sink import Sink
from aimwell.engine.settings import FILE_NAME, Settings, check_settings
from aimwell.engine.workspace import Workspace
from aimwell.evaluation.real_experiment import evaluate_cai2015
from aimwell.loop.payload import compile_payload
from aimwell.loop.record import Progress, Wave, list_waves, load_results
from aimwell.loop.report import write_figures, write_page
from aimwell.loop.round import launch_through, run_wave
from aimwell.loop.simulated_market import SimulatedMarket

FIRST_DAY = date(2017, 7, 31)
DAYS = 28
MORNING = time_of_day(10, 0)


def run_demo(out: Path, *, rounds: int, seed: int, progress: Progress) -> dict[str, Any]:
    """Run ``rounds`` rounds in the folder ``out`` and write report.html and report.json; returns the figures."""
    workspace = _open_workspace(out / "workspace", seed)
    market = SimulatedMarket(seed)
    try:
        for wave in list_demo_waves(rounds):
            _run_demo_wave(workspace, wave, market, progress)
        progress(say("A real experiment: Cai 2015 …"))
        workspace.store.save_definition("real_experiment", "cai2015", evaluate_cai2015())
        payload = compile_payload(workspace)
    finally:
        workspace.close()
    write_figures(payload, out / "report.json")
    write_page(payload, out / "report.html")
    return payload


def list_demo_waves(rounds: int) -> list[Wave]:
    """Pilot and rollout of each round, one window after the other."""
    return [
        Wave(
            1 + number // 2,
            "rollout" if number % 2 else "pilot",
            FIRST_DAY + timedelta(days=DAYS * number),
            DAYS,
        )
        for number in range(2 * rounds)
    ]


def _run_demo_wave(workspace: Workspace, wave: Wave, market: SimulatedMarket, progress: Progress) -> None:
    if "evaluation" in load_results(workspace, wave.round_number, wave.name):
        return
    if not list_waves(workspace):
        progress(say("Loading Complete Journey …"))
        market.open(workspace, wave.as_of)
    with _open_mail(workspace, wave) as channel:

        def send(opened: Workspace, planned: Wave, report: Progress) -> StepResult:
            clock = _start_clock(planned, opened.settings.business.zone)
            return launch_through(opened, planned, report, channels={"email": channel}, clock=clock)

        run_wave(workspace, wave, send=send, market=market, progress=progress)


def _start_clock(wave: Wave, zone_name: str) -> Callable[[], float]:
    """A clock that starts on the morning of the wave's own day: quiet hours and caps are those of that day."""
    morning = datetime.combine(wave.as_of, MORNING, zone(zone_name)).timestamp()
    began = time.monotonic()
    return lambda: morning + time.monotonic() - began


@contextmanager
def _open_mail(workspace: Workspace, wave: Wave) -> Iterator[SmtpChannel]:
    """A real SMTP server on the loopback address that keeps what it is sent, and a channel to it."""
    with Sink(workspace.path / "mail" / wave.plan_id) as sink:
        server = Server(host=sink.host, port=sink.port, sender=workspace.settings.smtp.sender)
        # The sink can be asked what it took, so that nothing stays in doubt after a crash.
        yield SmtpChannel(server, ask=sink.has)


def _open_workspace(path: Path, seed: int) -> Workspace:
    settings = _make_settings(seed)
    if not (path / FILE_NAME).exists():
        return Workspace.create(path, settings=settings)
    workspace = Workspace.open(path)
    if workspace.settings.seed != seed:
        workspace.close()
        raise Conflict(
            "loop.other_demo",
            say(
                "The folder {folder} holds a demo with the seed {seed}.",
                folder=str(path),
                seed=workspace.settings.seed,
            ),
            remedy=say("Choose another folder with --out, or remove this one."),
            where={"file": str(path)},
        )
    return workspace


def _make_settings(seed: int) -> Settings:
    business = {"name": "Complete Journey", "zone": "America/New_York", "currency": "USD"}
    threads = min(os.cpu_count() or 1, 4)
    return check_settings({"business": business, "engine": {"threads": threads}, "seed": seed}, FILE_NAME)
