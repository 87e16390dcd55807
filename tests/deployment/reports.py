"""Reports as mail servers and mailbox providers write them."""

from __future__ import annotations

ID = "ab12" * 16
OURS = f"<{ID}@shop.example>"


def dsn(
    status: str = "5.1.1",
    diagnostic: str = "smtp; 550 5.1.1 User unknown",
    *,
    action: str = "failed",
    to: str = "bounce@shop.example",
    message_id: str = OURS,
    returned: str = "message/rfc822",
) -> bytes:
    """A delivery status notification after RFC 3464."""
    lines = [
        "Return-Path: <>",
        "From: Mail Delivery System <MAILER-DAEMON@mx.customers.example>",
        f"To: {to}",
        "Subject: Undelivered Mail Returned to Sender",
        "Auto-Submitted: auto-replied",
        "MIME-Version: 1.0",
        'Content-Type: multipart/report; report-type=delivery-status; boundary="BB"',
        "",
        "--BB",
        "Content-Type: text/plain; charset=us-ascii",
        "",
        "This is the mail system. I'm sorry.",
        "--BB",
        "Content-Type: message/delivery-status",
        "",
        "Reporting-MTA: dns; mx.customers.example",
        "Arrival-Date: Mon, 4 Sep 2017 10:00:00 +0800",
        "",
        "Final-Recipient: rfc822; c1@customers.example",
        f"Action: {action}",
        f"Status: {status}",
        f"Diagnostic-Code: {diagnostic}",
        "",
        "--BB",
        f"Content-Type: {returned}",
        "",
        "From: Shop <news@shop.example>",
        "To: c1@customers.example",
        f"Message-ID: {message_id}",
        "Subject: 5.1.1 is only a number here",
        "",
        *(["body"] if returned == "message/rfc822" else []),
        "--BB--",
        "",
    ]
    return "\r\n".join(lines).encode()


def complaint(kind: str = "abuse", *, original_mail_from: str = "", message_id: str = OURS) -> bytes:
    """A feedback report after RFC 5965."""
    lines = [
        "From: <fbl@provider.example>",
        "To: fbl@shop.example",
        "Subject: FW: news",
        "MIME-Version: 1.0",
        'Content-Type: multipart/report; report-type=feedback-report; boundary="BB"',
        "",
        "--BB",
        "Content-Type: text/plain",
        "",
        "This is an email abuse report.",
        "--BB",
        "Content-Type: message/feedback-report",
        "",
        f"Feedback-Type: {kind}",
        "User-Agent: Provider/1.0",
        "Version: 1",
        *([f"Original-Mail-From: <{original_mail_from}>"] if original_mail_from else []),
        "",
        "--BB",
        "Content-Type: message/rfc822",
        "",
        "From: Shop <news@shop.example>",
        *([f"Message-ID: {message_id}"] if message_id else []),
        "",
        "body",
        "--BB--",
        "",
    ]
    return "\r\n".join(lines).encode()


def words(text: str, *, sender: str = "Postmaster <PostMaster@mail.example>", extra: str = "") -> bytes:
    """A bounce in a server's own words, without any standard."""
    return (
        f"From: {sender}\r\nTo: bounce@shop.example\r\n{extra}Subject: returned\r\n"
        f'Content-Type: text/plain; charset="utf-8"\r\n\r\n{text}\r\n'
    ).encode()
