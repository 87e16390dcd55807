"""A small Chinese shop as its files: GB18030 from Excel, orders of 400 members over a year, consents, addresses."""

from __future__ import annotations

import csv
import random
from datetime import date, timedelta
from pathlib import Path

FIRST, LAST = date(2025, 3, 1), date(2026, 2, 28)
GOODS = [
    ("牛奶", "乳品", 12.5),
    ("面包", "烘焙", 8.0),
    ("苹果", "生鲜", 15.8),
    ("洗衣液", "日用", 39.9),
    ("啤酒", "酒水", 6.5),
]


def write_orders(file: Path, *, members: int, start: date, end: date, seed: int = 1) -> int:
    """Write the orders of the days from ``start`` to before ``end``; returns how many lines."""
    draw = random.Random(seed)
    rows = []
    for member in range(members):
        pace = 3 + draw.random() * 25
        day = start + timedelta(days=draw.random() * pace)
        while day < end:
            order = f"D{member:04d}{day:%Y%m%d}"
            for name, kind, price in draw.sample(GOODS, draw.randint(1, 3)):
                quantity = draw.randint(1, 3)
                rows.append(
                    [
                        order,
                        f"{member:05d}",
                        f"{day:%Y年%-m月%-d日}",
                        name,
                        kind,
                        quantity,
                        f"￥{price * quantity:.2f}",
                    ]
                )
            day += timedelta(days=max(1.0, draw.expovariate(1 / pace)))
    with file.open("w", encoding="gb18030", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["订单号", "会员编号", "下单日期", "商品名称", "品类", "数量", "金额"])
        writer.writerows(rows)
    return len(rows)


def write_members(file: Path, *, members: int) -> None:
    """Addresses of the members, as UTF-8 with a byte order mark."""
    with file.open("w", encoding="utf-8-sig", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["会员编号", "邮箱", "手机号", "地区"])
        writer.writerows([f"{n:05d}", f"m{n}@example.com", f"138{n:08d}", "华东"] for n in range(members))


def write_consents(file: Path, *, members: int) -> None:
    """Everybody but every tenth allows e-mail and SMS."""
    with file.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["customer_id", "channel", "allowed"])
        for number in range(members):
            for channel in ("email", "sms"):
                writer.writerow([f"{number:05d}", channel, "否" if number % 10 == 0 else "是"])
