"""Explain many inputs by a plan that can be repeated: open, read, choose, execute, keep.

Only safe formats are read: nothing here unpickles what a user hands over.
"""

from unmask.run.choices.suggest import Suggestion, Wishes, suggest
from unmask.run.engine import Engine, Serial
from unmask.run.estimate import Estimate, estimate
from unmask.run.execute import Outcome, execute
from unmask.run.explainer import Step
from unmask.run.folder import Failure
from unmask.run.inputs.material import Material
from unmask.run.inputs.read_inputs import read_inputs
from unmask.run.models.open_model import open_model
from unmask.run.models.opened import Opened
from unmask.run.on_ray import OnRay
from unmask.run.plan import Choice, Plan, Source
from unmask.run.plan_file import read_plan
from unmask.run.plan_file import written as plan_text
from unmask.run.stored import Explained, Stored, read_run
from unmask.run.training.follow import Followed, follow
from unmask.run.training.monitor import InteractionMonitor
from unmask.run.training.record import About, Kept, Record
from unmask.run.training.schedule import log_spaced

__all__ = [
    "About",
    "Choice",
    "Engine",
    "Estimate",
    "Explained",
    "Failure",
    "Followed",
    "InteractionMonitor",
    "Kept",
    "Material",
    "OnRay",
    "Opened",
    "Outcome",
    "Plan",
    "Record",
    "Serial",
    "Source",
    "Step",
    "Stored",
    "Suggestion",
    "Wishes",
    "estimate",
    "execute",
    "follow",
    "log_spaced",
    "open_model",
    "plan_text",
    "read_inputs",
    "read_plan",
    "read_run",
    "suggest",
]
