"""Every person-facing text is a literal, has a Chinese sentence, and both have the same places."""

from __future__ import annotations

import ast
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from string import Formatter

from babel.messages.pofile import read_po

from tests.house.source import PACKAGE, find_calls, find_functions, name_callee, read_literal, read_trees

MAKERS = frozenset({"say", "Text"})
# core.text itself builds texts out of what say() was given and of what was kept in a table.
EXEMPT = Path("src/aimwell/core/text.py")
CATALOGUES = sorted((PACKAGE / "locale" / "zh_Hans").glob("*.po"))


@dataclass(frozen=True)
class Said:
    """One call of say() or Text()."""

    where: str
    call: ast.Call

    @property
    def message(self) -> str | None:
        """The literal message, if it is one."""
        return read_literal(self.call.args[0]) if self.call.args else None


def find_texts() -> list[Said]:
    return [Said(f"{path}:{call.lineno}", call) for path, call in find_calls(MAKERS) if path != EXEMPT]


def find_filled() -> dict[int, list[ast.keyword]]:
    """What the report's fill(say(…), …) gives to the text within, which has no values of its own."""
    return {
        id(call.args[0]): call.keywords for _, call in find_calls(frozenset({"fill"})) if len(call.args) == 1
    }


def find_constants() -> set[int]:
    """Texts that a module declares outside functions: templates, which get their values when they are used."""
    calls = {
        id(node) for tree in read_trees().values() for node in ast.walk(tree) if isinstance(node, ast.Call)
    }
    inside = {id(node) for _, function in find_functions() for node in ast.walk(function)}
    return calls - inside


def read_catalogues() -> dict[str, dict[str, str]]:
    """English → catalogue → Chinese."""
    found: dict[str, dict[str, str]] = defaultdict(dict)
    for path in CATALOGUES:
        with path.open("rb") as stream:
            for message in read_po(stream, locale="zh_Hans", abort_invalid=True):
                if message.id:
                    assert isinstance(message.id, str), f"{path.name}: no plurals, {message.id}"
                    assert isinstance(message.string, str)
                    assert not message.fuzzy, f"{path.name}: fuzzy: {message.id}"
                    found[message.id][path.name] = message.string
    return found


def list_places(template: str) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(template) if name is not None}


def test_there_is_something_to_translate() -> None:
    assert CATALOGUES
    assert len(find_texts()) > 50


def test_every_message_is_a_literal() -> None:
    # Text(name) shows a name that the user gave, as it is; say() is for our own words.
    wrong = [said.where for said in find_texts() if said.message is None and name_callee(said.call) == "say"]
    assert not wrong, f"say() takes a literal, so that its Chinese can be checked: {wrong}"


def test_every_message_has_a_chinese_sentence() -> None:
    catalogue = read_catalogues()
    missing = [
        f"{said.where}: {said.message}"
        for said in find_texts()
        if said.message and not any(catalogue.get(said.message, {}).values())
    ]
    assert not missing, "\n".join(missing)


def test_both_languages_have_the_same_places() -> None:
    wrong = [
        f"{name}: {english} → {chinese}"
        for english, translations in read_catalogues().items()
        for name, chinese in translations.items()
        if chinese and list_places(english) != list_places(chinese)
    ]
    assert not wrong, "\n".join(wrong)


def test_every_place_is_given_a_value() -> None:
    wrong = []
    filled, constants = find_filled(), find_constants()
    for said in find_texts():
        names = [keyword.arg for keyword in [*said.call.keywords, *filled.get(id(said.call), [])]]
        if name_callee(said.call) != "say" or said.message is None or None in names:
            continue
        if not names and id(said.call) in constants:
            continue
        if list_places(said.message) != set(names):
            wrong.append(f"{said.where}: {said.message} ← {names}")
    assert not wrong, "\n".join(wrong)


def test_no_list_is_joined_in_one_language_for_all() -> None:
    def has_join(value: ast.expr) -> bool:
        return any(
            name_callee(node) == "join"
            and isinstance(node.func, ast.Attribute)
            and read_literal(node.func.value) in (", ", "、")
            for node in ast.walk(value)
            if isinstance(node, ast.Call)
        )

    wrong = [
        said.where
        for said in find_texts()
        if name_callee(said.call) == "say" and any(has_join(keyword.value) for keyword in said.call.keywords)
    ]
    assert not wrong, f"join_list (core.lists) joins as the reader's language does: {wrong}"


def test_one_english_sentence_has_one_chinese_sentence() -> None:
    wrong = [
        f"{english}: {translations}"
        for english, translations in read_catalogues().items()
        if len(set(translations.values())) > 1
    ]
    assert not wrong, "\n".join(wrong)


def test_no_catalogue_carries_a_sentence_that_nobody_says() -> None:
    said = {text.message for text in find_texts()} | _find_core_messages()
    unused = [
        f"{', '.join(translations)}: {english}"
        for english, translations in read_catalogues().items()
        if english not in said
    ]
    assert not unused, "\n".join(unused)


def _find_core_messages() -> set[str | None]:
    return {read_literal(call.args[0]) for path, call in find_calls(MAKERS) if path == EXEMPT and call.args}
