"""Words that Chinese advertising law forbids or that regulators take up: superlatives, promises, rank of the state.

A small list to begin with (Advertising Law of the People's Republic of China, article 9 and its usual reading); a
content adds its own under ``forbidden``. It finds words, not meanings: a person decides.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache

FORBIDDEN = (
    "国家级", "最高级", "最佳", "最好", "最优", "最先进", "最便宜", "最低价", "全网最低",
    "全国第一", "全球第一", "销量第一", "排名第一", "第一品牌", "顶级", "极品", "绝无仅有",
    "史无前例", "万能", "祖传", "特效", "根治", "包治百病", "百分之百有效", "零风险", "无风险",
    "稳赚不赔", "保本保息", "国家领导人", "驰名商标", "免检", "特供", "专供",
)  # fmt: skip


def find_forbidden(text: str, more: Iterable[str] = ()) -> list[tuple[str, int]]:
    """The words in ``text`` that may not be claimed, each with the line where it stands first."""
    pattern = _compile(tuple(sorted({*FORBIDDEN, *(word for word in more if word)})))
    found: dict[str, int] = {}
    for match in pattern.finditer(text):
        found.setdefault(match[0], text.count("\n", 0, match.start()) + 1)
    return list(found.items())


@cache
def _compile(words: tuple[str, ...]) -> re.Pattern[str]:
    # The longest first: 全网最低 before 最低价.
    return re.compile(
        "|".join(re.escape(word) for word in sorted(words, key=lambda word: (-len(word), word)))
    )
