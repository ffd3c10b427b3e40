"""The frame of every page: one HTML file that needs no server, no network and no library."""

import base64
import hashlib
import html
import json
import re
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any


def framed(
    title: str, data: Mapping[str, Any], styles: Sequence[str], scripts: Sequence[str]
) -> str:
    """A page of some parts of this package.

    Args:
        title: of the page.
        data: what its script reads, as JSON.
        styles: names of style sheets in this folder.
        scripts: names of scripts in this folder, which share their names.
    """
    style = "\n".join(part(name) for name in styles)
    script = f'"use strict";(() => {{\n{chr(10).join(part(name) for name in scripts)}}})();'
    parts = {
        "title": html.escape(title).encode("ascii", "xmlcharrefreplace").decode(),
        "policy": _policy(style, script),
        "style": style,
        "script": script,
        "data": as_json(data),
    }
    # In one pass, so that nothing of the user's is taken for a place to fill.
    return re.sub(r"\{\{(\w+)\}\}", lambda place: parts[place[1]], part("page.html"))


def as_json(data: Mapping[str, Any]) -> str:
    """JSON that no text inside can end early: `<`, `>` and `&` are written as escapes.

    Args:
        data: for a script.
    """
    text = json.dumps(data, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    for sign in "<>&":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text


def part(name: str) -> str:
    """A file of this package.

    Args:
        name: seen from its folder.
    """
    return files("unmask.report").joinpath(name).read_text("utf-8")


def _policy(style: str, script: str) -> str:
    """Only this style and this script; nothing is fetched, sent or framed."""
    return (
        f"default-src 'none'; img-src data:; style-src {_digest(style)}; "
        f"script-src {_digest(script)}; base-uri 'none'; form-action 'none'"
    )


def _digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
