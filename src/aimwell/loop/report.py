"""The round's page and its figures as files."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from aimwell.core.errors import NotReady
from aimwell.core.text import say
from aimwell.engine.workspace import Workspace
from aimwell.loop.payload import compile_payload
from aimwell.loop.record import list_waves
from aimwell.report import render
from aimwell.report.rehearsal import render_rehearsal


def write_report(workspace: Workspace, out: Path) -> Path:
    """Write the newest round as one self-contained page; NotReady when no round was begun."""
    if not list_waves(workspace):
        raise NotReady(
            "loop.no_round",
            say("There is no round to report on."),
            remedy=say("Run one with: aimwell round"),
        )
    return write_page(compile_payload(workspace), out)


def write_page(payload: dict[str, Any], out: Path) -> Path:
    """Write ``payload`` as a page."""
    page = render(payload, currency=payload["business"]["currency"])
    return _write_text(out, page)


def write_rehearsal(payload: dict[str, Any], out: Path, *, currency: str) -> Path:
    """Write the cases of a rehearsal as one self-contained page; ``payload`` as in ``report.rehearsal``."""
    return _write_text(out, render_rehearsal(payload, currency=currency))


def write_figures(payload: dict[str, Any], out: Path) -> Path:
    """Write ``payload`` as JSON."""
    return _write_text(out, json.dumps(payload, ensure_ascii=False, indent=1, allow_nan=False))


def _write_text(out: Path, text: str) -> Path:
    out.parent.mkdir(parents=True, exist_ok=True)
    aside = out.with_name(out.name + ".writing")
    aside.write_text(text, encoding="utf-8")
    os.replace(aside, out)
    return out
