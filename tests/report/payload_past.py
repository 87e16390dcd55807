"""The payload of the steps that look back: goal, data, analysis, models."""

from __future__ import annotations

import math
from typing import Any

from tests.report.shapes import ACTIONS, effect, text


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
            "sql": "SELECT AVG(revenue) AS value\nFROM order_lines\nWHERE ordered_on < $as_of",
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
                "With 2,469 customers, a quarter of them control, an effect below $2.91 cannot be told from noise.",
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
