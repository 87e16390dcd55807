"""Contents as files: ``content/<id>/content.toml`` and ``content/<id>/<zh|en>[/<variant>]/<part>`` in the workspace.

Snippets stand beside the parts, as ``_<name>.liquid``, or for all contents in ``content/_shared/<zh|en>``: what a
content includes of these becomes its own when it is brought in, so that a version says everything that is said. What
an export writes, an import reads back to the same definition.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aimwell.core.errors import BadInput, NotReady
from aimwell.core.text import LANGUAGES, say
from aimwell.deployment.content.definition import Definition, read_definition
from aimwell.deployment.content.parts import is_part
from aimwell.deployment.content.rendering import read_template
from aimwell.deployment.content.snippets import list_included, name_snippet

HEADER = "content.toml"
SHARED = "_shared"
_LARGEST = 300_000


def read_folder(folder: Path) -> Definition:
    """The content in ``folder``, which is named after it; BadInput for what no content may hold."""
    if not folder.is_dir():
        raise NotReady(
            "deployment.no_content_folder",
            say("There is no folder {folder}.", folder=str(folder)),
            remedy=say("Make the folder content/<id>/zh with at least one text, such as sms.txt."),
            where={"file": str(folder)},
        )
    body = _read_header(folder / HEADER)
    if "parts" in body:
        raise _refuse_file(folder / HEADER, "parts")
    parts = {}
    for path in sorted(folder.rglob("*")):
        place = path.relative_to(folder).as_posix()
        if path.is_dir() or place == HEADER or any(part.startswith(".") for part in place.split("/")):
            continue
        if not _is_text(path.name) or place.split("/")[0] not in LANGUAGES:
            raise _refuse_file(path, place)
        parts[place] = _read_text(folder, path)
    for language in LANGUAGES:
        _add_shared(folder.parent / SHARED, language, parts)
    return read_definition(folder.name, {**body, "parts": parts})


def list_folders(root: Path) -> list[Path]:
    """The contents below ``root``, in order of their ids."""
    return (
        sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith((".", SHARED)))
        if root.is_dir()
        else []
    )


def write_folder(root: Path, definition: Definition) -> Path:
    """Write ``definition`` below ``root``; texts that it no longer has are removed. Returns its folder."""
    folder = root / definition.content_id
    for place, source in definition.parts.items():
        path = folder / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source, encoding="utf-8", newline="\n")
    for path in folder.rglob("*"):
        if (
            path.is_file()
            and _is_text(path.name)
            and path.relative_to(folder).as_posix() not in definition.parts
        ):
            path.unlink()
    body = {name: value for name, value in definition.to_body().items() if name != "parts"}
    (folder / HEADER).write_text(write_header(body), encoding="utf-8", newline="\n")
    return folder


def write_header(body: Mapping[str, Any]) -> str:
    """``body`` as TOML: plain values, then tables, then lists of tables."""
    lines = [
        f"{name} = {_write(value)}"
        for name, value in body.items()
        if _is_plain(value) and value not in (None, "", [])
    ]
    for name, value in body.items():
        if isinstance(value, Mapping) and value and name == "variables":
            for inner, item in value.items():
                lines += ["", f"[{name}.{inner}]", *(f"{key} = {_write(one)}" for key, one in item.items())]
        elif isinstance(value, Mapping) and value:
            lines += ["", f"[{name}]", *(f"{key} = {_write(one)}" for key, one in value.items())]
        elif not _is_plain(value):
            for item in value:
                lines += ["", f"[[{name}]]", *(f"{key} = {_write(one)}" for key, one in item.items())]
    return "\n".join(lines) + "\n"


def _is_text(name: str) -> bool:
    return is_part(name) or name_snippet(name) is not None


def _read_text(folder: Path, path: Path) -> str:
    # A link could bring any file of the machine into a message.
    inside = not path.is_symlink() and path.resolve().is_relative_to(folder.resolve())
    if not inside or path.stat().st_size > _LARGEST:
        raise _refuse_file(path, path.relative_to(folder).as_posix())
    return read_template(path)


def _add_shared(shared: Path, language: str, parts: dict[str, str]) -> None:
    """Take over what the texts of a language include, and has not the content's own, from the shared folder."""
    waiting = [source for place, source in parts.items() if place.startswith(f"{language}/")]
    while waiting:
        for name in list_included(waiting.pop()):
            file = f"_{name}.liquid"
            place = f"{language}/{file}"
            # Of a name that is none (a path, for one) no file is looked for; it is refused when the text is read.
            if name_snippet(file) is None or place in parts or not (shared / place).is_file():
                continue
            parts[place] = _read_text(shared, shared / place)
            waiting.append(parts[place])


def _is_plain(value: Any) -> bool:
    listed = isinstance(value, list) and any(isinstance(item, Mapping) for item in value)
    return not isinstance(value, Mapping) and not listed


def _write(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{key} = {_write(item)}" for key, item in value.items()) + " }"
    # A basic string of TOML is one of JSON but for a delete character, which TOML wants escaped.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _read_header(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        return tomllib.loads(read_template(path))
    except tomllib.TOMLDecodeError as error:
        raise BadInput(
            "deployment.content_header",
            say("{file} cannot be read: {problem}", file=path.name, problem=str(error)),
            remedy=say("Correct the file; aimwell content export writes an example."),
            where={"file": str(path)},
        ) from error


def _refuse_file(path: Path, place: str) -> BadInput:
    return BadInput(
        "deployment.content_file",
        say("The file {place} is no part of a content.", place=place),
        remedy=say(
            "Texts stand in zh/ or en/ and have the names that aimwell content list shows, up to 300 kB."
        ),
        where={"file": str(path)},
    )
