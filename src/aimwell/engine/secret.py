"""The workspace's secret: what its signatures and keyed digests are made with.

It comes from AIMWELL_SECRET, else from the workspace's file ``secret`` (made when first needed, readable by its owner
only). Whoever loses it can verify no old link and recognise no erased person.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable
from pathlib import Path

from aimwell.core.errors import BadInput
from aimwell.core.text import say

SECRET_VARIABLE = "AIMWELL_SECRET"
SECRET_FILE = "secret"
_SHORTEST = 16


SECRET_FOLDERS = ("/run/secrets",)
"""Where Docker puts files with secrets; systemd names its folder in CREDENTIALS_DIRECTORY."""


def take_secret_files(folders: Iterable[str] = SECRET_FOLDERS) -> None:
    """Each file called aimwell_… in those folders becomes the variable of its name, AIMWELL_…, unless that is set."""
    own = os.environ.get("CREDENTIALS_DIRECTORY")
    for folder in (*([own] if own else []), *folders):
        for path in sorted(Path(folder).glob("aimwell_*")):
            try:
                os.environ.setdefault(path.name.upper(), path.read_text(encoding="utf-8").strip())
            except (OSError, UnicodeDecodeError):
                # Another service's, which we may not read; who needs it is told that it is missing.
                continue


def load_secret(folder: Path) -> bytes:
    """The secret of the workspace in ``folder``; BadInput when AIMWELL_SECRET is shorter than 16 characters."""
    given = os.environ.get(SECRET_VARIABLE)
    if given is not None:
        if len(given) < _SHORTEST:
            raise BadInput(
                "engine.secret_short",
                say("AIMWELL_SECRET has fewer than {least} characters.", least=_SHORTEST),
                remedy=say("Use a long random value, or unset it: the workspace then makes its own."),
            )
        return given.encode()
    path = folder / SECRET_FILE
    if not path.exists():
        _create_secret(path)
    return bytes.fromhex(path.read_text(encoding="ascii").strip())


def _create_secret(path: Path) -> None:
    # Written aside and linked: of two processes that start together one wins, and nobody reads half a secret.
    aside = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
    descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as stream:
        stream.write(secrets.token_hex(32))
        stream.flush()
        os.fsync(stream.fileno())
    try:
        os.link(aside, path)
    except FileExistsError:
        pass
    finally:
        aside.unlink()
