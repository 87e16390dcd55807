"""``aimwell content`` as people type it: import, list, show, preview, lint, use, export, coupons."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from aimwell.cli.content import app as content_app
from aimwell.cli.output import State
from aimwell.core.errors import AimwellError
from aimwell.core.text import set_language
from aimwell.deployment.content import load_library
from aimwell.engine.workspace import Workspace
from tests.deployment.scene import build_workspace

Go = Callable[..., str]
HEADER = """title = { en = "Birthday", zh = "生日" }
coupon = "birthday"

[variables.city]
from = "customers.city"
default = { en = "your city", zh = "您的城市" }
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("content") / "shop"
    build_workspace(path, customers=4).close()
    texts = path / "content" / "birthday"
    (texts / "zh").mkdir(parents=True)
    (texts / "en").mkdir()
    (texts / "content.toml").write_text(HEADER, "utf-8")
    (texts / "zh" / "sms.txt").write_text(
        "{{ city }}的朋友，生日快乐！券码{{ coupon_code }}，拒收请回复R\n", "utf-8"
    )
    (texts / "en" / "sms.txt").write_text(
        "Happy birthday! {{ coupon_code }}. Reply STOP to opt out.\n", "utf-8"
    )
    return path


@pytest.fixture
def go(folder: Path) -> Go:
    root = typer.Typer()

    @root.callback()
    def start(context: typer.Context, as_json: bool = typer.Option(False, "--json")) -> None:
        context.obj = State(folder, as_json)
        context.call_on_close(context.obj.close)

    root.add_typer(content_app, name="content")

    def run(*words: str, code: int = 0, language: str = "zh") -> str:
        set_language("zh" if language == "zh" else "en")
        try:
            done = CliRunner().invoke(root, list(words), env={"COLUMNS": "200"})
        finally:
            set_language("en")
        if isinstance(done.exception, AimwellError):
            return done.exception.code
        assert done.exit_code == code, done.output
        return done.output

    return run


def test_from_folder_to_use(go: Go, folder: Path, tmp_path: Path) -> None:
    assert "birthday：第 1 版" in go("content", "import")
    assert "birthday: version 1" in go(
        "content", "import", str(folder / "content" / "birthday"), language="en"
    )
    assert "生日" in go("content", "list")
    listed = json.loads(go("--json", "content", "list"))["contents"]
    assert listed == [
        {"content": "birthday", "title": {"en": "Birthday", "zh": "生日"}, "languages": ["en", "zh"], 
         "parts": ["sms.txt"], "variants": [], "coupon": "birthday"}
    ]  # fmt: skip
    assert "生日快乐" in go("content", "show", "birthday")
    shown = go("content", "preview", "birthday", "--customer", "c01")
    assert "您的城市的朋友，生日快乐！券码SAMP-LECX-DE34" in shown
    previews: list[dict[str, Any]] = json.loads(go("--json", "content", "preview", "birthday"))["previews"]
    assert [(each["language"], each["sms"]["encoding"]) for each in previews] == [
        ("en", "GSM-7"),
        ("zh", "UCS-2"),
    ]
    assert go("content", "preview", "nothing") == "deployment.no_content"
    assert go("content", "preview", "birthday", "--customer", "nobody") == "deployment.no_customer"
    assert "produce_20" in go("content", "use", "produce_20", "birthday")
    assert go("content", "use", "x" * 200, "birthday") == "deployment.bad_target"
    assert go("content", "use", "produce_20", "nothing") == "deployment.no_content"
    opened = Workspace.open(folder)
    assert load_library(opened).choose("produce_20:sms", "produce_20") == "birthday"
    opened.close()
    go("content", "export", "birthday", "--folder", str(tmp_path))
    assert (
        json.loads(go("--json", "content", "import", str(tmp_path / "birthday")))["contents"][0]["version"]
        == 1
    )


def test_lint_fails_with_an_error_and_shows_the_cost(go: Go, folder: Path) -> None:
    go("content", "import")
    assert "UCS-2" in go("content", "lint")
    clean = json.loads(go("--json", "content", "lint", "birthday"))
    assert [(row["language"], row["segments"]) for row in clean["sms"]] == [("en", 1), ("zh", 1)]
    path = folder / "content" / "birthday" / "en" / "sms.txt"
    before = path.read_text("utf-8")
    path.write_text("Happy birthday, {{ nick }}!", "utf-8")
    try:
        assert "变量 'nick' 无法识别" in go("content", "import")
        assert "birthday/en/sms.txt:1" in go("content", "lint", "birthday", code=1)
    finally:
        path.write_text(before, "utf-8")
        go("content", "import")


def test_coupons_from_file_to_redemption(go: Go, tmp_path: Path) -> None:
    (tmp_path / "codes.csv").write_text("券码\nAAA-1\nAAA1\nBBB-2\n?\n", "utf-8")
    assert "已加入 2 个券码，1 个已存在，1 个被拒绝" in go(
        "content",
        "coupons",
        "add",
        "birthday",
        str(tmp_path / "codes.csv"),
        "--until",
        "2999-12-31",
        "--days",
        "30",
    )
    assert "已生成 10 个券码" in go("content", "coupons", "make", "spring", "10")
    pools = json.loads(go("--json", "content", "coupons", "list"))["pools"]
    assert [(pool["pool"], pool["total"], pool["free"]) for pool in pools] == [
        ("birthday", 2, 2),
        ("spring", 10, 10),
    ]
    assert "未发放" in go("content", "coupons", "list")
    assert "尚未发放给任何人" in go("content", "coupons", "redeem", "aaa 1", "--by", "order 1", code=1)
    assert "没有该优惠券" in go("content", "coupons", "redeem", "zzz", "--by", "order 1", code=1)
    assert go("content", "coupons", "add", "birthday", str(tmp_path / "none.csv")) == "deployment.coupon_file"
    assert (
        go("content", "coupons", "add", "birthday", str(tmp_path / "codes.csv"), "--until", "soon")
        == "cli.bad_day"
    )
