"""The payload of the steps that act and measure: strategy, deployment, evaluation."""

from __future__ import annotations

import math
from typing import Any

from tests.report.shapes import ACTIONS, effect, text


def make_strategy(scale: float = 1.0, plan: str = "r2-rollout") -> dict[str, Any]:
    """The strategy step of a wave."""
    budgets = [0, 250, 500, 1000, 1500, 2000, 2500, 3000, 4000, 5000]
    profits = [5200 * (1 - math.exp(-budget / 1300)) * scale for budget in budgets]
    return {
        "plan_id": plan,
        "wave": plan.rpartition("-")[2],
        "method": "Lagrangian duality with repair",
        "audience": 2222,
        "chosen": 1204,
        "expected_profit": effect(profits[6], 1480 * scale, 2222, "sum of shrunken effects"),
        "upper_bound": profits[6] * 1.0003,
        "gap": 0.0003,
        "cost": 2491.55,
        "budget": 2500.0,
        "constraints": [
            constraint(
                "budget",
                text("Budget", "预算"),
                2500.0,
                2491.55,
                "money",
                0.76,
                text("One more dollar of budget would earn $0.76.", "预算每增加 1 美元可多赚 $0.76。"),
            ),
            constraint(
                "minutes",
                text("Call-centre minutes", "呼叫中心时长"),
                480,
                480,
                "minutes",
                1.12,
                text("One more minute would earn $1.12.", "每增加一分钟可多赚 $1.12。"),
            ),
            constraint(
                "cap",
                text("Contacts in 28 days", "28 天触达频次"),
                4444,
                1204,
                "contacts",
                0.0,
                text("The cap does not bind.", "频次上限未起约束。"),
            ),
        ],
        "frontier": [
            {
                "budget": budget,
                "profit": profit,
                "upper_bound": profit * 1.01 + 20,
                "lower": profit - 260 - profit * 0.22,
                "upper": profit + 260 + profit * 0.22,
            }
            for budget, profit in zip(budgets, profits, strict=True)
        ],
        "by_action": [
            {
                "action_id": action,
                "title": text(en, zh),
                "channel": action.partition(":")[2],
                "customers": 90 + at * 131,
                "expected_profit": 310.5 * (at + 1),
                "cost": 88.2 * (at + 2),
            }
            for at, (action, en, zh, _, _) in enumerate(ACTIONS)
        ],
        "arms": {"treatment": 1204, "control": 771, "holdout": 247},
        "examples": [
            {
                "customer_id": "1184",
                "action_id": "grocery15:sms",
                "reason": text(
                    "Buys groceries weekly and answered coupons before: +$4.10 expected for $0.55.",
                    "每周购买食品杂货且用过优惠券：花费 $0.55，预期 +$4.10。",
                ),
                "why_not": text(
                    "A call would earn $0.90 more, and costs $1.95 more.", "电话可多赚 $0.90，但多花 $1.95。"
                ),
            },
            {
                "customer_id": "22",
                "action_id": None,
                "reason": text("No action repays its cost.", "没有动作能收回成本。"),
                "why_not": None,
            },
        ],
        "left_out": [{"segment": "gone", "title": text("Gone", "已流失"), "customers": 480, "share": 0.92}],
    }


def constraint(
    name: str,
    title: dict[str, str],
    limit: float,
    used: float,
    unit: str,
    price: float,
    sentence: dict[str, str],
) -> dict[str, Any]:
    """One constraint of a plan."""
    return {
        "id": name,
        "title": title,
        "sense": "<=",
        "limit": limit,
        "used": used,
        "unit": unit,
        "shadow_price": price,
        "kept": True,
        "sentence": sentence,
    }


def make_deployment() -> dict[str, Any]:
    """The deployment step of a wave."""
    return {
        "plan_id": "r2-rollout",
        "wave": "rollout",
        "audience": 1204,
        "states": {"sent": 1131, "skipped": 62, "failed": 7, "in_doubt": 4, "queued": 0},
        "reasons": [
            {
                "code": "no_consent",
                "title": text("No consent for the channel", "该渠道未授权"),
                "customers": 41,
            },
            {"code": "suppressed", "title": text("On the suppression list", "在抑制名单中"), "customers": 21},
        ],
        "by_channel": [
            {
                "channel": name,
                "title": text(en, zh),
                "planned": planned,
                "sent": sent,
                "skipped": planned - sent,
                "failed": 0,
                "in_doubt": 0,
                "cost": cost,
            }
            for name, en, zh, planned, sent, cost in [
                ("email", "e-mail", "邮件", 611, 580, 5.8),
                ("sms", "SMS", "短信", 421, 400, 20.0),
                ("call", "call", "电话", 120, 111, 166.5),
                ("mail", "direct mail", "直邮", 52, 40, 24.0),
            ]
        ],
        "outbox": [
            {"channel": "call", "file": "outbox/r2-rollout/call.csv", "rows": 120},
            {"channel": "sms", "file": "outbox/r2-rollout/sms.csv", "rows": 421},
        ],
        "sums_up": True,
        "cost": 216.3,
    }


def make_evaluation(scale: float = 1.0) -> dict[str, Any]:
    """The evaluation step of a wave."""
    return {
        "plan_id": "r2-rollout",
        "wave": "rollout",
        "window": {"start": "2017-12-01", "days": 28},
        "simulated": True,
        "incremental_orders": effect(402.0 * scale, 261.0),
        "incremental_revenue": effect(14820.0 * scale, 7011.0),
        "incremental_profit": effect(3911.0 * scale, 2204.0),
        "roi": effect(1.57 * scale, 0.88),
        "sample_ratio": {"p_value": 0.62, "ok": True, "expected": [0.61, 0.39], "observed": [1204, 771]},
        "cuped": {"variance_removed": 0.412},
        "promised": {"estimate": 4440.0, "lower": 2960.0, "upper": 5920.0},
        "realised": effect(3911.0 * scale, 2204.0),
        "promise_ratio": 0.881,
        "segments": [
            {
                "segment": "best",
                "title": text("Best customers", "最佳客户"),
                "effect": effect(5.02, 2.9, 240),
            },
            {
                "segment": "loyal",
                "title": text("Loyal, small baskets", "忠诚小额客户"),
                "effect": effect(1.71, 1.9, 301),
            },
            {"segment": "gone", "title": text("Gone", "已流失"), "effect": effect(-0.61, 0.4, 111)},
        ],
        "by_action": [
            {
                "action_id": action,
                "title": text(en, zh),
                "effect": effect(value * 0.9, half),
                "promised": value * 1.1,
            }
            for action, en, zh, value, half in ACTIONS
        ],
        "decision": {
            "go": True,
            "sentence": text(
                "Go on: the gain is proven and repays its cost.", "继续投放：增益已得到证明且能收回成本。"
            ),
            "reasons": [
                text("The interval leaves out zero.", "区间不含零。"),
                text("The arms are as drawn.", "分组与抽取一致。"),
            ],
        },
        "lessons": [
            text(
                "Direct mail for meat lost money: the next round starts from a smaller effect.",
                "肉类直邮亏损：下一轮以更小的效果为起点。",
            ),
            text("SMS for groceries works.", "食品杂货短信有效。"),
        ],
        "lacks": [],
    }
