"""The page driven in a browser, against what Python computes for the same mask."""

import re
import sys
from dataclasses import replace
from typing import Any

import pytest
import torch

from report.pages import (
    blob_case,
    image_case,
    moved,
    network,
    number,
    planted_terms,
    player,
    shown,
    standing_in,
    table_case,
    text_case,
)
from unmask.players import features
from unmask.report import Case
from unmask.report.encode import everywhere
from unmask.results import Measurement
from unmask.views import TableView

MINUS = "\N{MINUS SIGN}"
KINDS = {"table": table_case, "image": image_case, "blobs": blob_case, "text": text_case}


def fired(page: Any) -> set[tuple[float, bool]]:
    """The terms that are lit, by effect: planted effects are all different."""
    rows = (
        shown(page)
        .locator(".term")
        .evaluate_all("rows => rows.map(row => [row.dataset.effect, row.dataset.fires])")
    )
    return {(float(effect), fires == "true") for effect, fires in rows}


def expected_fired(case: Case, present: set[int]) -> set[tuple[float, bool]]:
    lit = set()
    for row, is_or, effect in zip(
        case.terms.members, case.terms.is_or.tolist(), case.terms.effects.tolist(), strict=True
    ):
        members = set(row.nonzero()[:, 0].tolist())
        lit.add((effect, bool(present & members) if is_or else members <= present))
    return lit


def agrees(page: Any, case: Case, present: set[int]) -> None:
    mask = torch.tensor([[i in present for i in range(len(case.players.names))]])
    place = sum(2**i for i in present)
    assert number(page, "network") == network(case, place)
    assert number(page, "logic") == pytest.approx(float(case.terms(mask)[0]), rel=1e-9, abs=1e-12)
    apart = network(case, place) - float(case.terms(mask)[0])
    assert number(page, "difference") == pytest.approx(apart, abs=1e-11)
    lit = expected_fired(case, present)
    assert fired(page) == lit
    tally = shown(page).locator(".tally")
    assert tally.get_attribute("data-firing") == str(sum(on for _, on in lit))
    assert tally.text_content().startswith(f"{len(present)} of {len(case.players.names)} players")


@pytest.mark.parametrize("kind", KINDS)
def test_hiding_players_shows_what_python_computes(visit, kind):
    case = KINDS[kind]()
    # A network that its logic misses by a little, so that the two cannot be mixed up.
    assert case.table is not None
    case = replace(case, table=case.table + torch.linspace(0, 0.25, len(case.table)))
    page = visit(case)
    n = len(case.players.names)
    shown(page).locator("button.every").click()
    present = set(range(n))
    agrees(page, case, present)
    for i in (1, 4, n - 1, 4, 0, 2, 3):
        player(page, i).click()
        present ^= {i}
        assert player(page, i).get_attribute("aria-pressed") == str(i in present).lower()
        agrees(page, case, present)
    shown(page).locator(".hide-all").click()
    agrees(page, case, set())
    player(page, 5).click()
    agrees(page, case, {5})
    shown(page).locator(".show-all").click()
    agrees(page, case, set(range(n)))


@pytest.mark.parametrize("kind", KINDS)
def test_a_page_can_be_used_by_keyboard_alone(visit, kind):
    case = KINDS[kind]()
    page = visit(case)
    n = len(case.players.names)
    press = page.keyboard.press
    press("Tab")
    assert page.evaluate("document.activeElement.dataset.player") == "0"
    press("Space")
    press("End")
    assert page.evaluate("document.activeElement.dataset.player") == str(n - 1)
    press("Enter")
    assert number(page, "network") == network(case, 2**n - 1 - 1 - 2 ** (n - 1))
    press("Home")
    press("ArrowRight")
    at = page.evaluate("Number(document.activeElement.dataset.player)")
    assert at != 0
    press("Space")
    assert number(page, "network") == network(case, 2**n - 1 - 1 - 2 ** (n - 1) - 2**at)
    press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Show all"
    press("Enter")
    assert number(page, "network") == network(case, -1)

    for _ in range(4):
        if page.evaluate("document.activeElement.type") == "range":
            break
        press("Tab")
    press("ArrowLeft")
    press("ArrowLeft")
    weakest = moved(case.terms).argsort()[:2]
    value = float(case.terms(torch.ones(1, n).bool())[0] - case.terms.effects[weakest].sum())
    assert number(page, "logic") == pytest.approx(
        value + standing_in(case.terms, weakest), rel=1e-9
    )
    press("Tab")
    assert page.evaluate("document.activeElement.dataset.term") == "0"
    press("Enter")
    strongest = int(moved(case.terms).argmax())
    members = case.terms.members[strongest].nonzero()[:, 0].tolist()
    assert number(page, "network") == network(case, sum(2**i for i in members))


def test_on_a_picture_the_arrows_go_where_they_point(visit):
    page = visit(image_case())
    page.keyboard.press("Tab")
    visited = []
    for key in ("ArrowRight", "ArrowDown", "ArrowDown", "ArrowRight", "ArrowUp", "ArrowLeft"):
        page.keyboard.press(key)
        visited.append(page.evaluate("Number(document.activeElement.dataset.player)"))
    assert visited == [1, 4, 7, 8, 5, 4]


def test_the_slider_keeps_the_strongest_terms(visit):
    case = table_case()
    page = visit(case)
    shown(page).locator("button.every").click()
    order = moved(case.terms).argsort(descending=True)
    player(page, 3).click()
    mask = torch.ones(1, 10).bool()
    mask[0, 3] = False
    for kept in (0, 1, 7, 39, 40):
        shown(page).locator("input[type=range]").fill(str(kept))
        few = replace(
            case.terms, members=case.terms.members[order[:kept]],
            is_or=case.terms.is_or[order[:kept]], effects=case.terms.effects[order[:kept]],
        )  # fmt: skip
        value = float(few(mask)[0]) + standing_in(case.terms, order[kept:])
        assert number(page, "logic") == pytest.approx(value, rel=1e-9)
        assert shown(page).locator(".term.left-out").count() == 40 - kept
        text = shown(page).locator("output.kept").text_content()
        words = {0: "0 strongest terms", 1: "1 strongest term,", 40: "all 40 terms"}
        assert words.get(kept, f"{kept} strongest terms") in text
        fidelity = float(case.matching.curves["fidelity"][kept])
        told = float(text.split("R² ")[1].replace(MINUS, "-"))
        assert told == pytest.approx(fidelity, abs=5e-4)


def test_the_terms_come_strongest_first_with_their_running_share(visit):
    case = text_case()
    page = visit(case)
    rows = shown(page).locator(".term")
    assert rows.count() == 12
    shown(page).locator("button.more").click()
    assert rows.count() == 40
    assert page.evaluate("document.activeElement.dataset.term") == "12"
    effects = case.terms.effects
    order = moved(case.terms).argsort(descending=True).tolist()
    running = 0.0
    for at, (row, term) in enumerate(zip(rows.all(), order, strict=True)):
        running += float(effects[term].abs() / effects.abs().sum())
        join = " OR " if case.terms.is_or[term] else " AND "
        names = [case.players.names[i] for i in case.terms.members[term].nonzero()[:, 0].tolist()]
        words = re.sub(r"\s+", " ", row.locator(".words").text_content())
        others = [name for name in case.players.names if name not in names]
        if len(names) >= 5 and len(others) <= 2:
            but = " but " + " and ".join(others) if others else ""
            assert words == f"{join.strip()} of all players{but}"
        else:
            assert words == join.join(names)
        assert row.locator(".figure").text_content()[0] == ("+" if effects[term] > 0 else MINUS)
        bar = row.locator(".bar rect")
        assert bar.get_attribute("class") == ("positive" if effects[term] > 0 else "negative")
        share = row.locator(".share").text_content()
        assert float(re.findall(r"[\d.]+", share)[0]) == pytest.approx(100 * running, abs=0.51), at


def test_the_finding_counts_the_terms_and_names_the_truth(visit):
    case = image_case()
    page = visit(case)
    terms = int(case.sparsity.numbers["terms_95"])
    assert shown(page).locator("h2").text_content() == (
        "The network says digit 8 (61.0 %). That is wrong: the truth is digit 3. "
        f"{terms} terms explain 95\u00a0% of it."
    )
    assert "wrong" in shown(page).locator(".verdict").text_content()


def test_right_and_wrong_are_told_in_words_in_the_list(visit):
    page = visit(table_case(), image_case(), blob_case())
    told = page.locator(".tab .verdict").all_text_contents()
    assert told == ["✓ right", "✗ wrong", "truth unknown"]
    assert page.locator(".side-head").text_content() == "3 inputs, 1 right"


def test_each_case_keeps_what_the_reader_did(visit):
    cases = (table_case(), image_case(), text_case())
    page = visit(*cases)
    player(page, 2).click()
    page.locator("#tab-1").click()
    assert not shown(page, 0).is_visible()
    assert shown(page, 1).is_visible()
    page.locator("#tab-1").press("ArrowDown")
    assert shown(page, 2).is_visible()
    assert page.locator("#tab-2").get_attribute("aria-selected") == "true"
    page.keyboard.press("Home")
    assert shown(page, 0).is_visible()
    assert number(page, "network") == network(cases[0], 2**10 - 1 - 4)


def test_the_preview_tells_what_hiding_would_do(visit):
    case = table_case()
    page = visit(case)
    player(page, 4).hover()
    told = shown(page).locator(".preview").text_content().replace(MINUS, "-")
    then = network(case, 2**10 - 1 - 16)
    assert told.startswith("Hiding worst area would move the network by")
    moved, to = (float(x) for x in re.findall(r"[-+]?\d+\.\d+", told))
    assert to == pytest.approx(then, abs=5e-3)
    assert moved == pytest.approx(then - network(case, -1), abs=5e-3)


def large_case(n: int, count: int, tabled: bool = True) -> Case:
    names = tuple(f"player {i}" for i in range(n))
    terms = planted_terms(names, count, seed=8)
    counts = torch.arange(count + 1).double()
    matching = Measurement({"largest_error": 1e-9}, {"terms": counts, "fidelity": counts / count})
    return Case(
        "large", "yes (90 %)", "no", "log-odds", features(names), TableView(names, names), terms,
        everywhere(terms) if tabled else None, {}, matching, Measurement(),
    )  # fmt: skip


def test_beyond_twelve_players_the_network_is_not_in_the_page(visit):
    case = large_case(18, 120)
    page = visit(case)
    assert number(page, "network") == network(case, -1)
    player(page, 17).click()
    assert shown(page).locator(".number.network").text_content() == "not in the page"
    assert shown(page).locator(".number.difference").text_content() == "unknown"
    said = shown(page).locator('[data-panel="what-if"] .howto').text_content()
    assert "the network's own answer is told with everything shown" in said
    assert "compare" not in said
    mask = torch.ones(1, 18).bool()
    mask[0, 17] = False
    assert number(page, "logic") == pytest.approx(float(case.terms(mask)[0]), rel=1e-9)


def test_forty_players_need_more_than_one_word_of_bits(visit):
    case = large_case(40, 60, tabled=False)
    page = visit(case)
    mask = torch.ones(1, 40).bool()
    for i in (39, 32, 31, 0):
        player(page, i).click()
        mask[0, i] = False
        assert number(page, "logic") == pytest.approx(float(case.terms(mask)[0]), rel=1e-9)


def test_how_far_a_search_can_be_believed_is_told(visit):
    names = tuple(f"c{i}" for i in range(30))
    terms = replace(
        planted_terms(names, 50, 5), gap=None, residual=0.034, residual_near_full=0.25,
        evaluations=8192,
    )  # fmt: skip
    curves = {"terms": torch.arange(51.0), "fidelity": torch.linspace(0, 1, 51)}
    case = replace(
        table_case(tabled=False), players=features(names),
        view=TableView(("1",) * 30, ("0",) * 30), terms=terms, attributions={},
        matching=Measurement({"largest_error": 0.5, "mean_error": 0.1}, curves),
        sparsity=Measurement(), ends=(-2.5, 4.25),
    )  # fmt: skip
    page = visit(case)
    doubt = shown(page).locator(".doubt").text_content()
    assert "all terms together explain 97 % over all masks and 75 % where at most a fifth" in doubt
    assert "not fitted to" in doubt
    proof = shown(page).locator(".certificate").text_content()
    assert "97 %of the variance of the score over all masks" in proof
    assert "Distance to the sparsest" not in proof
    assert "on masks drawn at random" in proof
    assert "masks drawn at random" in shown(page).locator(".fidelity").text_content()
    lead = shown(page).locator(".lead:not(.doubt)").text_content()
    assert f"4.250 with everything shown, {MINUS}2.500 with everything hidden" in lead
    assert number(page, "network") == 4.25
    shown(page).locator("button.hide-all").click()
    assert number(page, "network") == -2.5


def test_what_was_not_measured_leaves_no_trace(visit):
    page = visit(table_case())
    assert shown(page).locator(".doubt").count() == 0
    proof = shown(page).locator(".certificate").text_content()
    assert "Explained" not in proof
    assert "Distance to the sparsest" in proof
    assert "drawn at random" not in shown(page).text_content()


def test_what_is_left_out_bounds_how_far_the_page_can_be_off(visit, monkeypatch):
    monkeypatch.setattr(sys.modules["unmask.report.build"], "_MOST", 30)
    monkeypatch.setattr(sys.modules["unmask.report.build"], "_FEWEST", 30)
    case = large_case(14, 90)
    page = visit(case)
    remark = shown(page).locator(".strongest .remark").text_content()
    weaker = moved(case.terms).argsort(descending=True)[30:]
    sizes = case.terms.order[weaker].double()
    # A term that is taken as its mean is off by the larger of the shares of masks on and off.
    rest = float((case.terms.effects[weaker].abs() * (1 - 0.5**sizes)).sum())
    assert "90 terms in all. The 30 strongest are in this page" in remark
    assert float(re.findall(r"at most ([\d.]+)", remark)[0]) == pytest.approx(rest, abs=1e-3)
    full = float(case.terms(torch.ones(1, 14).bool())[0])
    assert 0 < abs(number(page, "logic") - full) <= rest
