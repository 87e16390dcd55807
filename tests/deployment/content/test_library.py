"""Contents are kept with versions, travel as folders, are drawn by variant, and are shown per customer."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aimwell.core.errors import BadInput, NotReady
from aimwell.deployment.content import load_content, load_library
from aimwell.deployment.content.definition import Definition, read_definition
from aimwell.deployment.content.folder import list_folders, read_folder, write_folder
from aimwell.deployment.content.library import list_contents, load_definition, save_content, use_content
from aimwell.deployment.content.preview import preview_content
from aimwell.deployment.content.variants import Variant, choose_variant
from aimwell.engine.workspace import Workspace
from tests.deployment.scene import build_workspace

HALVES = [{"name": "a", "share": 0.5}, {"name": "b", "share": 0.5}]
BODY: dict[str, Any] = {
    "title": {"en": "Birthday", "zh": "生日"},
    "coupon": "birthday",
    "salt": "s1",
    "forbidden": ["仙丹"],
    "products": {"count": 2, "link": "https://shop.example/p/{product_id}", "image": ""},
    "variables": {
        "city": {"from": "customers.city", "default": {"en": "your city", "zh": "您的城市"}},
        "orders": {"kind": "number", "from": "tags.orders_365d"},
        "plan": {"kind": "date", "example": "2030-01-01", "longest": "2030-12-31"},
    },
    "variants": HALVES,
    "parts": {
        "en/sms.txt": "Hi {{ city }} {{ coupon_code }}, STOP to opt out",
        "en/b/sms.txt": "Hello {{ city }}",
        "zh/sms.txt": "{{ city }}\n拒收请回复R\n",
    },
}


def define(**changes: Any) -> Definition:
    return read_definition("birthday", {**BODY, **changes})


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return build_workspace(tmp_path / "shop", customers=8)


def test_a_definition_survives_store_and_folder(workspace: Workspace, tmp_path: Path) -> None:
    definition = define()
    assert save_content(workspace.store, definition) == 1
    assert load_definition(workspace.store, "birthday") == (1, definition)
    folder = write_folder(tmp_path / "content", definition)
    assert read_folder(folder) == definition
    assert list_folders(tmp_path / "content") == [folder]
    # Written again with a text less, the file goes.
    write_folder(tmp_path / "content", define(parts={"zh/sms.txt": "退订回R"}, variants=[]))
    assert not (folder / "en" / "b" / "sms.txt").exists()
    assert read_folder(folder).variants == ()


TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\r"), max_size=30)


@settings(max_examples=60, deadline=None)
@given(TEXT, TEXT, TEXT, st.lists(TEXT.filter(bool), max_size=3))
def test_any_words_survive_the_header(
    tmp_path_factory: Any, title: str, default: str, salt: str, forbidden: list[str]
) -> None:
    definition = define(
        title={"en": title, "zh": "题"},
        salt=salt,
        forbidden=forbidden,
        variables={"city": {"default": {"en": default, "zh": "x"}}},
    )
    root = tmp_path_factory.mktemp("content")
    assert read_folder(write_folder(root, definition)) == definition


def test_every_change_is_a_version_and_old_ones_stay(workspace: Workspace) -> None:
    assert save_content(workspace.store, define()) == 1
    assert save_content(workspace.store, define()) == 1
    changed = define(parts={**BODY["parts"], "en/sms.txt": "New. STOP"})
    assert save_content(workspace.store, changed) == 2
    assert load_definition(workspace.store, "birthday", 1)[1] == define()
    assert load_content(workspace, "birthday", "en").render("sms.txt", {}) == "New. STOP"
    old = load_content(workspace, "birthday", "en", version=1)
    assert old.render("sms.txt", {"coupon_code": "C-1"}) == "Hi your city C-1, STOP to opt out"
    assert set(list_contents(workspace.store)) == {"birthday"}
    with pytest.raises(NotReady):
        load_content(workspace, "nothing", "en")


@pytest.mark.parametrize(
    "changes",
    [
        {"parts": {}},
        {"parts": {"fr/sms.txt": "x"}},
        {"parts": {"en/c/sms.txt": "x"}},
        {"parts": {"en/evil.sh": "x"}},
        {"parts": {"../en/sms.txt": "x"}},
        {"variables": {"customer_name": {}}},
        {"variables": {"Bad Name": {}}},
        {"variables": {"x": {"kind": "object"}}},
        {"variables": {"x": {"from": "orders.sum"}}},
        {"variables": {"x": {"from": "customers.a b; DROP"}}},
        {"variables": {"x": {"colour": "red"}}},
        {"variables": {"x": {"default": {"fr": "x"}}}},
        {"variants": [{"name": "a", "share": 1.0}]},
        {"variants": [{"name": "a", "share": 0.5}, {"name": "a", "share": 0.5}]},
        {"variants": [{"name": "a", "share": 0.7}, {"name": "b", "share": 0.7}]},
        {"variants": [{"name": "a", "share": "x"}, {"name": "b", "share": 0.5}]},
        {"variants": {"a": 0.5}},
        {"products": {"count": 0}},
        {"products": {"link": "javascript:x"}},
        {"surprise": 1},
    ],
)
def test_what_cannot_be_used_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(BadInput):
        define(**changes)


def test_ids_that_would_leave_the_folder_are_refused() -> None:
    for name in ("../x", "default", "", "A", "x" * 65, "a/b"):
        with pytest.raises(BadInput):
            read_definition(name, BODY)


def test_a_template_that_cannot_be_read_is_not_kept(workspace: Workspace) -> None:
    with pytest.raises(BadInput) as error:
        save_content(workspace.store, define(parts={"en/b/sms.txt": "\n{% if %}"}))
    assert error.value.where == {"file": "birthday/en/b/sms.txt", "line": 2}
    assert list_contents(workspace.store) == {}


def test_a_folder_brings_in_nothing_else(tmp_path: Path) -> None:
    folder = write_folder(tmp_path, define())
    (tmp_path / "secret").write_text("key", "utf-8")
    spoilt: dict[str, Callable[[Path], object]] = {
        "zh/note.docx": lambda path: path.write_text("x", "utf-8"),
        "zh/call.txt": lambda path: path.symlink_to(tmp_path / "secret"),
        "en/mail.txt": lambda path: path.write_text("x" * 300_001, "utf-8"),
    }
    for name, make in spoilt.items():
        make(folder / name)
        with pytest.raises(BadInput) as error:
            read_folder(folder)
        assert error.value.code == "deployment.content_file"
        (folder / name).unlink()
    (folder / "content.toml").write_text("title = ", "utf-8")
    with pytest.raises(BadInput) as error:
        read_folder(folder)
    assert error.value.code == "deployment.content_header"
    with pytest.raises(NotReady):
        read_folder(tmp_path / "none")


def test_actions_and_offers_use_contents(workspace: Workspace) -> None:
    save_content(workspace.store, define())
    use_content(workspace.store, "produce_20", "birthday")
    use_content(workspace.store, "produce_20:call", "default")
    library = load_library(workspace)
    assert library.choose("produce_20:sms", "produce_20") == "birthday"
    assert library.choose("produce_20:call", "produce_20") == "default"
    assert library.choose("meat_10:sms", "meat_10") == "default"
    with pytest.raises(NotReady):
        use_content(workspace.store, "produce_20", "nothing")
    before = library.list_sources(["birthday", "default"])
    save_content(workspace.store, define(coupon="other"))
    after = load_library(workspace).list_sources(["birthday", "default"])
    assert {key for key in before if before[key] != after[key]} == {"birthday/content"}


def test_a_delivery_remembers_version_variant_probability_and_pool(workspace: Workspace) -> None:
    save_content(workspace.store, define())
    library = load_library(workspace)
    assert library.describe("default", "c1") == {}
    detail = library.describe("birthday", "c1")
    assert detail == {
        "content_version": 1,
        "variant": detail["variant"],
        "variant_probability": 0.5,
        "coupon_pool": "birthday",
    }
    assert library.describe("birthday", "c1") == detail


def test_shares_are_kept_and_contents_draw_independently() -> None:
    variants = (Variant("a", 0.2), Variant("b", 0.3), Variant("c", 0.5))
    names = [f"customer {number}" for number in range(20_000)]
    first = [choose_variant("one", "", variants, name) for name in names]
    second = [choose_variant("two", "", variants, name) for name in names]
    salted = [choose_variant("one", "again", variants, name) for name in names]
    assert all(choice is not None for choice in first)
    for drawn in (first, second, salted):
        counts = Counter(choice.variant for choice in drawn if choice)
        for variant in variants:
            # Five standard errors of a binomial count.
            error = (20_000 * variant.share * (1 - variant.share)) ** 0.5
            assert abs(counts[variant.name] - 20_000 * variant.share) < 5 * error
    for other in (second, salted):
        both = sum(a.variant == b.variant == "c" for a, b in zip(first, other, strict=True) if a and b)
        assert abs(both - 5_000) < 5 * (20_000 * 0.25 * 0.75) ** 0.5
    assert {choice.probability for choice in first if choice and choice.variant == "b"} == {0.3}


def test_another_process_draws_the_same() -> None:
    code = (
        "from aimwell.deployment.content.variants import *;"
        "print([choose_variant('n', 's', (Variant('a', .5), Variant('b', .5)), str(i)).variant for i in range(50)])"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    own = [
        choose_variant("n", "s", (Variant("a", 0.5), Variant("b", 0.5)), str(number)) for number in range(50)
    ]
    assert printed.strip() == str([choice.variant for choice in own if choice])


def test_a_preview_shows_both_languages_and_a_sample_coupon(workspace: Workspace) -> None:
    save_content(workspace.store, define(parts={**BODY["parts"], "en/call.txt": "Orders: {{ orders }}"}))
    library = load_library(workspace)
    english, chinese = preview_content(workspace, library, "birthday")
    assert english.variant == "a"
    assert "SAMP-LECX-DE34" in english.parts["sms.txt"]
    assert chinese.parts["sms.txt"] == "您的城市\n拒收请回复R"
    assert chinese.sms is not None
    assert chinese.sms.segments == 1
    own = preview_content(workspace, library, "birthday", customer_id="c01", variant="b")[0]
    assert own.parts["sms.txt"] == "Hello your city"
    # The tag is not there, and the variable has no default: that part would not be sent, and says so.
    assert own.problems == {"call.txt": "no value for orders"}
    drawn = preview_content(workspace, library, "birthday", customer_id="c01")[0]
    assert (drawn.variant, drawn.probability) == (library.describe("birthday", "c01")["variant"], 0.5)
    shown = preview_content(workspace, library, "default", customer_id="c01")
    assert [each.language for each in shown] == ["en", "zh"]
    assert "Bananas" in shown[0].parts["email.txt"]
    assert shown[0].problems == {}
    with pytest.raises(NotReady):
        preview_content(workspace, library, "default", customer_id="nobody")
