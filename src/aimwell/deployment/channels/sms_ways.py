"""The SMS channel that a workspace's settings ask for, and who has a telephone number. Reads ``customers``."""

from __future__ import annotations

from functools import partial

from aimwell.core.errors import NotReady
from aimwell.core.text import say
from aimwell.deployment.channels.addresses import read_exemptions
from aimwell.deployment.channels.channel import Channel, Promise
from aimwell.deployment.channels.posting import Poster
from aimwell.deployment.channels.replies import ReplyRules
from aimwell.deployment.channels.smpp import Manner, SmppChannel
from aimwell.deployment.channels.smpp_session import Centre
from aimwell.deployment.channels.sms_dialects import Account
from aimwell.deployment.channels.sms_http import HttpSmsChannel
from aimwell.deployment.channels.sms_numbers import write_number
from aimwell.deployment.channels.sms_reports import ReportBook
from aimwell.deployment.channels.sms_signing import Key
from aimwell.deployment.channels.sms_templates import SmsTemplate
from aimwell.engine.channel_settings import SmsSettings
from aimwell.engine.erased import ask_workspace
from aimwell.engine.workspace import Workspace

SECRET_VARIABLE = "AIMWELL_SMS_SECRET"
_DIGITS_COMPARED = 7
_TIMEOUT = 15.0
_BY_PHONE = """
SELECT customer_id, phone FROM customers
WHERE phone IS NOT NULL AND regexp_replace(phone, '[^0-9]', '', 'g') LIKE $ending
ORDER BY customer_id
"""


def make_sms_channel(workspace: Workspace) -> Channel | None:
    """The channel of ``[sms]``: an SMS centre or a provider's HTTP interface; None where SMS go into a file."""
    settings = workspace.settings.sms
    if settings.way == "file":
        return None
    if settings.way == "smpp":
        return _make_smpp(workspace, settings)
    return _make_http(workspace, settings)


def make_reply_rules(workspace: Workspace) -> ReplyRules:
    """What the operator decided about replies to SMS."""
    return ReplyRules("sms", start_permits=workspace.settings.sms.start_permits)


def find_customers_by_phone(workspace: Workspace, phone: str) -> tuple[str, ...]:
    """All customers who have this telephone number, however it is written with them."""
    region = workspace.settings.sms.region
    number = write_number(phone, region)
    if number is None:
        return ()
    with workspace.read() as reader:
        rows = reader.query(_BY_PHONE, {"ending": f"%{number[-_DIGITS_COMPARED:]}"}).to_pylist()
    return tuple(row["customer_id"] for row in rows if write_number(row["phone"], region) == number)


def _make_smpp(workspace: Workspace, settings: SmsSettings) -> SmppChannel:
    centre = Centre(
        settings.host,
        settings.port,
        settings.system_id,
        _read_secret(workspace),
        system_type=settings.system_type,
        tls=settings.tls,
    )
    letters = not settings.source.lstrip("+").isdigit()
    manner = Manner(
        source=settings.source.lstrip("+"),
        source_ton=5 if letters else 1 if settings.source.startswith("+") else 0,
        source_npi=0 if letters else 1,
        long=settings.long,
        always_ucs2=settings.always_ucs2,
        decimal_ids=settings.decimal_ids,
        window=settings.window,
    )
    book = ReportBook(
        workspace.store,
        "smpp",
        find_customers=partial(find_customers_by_phone, workspace),
        rules=make_reply_rules(workspace),
        load_erased=ask_workspace(workspace),
    )
    return SmppChannel(centre, manner, book=book)


def _make_http(workspace: Workspace, settings: SmsSettings) -> HttpSmsChannel:
    if settings.url is None:
        raise NotReady(
            "deployment.sms_without_address",
            say("The address of the SMS provider is not set."),
            remedy=say("Set url in the section [sms] of aimwell.toml."),
        )
    account = Account(
        settings.url,
        Key(settings.key_id, _read_secret(workspace).encode()),
        query_url=settings.query_url,
        region=settings.provider_region,
        app_id=settings.app_id,
        codes=settings.codes,
    )
    promise, web = Promise(settings.promise), workspace.settings.web
    poster = Poster(read_exemptions(web.internal), timeout=_TIMEOUT, reuse=promise is Promise.REJECTS_REPEATS)
    return HttpSmsChannel(
        account,
        poster=poster,
        signature=settings.signature or workspace.settings.business.name,
        templates=[SmsTemplate(one.code, one.text, one.most, one.links) for one in settings.templates],
        dialect=settings.dialect,
        promise=promise,
        region=settings.region,
        window=min(settings.window, 64),
    )


def _read_secret(workspace: Workspace) -> str:
    secret = workspace.settings.sms_secret
    if secret is None:
        raise NotReady(
            "deployment.sms_without_secret",
            say("The secret of the SMS provider is not set."),
            remedy=say("Set {variable} in the environment.", variable=SECRET_VARIABLE),
        )
    return secret.get_secret_value()
