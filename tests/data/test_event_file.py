"""A table is no file of messages: it is refused whole, rather than line by line."""

from __future__ import annotations

from pathlib import Path

import pytest

from aimwell.core.errors import BadInput
from aimwell.data.event_intake import take_file
from tests.data.shop import count, make_workspace, write


def test_a_table_is_not_set_aside_line_by_line(tmp_path: Path) -> None:
    shop = make_workspace(tmp_path)
    path = write(tmp_path, "customer_id,name\n" + "c1,pv\n" * 30, name="log.csv")
    with pytest.raises(BadInput) as refused:
        take_file(shop, path)
    assert refused.value.code == "data.event_file_no_json"
    assert count(shop, "rejects") == count(shop, "sources") == 0


def test_a_few_bad_lines_are_set_aside(tmp_path: Path) -> None:
    shop = make_workspace(tmp_path)
    assert take_file(shop, write(tmp_path, "no\nnor\n", name="e.jsonl"))["rejected"] == 2
    assert count(shop, "rejects") == 2
