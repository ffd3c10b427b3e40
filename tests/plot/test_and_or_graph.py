"""Graphs are drawn in layers, with every node once and every line to where it belongs."""

import numpy as np
import pytest
import torch
from matplotlib.colors import to_hex
from matplotlib.patches import FancyBboxPatch

from unmask.players import Players, patches
from unmask.plot import COLOURS, plot
from unmask.plot.layers import arranged, crossings
from unmask.results import AndOrGraph
from unmask.views import ImageView, TableView, TextView

MINUS = "\N{MINUS SIGN}"


def rows(sets, width):
    made = [[i in chosen for i in range(width)] for chosen in sets]
    return torch.tensor(made, dtype=torch.bool).view(len(sets), width)


def graph(names=("not", "a", "good", "film"), terms=None, words=((0, 2),), uses=None, **other):
    terms = terms or (({0, 2}, False, -2.0), ({0, 2, 3}, False, 1.0), ({1, 3}, True, 0.5))
    uses = ((0,), (0,), ()) if uses is None else uses
    return AndOrGraph(
        rows([who for who, *_ in terms], len(names)),
        torch.tensor([is_or for _, is_or, _ in terms]),
        torch.tensor([effect for *_, effect in terms]),
        0.25,
        tuple(names),
        rows(words, len(names)),
        torch.zeros(len(words)).bool(),
        rows(uses, len(words)),
        **other,
    )


def said(figure):
    return [text.get_text() for text in figure.axes[0].texts]


def boxes(figure):
    return [made for made in figure.axes[0].patches if isinstance(made, FancyBboxPatch)]


def lines(figure):
    return [one for one in figure.axes[0].lines if len(one.get_xdata()) == 2]


def test_every_player_word_and_term_is_there_once():
    texts = said(plot(graph()))
    assert sorted(texts[:4]) == sorted(["AND", f"{MINUS}2", "+1", "+0.5"])
    assert texts[4] == "value  =  0.25 + sum of terms"
    assert sorted(texts[5:]) == ["a", "film", "good", "not"]


def test_lines_lead_from_parts_to_what_they_are_part_of():
    found = lines(plot(graph()))
    # The word's two players; of the terms the word, the word and one player, two players; the sum.
    assert len(found) == 2 + (1 + 2 + 2) + 3
    rises = sorted(round(float(one.get_ydata()[1]), 2) for one in found)
    assert len({*rises}) == 3  # up to words, to terms and to the sum, never within a layer
    for one in found:
        assert one.get_ydata()[0] < one.get_ydata()[1]


def test_ors_differ_from_ands_without_colour():
    figure = plot(graph())
    texts, made = said(figure)[:4], boxes(figure)
    filled = {
        text: to_hex(box.get_facecolor()) != "#ffffff"
        for text, box in zip(texts, made, strict=True)
    }
    assert filled == {"AND": True, f"{MINUS}2": True, "+1": True, "+0.5": False}
    assert sum(one.is_dashed() for one in lines(figure)) == 2  # those of the OR's players


def test_colours_and_widths_follow_the_effects():
    figure = plot(graph())
    edges = dict(
        zip(said(figure)[:4], (to_hex(b.get_edgecolor()) for b in boxes(figure)), strict=True)
    )
    assert edges[f"{MINUS}2"] == COLOURS[1]
    assert edges["+1"] == edges["+0.5"] == COLOURS[0]
    widths = {to_hex(one.get_color()): one.get_linewidth() for one in lines(figure)}
    assert widths[COLOURS[1]] == max(widths.values())
    other = plot(graph(), colours=("#00ff00", "#000000"))
    assert "#00ff00" in {to_hex(one.get_color()) for one in lines(other)}


def test_an_or_of_one_player_is_drawn_as_the_and_that_it_is():
    single = graph(terms=(({1}, True, 1.0),), words=(), uses=((),))
    figure = plot(single)
    assert to_hex(boxes(figure)[0].get_facecolor()) == COLOURS[0]
    assert said(figure) == ["+1", "value  =  0.25 + sum of terms", "a"]  # the others are in nothing


def test_the_most_important_terms_are_drawn_and_the_rest_is_counted():
    figure = plot(graph(unfaithfulness=0.0123), most=2)
    assert "+0.5" not in said(figure) or f"{MINUS}2" in said(figure)
    assert figure._supxlabel.get_text() == (
        "The 2 of 3 terms that move the value most, 85.7\N{NO-BREAK SPACE}% of the L1 norm. "
        "Unfaithfulness of all terms on all masks: 1.23\N{NO-BREAK SPACE}%."
    )
    assert plot(graph())._supxlabel.get_text() == "All terms."


def test_a_sentence_keeps_its_order():
    view = TextView(("Not", " a", " good", " film"))
    figure = plot(graph(), over=view)
    places = {text.get_text(): text.get_position()[0] for text in figure.axes[0].texts}
    assert places["Not"] < places["a"] < places["good"] < places["film"]
    # Five pieces of four players, of which one is never hidden.
    owner = torch.tensor([3, -1, 2, 1, 0])
    pieces = TextView(("Film", " was", " good", " a", " not"))
    players = Players(owner, ("not", "a", "good", "film"))
    figure = plot(graph(), over=pieces, players=players)
    places = {text.get_text(): text.get_position()[0] for text in figure.axes[0].texts}
    assert places["Film"] < places["good"] < places["a"] < places["not"]


def test_facts_of_a_table_are_said():
    view = TableView(("41 years", "a: 3", "blue", "yes"), ("", "", "", ""))
    assert {"not: 41 years", "a: 3", "good: blue", "film: yes"} <= set(
        said(plot(graph(), over=view))
    )


def test_patches_of_a_picture_stand_for_the_players():
    pixels = torch.zeros(4, 8, 3, dtype=torch.uint8)
    players = patches((4, 8), (1, 4))
    figure = plot(graph(), over=ImageView(pixels), players=players)
    shown = [image.get_array() for image in figure.axes[0].images]
    assert len(shown) == 4
    own = [np.flatnonzero((image == 0).all((0, 2))).tolist() for image in shown]
    assert own == [[0, 1], [2, 3], [4, 5], [6, 7]]


def test_long_names_are_written_upwards_and_axes_may_be_given():
    names = [f"a rather long name of column {i}" for i in range(4)]
    turned = [text.get_rotation() for text in plot(graph(names)).axes[0].texts[-4:]]
    assert turned == [90] * 4
    from matplotlib.figure import Figure

    figure = Figure(layout="constrained")
    ax = figure.subplots()
    assert plot(graph(), ax=ax) is figure
    figure.canvas.draw()


def test_nothing_is_said_where_nothing_is():
    empty = graph(terms=(({0}, False, 1.0),), words=(), uses=((),))
    assert said(plot(empty, most=0)) == ["There are no terms: the value is 0.25 whatever is shown."]


def test_views_that_do_not_fit_are_refused():
    for over, players, match in (
        (TextView(("a", "b")), None, "4 players for 2 pieces"),
        (TableView(("a",), ("b",)), None, "4 players for 1 facts"),
        (None, patches((4, 8), (1, 2)), "of 4 players, but players are 2"),
    ):
        with pytest.raises(ValueError, match=match):
            plot(graph(), over=over, players=players)


def test_the_order_of_nodes_spares_crossings():
    """Terms that join neighbours in a hidden order: in the right one hardly any line crosses."""
    hidden = np.random.default_rng(0).permutation(10)
    members = np.zeros((9, 10), dtype=bool)
    for i in range(9):
        members[i, hidden[[i, i + 1]]] = True
    nothing = np.zeros((0, 10), dtype=bool)
    found = arranged(members, nothing, np.zeros((9, 0), dtype=bool))
    kept = arranged(members, nothing, np.zeros((9, 0), dtype=bool), list(range(10)))
    assert crossings(found) <= crossings(kept) / 3
    assert np.diff(kept.players).min() > 0
    for layer in (found.players, found.terms):
        assert len(np.unique(layer)) == len(layer)


def test_crossings_are_counted():
    joined = np.array([[True, False], [False, True]])
    of = np.zeros((0, 2), dtype=bool)
    found = arranged(joined, of, np.zeros((2, 0), dtype=bool))
    assert crossings(found) == 0
    both = np.ones((2, 2), dtype=bool)
    assert crossings(arranged(both, of, np.zeros((2, 0), dtype=bool))) == 1
