"""Settings of mail beyond its server, and of what goes out over HTTP: ``[mail]``, ``[web]``, ``[webhook]``, ``[push]``,
``[robots.<name>]``. Keys and addresses that are as secret as keys come from the environment."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

DnsName = Annotated[str, Field(max_length=253, pattern=r"^[A-Za-z0-9._\-]*$")]
MailAddress = Annotated[str, Field(max_length=254, pattern=r"^[^@\s]+@[^@\s]+$")]
RobotName = Annotated[str, Field(pattern=r"^[a-z0-9_\-]{1,10}$")]
"""With ``robot:`` before it, it is the channel's name."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class DkimSettings(_Section):
    """One signature that mails carry: ``[[mail.dkim]]``. Several are possible, such as RSA and Ed25519."""

    selector: Annotated[DnsName, Field(min_length=1)]
    key_file: str = ""
    """PEM, seen from the workspace; empty: the key is in AIMWELL_DKIM_KEY."""
    domain: DnsName = ""
    """Empty: that of the sender."""


class MailSettings(_Section):
    """How mails are protected, where they come back to, and who sees tests."""

    tls: bool = False
    """TLS from the first byte (port 465), instead of ``smtp.starttls``."""
    ca_file: str = ""
    """Whose certificates the mail server may have; empty: those that the system trusts."""
    connections: Annotated[int, Field(ge=1, le=100)] = 8
    return_path: Annotated[str, Field(max_length=254)] = ""
    """The mailbox for bounces; each delivery has an address of its own below it. Empty: the sender's."""
    bounce_box: str = ""
    """A maildir, an mbox file or a folder of .eml files into which mails to ``return_path`` come."""
    soft_bounces: Annotated[int, Field(ge=1, le=100)] = 3
    """After so many in a row an address is mailed no more."""
    seeds: tuple[MailAddress, ...] = ()
    """Who gets test sends when nobody is named."""
    dkim: tuple[DkimSettings, ...] = ()


class WebSettings(_Section):
    """What requests to webhooks, robots and push services have in common."""

    internal: tuple[str, ...] = ()
    """Internal receivers that may be spoken to: networks, or hosts, with or without a port."""
    timeout: Annotated[float, Field(gt=0, le=120)] = 10.0
    """Seconds for a whole exchange."""
    ca_file: str = ""
    """Whose certificates receivers may have; empty: those that the system trusts."""


class WebhookSettings(_Section):
    """Where messages of the channel ``webhook`` go. The secrets come from AIMWELL_WEBHOOK_SECRET."""

    url: Annotated[str, Field(max_length=2048)] = ""


class PushSettings(_Section):
    """Web push. The key comes from AIMWELL_PUSH_KEY."""

    subject: Annotated[str, Field(max_length=254, pattern=r"^((mailto:|https://).+)?$")] = ""
    """Whom a push service can reach about our messages: mailto: or https:. Empty: there is no web push."""
    ttl_hours: Annotated[float, Field(ge=0, le=28 * 24)] = 24.0
    """For how long a push service keeps what it cannot deliver yet."""
    urgency: Literal["very-low", "low", "normal", "high"] = "normal"


class RobotSettings(_Section):
    """A group's robot. Its address and secret come from AIMWELL_ROBOT_<NAME>_URL and AIMWELL_ROBOT_<NAME>_SECRET."""

    vendor: Literal["wecom", "dingtalk", "feishu"]
    format: Literal["markdown", "text"] = "markdown"
    per_minute: Annotated[int, Field(ge=1, le=1000)] = 20


WIRE_SECRETS = ("dkim_key", "webhook_secret", "push_key")
"""The settings that are secrets: they are never written."""
WIRE_NOTES = {
    "mail": "return_path and bounce_box: where mails come back to and are read from; seeds: who gets tests;\n"
    "# signatures: [[mail.dkim]] with selector and key_file, or the key in AIMWELL_DKIM_KEY",
    "web": "internal: receivers in your own network that may be spoken to, such as 10.1.0.0/16 or hooks.internal:8080",
    "webhook": "url: where messages go; the secrets come from the environment: AIMWELL_WEBHOOK_SECRET",
    "push": "subject: mailto: or https: address for push services; the key comes from AIMWELL_PUSH_KEY",
    "robots": "[robots.sales] vendor: wecom, dingtalk or feishu; address: AIMWELL_ROBOT_SALES_URL and _SECRET",
}
