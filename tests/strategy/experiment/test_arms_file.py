"""Files of arms come back from people's programs: what still says the same is read, anything else is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from aimwell.core.errors import BadInput
from aimwell.strategy.experiment.arms_file import read_arms

HEAD = "customer_id,unit,stratum,arm\n"
ROWS = HEAD + "001,001,4,treatment\n王五,王五,1,control\n"
KEPT = {"001": ("4", "treatment"), "王五": ("1", "control")}


def test_no_file_holds_nobody(tmp_path: Path) -> None:
    assert read_arms(tmp_path / "none.csv") == {}


@pytest.mark.parametrize("written", [ROWS, "\ufeff" + ROWS, ROWS.replace("\n", "\r\n")])
def test_arms_are_read_back_as_excel_saves_them_too(tmp_path: Path, written: str) -> None:
    file = tmp_path / "arms.csv"
    file.write_bytes(written.encode())
    assert read_arms(file) == KEPT


@pytest.mark.parametrize(
    "written",
    [
        b"",
        "客户,分组\n".encode("gb18030"),
        ROWS.encode("gb18030"),
        ROWS.encode("utf-16"),
        (HEAD + "1,1\n").encode(),
        b"\x00\x01",
    ],
)
def test_what_is_no_file_of_arms_is_refused(tmp_path: Path, written: bytes) -> None:
    file = tmp_path / "arms.csv"
    file.write_bytes(written)
    with pytest.raises(BadInput) as caught:
        read_arms(file)
    assert str(file) in str(caught.value.where)
    assert file.read_bytes() == written
