"""A browser for the tests of the page."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from unmask.report import Case, build


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = os.environ.get("UNMASK_CHROMIUM", "/usr/bin/chromium")
    if not Path(path).exists():
        pytest.skip(f"there is no Chromium at {path}; set UNMASK_CHROMIUM to where it is")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=path,
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
        )
        yield browser
        browser.close()


@pytest.fixture
def browse(chromium: Any) -> Iterator[Callable[..., Any]]:
    """Open a page that is written already, cut off from the network; it must not complain."""
    contexts, complaints, requests = [], [], []

    def open_page(path: Path, width: int = 1280) -> Any:
        context = chromium.new_context(viewport={"width": width, "height": 900}, offline=True)
        context.set_default_timeout(10_000)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("dialog", lambda dialog: (complaints.append(dialog.message), dialog.dismiss()))
        page.on("request", lambda request: requests.append(request.url))
        page.goto(path.as_uri())
        return page

    def forgive() -> None:
        complaints.clear()
        requests[:] = [url for url in requests if url.startswith("file:")]

    open_page.forgive = forgive  # pyright: ignore[reportFunctionMemberAccess]
    yield open_page
    for context in contexts:
        context.close()
    assert complaints == []
    assert [url for url in requests if not url.startswith(("file:", "data:"))] == []
    assert sum(url.startswith("file:") for url in requests) == len(contexts)


@pytest.fixture
def visit(browse: Any, tmp_path: Path) -> Callable[..., Any]:
    """Build a page of some cases and open it in the same way."""

    def open_page(
        *cases: Case, width: int = 1280, title: str = "A page", notes: tuple[str, ...] = ()
    ) -> Any:
        return browse(build(cases, tmp_path / "page.html", title=title, notes=notes), width)

    open_page.forgive = browse.forgive  # pyright: ignore[reportFunctionMemberAccess]
    return open_page
