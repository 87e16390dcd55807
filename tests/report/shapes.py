"""What all parts of the test payload are made of: texts, effects, and the actions of the shop."""

from __future__ import annotations

from typing import Any

LONG_NAME = "Everything in the shop at fifteen percent off, by call centre"  # 61 characters


def text(en: str, zh: str) -> dict[str, str]:
    """A text in both languages."""
    return {"en": en, "zh": zh}


def effect(
    estimate: float, half: float, n: int = 1480, method: str = "difference in means, CUPED"
) -> dict[str, Any]:
    """An estimate with a symmetric interval."""
    lower, upper = estimate - half, estimate + half
    return {
        "estimate": estimate,
        "lower": lower,
        "upper": upper,
        "n": n,
        "method": method,
        "proven": lower > 0 or upper < 0,
    }


ACTIONS = [
    ("grocery15:email", "Grocery −15% by e-mail", "食品杂货 85 折 · 邮件", 2.31, 1.4),
    ("grocery15:sms", "Grocery −15% by SMS", "食品杂货 85 折 · 短信", 3.02, 1.9),
    ("produce15:email", "Produce −15% by e-mail", "生鲜果蔬 85 折 · 邮件", 0.42, 1.5),
    ("meat15:mail", "Meat −15% by direct mail", "肉类 85 折 · 直邮", -1.93, 1.7),
    ("all10:call", LONG_NAME, "全场商品八五折优惠·由呼叫中心客服人员逐一致电通知", 4.9, 5.8),
]
