"""Interactions along training: what a network learns, order by order, and when it over-fits."""

from unmask.methods.dynamics.bayesian_concepts import bayesian_concepts
from unmask.methods.dynamics.concept_difficulty import concept_difficulty, near_baseline
from unmask.methods.dynamics.interaction_flow import interaction_flow
from unmask.methods.dynamics.layerwise_knowledge import layerwise_knowledge
from unmask.methods.dynamics.learning_epochs import learning_curves, learning_epochs
from unmask.methods.dynamics.linear_probe import LinearProbe, fit_probe
from unmask.methods.dynamics.mean_field import MeanField, fit_mean_field
from unmask.methods.dynamics.ood_orders import ood_orders
from unmask.methods.dynamics.order_generalization import order_generalization
from unmask.methods.dynamics.order_strength import (
    Strengths,
    largest_strength,
    order_strength,
    output_scale,
)
from unmask.methods.dynamics.phase_two_begun import phase_two_begun
from unmask.methods.dynamics.predicted_dynamics import predicted_dynamics, predicted_shares
from unmask.methods.dynamics.shrunken import dividends, order_ratio, shrunken
from unmask.methods.dynamics.spindle import random_effects_law, random_outputs_law, spindle
from unmask.methods.dynamics.two_phase import two_phase

__all__ = [
    "LinearProbe",
    "MeanField",
    "Strengths",
    "bayesian_concepts",
    "concept_difficulty",
    "dividends",
    "fit_mean_field",
    "fit_probe",
    "interaction_flow",
    "largest_strength",
    "layerwise_knowledge",
    "learning_curves",
    "learning_epochs",
    "near_baseline",
    "ood_orders",
    "order_generalization",
    "order_ratio",
    "order_strength",
    "output_scale",
    "phase_two_begun",
    "predicted_dynamics",
    "predicted_shares",
    "random_effects_law",
    "random_outputs_law",
    "shrunken",
    "spindle",
    "two_phase",
]
