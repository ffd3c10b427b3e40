"""`unmask methods`, `show` and `cite`: the catalogue."""

from typing import Annotated

import typer

from unmask.cli.errors import told


def methods(
    words: Annotated[
        list[str] | None, typer.Argument(help="Only methods whose name or summary has them all.")
    ] = None,
    family: Annotated[
        str | None, typer.Option(help="Only this family, such as interactions or saliency.")
    ] = None,
) -> None:
    """List the methods.

    Example: [bold]unmask methods gradient --family saliency[/bold]
    """
    with told():
        from rich.table import Table
        from rich.text import Text

        from unmask import catalogue
        from unmask.cli import say
        from unmask.run.nearest import nearest

        known = catalogue.methods().values()
        families = dict.fromkeys(entry.family for entry in known)
        if family is not None and family not in families:
            raise ValueError(f"There is no family {family!r}. {nearest(family, families)}")
        found = [
            entry
            for entry in known
            if family in (None, entry.family)
            and all(
                word.lower() in f"{entry.name} {entry.wing} {entry.summary}".lower()
                for word in words or ()
            )
        ]
        if not found:
            raise ValueError(
                f"No method has the words {' '.join(words or ())!r}. "
                "Try fewer, or `unmask methods` for all."
            )
        table = Table(box=None, padding=(0, 1))
        for name in ("method", "family", "what it does"):
            table.add_column(name)
        for entry in found:
            table.add_row(Text(entry.name, style="bold"), entry.family, Text(entry.summary))
        say.console().print(table, soft_wrap=False)


def show(
    method: Annotated[str, typer.Argument(help="The name of a method.")],
) -> None:
    """Show a method: formula, signature, what to know, papers.

    Example: [bold]unmask show and_or[/bold]
    """
    with told():
        import inspect

        from rich.text import Text

        from unmask import catalogue
        from unmask.cli import say

        entry = catalogue.entry(method)
        console = say.console()
        room = entry.call.__module__.rpartition(".")[0]
        family = ".".join(room.split(".")[: 3 if room.startswith("unmask.methods") else 2])
        console.print(Text(entry.name, style="bold"))
        console.print(f"from {family} import {entry.name}")
        result = getattr(entry.result, "__name__", str(entry.result))
        console.print(f"{entry.name}({', '.join(entry.arguments)}) -> {result}")
        console.print()
        console.print(inspect.getdoc(entry.call) or "")
        console.print()
        if entry.axioms:
            console.print(f"Promises: {', '.join(entry.axioms)}")
        for key in entry.papers:
            console.print(f"Paper: {_paper(catalogue.cite(key))} [{key}]")


def cite(
    method: Annotated[str, typer.Argument(help="The name of a method.")],
) -> None:
    """Print the BibTeX of the papers that a method follows.

    Example: [bold]unmask cite and_or > references.bib[/bold]
    """
    with told():
        from unmask import catalogue

        print("\n\n".join(catalogue.cite(key) for key in catalogue.entry(method).papers))


def _paper(bibtex: str) -> str:
    """Authors, title and year of a BibTeX entry."""
    import re

    found = {
        name: re.search(rf"\b{name}\s*=\s*[{{\"](.+?)[}}\"]\s*,?\s*$", bibtex, re.M | re.S)
        for name in ("author", "title", "year")
    }
    texts = [
        re.sub(r"[{}]|\s+", lambda m: " " if m[0].isspace() else "", f[1])
        for f in found.values()
        if f
    ]
    return ", ".join(texts)
