"""Gradients: how the score changes with the input, at a point or along a path."""

from unmask.methods.saliency.gradients.blur_integrated_gradients import (
    blur_integrated_gradients,
)
from unmask.methods.saliency.gradients.expected_gradients import expected_gradients
from unmask.methods.saliency.gradients.gradient import gradient, input_x_gradient
from unmask.methods.saliency.gradients.guided_integrated_gradients import (
    guided_integrated_gradients,
)
from unmask.methods.saliency.gradients.idgi import idgi
from unmask.methods.saliency.gradients.integrated_gradients import integrated_gradients
from unmask.methods.saliency.gradients.right_reasons import (
    find_alternatives,
    right_reasons,
    right_reasons_loss,
)
from unmask.methods.saliency.gradients.second_order import first_order, second_order
from unmask.methods.saliency.gradients.smoothgrad import (
    smoothgrad,
    smoothgrad_squared,
    vargrad,
)

__all__ = [
    "blur_integrated_gradients",
    "expected_gradients",
    "find_alternatives",
    "first_order",
    "gradient",
    "guided_integrated_gradients",
    "idgi",
    "input_x_gradient",
    "integrated_gradients",
    "right_reasons",
    "right_reasons_loss",
    "second_order",
    "smoothgrad",
    "smoothgrad_squared",
    "vargrad",
]
