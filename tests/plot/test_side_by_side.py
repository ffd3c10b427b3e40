import pytest
import torch

from unmask.plot import panels, plot_side_by_side
from unmask.results import Attribution
from unmask.views import ImageView


def views(count=2):
    return [ImageView(torch.full((8, 10, 3), 40 * i, dtype=torch.uint8)) for i in range(count)]


def test_a_row_per_picture_and_a_column_per_method():
    signed = Attribution(torch.randn(2, 3, 8, 10, generator=torch.Generator().manual_seed(0)))
    unsigned = Attribution(signed.values.abs().sum(1))
    figure = plot_side_by_side(
        {"one": signed, "a much longer name of a method": unsigned},
        over=views(),
        captions=["a", "b"],
    )
    figure.canvas.draw()
    assert len(figure.axes) == 6
    titles = [ax.get_title(loc="left").replace("\n", " ") for ax in figure.axes]
    assert titles == ["a", "one", "a much longer name of a method", "b", "", ""]
    maps = [figure.axes[place].images[-1] for place in (1, 2)]
    low, high = maps[0].get_clim()
    assert low == -high  # symmetric about zero
    assert maps[1].get_clim()[0] == 0
    # Channels are added up, and the range ends at the 99th percentile of the sizes.
    total = signed.values[0].double().sum(0)
    assert high == pytest.approx(float(torch.quantile(total.abs().flatten(), 0.99)))
    assert torch.allclose(torch.tensor(maps[0].get_array()).double(), total)


def test_maps_that_do_not_fit_are_refused():
    found = Attribution(torch.zeros(3, 8, 10))
    with pytest.raises(
        ValueError, match=r"'one' holds values of shape \(3, 8, 10\) for 2 pictures"
    ):
        plot_side_by_side({"one": found}, over=views())
    with pytest.raises(ValueError, match=r"0 methods and 2 pictures\. Give one"):
        plot_side_by_side({}, over=views())


def test_panels_are_axes_of_one_figure():
    figure, places = panels(2, 3, 4.0)
    assert len(places) == 6
    assert all(place.get_figure() is figure for place in places)
