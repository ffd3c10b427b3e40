"""The page of a comparison, driven in a browser."""

import json
import re
from dataclasses import replace

import pytest
import torch

from strategies import relu_network
from unmask import constant, features, log_odds, patches, predicted
from unmask.report import build_comparison
from unmask.results import Attribution
from unmask.run.compare import Words, compare
from unmask.run.folder import Failure

NASTY = "</script><b>row</b> & {{data}}"
METHODS = ("shapley_exact", "gradient", "occlusion")


@pytest.fixture(scope="session")
def comparison():
    """Three methods and one that fails on two inputs, on twelve rows of a table."""
    model = relu_network([5, 16, 3], seed=1)
    x = torch.randn(12, 5, generator=torch.Generator().manual_seed(3)).double()
    score = log_odds(model, predicted(model, x))
    return compare(
        score,
        x,
        baseline=constant(x[0]),
        players=features(["age", NASTY, "c", "d", "e"]),
        methods=METHODS,
        words=Words(tuple(f"{NASTY} {i}" for i in range(12)), ("class 1",) * 12, "table"),
    )


@pytest.fixture
def opened(browse, tmp_path):
    def open_page(found, width=1360, **options):
        return browse(build_comparison(found, tmp_path / "page.html", **options), width)

    return open_page


def kept(page):
    return json.loads(page.locator("#data").text_content())


def test_the_recommended_method_comes_first_with_what_speaks_for_it(opened, comparison):
    first = comparison.order[0]
    page = opened(replace(comparison, recommended=comparison.order[:2]))
    assert f"{comparison.order[1].replace('_', ' ').capitalize()} is not told apart" in (
        page.locator(".lead").inner_text()
    )
    assert first.replace("_", " ") in page.locator("h2").inner_text()
    lines = page.locator(".judged")
    assert lines.count() == len(METHODS) + len(comparison.references)
    assert lines.nth(0).locator(".method").inner_text() == first.replace("_", " ")
    assert "Adds up" in lines.nth(0).inner_text() or "adds up" in lines.nth(0).inner_text()
    last = lines.nth(lines.count() - 1)
    assert "knows nothing of the model" in last.inner_text()


def test_every_remark_stands_on_the_page_under_its_method(opened, comparison):
    page = opened(comparison)
    for i, name in enumerate(comparison.order):
        line = page.locator(".judged").nth(i)
        told = line.inner_text() + (line.locator(".good").first.get_attribute("title") or "")
        for remark in comparison.verdicts[name]:
            assert remark.text in told


def test_without_a_recommendation_the_page_says_so(opened, comparison):
    page = opened(replace(comparison, recommended=()))
    assert "No explanation can be recommended" in page.locator("h2").inner_text()


def test_each_cell_opens_what_was_measured(opened, comparison):
    page = opened(comparison)
    name, metric = comparison.order[1], "deletion"
    rating = comparison.ratings[name][metric]
    row = page.locator(".matrix tbody tr").nth(1)
    button = row.locator(".open").first
    assert button.get_attribute("aria-expanded") == "false"
    button.click()
    assert button.get_attribute("aria-expanded") == "true"
    detail = page.locator(".detail")
    assert f"Deletion of {name.replace('_', ' ')}" in detail.inner_text()
    shown = float(detail.locator(".number").inner_text().replace("\N{MINUS SIGN}", "-"))
    assert shown == pytest.approx(rating.mean, rel=2e-3)
    assert detail.locator(".dot.this").count() == 12
    assert detail.locator(".dot.chance").count() == 12
    assert detail.locator("path.curve").count() >= 2
    row.locator(".open").nth(1).click()
    assert page.locator(".detail").count() == 1
    row.locator(".open").nth(1).click()
    assert page.locator(".detail").count() == 0


def test_right_is_better_whichever_way_a_metric_points(opened, comparison):
    page = opened(comparison)
    story = kept(page)
    place = page.evaluate("() => document.querySelectorAll('.matrix tbody tr').length")
    assert place == len(METHODS) + len(comparison.references)
    for column, metric in enumerate(m for g in story["criteria"] for m in g["metrics"]):
        if metric not in ("deletion", "insertion"):
            continue
        means, spots = [], []
        for i, name in enumerate(comparison.order):
            sign = page.locator(".matrix tbody tr").nth(i).locator("td").nth(column)
            circle = sign.locator("circle")
            if circle.count():
                spots.append(float(circle.get_attribute("cx")))
                means.append(comparison.ratings[name][metric].mean)
        better = sorted(zip(means, spots, strict=True), reverse=metric == "deletion")
        assert [spot for _, spot in better] == sorted(spots)


def test_the_grid_is_walked_by_the_arrow_keys(opened, comparison):
    page = opened(comparison)
    buttons = page.locator(".matrix .open")
    buttons.first.focus()
    page.keyboard.press("ArrowDown")
    focused = page.evaluate("() => document.activeElement.getAttribute('aria-label')")
    assert comparison.order[1].replace("_", " ") in focused
    assert focused.startswith("Deletion of")
    page.keyboard.press("ArrowRight")
    focused = page.evaluate("() => document.activeElement.getAttribute('aria-label')")
    assert comparison.order[1].replace("_", " ") in focused
    assert not focused.startswith("Deletion of")
    page.keyboard.press("Enter")
    assert page.locator(".detail").count() == 1


def test_agreement_is_that_of_the_attributions(opened, comparison):
    page = opened(comparison)
    table = kept(page)["agreement"]
    one, other = (comparison.attributions[name].values.double() for name in ("gradient", "random"))
    by_hand = []
    for a, b in zip(one, other, strict=True):
        ranks = [torch.argsort(torch.argsort(row)).double() for row in (a, b)]
        by_hand.append(float(torch.corrcoef(torch.stack(ranks))[0, 1]))
    i, j = table["ids"].index("gradient"), table["ids"].index("random")
    assert table["rows"][i][j] == pytest.approx(sum(by_hand) / len(by_hand), abs=1e-4)
    assert table["rows"][i][i] == 1
    page.locator(".alike td").first.hover()
    assert re.search(r": 1\.000\.", page.locator(".agreement .preview").inner_text())


def test_texts_of_the_user_stay_texts(opened, comparison):
    page = opened(comparison, title=NASTY)
    assert page.title() == NASTY
    assert page.locator("b").count() == 0
    assert NASTY in page.locator(".seen-by-all").inner_text()


def test_an_input_that_failed_is_counted_and_shown(opened, comparison):
    broken = comparison.attributions["gradient"].values.clone()
    broken[0] = torch.nan
    found = replace(
        comparison, attributions={**comparison.attributions, "gradient": Attribution(broken)}
    )
    page = opened(found)
    assert "failed on this input" in page.locator(".seen-by-all").inner_text()
    assert kept(page)["maps"]["values"]["gradient"][0] is None


@pytest.mark.parametrize("width", [380, 800, 1360])
def test_nothing_hangs_over_the_edge(opened, comparison, width):
    page = opened(comparison, width=width)
    page.locator(".matrix .open").first.click()
    beyond = """() => [...document.querySelectorAll("body *")]
        .filter((one) => one.getBoundingClientRect().right > innerWidth + 1)
        .filter((one) => !one.closest(".wide"))
        .map((one) => one.outerHTML.slice(0, 80))"""
    assert page.evaluate(beyond) == []
    assert page.evaluate("() => document.documentElement.scrollWidth") == width


def test_pictures_are_shown_with_what_each_method_sees(opened, comparison):
    x = torch.rand(12, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    owner = patches((3, 8, 8), (2, 2)).owner
    subject = replace(
        comparison.subject, x=x, second=x, owner=owner, names=("a", "b", "c", "d"), kind="image"
    )
    attributions = {
        "shapley_exact": Attribution(torch.rand(12, 4)),  # a value per player is painted
        "gradient": Attribution(torch.randn(12, 3, 8, 8)),
        "occlusion": Attribution(torch.randn(12, 1, 8, 8)),  # a map for all channels
    }
    page = opened(replace(comparison, subject=subject, attributions=attributions))
    cards = page.locator(".seen-by")
    assert cards.count() == 4  # the inputs themselves, too
    for i in range(1, 4):
        assert cards.nth(i).locator("img.over").count() == 6


def test_a_metric_that_failed_is_no_input_that_failed(opened, comparison):
    nothing = comparison.ratings["gradient"]["deletion"]
    nothing = replace(nothing, values=torch.full_like(nothing.values, torch.nan))
    own = comparison.ratings["gradient"] | {"deletion": nothing}
    found = replace(
        comparison,
        ratings={**comparison.ratings, "gradient": own},
        failures=(Failure(-1, "deletion", "gradient", "RuntimeError: out of order"),),
    )
    page = opened(found)
    assert page.locator(".by-metric td[title='RuntimeError: out of order']").count() == 1
    assert page.locator(".ranking").get_by_text("Failed on").count() == 0


@pytest.mark.parametrize("width", [380, 800])
def test_a_long_name_does_not_hide_the_numbers(opened, comparison, width):
    name = "a" * 100
    methods = [
        {name if one == "gradient" else one: value for one, value in part.items()}
        for part in (
            comparison.ratings,
            comparison.attributions,
            comparison.places,
            comparison.verdicts,
        )
    ]
    order = tuple(name if one == "gradient" else one for one in comparison.order)
    ratings, attributions, places, verdicts = methods
    page = opened(
        replace(
            comparison,
            ratings=ratings,
            attributions=attributions,
            places=places,
            verdicts=verdicts,
            order=order,
        ),
        width=width,
    )
    page.locator("button.open").first.click(timeout=3000)
    assert page.locator(".detail").count() == 1
