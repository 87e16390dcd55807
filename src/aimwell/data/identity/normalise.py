"""The one normal form of what says who somebody is: phones, e-mails, numbers, names, dates, addresses.

Each function answers None for what cannot be one, and its own answer for its own answer (idempotent). Reads and
writes nothing.
"""

from __future__ import annotations

import re
import unicodedata
from datetime import date
from functools import lru_cache

import phonenumbers

_CHINESE_MOBILE = re.compile(r"1[3-9]\d{9}")
_NOT_DIGIT = re.compile(r"\D+")
_ADDRESS = re.compile(r"[^\s@<>()\[\],;:\"\\]+@[^\s@<>()\[\],;:\"\\]+\.[^\s@<>()\[\],;:\"\\.]{2,}")
_DOTLESS = frozenset({"gmail.com", "googlemail.com"})
_PLUS = frozenset(
    {*_DOTLESS, "outlook.com", "hotmail.com", "live.com", "icloud.com", "me.com", "fastmail.com"}
)
_ID_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
_ID_CHECKS = "10X98765432"
_INVISIBLE = re.compile(r"[\u200b-\u200f\u202a-\u202e\u2060\ufeff\u00ad]")


def clean(value: str | None) -> str | None:
    """NFKC (full-width becomes half-width), no invisible signs, single blanks; None when nothing is left."""
    if value is None:
        return None
    text = unicodedata.normalize("NFKC", _INVISIBLE.sub("", value))
    text = " ".join(_INVISIBLE.sub("", text).split())
    return text or None


@lru_cache(maxsize=200_000)
def normalise_phone(value: str, region: str = "CN") -> str | None:
    """E.164 such as +8613800138000; ``region`` (ISO 3166) holds for numbers without country code."""
    text = clean(value)
    if text is None:
        return None
    digits = _NOT_DIGIT.sub("", text)
    if region == "CN":
        # Spreadsheets turn a number into 13800138000.0, and into 8613800138000 without its plus.
        if re.fullmatch(r"\d+\.0+", text):
            digits = text.split(".")[0]
        bare = re.sub(r"^(0086|86|0)(?=1[3-9]\d{9}$)", "", digits)
        if _CHINESE_MOBILE.fullmatch(bare):
            return f"+86{bare}"
    if text.startswith("00"):
        text = f"+{text[2:]}"
    try:
        number = phonenumbers.parse(text, region)
    except phonenumbers.NumberParseException:
        return None
    if not phonenumbers.is_valid_number(number):
        return None
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)


@lru_cache(maxsize=200_000)
def normalise_email(value: str) -> str | None:
    """Lower case; dots and what follows a plus are dropped only where the provider ignores them."""
    text = clean(value)
    if text is None:
        return None
    text = text.casefold().removeprefix("mailto:").replace("。", ".").replace(" ", "").strip(".,;<>")
    if not _ADDRESS.fullmatch(text):
        return None
    mailbox, _, domain = text.rpartition("@")
    if domain in _PLUS:
        mailbox = mailbox.split("+")[0]
    if domain in _DOTLESS:
        mailbox, domain = mailbox.replace(".", ""), "gmail.com"
    return f"{mailbox}@{domain}" if mailbox else None


def normalise_key(value: str) -> str | None:
    """Openids, union ids, devices: what is inside, its case kept, since it may matter."""
    text = clean(value)
    return text.replace(" ", "") if text else None


def normalise_member(value: str) -> str | None:
    """Member and card numbers: capitals, no blanks or hyphens; leading zeros are kept."""
    text = clean(value)
    if text is None:
        return None
    return re.sub(r"[\s\-_./]+", "", text).upper() or None


def normalise_id_number(value: str) -> str | None:
    """A Chinese resident's number of 18 signs (15 are lengthened); else the letters and digits of another one.

    GB 11643: the last sign is a check modulo 11, and the seventh to fourteenth are a real day.
    """
    text = clean(value)
    if text is None:
        return None
    plain = re.sub(r"[^0-9A-Z]", "", text.upper())
    if re.fullmatch(r"\d{15}", plain) and _is_day(f"19{plain[6:12]}"):
        body = f"{plain[:6]}19{plain[6:]}"
        return body + _check_sign(body)
    if re.fullmatch(r"\d{17}[0-9X]", plain):
        return plain if _is_day(plain[6:14]) and plain[17] == _check_sign(plain) else None
    return plain if len(plain) >= 5 else None


def _check_sign(digits: str) -> str:
    return _ID_CHECKS[
        sum(weight * int(digit) for weight, digit in zip(_ID_WEIGHTS, digits, strict=False)) % 11
    ]


def _is_day(digits: str) -> bool:
    try:
        date(int(digits[:4]), int(digits[4:6]), int(digits[6:8]))
    except ValueError:
        return False
    return True


_TIGHT_DATE = re.compile(r"(\d{4})(\d{2})(\d{2})")
_LOOSE_DATE = re.compile(r"(\d{4})[-/.年 ]+(\d{1,2})[-/.月 ]+(\d{1,2})日?([T ].*)?")
_TURNED_DATE = re.compile(r"(\d{1,2})[-/. ](\d{1,2})[-/. ](\d{4})([T ].*)?")


def normalise_date(value: str) -> str | None:
    """YYYY-MM-DD as written, also where the day does not exist: a mistyped birth date still says much."""
    text = clean(value)
    if text is None:
        return None
    found = _TIGHT_DATE.fullmatch(text) or _LOOSE_DATE.fullmatch(text)
    if found:
        return f"{found[1]}-{int(found[2]):02}-{int(found[3]):02}"
    turned = _TURNED_DATE.fullmatch(text)
    if turned:
        day, month = int(turned[1]), int(turned[2])
        if month > 12 >= day:
            day, month = month, day
        return f"{turned[3]}-{month:02}-{day:02}"
    return None


def normalise_postcode(value: str) -> str | None:
    """Capitals and digits only; 0-padded where a spreadsheet cut a Chinese code is not guessed."""
    text = clean(value)
    return (re.sub(r"[^0-9A-Z]", "", text.upper()) or None) if text else None


def normalise_text(value: str) -> str | None:
    """Any other attribute: NFKC, lower case."""
    text = clean(value)
    return text.casefold() if text else None
