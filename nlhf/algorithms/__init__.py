"""The algorithms, one file each, in two explicit lists that tests and tools iterate over.

``ALGORITHMS`` ask the oracle for payoffs and solve games; ``LEARNERS`` ask it for labelled comparisons,
remember them, and fit their policy to them.
"""

from collections.abc import Callable

from nlhf.algorithms.behaviour_cloning import behaviour_cloning
from nlhf.algorithms.cpl import cpl
from nlhf.algorithms.dpo import dpo
from nlhf.algorithms.egpo import egpo
from nlhf.algorithms.ipo import ipo
from nlhf.algorithms.ipo_md import ipo_md
from nlhf.algorithms.kl_ucb import kl_ucb
from nlhf.algorithms.mpo import mpo
from nlhf.algorithms.nash_md import nash_md
from nlhf.algorithms.nash_mirror_prox import nash_mirror_prox
from nlhf.algorithms.nash_prox import nash_prox
from nlhf.algorithms.omwu import omwu
from nlhf.algorithms.online_mirror_descent import online_mirror_descent
from nlhf.algorithms.rlhf import rlhf
from nlhf.algorithms.slic import slic
from nlhf.algorithms.vpo import vpo
from nlhf.algorithms.xpo import xpo
from nlhf.algorithms.xpo_previous import xpo_previous
from nlhf.base import Algorithm

ALGORITHMS: dict[str, Callable[..., Algorithm]] = {
    "online_mirror_descent": online_mirror_descent,
    "nash_md": nash_md,
    "nash_mirror_prox": nash_mirror_prox,
    "nash_prox": nash_prox,
    "egpo": egpo,
    "omwu": omwu,
    "mpo": mpo,
    "ipo_md": ipo_md,
}

LEARNERS: dict[str, Callable[..., Algorithm]] = {
    "xpo": xpo,
    "vpo": vpo,
    "cpl": cpl,
    "dpo": dpo,
    "ipo": ipo,
    "slic": slic,
    "rlhf": rlhf,
    "behaviour_cloning": behaviour_cloning,
    "kl_ucb": kl_ucb,
    "xpo_previous": xpo_previous,
}

__all__ = ["ALGORITHMS", "LEARNERS", *ALGORITHMS, *LEARNERS]
