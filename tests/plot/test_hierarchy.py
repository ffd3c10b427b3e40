"""The sets of a hierarchy stand over their players, at their steps, with their scores."""

import numpy as np
import pytest
import torch
from matplotlib.patches import FancyBboxPatch

from unmask.players import patches
from unmask.plot import plot
from unmask.results import Hierarchy
from unmask.views import ImageView, TextView

MINUS = "\N{MINUS SIGN}"
WORDS = ("not", "a", "good", "film")
SETS = ((0,), (1,), (2,), (3,), (0, 2), (0, 1, 2), (0, 1, 2, 3))
SCORES = [-1.0, 0.25, 2.0, 0.5, -3.0, -2.5, -1.5]
STEPS = [0, 0, 0, 0, 1, 2, 5]


def tree(sets=SETS, scores=SCORES, steps=STEPS, names=WORDS):
    members = torch.tensor([[i in chosen for i in range(len(names))] for chosen in sets])
    return Hierarchy(members, torch.tensor(scores), torch.tensor(steps), tuple(names))


def blocks(ax):
    return [made for made in ax.patches if isinstance(made, FancyBboxPatch)]


def numbers(ax):
    return [text.get_text() for text in ax.texts]


def test_blocks_lie_within_the_sets_that_hold_them():
    ax = plot(tree()).axes[0]
    places = [(one.get_x(), one.get_x() + one.get_width(), one.get_y()) for one in blocks(ax)]
    assert len(places) == 7
    middles = [row + 0.36 for *_, row in places]
    assert middles == pytest.approx([0, 0, 0, 0, 1, 2, 3])  # steps that there are, side by side
    assert [label.get_text() for label in ax.get_yticklabels()] == ["0", "1", "2", "5"]
    for small, chosen in enumerate(SETS):
        for large, holder in enumerate(SETS):
            if small == large:
                continue
            inside = places[large][0] <= places[small][0] and places[small][1] <= places[large][1]
            assert inside == (set(chosen) < set(holder))


def test_words_that_are_a_set_stand_together_in_their_order():
    said = numbers(plot(tree(), over=TextView(("Not", " a", " good", " film"))).axes[0])
    assert said[:7] == [
        f"{MINUS}1",
        "+0.25",
        "+2",
        "+0.5",
        f"{MINUS}3",
        f"{MINUS}2.5",
        f"{MINUS}1.5",
    ]
    assert said[7:] == ["Not", "good", "a", "film"]
    kept = tree(((0,), (1,), (2,), (3,), (2, 3), (0, 1)), SCORES[:6], [0, 0, 0, 0, 1, 2])
    assert numbers(plot(kept).axes[0])[6:] == [*WORDS]


def test_long_names_stand_in_a_list_and_the_tree_grows_to_the_right():
    names = [f"a rather long name of column {i}" for i in range(4)]
    ax = plot(tree(names=names)).axes[0]
    assert [label.get_text() for label in ax.get_yticklabels()] == [names[i] for i in (0, 2, 1, 3)]
    assert [one.get_x() + 0.43 for one in blocks(ax)] == pytest.approx([0, 0, 0, 0, 1, 2, 3])


def test_colours_follow_the_scores():
    shades = [np.array(one.get_facecolor()[:3]) for one in blocks(plot(tree()).axes[0])]
    red, blue = shades[4], shades[2]
    assert red[0] > red[2]
    assert blue[2] > blue[0]
    strength = [1 - shade.min() for shade in shades]
    assert strength[4] > strength[5] > strength[6] > strength[0] > strength[3] > 0
    green = plot(tree(), colours=("#00ff00", "#000000"))
    assert blocks(green.axes[0])[2].get_facecolor()[1] > 0.9


def test_over_a_picture_every_step_shows_the_largest_sets_so_far():
    players = patches((4, 8), (1, 4))
    picture = ImageView(torch.zeros(4, 8, 3, dtype=torch.uint8))
    figure = plot(tree(), over=picture, players=players)
    shown = [ax for ax in figure.axes if ax.get_title()]
    assert [ax.get_title() for ax in shown] == [
        "step 0: 4 sets", "step 1: 3 sets", "step 2: 2 sets", "step 5: 1 set",
    ]  # fmt: skip
    rows = [ax.images[-1].get_array()[0].tolist() for ax in shown]
    assert rows[0] == [-1, -1, 0.25, 0.25, 2, 2, 0.5, 0.5]
    assert rows[1] == [-3, -3, 0.25, 0.25, -3, -3, 0.5, 0.5]
    assert rows[2] == [-2.5] * 6 + [0.5] * 2
    assert rows[3] == [-1.5] * 8
    assert {ax.images[-1].get_clim() for ax in shown} == {(-3, 3)}
    some = plot(tree(), over=picture, players=players, most=2)
    assert [ax.get_title() for ax in some.axes if ax.get_title()] == [
        "step 0: 4 sets",
        "step 5: 1 set",
    ]


def test_sets_that_are_never_joined_are_drawn():
    ax = plot(tree(((0,), (2,)), [1.0, 2.0], [0, 0])).axes[0]
    assert numbers(ax) == ["+1", "+2", *WORDS]


def test_what_is_no_hierarchy_is_refused():
    with pytest.raises(ValueError, match="sets 0 and 1 overlap"):
        plot(tree(((0, 1), (1, 2)), [1.0, 1.0], [0, 0]))
    picture = ImageView(torch.zeros(4, 8, 3, dtype=torch.uint8))
    with pytest.raises(ValueError, match="needs to know where its players are"):
        plot(tree(), over=picture)
    with pytest.raises(ValueError, match="of 4 players, but players are 2"):
        plot(tree(), over=picture, players=patches((4, 8), (1, 2)))
    with pytest.raises(ValueError, match="4 players for 2 pieces"):
        plot(tree(), over=TextView(("a", "b")))
