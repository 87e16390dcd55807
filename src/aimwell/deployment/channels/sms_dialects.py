"""How SMS providers are spoken to over HTTP: the request that orders one message, and what their answers mean.

``plain`` is one JSON object a message, known by its ``out_id``; ``aliyun`` and ``tencent`` speak as those two publish.
What a code means for us stands in one table for all; the operator may add to it. Reads and writes nothing.

The codes are those of "API error codes" of Alibaba Cloud SMS (阿里云短信服务, API错误码; what BLACK_KEY and the VALVE
filters mean stands in older versions of it) and of "Error codes" of Tencent Cloud SMS (腾讯云短信, 错误码, API 3.0).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, Protocol
from urllib.parse import urlsplit

from aimwell.deployment.channels.channel import Outcome, Receipt
from aimwell.deployment.channels.sms_signing import Key, SmsRequest, sign_acs3, sign_plain, sign_tc3

Meaning = Literal[
    "taken",
    "bad_recipient",
    "no_balance",
    "frequency_limit",
    "throttled",
    "template_mismatch",
    "provider_blocklist",
    "rejected",
    "not_let_in",
    "temporary_rejection",
    "unknown",
]
_PATTERNS: dict[Meaning, str] = {
    # Somebody who rejects repeats says of one that he has it.
    "taken": r"OK|0|success|duplicate|already_accepted",
    # Our key, clock, network or account is refused; before all else, as some of these words stand in it, too.
    "not_let_in": r"(.*(Signature(DoesNotMatch|Failure|Expire|NonceUsed)|InvalidAccessKey|AuthFailure"
    r"|RAM_(PERMISSION|CHECK)|Sig(VerificationFail|FieldMissing)|RequestTimeException|SdkAppId(NotExist|IsDisabled)"
    r"|ACCOUNT_(NOT_EXISTS|ABNORMAL)|PRODUCT_UN_?SUBSCRI|DENY_IP_RANGE|IpInBlacklist|IpNotInWhitelist).*"
    r"|(?!.*Arrears).*UNAUTHORIZED.*)",
    "bad_recipient": r".*(MOBILE_NUMBER_ILLEGAL|MOBILE_COUNT|INVALID_NUMBER|BAD_NUMBER|IncorrectPhoneNumber)",
    "no_balance": r".*(AMOUNT_NOT_ENOUGH|OUT_OF_SERVICE|InsufficientBalance|NO_BALANCE|Arrears).*",
    # Of one number, by the day or the hour: trying again soon is pointless.
    "frequency_limit": r".*(BUSINESS_LIMIT_CONTROL|DeliveryFrequencyLimit|FREQUENCY_LIMIT|VALVE:[MHD]_MC"
    r"|PhoneNumber(Daily|OneHour|SameContentDaily|ThirtySecond)Limit).*",
    # Of the whole account: a limit of requests, or of a day or month, which passes.
    "throttled": r"(Throttling|RequestLimitExceeded|LimitExceeded|TOO_MANY_REQUESTS)([._].*)?"
    r"|.*(DAY|MONTH)_LIMIT_CONTROL",
    # Marketing goes out from 8 to 22 o'clock only.
    "temporary_rejection": r".*MarketingSendTimeConstraint",
    "template_mismatch": r".*(TEMPLATE|PARAM_LENGTH|PARAM_NOT_SUPPORT).*",
    # BLACK_KEY is a word of the text, and says nothing about whoever would get it.
    "provider_blocklist": r".*(BLACKLIST|BLOCKLIST|OPTED_OUT|CUSTOMER_REFUSED).*",
    "rejected": r".*BLACK_?KEY.*|InternalError\.(JsonParseFail|RestApiInterfaceNotExist)",
    "unknown": r"(isp\.(SYSTEM|GATEWAY)_ERROR|InternalError|UNKNOWN)([._].*)?",
}
_MEANINGS = {meaning: re.compile(pattern, re.IGNORECASE) for meaning, pattern in _PATTERNS.items()}
_PERMANENT = ("bad_recipient", "frequency_limit", "template_mismatch", "provider_blocklist", "rejected")


@dataclass(frozen=True)
class SmsOrder:
    """One message as a provider takes it. ``phone`` is in E.164."""

    out_id: str
    phone: str
    signature: str
    template: str
    values: Mapping[str, str]


@dataclass(frozen=True)
class Account:
    """Where the provider is and who we are there. ``codes`` maps codes of its own to our meanings."""

    url: str
    key: Key = field(repr=False)
    query_url: str | None = None
    region: str = ""
    app_id: str = ""
    codes: Mapping[str, Meaning] = field(default_factory=dict)


class Dialect(Protocol):
    """One way to speak to a provider."""

    def order(self, order: SmsOrder, account: Account, at: datetime, nonce: str) -> tuple[str, SmsRequest]:
        """The request's URL without query, and the signed request that orders the message."""
        ...

    def read(self, answer: Mapping[str, Any]) -> tuple[str, str | None]:
        """(code, the provider's number of the message) of an answer."""
        ...


class PlainDialect:
    """JSON over a signed POST; asked by ``GET query_url?out_id=…``."""

    def order(self, order: SmsOrder, account: Account, at: datetime, nonce: str) -> tuple[str, SmsRequest]:
        """Everything in one object."""
        values = {
            "out_id": order.out_id,
            "phone": order.phone,
            "signature": order.signature,
            "template": order.template,
            "variables": dict(order.values),
        }
        request = SmsRequest(
            "POST",
            *_split(account.url),
            headers={"content-type": "application/json", "idempotency-key": order.out_id},
            body=_pack(values),
        )
        return account.url, _sign(request, sign_plain(request, account.key, at, nonce))

    def ask(self, out_id: str, account: Account, at: datetime, nonce: str) -> tuple[str, SmsRequest]:
        """The request that asks whether the provider has a message."""
        url = account.query_url or account.url
        request = SmsRequest("GET", *_split(url), query={"out_id": out_id})
        return url, _sign(request, sign_plain(request, account.key, at, nonce))

    def read(self, answer: Mapping[str, Any]) -> tuple[str, str | None]:
        """``code`` and ``message_id``."""
        return str(answer.get("code", "")), _text(answer.get("message_id"))


class AliyunDialect:
    """SendSms of 2017-05-25, signed by ACS3."""

    def order(self, order: SmsOrder, account: Account, at: datetime, nonce: str) -> tuple[str, SmsRequest]:
        """All values stand in the query."""
        query = {
            "PhoneNumbers": _write_national(order.phone),
            "SignName": order.signature,
            "TemplateCode": order.template,
            "TemplateParam": _pack(dict(order.values)).decode(),
            "OutId": order.out_id,
        }
        headers = {"x-acs-action": "SendSms", "x-acs-version": "2017-05-25"}
        host, path = _split(account.url)
        request = SmsRequest("POST", host, path, query, headers)
        return account.url, _sign(request, sign_acs3(request, account.key, at, nonce))

    def read(self, answer: Mapping[str, Any]) -> tuple[str, str | None]:
        """``Code`` and ``BizId``."""
        return str(answer.get("Code", "")), _text(answer.get("BizId"))


class TencentDialect:
    """SendSms of 2021-01-11, signed by TC3; values in the order of the template's places."""

    def order(self, order: SmsOrder, account: Account, at: datetime, nonce: str) -> tuple[str, SmsRequest]:
        """One object; our id comes back in ``SessionContext``."""
        values = {
            "PhoneNumberSet": [order.phone],
            "SmsSdkAppId": account.app_id,
            "SignName": order.signature,
            "TemplateId": order.template,
            "TemplateParamSet": list(order.values.values()),
            "SessionContext": order.out_id,
        }
        headers = {
            "content-type": "application/json; charset=utf-8",
            "x-tc-action": "SendSms",
            "x-tc-version": "2021-01-11",
            "x-tc-region": account.region or "ap-guangzhou",
        }
        host, path = _split(account.url)
        request = SmsRequest("POST", host, path, headers=headers, body=_pack(values))
        return account.url, _sign(request, sign_tc3(request, account.key, at))

    def read(self, answer: Mapping[str, Any]) -> tuple[str, str | None]:
        """The status of the one number, else the error of the request."""
        response = answer.get("Response")
        if not isinstance(response, dict):
            return "", None
        error = response.get("Error")
        if isinstance(error, dict):
            return str(error.get("Code", "")), None
        statuses = response.get("SendStatusSet")
        first = statuses[0] if isinstance(statuses, list) and statuses else {}
        if not isinstance(first, dict):
            return "", None
        code = str(first.get("Code", ""))
        return ("OK" if code.lower() == "ok" else code), _text(first.get("SerialNo"))


DIALECTS: Mapping[str, Dialect] = {
    "plain": PlainDialect(),
    "aliyun": AliyunDialect(),
    "tencent": TencentDialect(),
}


def find_meaning(code: str, own: Mapping[str, Meaning]) -> Meaning:
    """What a provider's code means for us; a code that nobody knows is a refusal.

    >>> find_meaning("isv.BUSINESS_LIMIT_CONTROL", {}), find_meaning("LimitExceeded.PhoneNumberDailyLimit", {})
    ('frequency_limit', 'frequency_limit')
    """
    if code in own:
        return own[code]
    return next((meaning for meaning, pattern in _MEANINGS.items() if pattern.fullmatch(code)), "rejected")


def make_receipt(
    meaning: Meaning, provider_id: str | None = None, retry_after: float | None = None
) -> Receipt:
    """What is known after an answer of this meaning."""
    if meaning == "taken":
        return Receipt(Outcome.SENT, provider_id=provider_id)
    if meaning == "unknown":
        return Receipt(Outcome.UNKNOWN, "connection_lost")
    if meaning == "not_let_in":
        # Our key is wrong, not the message: nobody's delivery may be lost over it, so the wave waits.
        return Receipt(Outcome.TEMPORARY, "connection_failed")
    if meaning in _PERMANENT:
        return Receipt(Outcome.PERMANENT, meaning)
    return Receipt(Outcome.TEMPORARY, meaning, retry_after=retry_after)


def _sign(request: SmsRequest, headers: Mapping[str, str]) -> SmsRequest:
    return SmsRequest(request.method, request.host, request.path, request.query, headers, request.body)


def _split(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    return parts.netloc.rpartition("@")[2], parts.path or "/"


def _pack(values: Mapping[str, Any]) -> bytes:
    return json.dumps(values, ensure_ascii=False, separators=(",", ":")).encode()


def _write_national(phone: str) -> str:
    """Mainland numbers without their country, others without the plus, as Aliyun takes them."""
    return phone.removeprefix("+86") if phone.startswith("+86") else phone.removeprefix("+")


def _text(value: object) -> str | None:
    return str(value)[:255] if isinstance(value, str | int) and str(value) else None
