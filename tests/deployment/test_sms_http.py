from __future__ import annotations

import socket
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aimwell.core.errors import BadInput
from aimwell.deployment.channels.addresses import read_exemptions
from aimwell.deployment.channels.channel import Message, Outcome, Promise
from aimwell.deployment.channels.posting import Poster
from aimwell.deployment.channels.sms_dialects import Account, AliyunDialect, TencentDialect, find_meaning
from aimwell.deployment.channels.sms_http import HttpSmsChannel, check_address
from aimwell.deployment.channels.sms_numbers import write_number
from aimwell.deployment.channels.sms_signing import Key, SmsRequest, sign_acs3, sign_tc3
from aimwell.deployment.channels.sms_templates import SmsTemplate, find_template
from aimwell.deployment.ledger import Terms
from aimwell.deployment.policy import Candidate
from aimwell.deployment.sending import work
from tests.deployment.scene import QUICK, count, count_reasons, fill, open_ledger, open_store
from tests.deployment.sms_provider import SECRET, Provider, run_provider

TEMPLATE = SmsTemplate("SMS_1", "亲爱的${name}，${department}打${fold}折，拒收请回复R")
TEXT = "【好邻居】亲爱的王小明，生鲜打8折，拒收请回复R"


def compose(candidate: Candidate) -> Message:
    return write(candidate.delivery_id, candidate.customer_id)


def write(
    delivery: str = "d" * 64, customer: str = "c1", text: str = TEXT, recipient: str = "138 0013 8000"
) -> Message:
    return Message(delivery, "p1", customer, recipient, text, language="zh")


def open_channel(provider: Provider, promise: Promise = Promise.BLIND, *, secret: bytes = SECRET,
                 dialect: str = "plain", **values: Any) -> HttpSmsChannel:  # fmt: skip
    url = f"http://127.0.0.1:{provider.port}/send"
    account = Account(url, Key("id", secret), query_url=f"http://127.0.0.1:{provider.port}/query", **values)
    poster = Poster(read_exemptions(["127.0.0.1"]), timeout=30, reuse=promise is Promise.REJECTS_REPEATS)
    return HttpSmsChannel(
        account, signature="好邻居", templates=[TEMPLATE], dialect=dialect, promise=promise, poster=poster
    )


def send_all(ledger: Any, channel: HttpSmsChannel) -> None:
    work(ledger, plan_id="p1", channel_name="sms", channel=channel, compose=compose)


def test_an_order_says_template_and_values_and_is_signed(tmp_path: Path) -> None:
    ledger = open_ledger(open_store(tmp_path))
    fill(ledger, [f"c{number}" for number in range(60)], channel="sms")
    with run_provider(Provider()) as provider:
        send_all(ledger, open_channel(provider))
    assert count(ledger) == {"sent": 60}
    assert len({order["out_id"] for order in provider.taken}) == 60
    one = provider.taken[0]
    assert (one["phone"], one["signature"], one["template"]) == ("+8613800138000", "好邻居", "SMS_1")
    assert one["variables"] == {"name": "王小明", "department": "生鲜", "fold": "8"}
    assert {row["provider_id"] for row in ledger.read_rows()} == {
        order["message_id"] for order in provider.taken
    }


@pytest.mark.parametrize("promise", [Promise.REJECTS_REPEATS, Promise.CAN_BE_ASKED])
def test_a_provider_that_knows_our_id_gets_each_message_once(tmp_path: Path, promise: Promise) -> None:
    """Connections break before and after taking, gateways give up: exactly one effect all the same."""
    actions = ["take", "drop", "take_500", "drop_untaken", (502, None)]
    provider = Provider(lambda number, order: actions[number % 5] if number <= 30 else "take",
                        rejects_repeats=promise is Promise.REJECTS_REPEATS)  # fmt: skip
    ledger = open_ledger(open_store(tmp_path), terms=Terms(lease=0.3, retry=0.0, attempts=9))
    fill(ledger, [f"c{number}" for number in range(30)], channel="sms")
    with run_provider(provider):
        send_all(ledger, open_channel(provider, promise))
    assert count(ledger) == {"sent": 30}
    assert sorted(provider.count(row["delivery_id"]) for row in ledger.read_rows()) == [1] * 30


def test_a_blind_provider_leaves_doubts_and_no_doubles(tmp_path: Path) -> None:
    actions = ["take", "drop", "take_500", "drop_untaken", (502, None)]
    provider = Provider(lambda number, order: actions[number % 5], rejects_repeats=False)
    ledger = open_ledger(open_store(tmp_path), terms=QUICK)
    fill(ledger, [f"c{number}" for number in range(30)], channel="sms")
    with run_provider(provider):
        send_all(ledger, open_channel(provider))
    assert count(ledger) == {"sent": 6, "in_doubt": 24}
    assert max(provider.count(row["delivery_id"]) for row in ledger.read_rows()) == 1


@pytest.mark.parametrize(
    ("answer", "outcome", "code"),
    [
        ("isv.MOBILE_NUMBER_ILLEGAL", Outcome.PERMANENT, "bad_recipient"),
        ("isv.AMOUNT_NOT_ENOUGH", Outcome.TEMPORARY, "no_balance"),
        ("isv.BUSINESS_LIMIT_CONTROL", Outcome.PERMANENT, "frequency_limit"),
        ("isv.SMS_TEMPLATE_ILLEGAL", Outcome.PERMANENT, "template_mismatch"),
        ("isv.CUSTOMER_REFUSED", Outcome.PERMANENT, "provider_blocklist"),
        ("isv.BLACK_KEY_CONTROL_LIMIT", Outcome.PERMANENT, "rejected"),
        ("Throttling.User", Outcome.TEMPORARY, "throttled"),
        ("isv.SMS_SIGNATURE_ILLEGAL", Outcome.PERMANENT, "rejected"),
        ("own.77", Outcome.TEMPORARY, "no_balance"),
        ((401, None), Outcome.TEMPORARY, "connection_failed"),
        ((403, {"code": "InvalidAccessKeyId.NotFound"}), Outcome.TEMPORARY, "connection_failed"),
        ((302, None, {"location": "http://127.0.0.1:1/"}), Outcome.TEMPORARY, "connection_failed"),
        ((400, {"code": "isv.INVALID_PARAMETERS"}), Outcome.PERMANENT, "rejected"),
        ((404, None), Outcome.PERMANENT, "rejected"),
        ((503, {"code": "isp.SYSTEM_ERROR"}), Outcome.UNKNOWN, "connection_lost"),
        ((200, b"<html>"), Outcome.UNKNOWN, "connection_lost"),
        ((200, b"[" * 5000), Outcome.UNKNOWN, "connection_lost"),
        ((200, b"{" + b" " * 70_000 + b'"code":"OK"}'), Outcome.UNKNOWN, "connection_lost"),
    ],
)
def test_what_an_answer_means(answer: Any, outcome: Outcome, code: str) -> None:
    with run_provider(Provider(lambda number, order: answer)) as provider:
        channel = open_channel(provider, codes={"own.77": "no_balance"})
        receipt = channel.deliver(write())
        channel.finish()
    assert (receipt.outcome, receipt.code) == (outcome, code)


def test_a_provider_that_wants_time_gets_it() -> None:
    with run_provider(Provider(lambda number, order: (429, None, {"retry-after": "90"}))) as provider:
        receipt = open_channel(provider).deliver(write())
    assert (receipt.outcome, receipt.code, receipt.retry_after) == (Outcome.TEMPORARY, "throttled", 90.0)


def test_a_wrong_key_stops_the_wave_and_loses_nothing(tmp_path: Path) -> None:
    ledger = open_ledger(open_store(tmp_path), terms=Terms(retry=60))
    fill(ledger, ["a", "b"], channel="sms")
    with run_provider(Provider()) as provider:
        send_all(ledger, open_channel(provider, secret=b"wrong"))
    assert provider.taken == [] and count(ledger) == {"queued": 2}


def test_nobody_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        provider = Provider(port=free.getsockname()[1])
    receipt = open_channel(provider).deliver(write())
    assert (receipt.outcome, receipt.code) == (Outcome.TEMPORARY, "connection_failed")


def test_internal_addresses_are_spoken_to_only_if_they_were_named() -> None:
    with run_provider(Provider()) as provider:
        account = Account(f"https://127.0.0.1:{provider.port}/send", Key("id", SECRET))
        receipt = HttpSmsChannel(account, signature="好邻居", templates=[TEMPLATE]).deliver(write())
    assert (receipt.outcome, receipt.code) == (Outcome.TEMPORARY, "connection_failed")
    assert provider.orders == []


def test_who_cannot_be_asked_now_has_not_said_no() -> None:
    with run_provider(Provider()) as provider:
        channel = open_channel(provider, Promise.CAN_BE_ASKED)
        assert channel.find("d" * 64) is None
        assert channel.deliver(write()).outcome is Outcome.SENT
        found = channel.find("d" * 64)
        assert found is not None and found.provider_id == "m0"
        channel.finish()
    unknown = channel.find("d" * 64)
    assert unknown is not None and unknown.outcome is Outcome.UNKNOWN


def test_what_no_template_makes_is_asked_of_nobody(tmp_path: Path) -> None:
    ledger = open_ledger(open_store(tmp_path))
    with run_provider(Provider()) as provider:
        channel = open_channel(provider)
        for text in ("【好邻居】今天全场8折", "【别家】" + TEXT[5:], TEXT.replace("王小明", "王" * 36),
                     TEXT.replace("王小明", "www.evil.cn"), TEXT.replace("王小明", "【银行】")):  # fmt: skip
            assert channel.deliver(write(text=text)).code == "template_mismatch"
        assert channel.deliver(write(recipient="010-12345678")).code == "bad_recipient"
    assert provider.orders == [] and count_reasons(ledger) == {}


@pytest.mark.parametrize(
    ("code", "meaning"),
    [
        # The account's own limits pass; those of a number do not soon enough.
        ("isv.DAY_LIMIT_CONTROL", "throttled"),
        ("isv.MONTH_LIMIT_CONTROL", "throttled"),
        ("LimitExceeded.AppDailyLimit", "throttled"),
        ("RequestLimitExceeded.UinLimitExceeded", "throttled"),
        ("LimitExceeded.PhoneNumberThirtySecondLimit", "frequency_limit"),
        ("LimitExceeded.DeliveryFrequencyLimit", "frequency_limit"),
        ("VALVE:D_MC", "frequency_limit"),
        ("FailedOperation.MarketingSendTimeConstraint", "temporary_rejection"),
        # Who may not come in, for whatever reason, loses no message, and is no wish of the customer.
        ("IpInBlacklist", "not_let_in"),
        ("IpNotInWhitelist", "not_let_in"),
        ("UnauthorizedOperation.RequestIpNotInWhitelist", "not_let_in"),
        ("UnauthorizedOperation.RequestPermissionDeny", "not_let_in"),
        ("UnauthorizedOperation.SerivceSuspendDueToArrears", "no_balance"),
        ("AuthFailure.SignatureExpire", "not_let_in"),
        ("InternalError.SigVerificationFail", "not_let_in"),
        ("InternalError.RequestTimeException", "not_let_in"),
        ("InvalidParameterValue.SdkAppIdNotExist", "not_let_in"),
        ("isv.ACCOUNT_NOT_EXISTS", "not_let_in"),
        ("isv.PRODUCT_UN_SUBSCRIPT", "not_let_in"),
        ("isv.DENY_IP_RANGE", "not_let_in"),
        ("isp.RAM_PERMISSION_DENY", "not_let_in"),
        ("isv.OUT_OF_SERVICE", "no_balance"),
        ("FailedOperation.InsufficientBalanceInSmsPackage", "no_balance"),
        ("FailedOperation.PhoneNumberInBlacklist", "provider_blocklist"),
        ("FailedOperation.ContainSensitiveWord", "rejected"),
        ("FailedOperation.SignatureIncorrectOrUnapproved", "rejected"),
        ("FailedOperation.TemplateIncorrectOrUnapproved", "template_mismatch"),
        ("InvalidParameterValue.IncorrectPhoneNumber", "bad_recipient"),
        ("isv.SMS_CONTENT_ILLEGAL", "rejected"),
        # Nobody knows what became of these; of the next two everybody does.
        ("InternalError.Timeout", "unknown"),
        ("isp.GATEWAY_ERROR", "unknown"),
        ("InternalError.JsonParseFail", "rejected"),
        ("InternalError.RestApiInterfaceNotExist", "rejected"),
    ],
)
def test_codes_mean_what_the_providers_pages_say(code: str, meaning: str) -> None:
    assert find_meaning(code, {}) == meaning


@pytest.mark.parametrize(
    "url", ["http://sms.example.com/", "ftp://x/", "https://", "https://u:p@x/", "https://x/?a=1"]
)
def test_keys_travel_over_safe_addresses_only(url: str) -> None:
    with pytest.raises(BadInput):
        check_address(url)


@pytest.mark.parametrize(
    ("dialect", "promise"), [("aliyun", Promise.REJECTS_REPEATS), ("tencent", Promise.CAN_BE_ASKED)]
)
def test_nothing_is_promised_that_the_provider_does_not_keep(dialect: str, promise: Promise) -> None:
    with pytest.raises(BadInput):
        open_channel(Provider(), promise, dialect=dialect)


def test_the_published_example_of_acs3() -> None:
    query = {"ImageId": "win2019_1809_x64_dtc_zh-cn_40G_alibase_20230811.vhd", "RegionId": "cn-shanghai"}
    request = SmsRequest("POST", "ecs.cn-shanghai.aliyuncs.com", "/", query,
                         {"x-acs-action": "RunInstances", "x-acs-version": "2014-05-26"})  # fmt: skip
    at = datetime(2023, 10, 26, 10, 22, 32, tzinfo=UTC)
    signed = sign_acs3(
        request, Key("YourAccessKeyId", b"YourAccessKeySecret"), at, "3156853299f313e23d1673dc12e1703d"
    )
    assert signed["authorization"].endswith(
        "Signature=06563a9e1b43f5dfe96b81484da74bceab24a1d853912eee15083a6f0f3283c0"
    )


def test_the_published_example_of_tc3() -> None:
    body = b'{"Limit": 1, "Filters": [{"Values": ["\\u672a\\u547d\\u540d"], "Name": "instance-name"}]}'
    headers = {"content-type": "application/json; charset=utf-8"}
    request = SmsRequest("POST", "cvm.tencentcloudapi.com", "/", {}, headers, body)
    key = Key("AKIDz8krbsJ5yKBZQpn74WFkmLPx3EXAMPLE", b"Gu5t9xGARNpq86cd98joQYCN3EXAMPLE")
    signed = sign_tc3(request, key, datetime.fromtimestamp(1551113065, UTC), "cvm")
    assert signed["authorization"].endswith(
        "Signature=72e494ea809ad7a8c8f7a4507b9bddcbaa8e581f516e8da2f66e2c5a96525168"
    )


def test_aliyun_and_tencent_are_spoken_to_as_they_publish() -> None:
    with run_provider(Provider(lambda number, order: (200, {"Code": "OK", "BizId": "9^0"}))) as provider:
        receipt = open_channel(provider, dialect="aliyun").deliver(write())
        _, path, headers, _ = provider.requests[0]
    assert (receipt.outcome, receipt.provider_id) == (Outcome.SENT, "9^0")
    assert "PhoneNumbers=13800138000" in path and f"OutId={'d' * 64}" in path and "TemplateCode=SMS_1" in path
    assert headers["x-acs-action"] == "SendSms" and headers["host"] == f"127.0.0.1:{provider.port}"
    sent = {"Response": {"SendStatusSet": [{"Code": "Ok", "SerialNo": "5:1"}]}}
    with run_provider(Provider(lambda number, order: (200, sent))) as provider:
        receipt = open_channel(provider, dialect="tencent", app_id="1400").deliver(write())
        order = provider.orders[0]
    assert (receipt.outcome, receipt.provider_id) == (Outcome.SENT, "5:1")
    assert order["TemplateParamSet"] == ["王小明", "生鲜", "8"] and order["SmsSdkAppId"] == "1400"
    assert AliyunDialect().read({"Code": 5}) == ("5", None)
    oddities: list[dict[str, Any]] = [{}, {"Response": 1}]
    oddities += [{"Response": {"SendStatusSet": statuses}} for statuses in (["x"], [])]
    for odd in oddities:
        assert TencentDialect().read(odd) == ("", None)
    refused = {"Response": {"Error": {"Code": "LimitExceeded.PhoneNumberDailyLimit"}}}
    assert find_meaning(TencentDialect().read(refused)[0], {}) == "frequency_limit"


@pytest.mark.parametrize(
    ("number", "written"),
    [("13800138000", "+8613800138000"), ("+86 138-0013-8000", "+8613800138000"), ("008613800138000", "+8613800138000"),
     ("１３８００１３８０００", "+8613800138000"), ("12800138000", None), ("4008001234", None), ("010-62345678", None),
     ("+1 212 555 0123", "+12125550123"), ("+44 7911 123456", "+447911123456"), ("+44 20 7946 0958", None),
     ("+852 9123 4567", "+85291234567"), ("1" * 30, None), ("", None), ("abc", None)],
)  # fmt: skip
def test_numbers(number: str, written: str | None) -> None:
    assert write_number(number) == written


WORDS = st.text(alphabet="王小明生鲜8abc，。 打折", min_size=1, max_size=12).filter(lambda word: word.strip())


@given(WORDS, WORDS, WORDS)
def test_a_text_matches_the_template_that_made_it(name: str, department: str, fold: str) -> None:
    text = f"【好邻居】亲爱的{name}，{department}打{fold}折，拒收请回复R"
    found = find_template([TEMPLATE], "好邻居", text)
    assert found is not None
    values = found[1]
    # The values need not be those (a name may hold the words between), but they make the same text.
    assert (
        f"【好邻居】亲爱的{values['name']}，{values['department']}打{values['fold']}折，拒收请回复R" == text
    )


@given(st.text(alphabet="a", max_size=300))
def test_matching_ends_whatever_the_text(text: str) -> None:
    hard = SmsTemplate("1", "a".join(f"${{v{number}}}" for number in range(16)) + "b")
    assert hard.match(text) is None


@pytest.mark.parametrize("text", ["${a}${b}", "${a} ${a}", "x".join(f"{{{n}}}" for n in range(20))])
def test_templates_that_could_mean_two_things_are_refused(text: str) -> None:
    with pytest.raises(BadInput):
        SmsTemplate("1", text)
