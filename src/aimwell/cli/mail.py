"""``aimwell mail``: whether the mail server can be reached, what the DNS must say, and mails that came back."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from aimwell.cli.help import App
from aimwell.cli.output import add_row, emit, make_table, state
from aimwell.core.errors import NotReady
from aimwell.core.text import Text, say

app = App(help="Mail: server, signatures, bounces.  邮件：服务器、签名、退信")

_EFFECTS: dict[str, Text] = {
    "suppressed": say("not mailed any more"),
    "noted": say("recorded"),
    "repeated": say("known already"),
    "unknown": say("about no delivery of this workspace"),
    "unverified": say("not at an address that we signed: ignored"),
}
_KINDS: dict[str, Text] = {
    "hard": say("The address does not exist"),
    "soft": say("Not accepted for now"),
    "late": say("Delayed"),
    "complaint": say("Complaint"),
}


@app.command()
def check(context: typer.Context) -> None:
    """Connect to the mail server as a send would; nothing is sent.  按发送方式连接邮件服务器，不发送任何邮件"""
    from smtplib import SMTPException

    from aimwell.deployment.channels.connecting import describe_server, load_signers, probe_mail

    workspace = state(context).workspace
    server = describe_server(workspace)
    signers = load_signers(workspace)
    try:
        probe_mail(workspace)
    except (OSError, SMTPException) as error:
        raise NotReady(
            "deployment.mail_server",
            say(
                "The mail server {place} cannot be used: {problem}.",
                place=f"{server.host}:{server.port}",
                problem=str(error)[:200],
            ),
            remedy=say("Compare the sections [smtp] and [mail] of aimwell.toml with what its operator says."),
        ) from error
    protected = server.tls or server.starttls
    payload = {"host": server.host, "port": server.port, "tls": protected, "signatures": len(signers)}

    def draw(console: Console) -> None:
        console.print(str(say("The mail server answers.")), markup=False)
        if not protected:
            console.print(str(say("Mails go to it without encryption.")), style="yellow", markup=False)
        if not signers:
            console.print(
                str(say("Mails are not signed (DKIM): many receivers refuse them.")),
                style="yellow",
                markup=False,
            )

    emit(context, payload, draw)


@app.command()
def dns(context: typer.Context) -> None:
    """Show the DNS records by which receivers verify signatures.  显示收件方验证签名所需的 DNS 记录"""
    from aimwell.deployment.channels.connecting import load_signers

    records = [
        {"name": f"{one.selector}._domainkey.{one.domain}", "type": "TXT", "value": one.describe_record()}
        for one in load_signers(state(context).workspace)
    ]

    def draw(console: Console) -> None:
        if not records:
            console.print(str(say("No signature is set: add [[mail.dkim]] to aimwell.toml.")), markup=False)
        for record in records:
            console.print(
                f"{record['name']} TXT\n  {record['value']}", markup=False, highlight=False, soft_wrap=True
            )

    emit(context, {"records": records}, draw)


@app.command()
def bounces(
    context: typer.Context,
    place: Annotated[
        Path | None,
        typer.Argument(
            help="A maildir, an mbox file or a folder of .eml files; the setting mail.bounce_box when omitted.  "
            "maildir、mbox 文件或 .eml 文件夹；省略则用 mail.bounce_box 设置"
        ),
    ] = None,
) -> None:
    """Record mails that came back and complaints. Doing it again changes nothing.

    记录退信与投诉；重复执行不会改变结果
    """
    from aimwell.deployment.channels.connecting import take_bounces

    found = take_bounces(state(context).workspace, place.resolve() if place else None)

    def draw(console: Console) -> None:
        if not found:
            console.print(str(say("No mail came back.")), markup=False)
            return
        table = make_table(*map(str, (say("What came back"), say("What follows"), say("Mails"))))
        for name, number in sorted(found.items()):
            kind, effect = name.split(".")
            add_row(table, str(_KINDS[kind]), str(_EFFECTS[effect]), str(number))
        console.print(table)

    emit(context, {"reports": dict(sorted(found.items()))}, draw)
