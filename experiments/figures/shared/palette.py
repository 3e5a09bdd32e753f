"""One label and one colour a method in all figures: those of its record; and of variants of methods."""

from __future__ import annotations

from typing import NamedTuple

from nlhf import METHODS
from nlhf.method import find


class Style(NamedTuple):
    """How a method is shown: its name in legends and tables, and its colour as ``#RRGGBB``.

    Colour-blind readers can tell it from the others of its kind: the palettes of Okabe and Ito for methods
    that solve games, of Paul Tol for those that learn from labels.
    """

    label: str
    colour: str


STYLES: dict[str, Style] = {
    **{name: Style(method.label, method.colour) for name, method in METHODS.items()},
    # the same methods with something changed
    "dpo_reference": Style("DPO, ref. draw", "#44AA99"),
    "xpo_flipped": Style("XPO, flipped sign", "#555555"),
    "xpo_plain": Style("XPO, no bonus", "#9A8CD0"),
    "nash_md_token": Style("Nash-MD, mixture of tokens", "#A6761D"),
    "nash_md_decreasing": Style("Nash-MD, decreasing step", "#8C564B"),
    "omwu_last": Style("OMWU, last iterate", "#66C2A5"),
    "cpl_half": Style("CPL, λ = 1/2", "#7FA6D9"),
    "cpl_partial_return": Style("CPL, labels by partial return", "#BB5566"),
    "cloning_all": Style("cloning all", "#BBBBBB"),
}
THEORY = "0.25"  # lines that no method made
STRANGERS = ("#6A51A3", "#B2182B", "#1B7837", "#C51B7D")  # for methods whose records name no colour


def style(name: str) -> Style:
    """Return label and colour of a key of ``STYLES``, or of any method as ``nlhf.find`` takes it.

    >>> style("egpo").label
    'EGPO'
    """
    if name in STYLES:
        return STYLES[name]
    method = find(name)
    return Style(method.label or name, method.colour or STRANGERS[sum(name.encode()) % len(STRANGERS)])


def label(name: str) -> str:
    """Return the label of ``style``."""
    return style(name).label


def colour(name: str) -> str:
    """Return the colour of ``style``."""
    return style(name).colour
