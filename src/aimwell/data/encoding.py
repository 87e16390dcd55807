"""How the bytes of a text file spell characters: BOM, then strict UTF-8, UTF-16, GB18030, Windows-1252.

Every step of the ladder is strict over the whole file, so that a wrong guess cannot pass unnoticed. A file
of which less than one line in a hundred is broken is still read; its broken lines become rejects.
Reads files; writes nothing.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from aimwell.core.errors import BadInput
from aimwell.core.text import say

CHUNK = 1 << 22
_BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_ACCEPTED_DAMAGE = 0.01
NAMES = ("utf-8", "utf-16-le", "utf-16-be", "gb18030", "cp1252")


@dataclass(frozen=True)
class Encoding:
    """``codec`` is Python's name; ``skip`` the bytes of the BOM; ``damaged`` when some lines do not decode."""

    codec: str
    skip: int = 0
    damaged: bool = False


def detect_encoding(path: Path) -> Encoding:
    """The encoding of ``path``; BadInput when no encoding reads 99 % of its lines."""
    with path.open("rb") as stream:
        head = stream.read(4096)
    for mark, codec in _BOMS:
        if head.startswith(mark):
            return Encoding(codec, len(mark), damaged=not _decodes(path, codec, len(mark)))
    if _looks_utf16(head):
        codec = "utf-16-le" if head[1::2].count(0) >= head[0::2].count(0) else "utf-16-be"
        return Encoding(codec, damaged=not _decodes(path, codec, 0))
    if _decodes(path, "utf-8", 0):
        return Encoding("utf-8")
    if _decodes(path, "gb18030", 0):
        return Encoding("gb18030" if _reads_as_chinese(path) else "cp1252")
    return _accept_damage(path)


def read_text(path: Path, encoding: Encoding) -> Iterator[bytes]:
    """The file as pieces of UTF-8; what does not decode in a damaged file becomes U+FFFD."""
    errors = "replace" if encoding.damaged else "strict"
    decoder = codecs.getincrementaldecoder(encoding.codec)(errors)
    passes = encoding.codec == "utf-8" and not encoding.damaged
    with path.open("rb") as stream:
        stream.seek(encoding.skip)
        while piece := stream.read(CHUNK):
            yield piece if passes else decoder.decode(piece).encode("utf-8", "replace")
    if not passes:
        yield decoder.decode(b"", True).encode("utf-8", "replace")


def _looks_utf16(head: bytes) -> bool:
    return len(head) >= 4 and head.count(0) > len(head) * 0.2


def _decodes(path: Path, codec: str, skip: int) -> bool:
    decoder = codecs.getincrementaldecoder(codec)("strict")
    try:
        with path.open("rb") as stream:
            stream.seek(skip)
            while piece := stream.read(CHUNK):
                decoder.decode(piece)
            decoder.decode(b"", True)
    except UnicodeDecodeError:
        return False
    return True


def _reads_as_chinese(path: Path) -> bool:
    """Accented Latin also decodes as GB18030, but into rare characters: common ones are GB 2312 level 1."""
    common = foreign = 0
    with path.open("rb") as stream:
        for line in stream:
            if line.isascii():
                continue
            for character in line.decode("gb18030", "replace"):
                if character > "\x7f":
                    foreign += 1
                    pair = character.encode("gb18030", "replace")
                    common += len(pair) == 2 and 0xA1 <= pair[0] <= 0xD7 and pair[1] >= 0xA1
            if foreign > 5000:
                break
    return common >= foreign * 0.5


def _reads_as_latin(path: Path) -> bool:
    """Windows-1252 gives nearly every byte a meaning, so it must also look like words: few accents, all letters."""
    if not _decodes(path, "cp1252", 0):
        return False
    plain = accents = others = 0
    with path.open("rb") as stream:
        for line in stream:
            if line.isascii():
                plain += len(line)
                continue
            for character in line.decode("cp1252"):
                plain += character <= "\x7f"
                accents += "\xc0" <= character <= "\xff"
                others += "\x80" <= character < "\xc0"
            if accents > 5000:
                break
    return others <= accents and accents * 5 <= plain


def _accept_damage(path: Path) -> Encoding:
    if _reads_as_latin(path):
        return Encoding("cp1252")
    codecs_tried = ("utf-8", "gb18030") if _reads_as_chinese(path) else ("utf-8",)
    counts = {codec: _count_broken(path, codec) for codec in codecs_tried}
    codec = min(counts, key=lambda name: counts[name][0])
    broken, lines, first = counts[codec]
    if broken <= max(1, lines * _ACCEPTED_DAMAGE):
        return Encoding(codec, damaged=True)
    raise BadInput(
        "data.unknown_encoding",
        say(
            "The text of '{file}' is neither UTF-8, UTF-16 nor GB18030: {broken} of {lines} lines do "
            "not decode, the first is line {line}.",
            file=path.name,
            broken=broken,
            lines=lines,
            line=first,
        ),
        remedy=say("Save the file as 'CSV UTF-8' and add it again."),
        where={"file": path.name, "row": first},
    )


def _count_broken(path: Path, codec: str) -> tuple[int, int, int]:
    broken = lines = first = 0
    with path.open("rb") as stream:
        for line in stream:
            lines += 1
            try:
                line.decode(codec)
            except UnicodeDecodeError:
                broken += 1
                first = first or lines
    return broken, lines, first
