"""The page for every reader: safe, by ear, on paper, on a phone, in black and white."""

import re
from dataclasses import replace

import pytest
import torch

from report.pages import (
    blob_case,
    case,
    image_case,
    network,
    number,
    player,
    shown,
    table_case,
    text_case,
)
from unmask.players import channels, features, tokens
from unmask.results import Attribution, Measurement
from unmask.views import ImageView, TableView, TextView

MINUS = "\N{MINUS SIGN}"
NASTY = '<script>window.hacked=1</script><img src=x onerror="window.hacked=1">'


@pytest.mark.parametrize("kind", ["table", "text", "image"])
def test_names_that_look_like_markup_are_shown_as_they_are(visit, kind):
    names = (NASTY, "</script><!--<script>", "{{data}}", "a‮b")
    texts = (*names[:3], " &amp; ")
    if kind == "table":
        players, view = features(names), TableView(texts, tuple(reversed(texts)))
    elif kind == "text":
        players, view = tokens(names), TextView(texts)
    else:
        players = channels((4, 6, 6), names)
        view = ImageView(torch.zeros(6, 6, 3, dtype=torch.uint8))
    nasty = case(
        players, view, title=NASTY, prediction=NASTY, truth="x" + NASTY, score=NASTY, count=8
    )
    nasty = replace(nasty, attributions={NASTY: next(iter(nasty.attributions.values()))})
    page = visit(nasty, nasty, title=NASTY, notes=(NASTY,))
    player(page, 0).click()
    page.wait_for_timeout(50)
    assert page.evaluate("window.hacked") is None
    assert page.title() == NASTY
    assert page.locator("h1").text_content() == NASTY
    assert page.locator("img").count() == 0
    assert NASTY in shown(page).locator("h2").text_content()
    assert player(page, 0).text_content().startswith(NASTY)
    assert page.locator(".notes").text_content() == NASTY
    assert shown(page).locator(".saliency", has_text=NASTY).count() == 1


def test_the_policy_stops_scripts_and_requests(visit):
    page = visit(table_case())
    blocked = page.evaluate(
        """async () => {
          const seen = [];
          addEventListener("securitypolicyviolation",
            (event) => seen.push(event.effectiveDirective));
          const script = document.createElement("script");
          script.textContent = "window.hacked = 1";
          const image = document.createElement("img");
          image.src = "https://example.org/x.png";
          document.body.append(script, image);
          await fetch("https://example.org/").catch(() => null);
          await new Promise((done) => setTimeout(done, 100));
          return [seen.sort(), window.hacked === undefined];
        }"""
    )
    assert blocked == [["connect-src", "img-src", "script-src-elem"], True]
    # The browser rightly complains of what the test tried; that is not the page's doing.
    visit.forgive()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_is_wider_than_a_small_phone(visit, scheme):
    long = "a_very_long_name_without_any_space_" * 4
    wide = table_case(title=long, prediction=long, truth=None, score=long)
    names = (long, *wide.players.names[1:])
    wide = replace(wide, players=features(names), terms=replace(wide.terms, names=names))
    page = visit(table_case(), image_case(), blob_case(), text_case(), wide, width=380, title=long)
    page.emulate_media(color_scheme=scheme)
    for at in range(5):
        page.locator(f"#tab-{at}").click()
        for summary in shown(page, at).locator("summary").all():
            summary.click()
        shown(page, at).locator("button.every").click()
        assert page.evaluate("document.documentElement.scrollWidth") <= 380
        beyond = (
            shown(page, at)
            .locator("*")
            .evaluate_all(
                "nodes => nodes.filter(n => n.getBoundingClientRect().right > 380.5 "
                "&& !n.closest('svg')).map(n => n.className)"
            )
        )
        assert beyond == []


PANELS = ["what-if", "fidelity", "orders", "strongest", "certificate", "saliency"]


def test_on_paper_all_panels_show_and_no_controls(visit):
    page = visit(table_case(), image_case(), text_case())
    page.evaluate("window.print = () => {}")
    page.emulate_media(media="print")
    for name in PANELS:
        assert shown(page).locator(f'[data-panel="{name}"]').is_visible(), name
        assert shown(page).locator(f'[data-panel="{name}"] .howto').is_visible(), name
    for name in (".side", ".buttons", ".slider", ".preview"):
        assert not page.locator(name).first.is_visible()
    assert not shown(page, 1).is_visible()

    page.emulate_media(media="screen")
    page.get_by_role("button", name="Print all inputs").click()
    page.emulate_media(media="print")
    for at in range(3):
        assert shown(page, at).locator("h2").is_visible()
        assert shown(page, at).locator(".panel").count() == len(PANELS)
    page.evaluate("window.dispatchEvent(new Event('afterprint'))")
    assert not shown(page, 1).is_visible()


def test_every_panel_is_explained_in_two_sentences(visit):
    page = visit(text_case())
    assert sorted(shown(page).locator(".panel").evaluate_all(
        "all => all.map(one => one.dataset.panel)"
    )) == sorted(PANELS)  # fmt: skip
    for text in shown(page).locator(".howto").all_text_contents():
        assert len(re.findall(r"\.(?= |$)", text)) == 2, text


def test_everything_that_acts_has_a_name_and_ids_are_unique(visit):
    page = visit(table_case(), image_case(), blob_case(), text_case())
    client = page.context.new_cdp_session(page)
    for at in range(4):
        page.locator(f"#tab-{at}").click()
        nodes = client.send("Accessibility.getFullAXTree")["nodes"]
        acting = [
            node
            for node in nodes
            if not node.get("ignored")
            and node["role"]["value"] in {"button", "tab", "slider", "image", "tabpanel", "tablist"}
        ]
        assert len(acting) > 20
        nameless = [node for node in acting if not node.get("name", {}).get("value", "").strip()]
        assert nameless == []
    ids = page.locator("[id]").evaluate_all("nodes => nodes.map(node => node.id)")
    assert len(ids) == len(set(ids))
    heads = page.locator("h1, h2, h3, h4").evaluate_all("all => all.map(one => one.tagName)")
    assert heads[:3] == ["H1", "H2", "H3"]


def test_what_changes_is_said_to_those_who_listen(visit):
    case = table_case()
    page = visit(case)
    player(page, 1).click()
    said = shown(page).locator("[role=status]").text_content()
    assert said.startswith("worst perimeter hidden. Network ")
    assert player(page, 1).get_attribute("aria-label") == "worst perimeter: mean 107.3 mm, hidden"


def test_a_word_of_two_places_is_one_player(visit):
    players = tokens(["very", "good"])
    owner = torch.tensor([0, 1, 0])
    twice = case(replace(players, owner=owner), TextView(("so ", "good", " so")), count=3)
    page = visit(twice)
    words = shown(page).locator(".word")
    assert words.count() == 3
    words.nth(2).click()
    assert words.evaluate_all("all => all.map(one => one.getAttribute('aria-pressed'))") == [
        "false", "true", "false",
    ]  # fmt: skip
    assert number(page, "network") == network(twice, 2)


def test_saliency_paints_signs_that_need_no_colour(visit):
    values = torch.tensor([[1.0, -1.0, 0, 0, 0, 0, 0, 0, 0.5]])
    case = image_case()
    page = visit(replace(case, attributions={"mine": Attribution(values)}))
    figure = shown(page).locator("figure")
    assert figure.locator("text").all_text_contents() == ["+", MINUS, "+"]
    fills = figure.locator("path[fill-opacity]").evaluate_all(
        "all => all.map(one => [one.hasAttribute('fill'), one.getAttribute('fill-opacity')])"
    )
    assert fills[:3] == [[False, "0.920"], [True, "0.920"], [False, "0.000"]]


def test_a_case_without_terms_curves_or_saliency_still_reads(visit):
    full = table_case()
    none = replace(
        full.terms, members=full.terms.members[:0], is_or=full.terms.is_or[:0],
        effects=full.terms.effects[:0], gap=None, evaluations=None,
    )  # fmt: skip
    bare = replace(
        full, terms=none, table=None, attributions={}, truth=None,
        matching=Measurement(), sparsity=Measurement(),
    )  # fmt: skip
    page = visit(bare)
    assert number(page, "logic") == full.terms.empty
    player(page, 0).click()
    assert number(page, "logic") == full.terms.empty
    assert "There are no terms" in shown(page).locator(".strongest").text_content()


def luminance(colour: str) -> float:
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_its_ground(visit, scheme):
    page = visit(table_case())
    page.emulate_media(color_scheme=scheme)
    names = ["ink", "soft", "ground", "card", "faint"]
    colours = page.evaluate(
        "names => names.map(name => getComputedStyle(document.documentElement)"
        ".getPropertyValue('--' + name).trim())",
        names,
    )
    light = dict(zip(names, map(luminance, colours), strict=True))
    for text in ("ink", "soft"):
        for ground in ("ground", "card", "faint"):
            low, high = sorted((light[text], light[ground]))
            assert (high + 0.05) / (low + 0.05) >= 4.5, (text, ground)
