"""The files that a report carries inside itself: its own style and script, and the charts' library.

The library is put beside this module when the wheel is built (``hatch_build.py``).
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from importlib.resources import files

from aimwell.core.errors import NotReady
from aimwell.core.text import say


@dataclass(frozen=True)
class Assets:
    """The contents: page skeleton, style sheet, own script, ECharts."""

    skeleton: str
    style: str
    script: str
    library: str


def load_assets() -> Assets:
    """The four files. Raises NotReady where the charts' library is not installed."""
    try:
        library = _read("assets/echarts.min.js")
    except FileNotFoundError as error:
        raise NotReady(
            "report.no_charts",
            say("The charts' library of the report is not installed."),
            remedy=say("Run `make install` once with access to an npm registry, then try again."),
            where={"file": "aimwell/report/assets/echarts.min.js"},
        ) from error
    return Assets(_read("skeleton.html"), _read("report.css"), _read("report.js"), library)


def hash_inline(source: str) -> str:
    """The policy's name for an inline script or style: ``'sha256-…'`` of exactly what stands in the tag."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(source.encode('utf-8')).digest()).decode('ascii')}'"


def write_policy(assets: Assets) -> str:
    """The content-security policy: only these two scripts and this style, no eval, no network at all."""
    scripts = f"{hash_inline(assets.library)} {hash_inline(assets.script)}"
    return (
        f"default-src 'none'; script-src {scripts}; style-src {hash_inline(assets.style)}; "
        "img-src data:; connect-src 'none'; base-uri 'none'; form-action 'none'"
    )


def _read(name: str) -> str:
    # A parser turns CR LF into LF before it hashes: so do we, whatever the checkout did.
    raw = (files("aimwell.report") / name).read_bytes()
    return raw.decode("utf-8").replace("\r\n", "\n")
