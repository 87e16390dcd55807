"""Checks of the machine and of what is around the workspace: programs, disk, memory, zones, mail server, addresses.

Reads no table and writes nothing.
"""

from __future__ import annotations

import os
import re
import shutil
import smtplib
import ssl
import sys
from importlib import metadata
from pathlib import Path
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from aimwell import __version__
from aimwell.core.errors import AimwellError
from aimwell.core.lists import join_list
from aimwell.core.text import say
from aimwell.deployment.tracking.address import ADDRESS_VARIABLE, find_base
from aimwell.engine.secret import SECRET_FILE, SECRET_VARIABLE, load_secret
from aimwell.engine.settings import FILE_NAME, Settings
from aimwell.loop.findings import Finding

_LEAST_ROOM = 1 << 30
_GOOD_ROOM = 5 << 30
_LEAST_PYTHON = (3, 11)
_TIMEOUT = 5.0
_LOCAL = ("localhost", "127.0.0.1", "::1")


def check_programs(settings: Settings) -> Finding:
    """Python, and every package that this version needs."""
    needed = ["sqlalchemy", "psycopg"] if settings.store.url else []
    missing = sorted({name for name in [*_list_packages(), *needed] if not _is_installed(name)})
    version = ".".join(map(str, sys.version_info[:3]))
    figures = {"python": version, "aimwell": __version__, "missing": missing}
    title = say("Programs")
    if sys.version_info[:2] < _LEAST_PYTHON:
        return Finding(
            "programs",
            title,
            "error",
            say("Python {version} is too old.", version=version),
            say("Install Python 3.11 or newer."),
            figures,
        )
    if missing:
        return Finding(
            "programs",
            title,
            "error",
            say("Packages are missing: {names}.", names=join_list(missing)),
            say("Install them: pip install --upgrade aimwell, with [postgresql] for a PostgreSQL store."),
            figures,
        )
    return Finding(
        "programs", title, "ok", say("Aimwell {own} on Python {version}.", own=__version__, version=version),
        figures=figures,
    )  # fmt: skip


def _list_packages() -> list[str]:
    """What the installed package says that it needs, without extras."""
    try:
        needed = metadata.requires("aimwell") or []
    except metadata.PackageNotFoundError:
        return []
    names = [re.match(r"[A-Za-z0-9._-]+", one) for one in needed if "extra ==" not in one]
    return [found[0] for found in names if found and not _is_for_another_system(needed, found[0])]


def _is_for_another_system(needed: list[str], name: str) -> bool:
    return sys.platform == "win32" and any(one.startswith(name) and "win32" in one for one in needed)


def _is_installed(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True


def check_disk(folder: Path) -> Finding:
    """Room where the workspace lies."""
    usage = shutil.disk_usage(folder)
    figures = {"free_bytes": usage.free, "total_bytes": usage.total}
    title = say("Disk")
    free = f"{usage.free / (1 << 30):,.1f}"
    message = say("{free} GiB are free where the workspace lies.", free=free)
    remedy = say(
        "Free some room or move the workspace. With a full disk nothing new is taken in; nothing is lost."
    )
    if usage.free < _LEAST_ROOM:
        return Finding("disk", title, "error", message, remedy, figures)
    if usage.free < _GOOD_ROOM or usage.free < usage.total * 0.05:
        return Finding("disk", title, "warning", message, remedy, figures)
    return Finding("disk", title, "ok", message, figures=figures)


def check_memory(settings: Settings) -> Finding:
    """Whether the machine, or the container, has what queries may use."""
    title, available = say("Memory"), _find_memory()
    wanted = settings.engine.memory_bytes
    if available is None:
        return Finding("memory", title, "ok", say("How much memory there is cannot be told on this system."))
    figures = {"available_bytes": available, "limit_bytes": wanted}
    words = {"free": f"{available / (1 << 30):,.1f}", "limit": settings.engine.memory_limit}
    message = say("{free} GiB of memory are free; queries may use {limit}.", **words)
    if available < wanted:
        remedy = say("Set [engine] memory_limit lower, or give the machine more memory.")
        return Finding("memory", title, "warning", message, remedy, figures)
    return Finding("memory", title, "ok", message, figures=figures)


def _find_memory() -> int | None:
    found = []
    try:
        told = Path("/proc/meminfo").read_text(encoding="ascii")
        found += [int(one) * 1024 for one in re.findall(r"MemAvailable:\s+(\d+) kB", told)]
        # A container may have less than the machine.
        limit = Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii").strip()
        used = Path("/sys/fs/cgroup/memory.current").read_text(encoding="ascii").strip()
        found += [int(limit) - int(used)] if limit.isdigit() and used.isdigit() else []
    except (OSError, ValueError):
        pass
    return min(found, default=None)


def check_zones(settings: Settings) -> Finding:
    """Whether the business's time zone is known here."""
    title, name = say("Time zones"), settings.business.zone
    try:
        ZoneInfo(name)
        ZoneInfo("Asia/Shanghai")
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return Finding(
            "zones",
            title,
            "error",
            say("The time zone {zone} is not known on this machine.", zone=name),
            say("Install the data of time zones: pip install --upgrade tzdata."),
        )
    return Finding("zones", title, "ok", say("The business's days are those of {zone}.", zone=name))


def check_secret(folder: Path) -> Finding:
    """Whether others on this machine can read the secret or the settings."""
    title = say("Secret")
    if os.environ.get(SECRET_VARIABLE) is not None:
        try:
            load_secret(folder)
        except AimwellError as error:
            return Finding("secret", title, "error", error.message, error.remedy)
        return Finding("secret", title, "ok", say("The secret comes from AIMWELL_SECRET."))
    path = folder / SECRET_FILE
    if not path.exists():
        return Finding("secret", title, "ok", say("The secret is made when it is first needed."))
    if path.stat().st_mode & 0o077:
        return Finding(
            "secret",
            title,
            "error",
            say("Other users of this machine can read the secret."),
            say("Let only its owner read it: chmod 600 {file}", file=str(path)),
        )
    return Finding("secret", title, "ok", say("Only its owner can read the secret."))


def check_address() -> Finding:
    """Whether links in messages lead to the service."""
    title = say("Public address")
    if not os.environ.get(ADDRESS_VARIABLE):
        return Finding(
            "address",
            title,
            "warning",
            say("{variable} is not set: links in messages lead nowhere.", variable=ADDRESS_VARIABLE),
            say("Set it to the address at which the service is reached, such as https://m.shop.example."),
        )
    try:
        address = find_base()
    except AimwellError as error:
        return Finding("address", title, "error", error.message, error.remedy)
    parts = urlsplit(address)
    message = say("Links in messages begin with {address}.", address=address)
    if parts.scheme != "https" and parts.hostname not in _LOCAL:
        remedy = say("Use https: whoever reads a link on its way could unsubscribe in the customer's name.")
        return Finding("address", title, "warning", message, remedy)
    return Finding("address", title, "ok", message)


def check_mail(settings: Settings) -> Finding:
    """Whether the mail server answers; no mail is sent."""
    title, smtp = say("Mail server"), settings.smtp
    place: dict[str, str | int] = {"host": smtp.host, "port": smtp.port}
    try:
        with smtplib.SMTP(smtp.host, smtp.port, timeout=_TIMEOUT) as server:
            server.ehlo()
            if smtp.starttls:
                server.starttls(context=ssl.create_default_context())
                server.ehlo()
            if smtp.user and settings.smtp_password is not None:
                server.login(smtp.user, settings.smtp_password.get_secret_value())
            server.noop()
    except (OSError, smtplib.SMTPException) as error:
        return Finding(
            "mail",
            title,
            "warning",
            say(
                "The mail server {host}:{port} does not answer as it should ({problem}).",
                **place,
                problem=type(error).__name__,
            ),
            say("Check [smtp] in {file}, AIMWELL_SMTP_PASSWORD and the network.", file=FILE_NAME),
            place,
        )
    message = say("The mail server {host}:{port} answers.", **place)
    return Finding("mail", title, "ok", message, figures=place)
