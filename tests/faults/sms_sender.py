"""What runs in an SMS-sending process that a test may kill at any moment."""

from __future__ import annotations

from aimwell.deployment.channels.addresses import read_exemptions
from aimwell.deployment.channels.channel import Channel, Message, Promise
from aimwell.deployment.channels.posting import Poster
from aimwell.deployment.channels.smpp import Manner, SmppChannel
from aimwell.deployment.channels.smpp_session import Centre
from aimwell.deployment.channels.sms_dialects import Account
from aimwell.deployment.channels.sms_http import HttpSmsChannel
from aimwell.deployment.channels.sms_reports import ReportBook
from aimwell.deployment.channels.sms_signing import Key
from aimwell.deployment.channels.sms_templates import SmsTemplate
from aimwell.deployment.ledger import Ledger, Terms
from aimwell.deployment.policy import Candidate, ContactRules
from aimwell.deployment.sending import work
from aimwell.engine.store import Store

TERMS = Terms(lease=1.0, retry=0.0, attempts=50)
WINDOW = 4
SECRET = b"a-secret-that-nobody-guesses"
PASSWORD = "secret12"


def compose(candidate: Candidate) -> Message:
    # The ids of the centre's messages are told apart by their texts, since it is never told ours.
    text = f"【店】{candidate.customer_id}，生鲜8折，拒收请回复R"
    return Message(candidate.delivery_id, "p1", candidate.customer_id, "+8613800138000", text)


def build(kind: str, port: int, store: Store) -> Channel:
    if kind == "smpp":
        centre = Centre("127.0.0.1", port, "aimwell", PASSWORD, timeout=10)
        return SmppChannel(centre, Manner(window=WINDOW, reports=False), book=ReportBook(store, "smsc"))
    account = Account(
        f"http://127.0.0.1:{port}/send", Key("id", SECRET), query_url=f"http://127.0.0.1:{port}/query"
    )
    templates = [SmsTemplate("1", "${name}，生鲜8折，拒收请回复R")]
    poster = Poster(read_exemptions(["127.0.0.1"]), reuse=kind == "A")
    return HttpSmsChannel(
        account, signature="店", templates=templates, promise=Promise(kind), window=WINDOW, poster=poster
    )


def send(store: str, port: int, kind: str) -> None:
    """Work on the plan ``p1`` until nothing is left.

    ``kind`` is ``smpp``, or ``A``, ``B`` or ``C`` for an HTTP provider of that promise.
    """
    opened = Store(f"sqlite:///{store}")
    ledger = Ledger(opened, rules=ContactRules(2, 28), terms=TERMS)
    channel = build(kind, port, opened)
    work(ledger, plan_id="p1", channel_name="sms", channel=channel, compose=compose)
