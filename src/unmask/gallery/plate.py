"""A plate: a figure of a paper made anew, with what it claims and what is found here."""

from dataclasses import dataclass

from unmask.plot import Figure


@dataclass(frozen=True)
class Finding:
    """One claim, and whether it held.

    Args:
        claim: what the figure is there to show.
        measured: what was measured here.
        holds: whether that agrees.
    """

    claim: str
    measured: str
    holds: bool


@dataclass(frozen=True)
class Plate:
    """A figure made anew on real data.

    Args:
        name: of its file, and on the command line.
        title: what it shows, in a few words.
        source: which figure of which text.
        setting: the network and the data.
        findings: its claims against what was measured.
        picture: the figure.
    """

    name: str
    title: str
    source: str
    setting: str
    findings: tuple[Finding, ...]
    picture: Figure
