"""A payload as ``aimwell demo`` writes it, in the shapes that the steps agreed on, with its awkward cases."""

from __future__ import annotations

import math
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


def make_goal() -> dict[str, Any]:
    """The goal."""
    return {
        "name": "grow",
        "title": text("More profit from known households", "提升现有家庭客户的利润"),
        "family": "growth",
        "metric": {
            "name": "contribution",
            "title": text("contribution per customer in 28 days", "28 天人均贡献利润"),
            "unit": "money",
            "sql": "WITH sold AS (\n  SELECT customer_id, SUM(revenue) AS revenue\n  FROM order_lines\n  WHERE ordered_on < $as_of\n  GROUP BY customer_id\n)\nSELECT AVG(revenue) FROM sold",
        },
        "baseline": effect(31.42, 1.21, 2469, "mean"),
        "target": 33.0,
        "window": {"start": "2017-09-01", "days": 28},
        "budget": 2500.0,
        "currency": "USD",
        "feasibility": {
            "audience": 2469,
            "control_share": 0.25,
            "smallest_effect": 2.914,
            "relative": 0.0927,
            "unit": "money",
            "enough": False,
            "sentence": text(
                "With 2,469 customers and a quarter kept as control, an effect below $2.91 per customer cannot be told from noise.",
                "2,469 名客户、四分之一作为对照时，人均低于 $2.91 的效果与噪声无法区分。",
            ),
        },
    }


def make_data() -> dict[str, Any]:
    """The data step."""
    walls = {
        "unavailable": {"score": 0.92, "checks": 14, "warnings": 1, "errors": 0},
        "partial": {"score": 0.81, "checks": 22, "warnings": 3, "errors": 0},
        "inaccurate": {"score": 0.997, "checks": 31, "warnings": 2, "errors": 0},
        "unusable": {"score": 0.64, "checks": 9, "warnings": 1, "errors": 1},
    }
    return {
        "sources": [
            {
                "name": "transactions",
                "table": "order_lines",
                "file": None,
                "encoding": "utf-8",
                "rows": 1469307,
                "accepted": 1461987,
                "rejected": 7320,
            },
            {
                "name": "demographics",
                "table": "customers",
                "file": None,
                "encoding": "utf-8",
                "rows": 801,
                "accepted": 801,
                "rejected": 0,
            },
            {
                "name": "products",
                "table": "products",
                "file": None,
                "encoding": "utf-8",
                "rows": 92331,
                "accepted": 92331,
                "rejected": 0,
            },
        ],
        "tables": {
            "order_lines": 1023987,
            "customers": 2469,
            "products": 92331,
            "events": 160220,
            "consents": 9876,
            "rejects": 7320,
        },
        "period": {"start": "2017-01-01", "end": "2017-11-30"},
        "walls": walls,
        "quality": [
            finding(
                "customers",
                "age_band",
                "partial",
                "warning",
                1668,
                2469,
                "67.6% of customers have no age.",
                "67.6% 的客户没有年龄。",
            ),
            finding(
                "order_lines",
                "quantity",
                "inaccurate",
                "warning",
                7320,
                1469307,
                "Lines without quantity were set aside.",
                "没有数量的明细已另存。",
            ),
            finding(
                "customers",
                "phone",
                "unusable",
                "error",
                2469,
                2469,
                "No customer can be called.",
                "没有可拨打的电话。",
            ),
        ],
        "lacks": [],
    }


def finding(
    table: str, column: str, wall: str, severity: str, affected: int, total: int, en: str, zh: str
) -> dict[str, Any]:
    """One finding of the quality report."""
    return {
        "source": "completejourney",
        "table": table,
        "column": column,
        "wall": wall,
        "check": "filled",
        "severity": severity,
        "affected": affected,
        "total": total,
        "examples": ["1001", "1003", "<b>1004</b>"],
        "finding": text(en, zh),
        "remedy": text("Ask for it at the next contact.", "下次联系时补充。"),
    }


def make_analysis() -> dict[str, Any]:
    """The analysis step."""
    names = [
        ("best", "Best customers", "最佳客户", 494, 0.2, 0.553),
        ("loyal", "Loyal, small baskets", "忠诚小额客户", 613, 0.248, 0.171),
        ("slipping", "Slipping away", "正在流失", 402, 0.163, 0.118),
        ("bargain", "Bargain hunters", "优惠敏感客户", 377, 0.153, 0.094),
        ("new", "New this quarter", "本季新客", 61, 0.025, 0.011),
        (
            "gone",
            "Gone for half a year or longer without a single purchase",
            "半年以上没有任何购买",
            522,
            0.211,
            0.053,
        ),
    ]
    return {
        "as_of": "2017-12-01",
        "customers": 2469,
        "tags": {
            "count": 52,
            "catalogue": [
                {
                    "name": f"tag_{at}",
                    "title": text(en, zh),
                    "kind": "number",
                    "unit": "",
                    "coverage": coverage,
                }
                for at, (en, zh, coverage) in enumerate(
                    [
                        ("Days since last order", "距上次购买天数", 1.0),
                        ("Orders in 90 days", "近 90 天订单数", 1.0),
                        ("Revenue in 365 days", "近 365 天消费额", 1.0),
                        ("Favourite department", "偏好品类", 0.97),
                        ("Discount share", "折扣占比", 0.99),
                        ("Age", "年龄", 0.32),
                    ]
                    * 6
                )
            ],
        },
        "segments": [
            {
                "name": name,
                "title": text(en, zh),
                "rule_text": text("revenue of 365 days in the best 20%", "近 365 天消费额居前 20%"),
                "size": size,
                "share": share,
                "revenue_share": revenue,
            }
            for name, en, zh, size, share, revenue in names
        ],
        "rfm": {
            "cells": [
                {
                    "r": r,
                    "f": f,
                    "customers": round(240 * math.exp(-((r - f) ** 2) / 2.2) * (0.5 + f / 10)),
                    "revenue": 900.0 * r * f * f,
                }
                for r in range(1, 6)
                for f in range(1, 6)
            ]
        },
        "lifecycle": [
            {"stage": stage, "title": text(en, zh), "customers": customers, "revenue": revenue}
            for stage, en, zh, customers, revenue in [
                ("new", "new", "新客", 61, 41021.0),
                ("active", "active", "活跃", 1321, 3120111.0),
                ("declining", "declining", "下滑", 415, 702113.0),
                ("dormant", "dormant", "沉睡", 388, 310222.0),
                ("lost", "lost", "流失", 284, 90877.0),
            ]
        ],
        "value": {
            "top20_revenue_share": 0.553,
            "curve": [[at / 100, 1 - (1 - at / 100) ** 2.6] for at in range(101)],
        },
    }


def make_models() -> dict[str, Any]:
    """The models step."""
    departments = [
        ("grocery", "Grocery", "食品杂货"),
        ("produce", "Produce", "生鲜果蔬"),
        ("meat", "Meat", "肉类"),
    ]
    return {
        "cards": [
            {
                "model": f"propensity:{name}",
                "title": text(f"Buys {en} in 28 days", f"28 天内购买{zh}"),
                "kind": "propensity",
                "purpose": text(
                    "How likely a purchase is; it does not say what an offer changes.",
                    "购买的可能性；不表示优惠能改变多少。",
                ),
                "method": "logistic regression, gradient boosting, chosen on later weeks",
                "n_train": 19752,
                "n_test": 2469,
                "validation": {
                    "auc": 0.8731,
                    "baseline_auc": 0.8402,
                    "brier": 0.1312,
                    "base_rate": 0.44,
                    "lift_top_decile": 2.13,
                },
                "limits": text("Not tested on holidays.", "未在节假日验证。"),
            }
            for name, en, zh in departments
        ]
        + [
            {
                "model": "clv",
                "title": text("Customer lifetime value", "客户终身价值"),
                "kind": "clv",
                "purpose": text("Expected orders and margin of the next year.", "未来一年的预期订单与毛利。"),
                "method": "BG/NBD × Gamma–Gamma",
                "n_train": 2469,
                "n_test": 2469,
                "validation": {"mae": 1.92},
                "limits": text("Supposes that habits stay.", "假设购买习惯不变。"),
            },
            {
                "model": "uplift",
                "title": text("Effect of actions", "营销动作的增量效果"),
                "kind": "uplift",
                "purpose": text("What an action changes.", "动作带来的改变。"),
                "method": "ridge on pseudo-outcomes, cross-fitted",
                "n_train": 1480,
                "n_test": 1480,
                "validation": {"qini": 0.031},
                "limits": text("One pilot only.", "仅一次试点。"),
            },
        ],
        "lift": [
            {
                "model": name,
                "title": text(en, zh),
                "points": [
                    [s / 10, (2.6 - at * 0.3) - (1.6 - at * 0.3) * (s / 10) ** 0.7] for s in range(1, 11)
                ],
            }
            for at, (name, en, zh) in enumerate(departments)
        ],
        "calibration": [
            {
                "model": name,
                "title": text(en, zh),
                "points": [[p / 10, min(1, p / 10 * (1.08 - at * 0.08)), 247] for p in range(0, 10)],
            }
            for at, (name, en, zh) in enumerate(departments)
        ],
        "clv": {
            "parameters": {"r": 0.243, "alpha": 4.414, "a": 0.793, "b": 2.426},
            "total_predicted": 41822.0,
            "total_observed": 43120.0,
        },
        "next_products": {"ndcg": 0.213, "baseline_ndcg": 0.161, "n": 2469, "method": "item-item"},
        "uplift": {
            "status": "learnt",
            "n": 1480,
            "qini": effect(1212.0, 640.0),
            "curve": [
                {
                    "share": s / 20,
                    "gain": 4200 * (1 - (1 - s / 20) ** 2.2) - 900 * (s / 20) ** 3,
                    "lower": 4200 * (1 - (1 - s / 20) ** 2.2) - 900 * (s / 20) ** 3 - 1500 * (s / 20) ** 0.5,
                    "upper": 4200 * (1 - (1 - s / 20) ** 2.2) - 900 * (s / 20) ** 3 + 1500 * (s / 20) ** 0.5,
                }
                for s in range(21)
            ],
            "heterogeneity": {
                "proven": False,
                "p_value": 0.21,
                "sentence": text(
                    "That customers respond differently is not proven (p = 0.21).",
                    "客户响应存在差异尚未得到证明（p = 0.21）。",
                ),
            },
            "actions": [
                {
                    "action_id": action,
                    "title": text(en, zh),
                    "effect": effect(value, half),
                    "shrunken": value * 0.6,
                }
                for action, en, zh, value, half in ACTIONS
            ],
        },
    }


ACTIONS = [
    ("grocery15:email", "Grocery −15% by e-mail", "食品杂货 85 折 · 邮件", 2.31, 1.4),
    ("grocery15:sms", "Grocery −15% by SMS", "食品杂货 85 折 · 短信", 3.02, 1.9),
    ("produce15:email", "Produce −15% by e-mail", "生鲜果蔬 85 折 · 邮件", 0.42, 1.5),
    ("meat15:mail", "Meat −15% by direct mail", "肉类 85 折 · 直邮", -1.93, 1.7),
    ("all10:call", LONG_NAME, "全场商品八五折优惠·由呼叫中心客服人员逐一致电通知", 4.9, 5.8),
]


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


def make_rounds() -> list[dict[str, Any]]:
    """Two rounds of two waves."""
    rounds = []
    for number, scale in ((1, 0.41), (2, 1.0)):
        waves = [
            {
                "wave": wave,
                "plan_id": f"r{number}-{wave}",
                "as_of": f"2017-{6 + 3 * number - (wave == 'pilot'):02d}-01",
                "strategy": make_strategy(scale * part, f"r{number}-{wave}"),
                "deployment": make_deployment(),
                "evaluation": make_evaluation(scale * part),
                "truth": {"incremental_profit": 3620.0 * scale * part, "covered": True, "expected": 3500.0},
            }
            for wave, part in (("pilot", 0.2), ("rollout", 1.0))
        ]
        profit = effect(4693.0 * scale, 2610.0)
        rounds.append(
            {
                "round": number,
                "waves": waves,
                "incremental_profit": profit,
                "true_incremental_profit": 4344.0 * scale,
                "cost": 2991.0,
                "roi": effect(1.57 * scale, 0.87),
            }
        )
    return rounds


def make_truth() -> dict[str, Any]:
    """Estimates beside the planted truth."""
    rows = [
        ("incremental_orders", "Incremental orders", "增量订单", 402.0, 261.0, 377.0),
        ("incremental_revenue", "Incremental revenue", "增量收入", 14820.0, 7011.0, 13777.0),
        ("incremental_profit", "Incremental profit", "增量利润", 3911.0, 2204.0, 3620.0),
        ("roi", "ROI", "投资回报率", 1.57, 0.88, 2.61),
    ]
    return {
        "simulated": True,
        "metrics": [
            {
                "metric": name,
                "title": text(en, zh),
                "truth": truth,
                "estimate": value,
                "lower": value - half,
                "upper": value + half,
                "covered": abs(truth - value) <= half,
            }
            for name, en, zh, value, half, truth in rows
        ],
        "covered": False,
        "covered_share": 0.9375,
        "n_checked": 16,
    }


def make_experiment() -> dict[str, Any]:
    """Cai 2015."""

    def unit(estimate: float, lower: float, upper: float) -> dict[str, Any]:
        return {
            "estimate": estimate,
            "lower": lower,
            "upper": upper,
            "n": 1255,
            "method": "difference in shares",
            "proven": lower > 0,
        }

    return {
        "source": "Cai, de Janvry & Sadoulet (2015), causaldata",
        "n": 1410,
        "default": unit(0.106, 0.054, 0.158),
        "default_clustered": unit(0.106, 0.031, 0.181),
        "intensive": unit(0.141, 0.088, 0.194),
        "intensive_clustered": unit(0.141, 0.062, 0.22),
        "sentence": text(
            "Making insurance the default raised take-up by 10.6 percentage points.",
            "将投保设为默认选项使投保率提高 10.6 个百分点。",
        ),
    }


def make_payload() -> dict[str, Any]:
    """The whole payload."""
    return {
        "goal": make_goal(),
        "data": make_data(),
        "analysis": make_analysis(),
        "models": make_models(),
        "strategy": make_strategy(),
        "deployment": make_deployment(),
        "evaluation": make_evaluation(),
        "truth": make_truth(),
        "real_experiment": make_experiment(),
        "rounds": make_rounds(),
        "business": {"name": "Complete Journey", "zone": "America/New_York", "currency": "USD"},
        "generated_at": "2026-03-02T08:00:00+00:00",
        "simulated": True,
    }
