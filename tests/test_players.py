import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from strategies import masks, players
from unmask import Players, channels, features, patches, points, segments, tokens, words


@given(st.data())
def test_a_position_is_visible_when_its_owner_takes_part(data):
    some = data.draw(players())
    coalitions = data.draw(masks(len(some.names)))
    seen = some.cover(coalitions)
    assert seen.shape == (len(coalitions), *some.owner.shape)
    for row, mask in zip(seen, coalitions.tolist(), strict=True):
        for visible, owner in zip(
            row.flatten().tolist(), some.owner.flatten().tolist(), strict=True
        ):
            assert visible == (True if owner == -1 else mask[owner])


@given(players())
def test_paint_gives_each_position_the_value_of_its_owner(some):
    values = torch.arange(1.0, len(some.names) + 1)
    painted = some.paint(values).flatten().tolist()
    assert painted == [0 if o == -1 else o + 1 for o in some.owner.flatten().tolist()]


def test_columns_and_groups_of_columns():
    assert features(3).owner.tolist() == [0, 1, 2]
    assert features(2).names == ("feature 1", "feature 2")
    grouped = features(["age", "red", "green", "blue"], {"colour": ["red", "green", 3]})
    assert grouped.names == ("colour", "age")
    assert grouped.owner.tolist() == [1, 0, 0, 0]


@pytest.mark.parametrize(
    ("shape", "grid"), [((3, 7, 5), (2, 3)), ((6, 4), (3, 4)), ((5, 5), (5, 1)), ((11, 7), (4, 5))]
)
def test_patches_are_rectangles_of_nearly_the_same_size(shape, grid):
    cut = patches(shape, grid)
    rows, columns = grid
    assert cut.owner.shape == shape
    assert len(cut.names) == rows * columns
    picture = cut.owner.reshape(-1, *shape[-2:])
    assert (picture == picture[0]).all()
    for r in range(rows):
        for c in range(columns):
            down, across = (picture[0] == r * columns + c).nonzero().T
            height = int(down.max() - down.min()) + 1
            width = int(across.max() - across.min()) + 1
            assert len(down) == height * width
            assert height in (shape[-2] // rows, -(-shape[-2] // rows))
            assert width in (shape[-1] // columns, -(-shape[-1] // columns))
            assert cut.names[r * columns + c] == f"row {r + 1} col {c + 1}"


def test_segments_number_labels_in_ascending_order():
    labels = torch.tensor([[7, 7, -1], [2, 40, 2]])
    cut = segments(labels)
    assert cut.owner.tolist() == [[1, 1, -1], [0, 2, 0]]
    assert segments(labels, ["a", "b", "c"], channels=2).owner.shape == (2, 2, 3)


def test_tokens_words_points_channels():
    assert tokens(["the", "cat"]).owner.tolist() == [0, 1]
    assert tokens(2, width=3).owner.tolist() == [[0] * 3, [1] * 3]
    of_words = words([None, 0, 0, 1, None], ["playing", "well"])
    assert of_words.owner.tolist() == [-1, 0, 0, 1, -1]
    assert words([4, 4, 2]).owner.tolist() == [0, 0, 1]
    cloud = points(torch.tensor([1, 0, -1]))
    assert cloud.owner.tolist() == [[1] * 3, [0] * 3, [-1] * 3]
    assert cloud.names == ("part 1", "part 2")
    assert channels((2, 1, 2)).owner.tolist() == [[[0, 0]], [[1, 1]]]


@pytest.mark.parametrize(
    ("make", "wrong"),
    [
        (lambda: Players(torch.tensor([0, 2]), ("a", "b")), "Owners run from 0 to 2"),
        (lambda: Players(torch.tensor([0, -2]), ("a",)), "Owners run from -2"),
        (lambda: Players(torch.tensor([0, 0]), ("a", "b")), "Player 'b' owns no position"),
        (lambda: Players(torch.tensor([-1]), ()), "There are no players"),
        (lambda: Players(torch.zeros(0, dtype=torch.long), ("a",)), r"of shape \(0,\)"),
        (lambda: features(0), "There are no players"),
        (lambda: features(2, {"g": [0], "h": [0, 1]}), "Players overlap: column 'feature 1'"),
        (lambda: features(2, {"g": []}), "Player 'g' owns no position"),
        (lambda: features(["a"], {"g": ["b"]}), "Column 'b' of group 'g' does not exist"),
        (lambda: features(2, {"g": [-1]}), "Column -1 of group 'g' does not exist"),
        (lambda: patches((3, 4, 4), (5, 1)), "A grid of 5 x 1 does not fit"),
        (lambda: patches((4, 4), (0, 1)), "A grid of 0 x 1 does not fit"),
        (lambda: patches((4,), (1, 1)), "a height and a width"),
        (lambda: segments(torch.tensor([-1, -1])), "every label is negative"),
        (lambda: segments(torch.tensor([0, 1]), ["one"]), "Owners run from 0 to 1"),
        (lambda: words([None, None]), "There are no players"),
    ],
)
def test_players_that_cannot_be_are_refused(make, wrong):
    with pytest.raises(ValueError, match=wrong):
        make()


def test_inputs_of_another_shape_are_refused():
    players = features(3)
    players.refuse_other(torch.Size([3]))
    with pytest.raises(ValueError, match=r"\(3,\), but one input has shape \(2, 3\)\. Give"):
        players.refuse_other(torch.Size([2, 3]))
