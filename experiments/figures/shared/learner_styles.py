"""How figures show the methods: one label and one colour each, those of their records."""

from __future__ import annotations

from typing import NamedTuple

from nlhf import METHODS


class Style(NamedTuple):
    """How a method is shown.

    Attributes:
      label: name in legends, at curves and in tables.
      colour: colour-blind readers can tell it from the others of its kind (the palettes of Okabe and Ito for
        methods that solve games, of Paul Tol for those that learn from labels).
    """

    label: str
    colour: str


STYLES: dict[str, Style] = {
    **{name: Style(method.label, method.colour) for name, method in METHODS.items()},
    # the same methods with something changed
    "dpo_reference": Style("DPO, ref. draw", "#EE99AA"),
    "xpo_flipped": Style("XPO, flipped sign", "#555555"),
    "xpo_plain": Style("XPO, no bonus", "#9A8CD0"),
    "nash_md_token": Style("Nash-MD, mixture of tokens", "#A6761D"),
    "nash_md_decreasing": Style("Nash-MD, decreasing step", "#8C564B"),
    "omwu_last": Style("OMWU, last iterate", "#66C2A5"),
}
THEORY = "0.25"  # lines that no method made
