"""Cases -> one HTML file that needs no server, no network and no library."""

import base64
import hashlib
import html
import json
import re
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

from unmask.report.case import Case
from unmask.report.encode import Json, encoded, encoded_terms
from unmask.store import written

ROOM = 1_950_000
"""Bytes that a page tries not to pass: what mail and messengers still carry."""
_FEWEST, _MOST = 256, 8192
_TERM = 19
_SCRIPTS = ("logic.js", "draw.js", "stage.js", "panels.js", "what_if.js", "page.js")


def build(
    cases: Sequence[Case], path: str | Path, *, title: str, notes: Sequence[str] = ()
) -> Path:
    """Write a page about one or many explained inputs.

    The reader hides and shows players and sees the network and its logic side by side. The file
    is written whole or not at all. Where a page would grow too large to be sent, the weakest terms
    stay out of it, and the page says what they could add up to at most.

    Args:
        cases: the explained inputs, in the order in which they are listed.
        path: of the file; its folder is made where it is missing.
        title: of the page.
        notes: sentences for its end, such as what model and what data it is about.
    """
    if not cases:
        raise ValueError("There are no cases, so the page would be empty. Give at least one case.")
    page = _page(cases, title, notes)
    with written(path) as draft:
        draft.write_text(page, "utf-8")
    return Path(path)


def _page(cases: Sequence[Case], title: str, notes: Sequence[str]) -> str:
    rows = [encoded(case) for case in cases]
    style, script, frame = _part("page.css"), _script(), _part("page.html")
    words = [-(-len(case.players.names) // 32) for case in cases]
    room = ROOM - sum(map(len, (style, script, frame, *map(_json, rows))))
    most = int(room / sum(_TERM + 6 * (w - 1) for w in words))
    for row, case in zip(rows, cases, strict=True):
        row |= encoded_terms(case, min(_MOST, max(_FEWEST, most)))
    data: Json = {"title": title, "notes": list(notes), "cases": rows}
    parts = {
        "title": html.escape(title).encode("ascii", "xmlcharrefreplace").decode(),
        "policy": _policy(style, script),
        "style": style,
        "script": script,
        "data": _json(data),
    }
    # In one pass, so that nothing of the user's is taken for a place to fill.
    return re.sub(r"\{\{(\w+)\}\}", lambda place: parts[place[1]], frame)


def _script() -> str:
    parts = "\n".join(_part(name) for name in _SCRIPTS)
    return f'"use strict";(() => {{\n{parts}}})();'


def _policy(style: str, script: str) -> str:
    """Only this style and this script; nothing is fetched, sent or framed."""
    return (
        f"default-src 'none'; img-src data:; style-src {_digest(style)}; "
        f"script-src {_digest(script)}; base-uri 'none'; form-action 'none'"
    )


def _digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _json(data: Json) -> str:
    """JSON that no text inside can end early: `<`, `>` and `&` are written as escapes."""
    text = json.dumps(data, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    for sign in "<>&":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text


def _part(name: str) -> str:
    return files("unmask.report").joinpath(name).read_text("utf-8")
