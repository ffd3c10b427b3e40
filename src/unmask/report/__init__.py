"""The page: explained inputs as one self-contained HTML file to play with and to send on."""

from unmask.report.build import build
from unmask.report.case import Case
from unmask.report.compare.build import build_comparison
from unmask.report.dynamics.build import build_dynamics

__all__ = ["Case", "build", "build_comparison", "build_dynamics"]
