"""How the bytes of a text file spell characters: BOM, then strict UTF-8, UTF-16, GB18030 or Big5, Windows-1252.

Every step of the ladder is strict over the whole file, so that a wrong guess cannot pass unnoticed. A file
of which less than one line in a hundred is broken is still read; its broken lines become rejects.
Reads files; writes nothing.
"""

from __future__ import annotations

import codecs
import hashlib
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
_FREQUENT = frozenset(
    "的一是在不了有和人这這中大为為上个個国國我以要他时時来來用们們生到作地于於出就分对對成会會可主发發年动動同工也能下过過子"
    "说說产產种種面而方后後多定行学學法所民得经經十三之进進着著等部度家电電力里裡如水化高自二理起小物现現实實加量都两兩体體"
    "制机機当當使点點从從业業本去把性好应應开開它合还還因由其些然前外天政四日那社义義事平形相全表间間样樣与與关關各重新线線"
    "内內数數正心反你明看原又利比或但质質气氣第向道命此变變条條只没沒结結解问問意建月公无無系很情者最立代想已通并提直题題"
    "客户戶编編号號订訂单單商品金额額价價日期姓名手会員员电話话地址城市省区區门門店铺鋪购購买買卖賣男女性别別类類渠备備注註"
    "王李张張刘劉陈陳杨楊黄黃赵趙吴吳周徐孙孫马馬朱胡林郭何罗羅郑鄭谢謝宋唐许許韩韓冯馮邓鄧曹彭曾蕭田董袁潘蔡蒋蔣余杜叶葉程苏蘇"
    "奶面包麵水果米油茶酒肉菜糖盐鹽饮飲料牛鸡雞鱼魚衣服鞋包书書北京上海广廣州深圳台臺湾灣香港高雄新竹南東东西市县縣路街巷楼樓室"
)
NAMES = ("utf-8", "utf-16-le", "utf-16-be", "gb18030", "big5hkscs", "cp1252")


@dataclass(frozen=True)
class Encoding:
    """``codec`` is Python's name; ``skip`` the bytes of the BOM; ``damaged`` when some lines do not decode."""

    codec: str
    skip: int = 0
    damaged: bool = False


def detect_encoding(path: Path, *, limit: int | None = None) -> Encoding:
    """The encoding of ``path``; BadInput when no encoding reads 99 % of its lines.

    ``limit``: by its first bytes only, which is a guess.
    """
    with path.open("rb") as stream:
        head = stream.read(4096)
    for mark, codec in _BOMS:
        if head.startswith(mark):
            return Encoding(codec, len(mark), damaged=not _decodes(path, codec, len(mark), limit))
    if _looks_utf16(head):
        codec = "utf-16-le" if head[1::2].count(0) >= head[0::2].count(0) else "utf-16-be"
        return Encoding(codec, damaged=not _decodes(path, codec, 0, limit))
    if _decodes(path, "utf-8", 0, limit):
        return Encoding("utf-8")
    big5 = _decodes(path, "big5hkscs", 0, limit)
    if _decodes(path, "gb18030", 0, limit):
        if big5 and _count_frequent(path, "big5hkscs") > _count_frequent(path, "gb18030"):
            return Encoding("big5hkscs")
        return Encoding("gb18030" if _reads_as_chinese(path) else "cp1252")
    if big5 and _count_frequent(path, "big5hkscs") >= 0.1:
        return Encoding("big5hkscs")
    return _accept_damage(path)


def hash_file(path: Path) -> str:
    """The SHA-256 of the bytes of ``path``."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def read_text(path: Path, encoding: Encoding, *, size: int = CHUNK) -> Iterator[bytes]:
    """The file as pieces of UTF-8; what does not decode in a damaged file becomes U+FFFD."""
    errors = "replace" if encoding.damaged else "strict"
    decoder = codecs.getincrementaldecoder(encoding.codec)(errors)
    passes = encoding.codec == "utf-8" and not encoding.damaged
    with path.open("rb") as stream:
        stream.seek(encoding.skip)
        while piece := stream.read(size):
            yield piece if passes else decoder.decode(piece).encode("utf-8", "replace")
    if not passes:
        yield decoder.decode(b"", True).encode("utf-8", "replace")


def _looks_utf16(head: bytes) -> bool:
    return len(head) >= 4 and head.count(0) > len(head) * 0.2


def _decodes(path: Path, codec: str, skip: int, limit: int | None = None) -> bool:
    decoder = codecs.getincrementaldecoder(codec)("strict")
    done = skip
    try:
        with path.open("rb") as stream:
            stream.seek(skip)
            while (limit is None or done < limit) and (piece := stream.read(CHUNK)):
                # Plain ASCII is seen ten times faster than it is decoded; a character may be cut at the edge.
                if codec != "utf-8" or not piece.isascii() or decoder.getstate()[0]:
                    decoder.decode(piece)
                done += len(piece)
            decoder.decode(b"", limit is None)
    except UnicodeDecodeError:
        return False
    return True


def _count_frequent(path: Path, codec: str) -> float:
    """The share of frequent Chinese characters among the first foreign ones: the wrong codec gives rare ones."""
    frequent = foreign = 0
    with path.open("rb") as stream:
        for line in stream:
            if line.isascii():
                continue
            for character in line.decode(codec, "replace"):
                if character > "\x7f":
                    foreign += 1
                    frequent += character in _FREQUENT
            if foreign > 5000:
                break
    return frequent / max(foreign, 1)


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
    plain = accents = others = balance = 0
    with path.open("rb") as stream:
        for line in stream:
            if line.isascii():
                plain += len(line)
                continue
            # Accented words hardly ever make valid UTF-8: lines that do tell of UTF-8 in which others are damaged.
            balance += 1 if _is_utf8(line) else -1
            for character in line.decode("cp1252"):
                plain += character <= "\x7f"
                accents += "\xc0" <= character <= "\xff"
                others += "\x80" <= character < "\xc0"
            if accents > 5000:
                break
    return balance < 0 and others <= accents and accents * 5 <= plain


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


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
            "The text of '{file}' is neither UTF-8, UTF-16, GB18030 nor Big5: {broken} of {lines} lines do "
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
