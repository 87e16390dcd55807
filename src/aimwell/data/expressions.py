"""SQL expressions (DuckDB) that turn a delivered text into a value, or into NULL when it is none.

The quick cast comes first, so that ordinary values never meet the patterns below. Reads and writes nothing.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import lru_cache

from aimwell.core.ids import NARROW, WIDE
from aimwell.core.time import zone
from aimwell.data.scratch import literal

UNSAVED = "#UNSAVED!"
"""Stands in a workbook's cell whose formula has no saved result."""
_EMPTY = (
    *("", "null", "nan", "na", "n/a", "none", "nil", "\\n", "-", "--", "—", "无", "空", "#n/a"),
    UNSAVED.lower(),
)
_BLANKS = " \t\r\n\u00a0\u3000"
_WIDE = "０１２３４５６７８９．，－＋：／％（）　￥−"
_NARROW = "0123456789.,-+:/%() ¥-"
_YES = (
    "1",
    "true",
    "t",
    "yes",
    "y",
    "on",
    "allowed",
    "allow",
    "opt in",
    "opted in",
    "subscribed",
    "是",
    "同意",
    "允许",
    "已授权",
    "授权",
    "订阅",
    "已订阅",
)
_NO = (
    "0",
    "false",
    "f",
    "no",
    "n",
    "off",
    "denied",
    "deny",
    "opt out",
    "opted out",
    "unsubscribed",
    "否",
    "拒绝",
    "不同意",
    "不允许",
    "未授权",
    "退订",
    "已退订",
)
_LONG_AGO = 2020
"""A zone that changed its clocks since then may do so again."""
_OFFSET = r"\d{4}[-/]\d{1,2}[-/]\d{1,2}[ T]\d{1,2}:\d{2}.*([zZ]|[-+]\d{2}(:?\d{2})?)"
CHANNEL_NAMES = {
    "email": ("email", "e-mail", "mail address", "邮件", "电子邮件", "邮箱", "电邮"),
    "sms": ("sms", "text", "text message", "短信"),
    "push": ("push", "app push", "app", "推送"),
    "wechat": ("wechat", "weixin", "微信", "公众号", "微信公众号", "服务号"),
    "call": ("call", "phone", "telephone", "电话", "外呼", "语音"),
    "mail": ("mail", "post", "direct mail", "letter", "信件", "直邮", "邮寄"),
    "web": ("web", "site", "网站", "网页"),
    "ad": ("ad", "ads", "advertising", "广告"),
}
PURPOSE_NAMES = {
    "marketing": ("marketing", "promotion", "营销", "推广"),
    "service": ("service", "服务", "通知"),
}

KIND_NAMES = {
    "satisfaction": ("satisfaction", "csat", "ces", "survey", "满意", "满意度", "调查"),
    "preference": ("preference", "rating", "like", "review", "偏好", "喜好", "评分", "评价"),
    "complaint": ("complaint", "issue", "claim", "投诉", "抱怨", "客诉"),
    "loyalty": ("loyalty", "nps", "recommendation", "忠诚", "忠诚度", "推荐", "推荐度"),
}


def clean(column: str, *, padded: bool = True) -> str:
    """The text without surrounding blanks; NULL for what people write when there is nothing.

    ``padded=False``: no value of the column has blanks around it, which makes this ten times cheaper.
    """
    if not padded:
        return f"CASE WHEN lower({column}) IN ({_list(_EMPTY)}) THEN NULL ELSE {column} END"
    trimmed = f"trim({column}, {literal(_BLANKS)})"
    # Trimming six kinds of blanks is ten times dearer than seeing that there is nothing to trim.
    odd = f"{column} < '!' OR {column} >= chr(128) OR right({column}, 1) <= '!' OR right({column}, 1) >= chr(128)"
    return (
        f"CASE WHEN {odd} THEN CASE WHEN lower({trimmed}) IN ({_list(_EMPTY)}) THEN NULL ELSE {trimmed} END "
        f"WHEN lower({column}) IN ({_list(_EMPTY)}) THEN NULL ELSE {column} END"
    )


def fold_id(text: str) -> str:
    """A cleaned customer number in the one form of ``core.ids``; NULL for what people write when there is none."""
    narrow = f"trim(translate({text}, {literal(WIDE)}, {literal(NARROW)}), {literal(_BLANKS)})"
    # As many bytes as signs: nothing but ASCII, as nearly all numbers are.
    return (
        f"CASE WHEN strlen({text}) = length({text}) THEN {text} "
        f"WHEN lower({narrow}) IN ({_list(_EMPTY)}) THEN NULL ELSE {narrow} END"
    )


def parse_number(text: str, *, decimal_comma: bool = False) -> str:
    """DECIMAL(18,6) of a number with grouping, currency, full-width digits, percent, or in parentheses."""
    quick = "NULL" if decimal_comma else f"TRY_CAST({text} AS DECIMAL(18,6))"
    narrow = f"translate({text}, {literal(_WIDE)}, {literal(_NARROW)})"
    bare = rf"regexp_replace({narrow}, '[¥$€£\s]|元|人民币|rmb|cny|usd|eur|gbp', '', 'gi')"
    if decimal_comma:
        form = r"\(?[-+]?(\d+|\d{1,3}(\.\d{3})+)(,\d*)?%?\)?"
        value = f"replace(replace({bare}, '.', ''), ',', '.')"
    else:
        form = r"\(?[-+]?(\d*|\d{1,3}(,\d{3})+)(\.\d*)?%?\)?"
        value = f"replace({bare}, ',', '')"
    plain = f"CASE WHEN regexp_full_match({bare}, '{form}') THEN {value} END"
    signed = rf"regexp_replace({plain}, '^\((.*)\)$', '-\1')"
    slow = (
        f"CASE WHEN {narrow} LIKE '%\\%%' ESCAPE '\\' "
        f"THEN CAST(TRY_CAST(replace({signed}, '%', '') AS DECIMAL(18,6)) / 100 AS DECIMAL(18,6)) "
        f"ELSE TRY_CAST({signed} AS DECIMAL(18,6)) END"
    )
    return f"CASE WHEN {text} IS NULL THEN NULL ELSE coalesce({quick}, {slow}) END"


def parse_instant(text: str, *, day_first: bool = False, plain: bool = False) -> str:
    """TIMESTAMP on the business's clock; see ``dates`` for the forms. Instants with an offset are not for it.

    ``plain``: every value has the form that a cast reads (``DatePlan.plain``), which need not be looked at again.
    """
    if plain:
        return f"TRY_CAST({text} AS TIMESTAMP)"
    # 5/16/2026 has its second slash where 2026/5/16 has its first: DuckDB would read the year 5.
    short = " OR ".join(f"{text} LIKE '{form}%'" for form in ("_/__/", "__/_/", "_-__-", "__-_-"))
    dated = f"({text} LIKE '____-%' OR {text} LIKE '____/%') AND NOT ({short})"
    quick = f"CASE WHEN {dated} THEN TRY_CAST({text} AS TIMESTAMP) END"
    return f"CASE WHEN {text} IS NULL THEN NULL ELSE coalesce({quick}, {_parse_slowly(text, day_first)}) END"


def locate_instant(clock: str, name: str) -> str:
    """TIMESTAMPTZ of the business's ``clock``, a TIMESTAMP. ``$zone`` is bound to the zone ``name``."""
    slow = f"timezone($zone, {clock})"
    fixed = find_fixed(name)
    if fixed is None:
        return slow
    since, offset = fixed
    # Where the offset has long been the same, a subtraction is fifteen times cheaper than looking it up.
    quick = f"make_timestamptz(epoch_us({clock}) - {offset // timedelta(microseconds=1)})"
    return f"CASE WHEN {clock} >= TIMESTAMP '{since}-01-01' THEN {quick} ELSE {slow} END"


@lru_cache(maxsize=8)
def find_fixed(name: str) -> tuple[int, timedelta] | None:
    """The year since which the clocks of a zone have not been changed, and their offset; None when that is recent."""
    place = zone(name)
    months = [
        datetime(year, month, 2, tzinfo=place) for year in range(2060, 1960, -1) for month in range(12, 0, -1)
    ]
    offset = months[0].utcoffset()
    changed = next((month.year for month in months if month.utcoffset() != offset), 1960)
    # A change on the first of January lies between two months that were looked at.
    return (changed + 2, offset) if offset is not None and changed < _LONG_AGO else None


def tidy_instant(text: str) -> str:
    """The text with narrow digits, '-' between the parts of the date and ':' between those of the time."""
    narrow = f"translate({text}, {literal(_WIDE)}, {literal(_NARROW)})"
    dated = rf"regexp_replace({narrow}, '(\d)\s*[年月/.]\s*(\d{{1,4}})', '\1-\2')"
    dated = rf"regexp_replace({dated}, '(\d)\s*[年月/.]\s*(\d{{1,4}})', '\1-\2')"
    dated = rf"regexp_replace({dated}, '(\d)\s*[日号]\s*', '\1 ')"
    timed = rf"regexp_replace({dated}, '(\d)[时点](\d)', '\1:\2')"
    timed = rf"regexp_replace({timed}, '(\d)分(\d)', '\1:\2')"
    return rf"trim(regexp_replace({timed}, '[秒分]|[时点]$', ''))"


def _parse_slowly(text: str, day_first: bool) -> str:
    tidy = tidy_instant(text)
    # %y before %Y: the former refuses four digits, the latter takes two for the first century.
    order = ("%d-%m-%y", "%d-%m-%Y") if day_first else ("%m-%d-%y", "%m-%d-%Y")
    clocks = ("", " %H:%M", " %H:%M:%S", " %I:%M %p", " %I:%M:%S %p", " %H:%M:%S.%f")
    named = ("%d-%b-%y", "%d %b %y", "%d %b %Y", "%d-%b-%Y", "%d %B %Y", "%b %d, %Y", "%B %d, %Y")
    formats = [date + clock for date in order for clock in clocks]
    names = [date + clock for date in named for clock in clocks[:3]]
    digits = rf"""CASE
        WHEN regexp_full_match({text}, '[12]\d{{7}}') THEN TRY_STRPTIME({text}, '%Y%m%d')
        WHEN regexp_full_match({text}, '[12]\d{{11}}') THEN TRY_STRPTIME({text}, '%Y%m%d%H%M')
        WHEN regexp_full_match({text}, '[12]\d{{13}}') THEN TRY_STRPTIME({text}, '%Y%m%d%H%M%S')
        WHEN regexp_full_match({text}, '[2-6]\d{{4}}(\.\d+)?')
        THEN TIMESTAMP '1899-12-30' + to_microseconds(CAST(round(CAST({text} AS DOUBLE) * 86400) AS BIGINT) * 1000000)
        END"""
    return rf"""coalesce({digits},
        CASE WHEN regexp_full_match({text}, '.*\d.*[A-Za-z]{{3,}}.*|[A-Za-z]{{3,}}.*\d.*')
        THEN TRY_STRPTIME({text}, [{_list(names)}]) END,
        CASE WHEN regexp_matches({tidy}, '^\d{{4}}-') THEN TRY_CAST(replace({tidy}, 'T', ' ') AS TIMESTAMP)
        WHEN regexp_matches({tidy}, '^\d') THEN TRY_STRPTIME(upper({tidy}), [{_list(formats)}]) END)"""


def parse_offset(text: str) -> str:
    """TIMESTAMPTZ of epoch seconds or milliseconds, or of ISO with an offset or Z; else NULL."""
    return rf"""CASE
        WHEN regexp_full_match({text}, '\d{{9,10}}(\.\d+)?') THEN to_timestamp(CAST({text} AS DOUBLE))
        WHEN regexp_full_match({text}, '\d{{13}}') THEN to_timestamp(CAST({text} AS DOUBLE) / 1000)
        WHEN regexp_full_match({text}, '{_OFFSET}')
        THEN TRY_CAST(regexp_replace({text}, '([-+]\d{{2}})(\d{{2}})$', '\1:\2') AS TIMESTAMPTZ) END"""


def parse_boolean(text: str) -> str:
    """BOOLEAN of yes and no in both languages."""
    return f"CASE WHEN lower({text}) IN ({_list(_YES)}) THEN true WHEN lower({text}) IN ({_list(_NO)}) THEN false END"


def translate_names(text: str, names: dict[str, tuple[str, ...]]) -> str:
    """The code of which ``names`` holds the text; NULL when none does."""
    branches = " ".join(
        f"WHEN lower({text}) IN ({_list(found)}) THEN {literal(code)}" for code, found in names.items()
    )
    return f"CASE {branches} END"


def _list(values: tuple[str, ...] | list[str]) -> str:
    return ", ".join(literal(value) for value in values)
