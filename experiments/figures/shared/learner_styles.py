"""The methods that learn from labels as figures show them: one label and one colour each, in every figure."""

from __future__ import annotations

from typing import NamedTuple


class Learner(NamedTuple):
    """How a method is shown.

    Attributes:
      label: name in legends, at curves and in tables.
      colour: colour-blind readers can tell it from the others (the palette of Okabe and Ito, with a brown).
    """

    label: str
    colour: str


LEARNERS: dict[str, Learner] = {
    "dpo": Learner("online DPO", "#D55E00"),
    "dpo_reference": Learner("DPO, ref. draw", "#E69F00"),
    "xpo": Learner("XPO", "#0072B2"),
    "xpo_flipped": Learner("XPO, flipped sign", "#000000"),
    "xpo_previous": Learner("XPO, prev. draw", "#CC79A7"),
    "vpo": Learner("VPO", "#009E73"),
    "kl_ucb": Learner("KL-UCB", "#56B4E9"),
    "ipo": Learner("IPO", "#8C564B"),
    "slic": Learner("SLiC", "#999999"),
    "rlhf": Learner("RLHF", "#6A51A3"),
}
THEORY = "0.25"  # lines that no method made
