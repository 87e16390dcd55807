"""However a file names the NPS question, the tags of recommendation find its answers."""

from __future__ import annotations

from pathlib import Path

import pytest

from aimwell.data.step import add_source
from tests.data.shop import make_workspace, query, write


@pytest.mark.parametrize(
    "text",
    [
        "会员编号,调查日期,推荐意愿\n1,2026-01-02,9\n",
        "会员编号,类型,评分,日期\n1,NPS,9,2026-01-02\n",
        "会员编号,调查日期,题目,得分\n1,2026-01-02,NPS,9\n",
        "会员编号,调查日期,题目,得分\n1,2026-01-02,您有多大可能推荐我们？,9\n",
    ],
)
def test_answers_to_nps_are_found(tmp_path: Path, text: str) -> None:
    shop = make_workspace(tmp_path)
    add_source(shop, write(tmp_path, text), table="signals", accept=True)
    assert query(shop, "SELECT kind, name, score FROM signals") == [
        {"kind": "loyalty", "name": "nps", "score": 9.0}
    ]


def test_a_question_tells_the_kind(tmp_path: Path) -> None:
    shop = make_workspace(tmp_path)
    text = "会员编号,调查日期,题目,得分\n1,2026-01-02,配送满意度,9\n2,2026-01-02,等候分钟,9\n"
    add_source(shop, write(tmp_path, text), table="signals", accept=True)
    rows = query(shop, "SELECT kind, name FROM signals ORDER BY customer_id")
    assert rows == [{"kind": "satisfaction", "name": "配送满意度"}, {"kind": "other", "name": "等候分钟"}]
