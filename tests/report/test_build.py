import base64
import hashlib
import json
import re
from importlib.resources import files

import pytest
import torch

from report.pages import case, moved, table_case
from unmask.players import features, patches
from unmask.report import Case, build
from unmask.results import Attribution, Interactions, Measurement
from unmask.views import ImageView, TableView

NASTY = "</script><!--<script>alert(1)</script>{{data}} & \u2028 \ud800"


def data_of(page: str) -> dict:
    (text,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', page, re.S)
    return json.loads(text)


def test_no_case_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no cases"):
        build([], tmp_path / "page.html", title="empty")


def test_texts_of_the_user_cannot_leave_their_place(tmp_path):
    names = (NASTY, "b")
    nasty = case(
        features(names), TableView((NASTY, "1"), (NASTY, "0")), title=NASTY, prediction=NASTY,
        truth=NASTY, score=NASTY, count=3,
    )  # fmt: skip
    page = build([nasty], tmp_path / "page.html", title=NASTY, notes=[NASTY]).read_text("utf-8")
    assert page.count("<script") == page.count("</script>") == 2
    assert "<!--" not in page
    data = data_of(page)
    row = data["cases"][0]
    assert data["title"] == row["title"] == row["players"][0] == row["score"] == NASTY
    assert data["notes"] == [NASTY]
    assert "alert(1)&lt;/script&gt;{{data}} &amp;" in page.split("<style>")[0]


def test_only_the_page_s_own_style_and_script_may_act(tmp_path):
    page = build([table_case()], tmp_path / "page.html", title="t").read_text("utf-8")
    (policy,) = re.findall(r'http-equiv="Content-Security-Policy" content="(.*?)"', page)
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == rules["base-uri"] == rules["form-action"] == "'none'"
    assert rules["img-src"] == "data:"
    style = re.findall(r"<style>(.*?)</style>", page, re.S)
    script = re.findall(r"<script>(.*?)</script>", page, re.S)
    for found, rule in ((style, "style-src"), (script, "script-src")):
        digest = base64.b64encode(hashlib.sha256(found[0].encode()).digest()).decode()
        assert len(found) == 1
        assert rules[rule] == f"'sha256-{digest}'"


def test_the_scripts_neither_evaluate_text_nor_reach_for_the_network():
    report = files("unmask.report")
    folders = [report, report / "dynamics", report / "compare"]
    parts = [part for folder in folders for part in folder.iterdir() if part.name.endswith(".js")]
    scripts = "".join(part.read_text("utf-8") for part in parts)
    assert len(parts) == 7 + 5 + 7
    forbidden = (
        "innerHTML outerHTML insertAdjacentHTML document.write eval( Function( fetch( "
        "XMLHttpRequest WebSocket import( http:"
    )
    for word in forbidden.split():
        assert word not in scripts.replace("http://www.w3.org/2000/svg", "")


def test_a_failure_leaves_the_old_page(tmp_path, monkeypatch):
    path = build([table_case()], tmp_path / "page.html", title="old")
    before = path.read_bytes()

    def broken(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("os.replace", broken)
    with pytest.raises(KeyboardInterrupt):
        build([table_case()], path, title="new")
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def dense(seed: int) -> tuple[Interactions, torch.Tensor]:
    """Twelve players and a term for every coalition, AND and OR: as large as it gets."""
    n = 12
    masks = torch.arange(1, 2**n)
    rows = (masks[:, None] >> torch.arange(n)) & 1 == 1
    members = torch.cat([rows, rows[rows.sum(-1) > 1]])
    is_or = torch.arange(len(members)) >= len(rows)
    generator = torch.Generator().manual_seed(seed)
    effects = torch.randn(len(members), generator=generator).double()
    names = tuple(f"row {i // 4 + 1} col {i % 4 + 1}" for i in range(n))
    table = torch.randn(2**n, generator=generator).double()
    return Interactions(members, is_or, effects, 0.5, names, 0.0, 2**n), table


def test_eight_images_with_dense_logic_fit_two_megabytes(tmp_path):
    players = patches((3, 224, 224), (3, 4))
    cases = []
    for seed in range(8):
        terms, table = dense(seed)
        generator = torch.Generator().manual_seed(seed)
        noise = torch.randint(0, 256, (28, 28, 3), generator=generator, dtype=torch.uint8)
        pixels = noise.repeat_interleave(8, 0).repeat_interleave(8, 1)
        counts = torch.arange(len(terms.effects) + 1).double()
        matching = Measurement(
            {"largest_error": 1e-12}, {"terms": counts, "fidelity": counts / counts[-1]}
        )
        maps = {
            name: Attribution(torch.randn(1, 3, 224, 224, generator=generator))
            for name in ("gradient", "integrated_gradients")
        }
        cases.append(
            Case(
                f"photo {seed}",
                "dog (50 %)",
                "dog",
                "log-odds",
                players,
                ImageView(pixels),
                terms,
                table,
                maps,
                matching,
                Measurement(),
            )
        )
    path = build(cases, tmp_path / "page.html", title="large")
    assert path.stat().st_size <= 2_000_000
    row = data_of(path.read_text("utf-8"))["cases"][0]
    kept = len(base64.b64decode(row["effects"])) // 8
    assert row["count"] == 2 * (2**12 - 1) - 12
    assert 2000 < kept < row["count"]
    weaker = moved(cases[0].terms).argsort(descending=True, stable=True)[kept:]
    sizes = cases[0].terms.order[weaker].double()
    left = float((cases[0].terms.effects[weaker].abs() * (1 - 0.5**sizes)).sum())
    assert row["rest_error"] == pytest.approx(left, rel=1e-9)
