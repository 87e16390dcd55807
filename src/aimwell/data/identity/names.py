"""Names of people, Chinese and Western: split, without titles, simplified, and as they sound.

Reads and writes nothing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any

from aimwell.data.identity.normalise import clean

CHINESE = re.compile(r"[\u3400-\u9fff\U00020000-\U0003ffff]")
_COMPOUND = frozenset(
    [
        "欧阳",
        "太史",
        "端木",
        "上官",
        "司马",
        "东方",
        "独孤",
        "南宫",
        "万俟",
        "闻人",
        "夏侯",
        "诸葛",
        "尉迟",
        "公羊",
        "赫连",
        "澹台",
        "皇甫",
        "宗政",
        "濮阳",
        "公冶",
        "太叔",
        "申屠",
        "公孙",
        "慕容",
        "仲孙",
        "钟离",
        "长孙",
        "宇文",
        "司徒",
        "鲜于",
        "司空",
        "令狐",
        "呼延",
        "轩辕",
        "西门",
        "第五",
        "百里",
        "东郭",
        "南门",
        "拓跋",
        "完颜",
    ]
)
_CHINESE_TITLES = re.compile(r"(先生|女士|小姐|太太|老师|经理|总监|主任|医生|同学|师傅|总)$")
_TITLES = frozenset(
    [
        "mr",
        "mrs",
        "ms",
        "miss",
        "mx",
        "dr",
        "prof",
        "professor",
        "sir",
        "dame",
        "lord",
        "lady",
        "rev",
        "reverend",
        "capt",
        "captain",
        "col",
        "colonel",
        "maj",
        "major",
        "lt",
        "lieutenant",
        "gen",
        "general",
        "hon",
        "honourable",
        "baron",
        "baroness",
        "earl",
        "count",
        "countess",
        "duke",
        "duchess",
        "viscount",
        "jr",
        "sr",
        "esq",
    ]
)
_SHORT_FORMS = """
william bill billy will willy willie liam / robert bob bobby rob robbie bert / richard dick dickie
rick ricky rich richie ritchie richey / john jack johnny jon jackie / james jim jimmy jamie jem /
margaret maggie meg peggy madge greta / elizabeth eliza liz lizzie beth betty bess bessie elsie /
katherine catherine kate kathy katie cathy kitty kit / thomas tom tommy / charles charlie chas chuck
charley / edward ed eddie ted teddy ned / henry harry hal hank / george georgie / joseph joe joey jo
/ michael mike mick mickey / david dave davy / daniel dan danny / samuel sam sammy / benjamin ben
benny / alexander alex alec sandy sander / anthony tony antony / andrew andy drew / arthur art artie
/ albert al bert bertie / frederick fred freddie freddy frederic / francis frank frankie / walter
wally walt wat / reginald reggie reg / lawrence laurence larry laurie / edmund edmond ned /
christopher chris kit / nicholas nick nicky / matthew matt / patrick pat paddy / peter pete / philip
phil phillip / stephen steve steven / timothy tim / theodore theo ted / gerald gerry jerry /
jeremiah jerry jeremy / leonard len lenny leo / ronald ron ronnie / donald don donnie / kenneth ken
kenny / raymond ray / susan sue susie susanna suzanne / mary molly polly mae mamie / ann anne anna
annie nan nancy / jane jenny janie / helen nell nellie ellen nelly / sarah sally sadie sara /
dorothy dot dolly dottie / florence flo flossie / victoria vicky vic / rebecca becky becca /
jennifer jen jenny / abraham abe / augustus gus / ferdinand ferdie / geoffrey geoff jeffrey jeff /
gregory greg / hugh hughie / isaac ike / jacob jake / jonathan jon nathan / joshua josh / louis lou
lewis / martin marty / maurice morris mo / nathaniel nat nate / oliver ollie olly / ralph rafe /
roger rodge / rudolph rudy / sidney sid sydney / stanley stan / terence terry / vincent vince vinny
/ zachary zach zack / archibald archie / bernard bernie / cornelius con neil / cuthbert bert /
douglas doug / eugene gene / ernest ernie / gilbert gil / harold harry hal / herbert herb bert
bertie / horace horry / hubert bert / ignatius iggy / leopold leo / mortimer mort morty / percival
percy / rosemary rose rosie / roland rollo rowland / solomon sol / tobias toby / wilfred wilf fred /
winston win
"""
"""Groups divided by strokes: a long form, then its short ones."""


@dataclass(frozen=True)
class Name:
    """A name in parts. The roots are what different spellings share: pinyin, or the long form of a short one."""

    given: str | None
    family: str | None

    @property
    def given_root(self) -> str | None:
        """How the given name sounds, or its long form."""
        return find_root(self.given) if self.given else None

    @property
    def family_root(self) -> str | None:
        """How the family name sounds."""
        return find_root(self.family) if self.family else None


@lru_cache(maxsize=200_000)
def normalise_name(value: str) -> str | None:
    """Lower case, simplified characters, without titles and signs.

    >>> normalise_name("歐陽 娜娜 女士"), normalise_name("Dr.  Ann O'Hara")
    ('欧阳娜娜', 'ann ohara')
    """
    text = clean(value)
    if text is None:
        return None
    text = text.casefold()
    if CHINESE.search(text):
        plain = re.sub(r"[^\w]|\d|_", "", simplify(text))
        stripped = _CHINESE_TITLES.sub("", plain)
        while stripped != plain and len(stripped) > 1:
            plain, stripped = stripped, _CHINESE_TITLES.sub("", stripped)
        return (stripped if len(stripped) >= 1 else plain) or None
    # What follows a comma is a rank (thomas clifford, 1st baron) or letters after the name.
    words = re.sub(r"[’'`]", "", text.split(",")[0] or text)
    kept = [
        word for word in re.split(r"[^\w]+|_", words) if word and word not in _TITLES and not word.isdigit()
    ]
    return " ".join(kept) or None


def split_name(given: str | None, family: str | None, full: str | None) -> Name:
    """The parts of a name, delivered in two columns or in one; a lone Chinese full name is cut by its family name."""
    first = normalise_name(given) if given else None
    last = normalise_name(family) if family else None
    whole = normalise_name(full) if full else None
    if first or last:
        return Name(first, last)
    if whole is None:
        return Name(None, None)
    if CHINESE.search(whole):
        cut = 2 if whole[:2] in _COMPOUND and len(whole) > 2 else 1
        return Name(whole[cut:] or None, whole[:cut])
    words = whole.split()
    return Name(words[0], words[-1]) if len(words) > 1 else Name(words[0], None)


@lru_cache(maxsize=200_000)
def find_root(part: str) -> str:
    """What spellings of one name share: pinyin without tones for Chinese, the long form of a short name.

    >>> find_root("张伟"), find_root("zhang wei"), find_root("reggie")
    ('zhangwei', 'zhangwei', 'reginald')
    """
    if CHINESE.search(part):
        from pypinyin import lazy_pinyin

        return "".join(lazy_pinyin(part)).casefold()
    words = part.split()
    if len(words) == 1:
        return _long_forms().get(part, part)
    return "".join(words)


def simplify(text: str) -> str:
    """Traditional characters as simplified ones."""
    return str(_converter().convert(text))


@cache
def _converter() -> Any:
    import opencc

    return opencc.OpenCC("t2s")


@cache
def _long_forms() -> dict[str, str]:
    """Short form → its long form, where it has only one."""
    found: dict[str, set[str]] = {}
    for line in _SHORT_FORMS.split("/"):
        head, *others = line.split()
        for other in [head, *others]:
            found.setdefault(other, set()).add(head)
    return {name: min(heads) for name, heads in found.items() if len(heads) == 1}
