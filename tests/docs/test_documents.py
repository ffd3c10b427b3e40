"""What the documents say is run: every block of Python, and the generated table."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
RUN = [page for page in PAGES if page.name not in ("house.md", "adding-a-method.md")]


def blocks(page: Path) -> str:
    """All Python of a page, in order, as a reader would type it in one session."""
    return "\n".join(re.findall(r"```python\n(.*?)```", page.read_text("utf-8"), re.DOTALL))


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in RUN if blocks(page)], ids=lambda page: page.stem)
def test_the_code_of_a_page_runs(page: Path, tmp_path: Path) -> None:
    """In a fresh process and an empty folder, as the reader's."""
    environment = {**os.environ, "MPLBACKEND": "agg"}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", blocks(page)],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_the_example_of_a_new_method_is_right() -> None:
    """Hiding one player of v(S) = |S|^2 with three players costs 9 - 4."""
    scope: dict[str, object] = {}
    source = blocks(ROOT / "docs" / "adding-a-method.md")
    from unmask import card
    from unmask.game import Game

    before = dict(card.CARDS)
    try:
        exec(source, scope)
        result = scope["ablation"](Game(lambda m: m.sum(1).float() ** 2, ("a", "b", "c")))
    finally:
        card.CARDS.clear()
        card.CARDS.update(before)
    assert result.values.tolist() == [[5.0, 5.0, 5.0]]
    assert result.evaluations == 4


def test_the_table_of_methods_is_current() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "docs" / "generate.py"), "--check"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_every_link_leads_somewhere() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#\s]+)\)", page.read_text("utf-8")):
            if "://" not in target and not target.startswith("methods/"):
                assert (page.parent / target).exists(), f"{page.name} links to {target}"
