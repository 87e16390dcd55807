"""The mail server, webhook, robots and web push of a workspace, as its settings and environment describe them.

Reads the settings, the workspace's secret and key files; writes nothing. What the settings do not name is not there.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

from aimwell.core.errors import BadInput, NotAllowed, NotReady
from aimwell.core.text import say
from aimwell.deployment.channels.addresses import find_target, read_exemptions
from aimwell.deployment.channels.bounce_records import Recorded, take_reports
from aimwell.deployment.channels.channel import Channel
from aimwell.deployment.channels.dkim import Signer, load_signer
from aimwell.deployment.channels.mailbox import read_mails
from aimwell.deployment.channels.mime import find_domain
from aimwell.deployment.channels.posting import Poster
from aimwell.deployment.channels.push import PushChannel, PushTerms
from aimwell.deployment.channels.push_encryption import SenderKey
from aimwell.deployment.channels.return_path import ReturnPath
from aimwell.deployment.channels.robots import Robot, RobotChannel
from aimwell.deployment.channels.smtp import Server, SmtpChannel
from aimwell.deployment.channels.webhook import WebhookChannel, read_secrets
from aimwell.engine.secret import load_secret
from aimwell.engine.settings import Settings
from aimwell.engine.wire_settings import DkimSettings
from aimwell.engine.workspace import Workspace

ROBOT_PREFIX = "robot:"
_LOOPBACK = ("127.0.0.1", "::1", "localhost")
_VARIABLES = {
    "dkim_key": "AIMWELL_DKIM_KEY",
    "webhook_secret": "AIMWELL_WEBHOOK_SECRET",
    "push_key": "AIMWELL_PUSH_KEY",
}


def connect_mail(workspace: Workspace) -> SmtpChannel:
    """The mail server of ``[smtp]``, with what ``[mail]`` says."""
    mail = workspace.settings.mail
    signers = load_signers(workspace)
    return SmtpChannel(describe_server(workspace), connections=mail.connections, signers=signers)


def describe_server(workspace: Workspace) -> Server:
    """Where and how mails are handed over; NotAllowed when the password would go there in the clear."""
    smtp, mail = workspace.settings.smtp, workspace.settings.mail
    if smtp.user and not (smtp.starttls or mail.tls) and smtp.host not in _LOOPBACK:
        raise NotAllowed(
            "deployment.mail_password_open",
            say("The password of the mail server would cross the network without encryption."),
            remedy=say("Set starttls = true in the section [smtp], or tls = true in [mail]."),
        )
    password = workspace.settings.smtp_password
    return Server(
        smtp.host,
        smtp.port,
        smtp.sender,
        starttls=smtp.starttls,
        user=smtp.user,
        password=password.get_secret_value() if password is not None else None,
        tls=mail.tls,
        ca_file=_find_file(workspace, mail.ca_file),
        return_path=find_return_path(workspace),
    )


def find_return_path(workspace: Workspace) -> ReturnPath | None:
    """The signed addresses that bounces come back to; None when there is no mailbox for them."""
    mailbox = workspace.settings.mail.return_path
    return ReturnPath(mailbox, load_secret(workspace.path)) if mailbox else None


def load_signers(workspace: Workspace) -> list[Signer]:
    """A signer for each ``[[mail.dkim]]``; BadInput or NotReady when a key is missing or of no use."""
    sender = workspace.settings.smtp.sender
    return [
        load_signer(
            _read_key(workspace, one), domain=one.domain or find_domain(sender), selector=one.selector
        )
        for one in workspace.settings.mail.dkim
    ]


def list_others(workspace: Workspace) -> dict[str, Callable[[], Channel]]:
    """What opens ``webhook``, ``push`` and ``robot:<name>``, as far as the settings name them."""
    settings = workspace.settings
    makers: dict[str, Callable[[], Channel]] = {}
    if settings.webhook.url:
        makers["webhook"] = partial(_connect_webhook, workspace)
    if settings.push.subject:
        makers["push"] = partial(_connect_push, workspace)
    for name in settings.robots:
        makers[f"{ROBOT_PREFIX}{name}"] = partial(_connect_robot, workspace, name)
    return makers


def _connect_webhook(workspace: Workspace) -> Channel:
    settings, poster = workspace.settings, _open_poster(workspace, reuse=True)
    _check_address(settings.webhook.url, poster)
    keys = read_secrets(_require(settings, "webhook_secret"))
    return WebhookChannel(settings.webhook.url, keys, poster)


def _connect_push(workspace: Workspace) -> Channel:
    push = workspace.settings.push
    key = SenderKey.read(_require(workspace.settings, "push_key"))
    terms = PushTerms(push.subject, ttl=int(push.ttl_hours * 3600), urgency=push.urgency)
    return PushChannel(key, terms, _open_poster(workspace))


def _connect_robot(workspace: Workspace, name: str) -> Channel:
    return RobotChannel(_find_robot(workspace.settings, name), _open_poster(workspace))


def take_bounces(workspace: Workspace, place: Path | None = None) -> Counter[str]:
    """Read the mails in ``place`` (else ``mail.bounce_box``) and record what came back; effect → reports.

    What follows from a report is in the store when this returns; calling it again changes nothing.
    """
    mail = workspace.settings.mail
    box = place or _find_file(workspace, mail.bounce_box)
    if box is None:
        raise NotReady(
            "deployment.no_bounce_box",
            say("Where mails that come back are kept is not set."),
            remedy=say("Set bounce_box in the section [mail] of aimwell.toml, or name the place."),
        )
    recorded: list[Recorded] = take_reports(
        workspace.store,
        read_mails(box),
        int(time.time() * 1000),
        path=find_return_path(workspace),
        soft_limit=mail.soft_bounces,
    )
    return Counter(f"{one.bounce.kind}.{one.effect}" for one in recorded)


def take_report(workspace: Workspace, raw: bytes) -> Recorded | None:
    """Record one mail that a mail server handed over as it came; None when it is no report about our mails."""
    now_ms = int(time.time() * 1000)
    recorded = take_reports(
        workspace.store,
        [raw],
        now_ms,
        path=find_return_path(workspace),
        soft_limit=workspace.settings.mail.soft_bounces,
    )
    return recorded[0] if recorded else None


def _open_poster(workspace: Workspace, *, reuse: bool = False) -> Poster:
    web = workspace.settings.web
    ca_file = _find_file(workspace, web.ca_file)
    return Poster(read_exemptions(web.internal), timeout=web.timeout, ca_file=ca_file, reuse=reuse)


def _check_address(url: str, poster: Poster) -> None:
    """A wrong address is told before a launch; a name server that is silent now may answer then."""
    with suppress(OSError):
        find_target(url, poster.exempt)


def _find_robot(settings: Settings, name: str) -> Robot:
    own = settings.robots[name]
    variable = f"AIMWELL_ROBOT_{name.upper().replace('-', '_')}"
    url = os.environ.get(f"{variable}_URL")
    if not url:
        raise _lack(f"{variable}_URL")
    secret = os.environ.get(f"{variable}_SECRET", "")
    return Robot(own.vendor, url, secret, format=own.format, per_minute=own.per_minute)


def _read_key(workspace: Workspace, one: DkimSettings) -> bytes:
    path = _find_file(workspace, one.key_file)
    if path is None:
        # An environment variable may hold the lines of a PEM text as \n.
        return _require(workspace.settings, "dkim_key").replace("\\n", "\n").encode()
    try:
        return path.read_bytes()
    except OSError as error:
        raise BadInput(
            "deployment.key_file",
            say("The key file {file} cannot be read.", file=path.name),
            remedy=say("Give the path of a PEM file that this user may read."),
            where={"file": str(path)},
        ) from error


def _require(settings: Settings, name: str) -> str:
    secret = getattr(settings, name)
    if secret is None or not secret.get_secret_value():
        raise _lack(_VARIABLES[name])
    return str(secret.get_secret_value())


def _lack(variable: str) -> NotReady:
    return NotReady(
        "deployment.secret_missing",
        say("The settings name a channel whose key is not there: {variable}.", variable=variable),
        remedy=say("Put it into the environment variable {variable}.", variable=variable),
        where={"value": variable},
    )


def _find_file(workspace: Workspace, name: str) -> Path | None:
    return workspace.path / name if name else None


def probe_mail(workspace: Workspace) -> None:
    """Connect to the mail server as a send would, and say goodbye; an OSError or SMTPException says what is wrong."""
    SmtpChannel(replace(describe_server(workspace), timeout=10.0)).probe()
