"""The page: explained inputs as one self-contained HTML file to play with and to send on."""

from unmask.report.build import build
from unmask.report.case import Case

__all__ = ["Case", "build"]
