import pytest
import torch

from unmask import zoo
from unmask.score import predicted
from unmask.zoo.data import cifar10_test, imagenet_classes, mnist_digits, photos
from unmask.zoo.images import picture


def test_digits_not_seen_are_read():
    exhibit = zoo.digits()
    found = predicted(exhibit.model, torch.stack(exhibit.inputs))
    assert (found == torch.tensor(exhibit.labels)).float().mean() >= 0.95


def test_a_digit_is_cut_into_four_rows_of_three():
    owner = zoo.digits().players(0).owner[0]
    assert owner.tolist() == [
        [3 * (row // 2) + (0, 0, 0, 1, 1, 1, 2, 2)[column] for column in range(8)]
        for row in range(8)
    ]


def test_a_picture_keeps_its_colours():
    image = torch.tensor([[[0.0, 1.0]], [[0.5, 0.0]], [[1.0, 0.2]]])  # red, green, blue
    assert picture(image).pixels.tolist() == [[[0, 128, 255], [255, 0, 51]]]
    assert picture(torch.tensor([[[0.2]]])).pixels.tolist() == [[[51, 51, 51]]]


@pytest.mark.slow
def test_lenet_reads_mnist(real_data):
    exhibit = zoo.mnist()
    images, labels = mnist_digits("t10k")
    found = predicted(exhibit.model, images[:, None] / 255)
    assert (found == labels).float().mean() >= 0.985
    assert exhibit.inputs[0].equal(images[0, None] / 255)
    right = [
        int(exhibit.model(x[None]).argmax()) == label
        for x, label in zip(exhibit.inputs, exhibit.labels, strict=True)
    ]
    assert not any(right[180:])


def test_mnist_is_as_it_is_known(real_data):
    images, labels = mnist_digits("t10k")
    assert images.shape == (10_000, 28, 28)
    assert labels.bincount().tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]


def test_resnet_names_915_of_the_first_1000_test_images(real_data):
    exhibit = zoo.cifar10()
    images, labels, classes = cifar10_test()
    found = predicted(exhibit.model, images / 255)
    assert int((found == labels).sum()) == 915
    assert classes[int(labels[0])] == "cat"
    assert sum(p.numel() for p in exhibit.model.parameters()) == 269_722
    # Grey is what the network takes for zero.
    assert (exhibit.baseline(0) - exhibit.model.mean).abs().max() == 0


@pytest.mark.slow
def test_squeezenet_answers_as_recorded_on_every_photo(real_data):
    model = zoo.squeezenet().model
    count = 0
    for photo in photos():
        with torch.inference_mode():
            p = model(photo.image[None]).softmax(1)[0]
        assert int(p.argmax()) == photo.reference
        assert p.max().item() == pytest.approx(photo.probability, abs=1e-4)
        count += 1
    assert count == 54


def test_squeezenet_names_eighteen_of_twenty_labelled_photos(real_data):
    exhibit = zoo.squeezenet()
    found = predicted(exhibit.model, torch.stack(exhibit.inputs))
    assert int((found == torch.tensor(exhibit.labels)).sum()) == 18
    assert len(exhibit.inputs) == 20
    named = [exhibit.classes[label] for label in exhibit.labels]
    assert {"espresso", "meerkat", "cheeseburger"} <= set(named)
    assert len(imagenet_classes()) == 1000


def test_the_grey_of_squeezenet_is_its_zero(real_data):
    exhibit = zoo.squeezenet()
    seen = []
    handle = exhibit.model.conv1.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    exhibit.model(exhibit.baseline(0)[None])
    handle.remove()
    assert seen[0].abs().max() < 1e-4
