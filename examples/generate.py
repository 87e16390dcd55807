"""Writes the examples' data: small CSV files in English and Chinese, the same every time.

``python examples/generate.py [FOLDER]`` writes them below FOLDER (beside this file when omitted). All names, numbers
and addresses are made up. The first business day of every story is 2 March 2026.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterable, Sequence
from datetime import date, timedelta
from pathlib import Path

FIRST = date(2026, 3, 2)
PEOPLE = {
    "en": ("Ann", "Ben", "Cora", "Dan", "Eve", "Finn", "Gwen", "Hal"),
    "zh": ("王小明", "李芳", "张伟", "刘洋", "陈静", "杨磊", "赵敏", "周杰"),
}
HEADS = {
    "en": ("customer_id", "name", "email", "phone", "language"),
    "zh": ("客户编号", "姓名", "邮箱", "手机号", "语言"),
}
PREFIXES = {"en": "+1 555 010 0", "zh": "1380013800"}


def write(path: Path, head: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """One CSV file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(head)
        writer.writerows(rows)


def list_people(language: str) -> list[list[object]]:
    """Customer, name, address, phone, language."""
    return [
        [
            f"{language}{number}",
            name,
            f"{language}{number}@customers.example",
            f"{PREFIXES[language]}{number}",
            language,
        ]
        for number, name in enumerate(PEOPLE[language], 1)
    ]


def write_consents(folder: Path, language: str, channels: Sequence[str]) -> None:
    """Everybody but the last agreed to be contacted."""
    rows = [
        (person[0], channel, "marketing", "true" if number < 8 else "false", "2025-11-01T00:00:00Z")
        for number, person in enumerate(list_people(language), 1)
        for channel in channels
    ]
    write(folder / "consents.csv", ("customer_id", "channel", "purpose", "allowed", "since"), rows)


def write_policies(root: Path) -> None:
    """When each policy ends: one a week too early, some in 30 days, some later, one unknown."""
    ahead = (30, 31, 30, 45, 10, 30, None, 30)
    for language, column in (("en", "policy_ends_on"), ("zh", "保单到期日")):
        folder = root / "policy_renewal" / language
        rows = [
            [*person, "" if days is None else FIRST + timedelta(days=days)]
            for person, days in zip(list_people(language), ahead, strict=True)
        ]
        write(folder / "customers.csv", (*HEADS[language], column), rows)
        write_consents(folder, language, ("email", "call"))


def write_cars(root: Path) -> None:
    """When each car's service is due, and what workshops read off the odometer."""
    ahead = (14, 15, 90, 200, 14, 120, 365, 14)
    for language, column in (("en", "service_due_on"), ("zh", "保养到期日")):
        folder = root / "car_service" / language
        people = list_people(language)
        rows = [[*person, FIRST + timedelta(days=days)] for person, days in zip(people, ahead, strict=True)]
        write(folder / "customers.csv", (*HEADS[language], column), rows)
        left = {3: 850, 4: 4_200, 6: 1_000}
        readings = [
            (people[place - 1][0], "Odometer Read", f"{FIRST}T03:00:00Z", 60_000 - km, km)
            for place, km in left.items()
        ]
        write(
            folder / "odometer.csv",
            ("customer_id", "event", "occurred_at", "mileage_km", "km_to_service"),
            readings,
        )
        write_consents(folder, language, ("email", "sms"))


def write_food(root: Path) -> None:
    """Who bought what in the last weeks, and the lots on the shelves with their dates."""
    goods = {
        "en": (("milk", "Fresh milk"), ("salad", "Green salad"), ("salmon", "Salmon fillet")),
        "zh": (("milk", "鲜牛奶"), ("salad", "蔬菜沙拉"), ("salmon", "三文鱼")),
    }
    for language, products in goods.items():
        folder = root / "food_expiry" / language
        people = list_people(language)
        write(folder / "customers.csv", HEADS[language], people)
        head = ("product_id", "name", "category", "price")
        write(folder / "products.csv", head, [(key, name, "fresh", 12.5) for key, name in products])
        lines = [
            (
                f"{language}-{number}-{week}",
                person[0],
                products[number % 3][0],
                FIRST - timedelta(days=7 * week),
                1,
                12.5,
            )
            for number, person in enumerate(people)
            for week in range(1, 4 if number % 4 else 2)
        ]
        write(
            folder / "orders.csv",
            ("order_id", "customer_id", "product_id", "order_date", "quantity", "amount"),
            lines,
        )
        lots = [(f"L{n}", key, FIRST + timedelta(days=4 + n), 40) for n, (key, _) in enumerate(products, 1)]
        write(folder / "lots.csv", ("lot", "product_id", "expires_on", "units"), lots)
        write_consents(folder, language, ("email", "sms"))


def main(root: Path) -> None:
    """All three."""
    write_policies(root)
    write_cars(root)
    write_food(root)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
