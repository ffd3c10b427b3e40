"""Formulas of the pages as MathML, which browsers draw without a script or a network."""

import re

from latex2mathml.converter import convert

_CODE = re.compile(r"(```.*?```|`[^`\n]*`)", re.DOTALL)
_DISPLAY = re.compile(r"\$\$(.+?)\$\$", re.DOTALL)
_INLINE = re.compile(r"(?<![\\$\w])\$(?!\s)([^$\n]+?)(?<!\s)\$(?![\w$])")


def on_page_markdown(markdown: str, **_: object) -> str:
    """Called by MkDocs for every page, before Markdown is turned into HTML."""
    parts = _CODE.split(markdown)
    parts[::2] = [_with_formulas(part) for part in parts[::2]]
    return "".join(parts)


def _with_formulas(text: str) -> str:
    text = _DISPLAY.sub(lambda found: f"\n\n{_mathml(found[1], 'block')}\n\n", text)
    return _INLINE.sub(lambda found: _mathml(found[1], "inline"), text)


def _mathml(formula: str, display: str) -> str:
    # A blank line or a line break would end the piece of HTML for Markdown.
    math = convert(" ".join(formula.split()), display=display).replace("\n", " ")
    math = math.replace("&#x02216;", "&#x0005C;")  # few fonts have the sign of set difference
    return math if display == "block" else f"<span>{math}</span>"
