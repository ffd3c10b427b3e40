import torch

from unmask.sharing.recurrent.prefixes import tree_of


def test_levels_by_hand():
    depends = torch.zeros(3, 6, dtype=torch.bool)
    depends[1, 1] = depends[0, 2] = depends[1, 4] = True  # the third player matters nowhere
    tree = tree_of(depends)
    assert tree.order == (1, 0, 2)
    assert tree.times == ((0,), (1,), (2, 3, 4, 5), ())
    assert tree.alone == ((True,), (True,), (True, True, False, True), ())
    assert tree.lines() == 1 + 2 + 4 * 4
    tree = tree_of(depends, backwards=True)
    assert tree.order == (1, 0, 2)
    assert tree.times == ((5,), (4, 3), (2, 1, 0), ())
