"""A stage is gone on with only when it holds all that its state tells."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from aimwell.data.pieces import Delivery, Mark, Piece
from aimwell.data.staging import Stage


def _tear(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:20])


def _deliver(asked: list[int]) -> Delivery:
    def read(mark: Mark) -> Iterator[Piece]:
        asked.append(mark.offset)
        for number in range(mark.offset, 3):
            records = pa.table({"row_number": pa.array([number + 2], pa.int64()), "c0": [f"x{number}"]})
            yield Piece(records, Mark(number + 1, number + 3))

    return Delivery("x.csv", ("name",), "utf-8", ",", read, start=Mark(0, 2), size=3, resumable=True)


@pytest.mark.parametrize(
    ("harm", "begins_at"), [(None, 2), (_tear, 0), (Path.unlink, 0)], ids=["whole", "torn", "gone"]
)
def test_a_torn_or_lost_piece_is_read_anew(
    tmp_path: Path, harm: Callable[[Path], None] | None, begins_at: int
) -> None:
    asked: list[int] = []
    stage = Stage(tmp_path / "stage")
    stage.fill(_deliver(asked), signature="same", pieces=2)
    if harm is not None:
        harm(tmp_path / "stage" / "piece-000001.parquet")
    state = stage.fill(_deliver(asked), signature="same")
    assert asked == [0, begins_at]
    assert state.complete and state.rows == 3
