"""Telephone numbers as SMS providers take them: E.164, and only such as can get an SMS. Reads and writes nothing."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

import phonenumbers
from phonenumbers import PhoneNumberFormat, PhoneNumberType

_MAINLAND = re.compile(r"(?:\+?86|0086)?(1[3-9][0-9]{9})")
_MARKS = re.compile(r"[\s().\-\u2010-\u2015/]+")
# What a fixed line may be, too: some countries do not tell them apart.
_WITHOUT_SMS = (PhoneNumberType.FIXED_LINE, PhoneNumberType.TOLL_FREE, PhoneNumberType.PREMIUM_RATE,
                PhoneNumberType.SHARED_COST, PhoneNumberType.UAN, PhoneNumberType.VOICEMAIL)  # fmt: skip


@lru_cache(maxsize=100_000)
def write_number(number: str, region: str = "CN") -> str | None:
    """``number`` in E.164, or None when no SMS can reach it; ``region`` holds for numbers without country code.

    >>> write_number("138 0013 8000"), write_number("０１０-12345678"), write_number("+44 7911 123456")
    ('+8613800138000', None, '+447911123456')
    """
    text = _MARKS.sub("", unicodedata.normalize("NFKC", number))
    mainland = _MAINLAND.fullmatch(text)
    if mainland is not None and (region == "CN" or text.startswith(("+86", "0086"))):
        return f"+86{mainland[1]}"
    if not re.fullmatch(r"\+?[0-9]{5,18}", text):
        return None
    try:
        read = phonenumbers.parse(f"+{text[2:]}" if text.startswith("00") else text, region)
    except phonenumbers.NumberParseException:
        return None
    if not phonenumbers.is_valid_number(read) or phonenumbers.number_type(read) in _WITHOUT_SMS:
        return None
    return phonenumbers.format_number(read, PhoneNumberFormat.E164)
