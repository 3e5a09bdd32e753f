"""The algorithms, one file each; ``ALGORITHMS`` is the explicit list that tests and tools iterate over."""

from collections.abc import Callable

from nlhf.algorithms.egpo import egpo
from nlhf.algorithms.ipo_md import ipo_md
from nlhf.algorithms.mpo import mpo
from nlhf.algorithms.nash_md import nash_md
from nlhf.algorithms.nash_mirror_prox import nash_mirror_prox
from nlhf.algorithms.nash_prox import nash_prox
from nlhf.algorithms.omwu import omwu
from nlhf.algorithms.online_mirror_descent import online_mirror_descent
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

__all__ = ["ALGORITHMS", *ALGORITHMS]
