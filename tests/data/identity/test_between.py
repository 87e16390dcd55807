"""Two sources against each other: each record finds at most one partner on the other side, and none on its own."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from aimwell.cli.app import app
from aimwell.core.errors import BadInput
from aimwell.data.identity.between import leave_second_partners
from aimwell.data.identity.log import order
from aimwell.data.identity.step import find_identities
from aimwell.data.step import add_source
from tests.data.shop import make_workspace, query

SHARED = Path(__file__).parents[4] / "shared" / "data" / "febrl"
PEOPLE = 800


def write_some(source: Path, target: Path, numbers: set[str]) -> None:
    with source.open(encoding="utf-8", newline="") as stream:
        # Without the last column, a number that would join nearly all of them for certain.
        rows = [[cell.strip() for cell in row[:-1]] for row in csv.reader(stream)]
    kept = [row for row in rows[1:] if row[0].split("-")[1] in numbers]
    with target.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows([rows[0], *kept])


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared data sets are not at hand")
def test_two_tables_are_linked_one_to_one(tmp_path: Path) -> None:
    workspace = make_workspace(tmp_path)
    numbers = {str(number) for number in range(PEOPLE)}
    for side, file in (("a", "dataset4a.csv"), ("b", "dataset4b.csv")):
        write_some(SHARED / file, tmp_path / f"{side}.csv", numbers)
        add_source(
            workspace,
            tmp_path / f"{side}.csv",
            table="customers",
            accept=True,
            mapping={"customer_id": "rec_id"},
        )
    find_identities(workspace, probabilistic=True, between=("a", "b"))
    pairs = query(
        workspace, "SELECT left_record, right_record FROM identity_links WHERE method = 'probabilistic'"
    )
    found = [(str(row["left_record"]), str(row["right_record"])) for row in pairs]
    workspace.close()
    assert all({one.split("-")[2], other.split("-")[2]} == {"org", "dup"} for one, other in found)
    assert len({record for pair in found for record in pair}) == 2 * len(found)
    right = sum(one.split("-")[1] == other.split("-")[1] for one, other in found)
    assert right / len(found) > 0.98
    assert right / PEOPLE > 0.9


def test_two_sources_are_linked_by_likeness_without_saying_so_twice(tmp_path: Path) -> None:
    workspace = make_workspace(tmp_path)
    people = [f"{family}{given}" for family in "张王李赵陈" for given in "伟芳娜敏静强磊军洋勇"]
    for side in ("crm", "web"):
        lines = "".join(f"{side}{n},{name},{1950 + n}-03-0{1 + n % 9}\n" for n, name in enumerate(people))
        (tmp_path / f"{side}.csv").write_text(f"客户编号,姓名,出生日期\n{lines}", "utf-8")
        add_source(workspace, tmp_path / f"{side}.csv", table="customers", accept=True)
    folder = str(workspace.path)
    workspace.close()
    run = CliRunner()
    done = run.invoke(app, ["-w", folder, "--json", "data", "identity", "find", "--between", "crm,web"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["summary"]["probabilistic"]
    for wrong in ("crm", "crm,", "crm,web,till"):
        told = run.invoke(app, ["-w", folder, "data", "identity", "find", "--between", wrong])
        assert told.exit_code != 0 and "does not name two sources" in str(told.exception)


def test_what_cannot_be_linked_is_said(tmp_path: Path) -> None:
    workspace = make_workspace(tmp_path)
    (tmp_path / "crm.csv").write_text("客户编号,姓名\nC1,张伟\nC2,王芳\n", "utf-8")
    add_source(workspace, tmp_path / "crm.csv", table="customers", accept=True)
    with pytest.raises(BadInput) as unknown:
        find_identities(workspace, probabilistic=True, between=("crn", "crm"), dry_run=True)
    assert unknown.value.code == "data.identity_unknown_side"
    assert "crm" in str(unknown.value)
    with pytest.raises(BadInput) as same:
        find_identities(workspace, probabilistic=True, between=("crm", "crm"))
    assert same.value.code == "data.identity_one_side"
    workspace.close()


NAMES = [f"r{number}" for number in range(8)]
PAIRS = st.lists(
    st.tuples(st.sampled_from(NAMES), st.sampled_from(NAMES)).filter(lambda pair: pair[0] != pair[1])
)


@given(found=PAIRS, known=PAIRS, sides=st.lists(st.integers(0, 1), min_size=8, max_size=8))
def test_nobody_has_two_partners(
    found: list[tuple[str, str]], known: list[tuple[str, str]], sides: list[int]
) -> None:
    likely = [order(*pair) for pair in found]
    kept = leave_second_partners(likely, [order(*pair) for pair in known], NAMES, np.array(sides))
    ends = [record for pair in kept for record in pair]
    assert len(ends) == len(set(ends))
    side = dict(zip(NAMES, sides, strict=True))
    taken = {record for one, other in known if side[one] != side[other] for record in (one, other)}
    assert not taken.intersection(ends)
    assert kept <= set(likely)
