from itertools import pairwise

import pytest
import torch

from decoys import accuracy, decoys, perceptron
from unmask.methods.saliency import find_alternatives


def test_alternatives_end_where_nothing_is_left():
    """The first relies on both columns, the second on the decoy, and the last has no reason."""
    x, labels = decoys(512, 0)
    found = find_alternatives(perceptron(), x, labels=labels, steps=400)
    lied_to = [accuracy(one.model, *decoys(512, 1, sign=-1)) for one in found]
    assert 0.3 < lied_to[0] < 0.6
    assert lied_to[1] < 0.1
    assert not found[0].annotation.any()
    for one, other in pairwise(found):
        for i in range(0, 512, 50):
            row = x[i : i + 1].clone().requires_grad_()
            slope = torch.autograd.grad(one.model(row).log_softmax(1).sum(), row)[0][0].abs()
            used = slope > 0.67 * slope.max()
            assert torch.equal(other.annotation[i], one.annotation[i] | used)
        assert one.accuracy >= 0.9
    assert found[-1].accuracy < 0.9
    assert [one.accuracy for one in found] == [
        pytest.approx(accuracy(one.model, x, labels)) for one in found
    ]


@pytest.mark.parametrize("change", [{"rounds": 0}, {"mark": 1.0}, {"enough": 2.0}])
def test_searches_that_find_nothing_are_refused(change):
    x, labels = decoys(8, 0)
    with pytest.raises(ValueError, match="find nothing"):
        find_alternatives(perceptron(), x, labels=labels, steps=1, **change)
