"""Which columns of ``customers`` say who somebody is, recognised by their names in Chinese and English.

Identifiers point to one person (phone, e-mail, openid, member number, device, ID number); attributes describe one
(name, birth date, place). Reads headers; writes nothing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_WORDS: tuple[tuple[str, str], ...] = (
    ("email", r"e?_?mail(_?address)?|邮箱|电子邮[箱件]|邮件(地址)?"),
    (
        "phone",
        r"(mobile|cell|tele|home|work)?_?phone(_?(number|no))?|mobile(_?(number|no))?|tel|msisdn"
        r"|.*手机号?码?|(联系)?电话(号码)?|(固定|办公|家庭)电话|座机|联系方式",
    ),
    ("unionid", r"(wx_?|wechat_?|微信)?_?union_?id"),
    ("openid", r"(\w+?_)?open_?id(_\w+)?|(微信|小程序|公众号)_?open_?id"),
    (
        "member",
        r"(member|membership|card|loyalty|vip)(_?(card|id|no|number|code))+|member|会员(卡)?(号|编号|id|卡号)|会员卡|卡号",
    ),
    ("device", r"device(_?id)?|idfa|idfv|imei|oaid|android_?id|gaid|设备(号|编号|id)?"),
    (
        "id_number",
        r"(citizen_?|national_?|identity_?)?id_?(card|number|no)(_?(no|number))?|soc(ial)?_?sec(urity)?(_?(id|no|number))?"
        r"|ssn|national_?id|身份证(件)?(号码?)?|证件号码?",
    ),
    ("given", r"given_?names?|fore_?names?|first_?name|名"),
    ("family", r"sur_?name|family_?name|last_?name|姓|姓氏"),
    (
        "full_name",
        r"(full|customer|contact|client|member|recipient)?_?name|(客户|会员|收货人?|联系人?|真实)?姓名|收货人|联系人",
    ),
    ("birth_date", r"date_?of_?birth|dob|birth_?(date|day)|出生(日期|年月日?)?|生日"),
    ("postcode", r"post_?(al)?_?code(_\w+)?|zip(_?code)?|邮编|邮政编码"),
    ("street_number", r"(street|house)_?(number|no)|门牌号?"),
    (
        "street",
        r"(home_|street_|postal_|delivery_)?address(_?(line_?)?\d)?|street(_?name)?|(收货|家庭|联系|详细)?地址|住址",
    ),
    ("city", r"city|town|suburb|birth_?place|place_of_birth|城市|所在(城市|地)|市|出生地|籍贯"),
    ("state", r"state|province|county|region|省份?|省市区?|地区"),
)
_PATTERNS = tuple((role, re.compile(pattern, re.IGNORECASE)) for role, pattern in _WORDS)
IDENTIFIERS = ("phone", "email", "openid", "unionid", "member", "device", "id_number")
"""Kinds that may join two records by themselves."""
_NO_ATTRIBUTE = re.compile(
    r"(.*_)?(id|uuid|guid|key|hash|url|created|updated|timestamp|time|at|date|day|note|remark|comment)s?|.*(编号|时间|日期|备注|金额|次数)",
    re.IGNORECASE,
)
_OWN = frozenset({"customer_id", "source", "record_id", "region"})


@dataclass(frozen=True)
class Field:
    """A column and the role it plays. ``kind`` keeps identifiers of different apps apart (``openid:shop_openid``)."""

    column: str
    role: str

    @property
    def kind(self) -> str:
        """The kind under which its values are compared: an openid means something within its app only."""
        if self.role == "openid" and self.column.casefold() not in ("openid", "open_id"):
            return f"openid:{self.column.casefold()}"
        return self.role


def find_fields(columns: list[str]) -> list[Field]:
    """The columns with a role, in the order given; a column whose name says nothing has none.

    >>> [(field.column, field.role) for field in find_fields(["手机号", "dob", "colour"])]
    [('手机号', 'phone'), ('dob', 'birth_date')]
    """
    found = []
    for column in columns:
        role = _find_role(column)
        if role and column not in ("customer_id", "source"):
            found.append(Field(column, role))
    return found


def find_others(columns: list[str]) -> list[str]:
    """Columns without a role that may still be compared: no keys, no times, no notes."""
    return [
        column
        for column in columns
        if column not in _OWN and not _find_role(column) and not _NO_ATTRIBUTE.fullmatch(column)
    ]


def _find_role(column: str) -> str | None:
    plain = re.sub(r"_\d+$", "", column.strip())
    for role, pattern in _PATTERNS:
        if pattern.fullmatch(plain) or pattern.fullmatch(column):
            return role
    return None
