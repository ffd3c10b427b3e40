"""Write what the catalogue knows: one page per family of methods, and the table in the README.

python docs/generate.py           # docs/methods/*.md and the README
python docs/generate.py --check   # fail where the README's table is not what would be written
"""

import inspect
import re
import sys
from itertools import groupby
from pathlib import Path

from unmask import catalogue

ROOT = Path(__file__).resolve().parent.parent
BEGIN, END = "<!-- methods: generated -->", "<!-- methods: end -->"


def main() -> None:
    readme = ROOT / "README.md"
    text = readme.read_text("utf-8")
    current = with_table(text)
    if "--check" in sys.argv:
        sys.exit("README.md: the table of methods is out of date; run docs/generate.py"
                 if current != text else 0)  # fmt: skip
    readme.write_text(current, "utf-8")
    pages = ROOT / "docs" / "methods"
    pages.mkdir(exist_ok=True)
    for family, entries in families():
        (pages / f"{family}.md").write_text(page(family, entries), "utf-8")
    links = [f"* [{family.capitalize()}]({family}.md)" for family, _ in families()]
    (pages / "index.md").write_text("\n".join(["# Methods", "", *links, ""]), "utf-8")


def families() -> list[tuple[str, list[catalogue.Entry]]]:
    entries = catalogue.methods().values()
    return [(family, list(group)) for family, group in groupby(entries, key=lambda e: e.family)]


def with_table(text: str) -> str:
    """The README with the catalogue's table between its two marks."""
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    rows = [
        f"| {family} | `{entry.name}` | {entry.summary.rstrip('.')} |"
        for family, entries in families()
        for entry in entries
    ]
    table = "\n".join(["| family | method | what it does |", "| --- | --- | --- |", *rows])
    return f"{before}{BEGIN}\n{table}\n{END}{after}"


def page(family: str, entries: list[catalogue.Entry]) -> str:
    parts = [f"# {family.capitalize()}", ""]
    for entry in entries:
        parts += [f"## {entry.name}", "", text_of(entry), ""]
        picture = ROOT / "docs" / "pictures" / f"{entry.name}.png"
        if picture.exists():
            parts += [f"![{entry.name}](../pictures/{picture.name})", ""]
        parts += ["```bibtex", *(catalogue.cite(key) for key in entry.papers), "```", ""]
    return "\n".join(parts)


def text_of(entry: catalogue.Entry) -> str:
    """The docstring as Markdown, with the signature after its first line."""
    summary, _, rest = (inspect.getdoc(entry.call) or "").partition("\n")
    rest = re.sub(r"((?:^ *>>>.*\n(?:^(?! *>>>)(?! *$).*\n?)*)+)", fenced, rest + "\n", flags=re.M)
    rest = rest.replace("Example:\n", "")
    before, _, arguments = rest.partition("Args:\n")
    listed = re.sub(r"^    (\w+): ", r"\n* `\1`: ", arguments, flags=re.M)
    listed = re.sub(r"^ {8}", "  ", listed, flags=re.M)
    shown = f"{entry.name}({', '.join(entry.arguments)})"
    return f"{summary}\n\n```python\n{shown}\n```\n{before}{listed}"


def fenced(example: re.Match[str]) -> str:
    return f"\n```python\n{inspect.cleandoc(example[0])}\n```\n"


if __name__ == "__main__":
    main()
