"""A network of sixteen columns, whose table has four parts."""

import torch
from safetensors.torch import save_file

from run.runs import plan_for
from run.tiny import rows
from unmask.run import Choice, Source

PLAYERS = 16

# Writes down how many rows it is asked for and by whom, and does as files say.
WIDE = """
import os
import torch
from torch import nn

class Wide(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(3)
        self.inner = nn.Sequential(nn.Linear(16, 4), nn.Tanh(), nn.Linear(4, 3))

    def forward(self, x):
        with open("asked", "a") as log, open("by", "a") as by:
            log.write(f"{len(x)}\\n")
            by.write(f"{os.getpid()}\\n")
        out = self.inner(x)
        if os.path.exists("poison"):
            out = torch.where((x[:, :15] == 0).all(1)[:, None] & (x[:, 15:] != 0), torch.nan, out)
        if os.path.exists("raise") and bool((x[:, 14:] != 0).all()):
            raise RuntimeError("these two do not go together")
        return out

def wide():
    return Wide()
"""


def wide_plan(tmp_path, inputs):
    """The plan of some inputs."""
    x = torch.randn(inputs, PLAYERS, generator=torch.Generator().manual_seed(1))
    save_file({"x": x}, tmp_path / f"{inputs}.safetensors")
    return plan_for(
        tmp_path,
        rows(1),
        model="unmask_test_wide:wide",
        inputs=Source(file=str(tmp_path / f"{inputs}.safetensors")),
        baseline=Choice("constant", {"value": 0.0}),
        methods={"shapley_exact": {}},
    )
