import pytest
import torch

from unmask.planted import planted_shortcut


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def told_by_patch(images):
    return (images.x[images.patch].view(len(images.x), -1).mean(1) > 0).long()


@pytest.mark.parametrize("agreement", [0.0, 0.5, 0.9, 1.0])
def test_the_patch_tells_the_class_as_often_as_asked(agreement):
    images = planted_shortcut(4000, seeded(), agreement=agreement)
    share = (told_by_patch(images) == images.labels).double().mean().item()
    assert share == pytest.approx(agreement, abs=0.03)  # four standard errors of 4000


@pytest.mark.parametrize("size", [9, 11, 12, 20])
def test_the_stripes_tell_the_class_whatever_the_patch_says(size):
    images = planted_shortcut(300, seeded(), agreement=0.5, size=size, noise=0.0)
    assert not (images.shape & images.patch).any()
    for x, shape, label in zip(images.x[:, 0], images.shape[:, 0], images.labels, strict=True):
        rows, columns = shape.any(1), shape.any(0)
        square = x[rows][:, columns]
        assert square.shape[0] == square.shape[1] >= 3
        alike = square == square[:, :1] if label == 1 else square == square[:1]
        assert alike.all()
        assert set(square.unique().tolist()) == {-1.0, 1.0}
        assert x[~shape & ~images.patch[0, 0]].abs().max() == 0


def test_chance_is_the_callers():
    one, other = (planted_shortcut(5, seeded(seed)) for seed in (1, 1))
    assert torch.equal(one.x, other.x)
    assert not torch.equal(one.x, planted_shortcut(5, seeded(2)).x)


@pytest.mark.parametrize(
    "given", [{"samples": 0}, {"size": 8}, {"agreement": 1.5}, {"noise": -1.0}]
)
def test_what_cannot_be_drawn_is_refused(given):
    with pytest.raises(ValueError, match="cannot be drawn"):
        planted_shortcut(**{"samples": 3, "generator": seeded()} | given)
