"""Message content: sandboxed Liquid templates in Chinese and English, checked before anything is sent.

``sandbox`` renders, ``variables`` says what templates see, ``rendering`` is one content in one language, ``definition``
is what people write, ``library`` finds contents in a workspace, ``lint`` checks and ``preview`` shows them.
"""

from aimwell.deployment.content.findings import Finding
from aimwell.deployment.content.library import Library, load_content, load_library
from aimwell.deployment.content.lint import check_content, lint_content
from aimwell.deployment.content.parts import PARTS, Part
from aimwell.deployment.content.rendering import (
    DEFAULT_CONTENT,
    Content,
    RenderError,
    load_all,
    load_packaged,
    show_fold,
)
from aimwell.deployment.content.variables import VARIABLES, Both, Value, Variable

__all__ = [
    "DEFAULT_CONTENT",
    "PARTS",
    "VARIABLES",
    "Both",
    "Content",
    "Finding",
    "Library",
    "Part",
    "RenderError",
    "Value",
    "Variable",
    "check_content",
    "lint_content",
    "load_all",
    "load_content",
    "load_library",
    "load_packaged",
    "show_fold",
]
