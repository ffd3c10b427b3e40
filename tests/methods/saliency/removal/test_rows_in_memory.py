"""No method of removal holds more rows at a time than its batch: the largest tensor tells."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from unmask import logit
from unmask.methods.saliency import (
    MarginalPatches,
    feature_omission,
    occlusion,
    omission_score,
    prediction_difference,
    representation_erasure,
)

BATCH = 4


class Largest(TorchDispatchMode):
    """Watches the bytes of the largest tensor that any operation makes."""

    def __init__(self):
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        for one in tree_leaves(made):
            if isinstance(one, torch.Tensor):
                self.bytes = max(self.bytes, one.untyped_storage().nbytes())
        return made


def largest(run):
    with Largest() as watch:
        found = run()
    return watch.bytes, found.evaluations


IMAGE = torch.rand(1, 1, 32, 32, generator=torch.Generator().manual_seed(0))
IMAGES = torch.rand(8, 1, 32, 32, generator=torch.Generator().manual_seed(1))
SUM = logit(lambda x: x.flatten(1).sum(1), 0)


def occluded(scale):
    return occlusion(SUM, IMAGE, baseline=IMAGES[0], window=4, stride=8 // scale, batch_size=BATCH)


def replaced(scale):
    return prediction_difference(
        SUM, IMAGE, data=IMAGES, window=8, stride=8, samples=4 * scale, batch_size=BATCH
    )


def replaced_from_data(scale):
    return prediction_difference(
        SUM, IMAGE, data=IMAGES, window=8, stride=8, samples=2 * scale, batch_size=BATCH,
        sampler=MarginalPatches(),
    )  # fmt: skip


def omitted(scale):
    columns = IMAGES.flatten(1)[:, : 16 * scale]
    return feature_omission(
        logit(lambda x: x.sum(1), 0), columns[:1], data=columns, batch_size=BATCH
    )


def deleted(scale):
    words = IMAGES[:1, 0, : 8 * scale]
    return omission_score(lambda x: x.sum(1), words, batch_size=BATCH)


def erased(scale):
    return representation_erasure(SUM, IMAGES.flatten(1)[:2, : 64 * scale], batch_size=BATCH)


@pytest.mark.parametrize(
    ("method", "input_of"),
    [
        (occluded, lambda _: 32 * 32),
        (replaced, lambda _: 32 * 32),
        (replaced_from_data, lambda _: 32 * 32),
        (omitted, lambda scale: 16 * scale),
        (deleted, lambda scale: 32 * 8 * scale),
        (erased, lambda scale: 64 * scale),
    ],
)
def test_the_largest_tensor_is_that_of_a_batch(method, input_of):
    small, few = largest(lambda: method(1))
    large, many = largest(lambda: method(4))
    assert many > 2 * few
    # Longer inputs make longer rows. Beside them only scores grow, some bytes for each row.
    assert large <= small * input_of(4) / input_of(1) + 32 * many
