"""Settings of ``cpl-consistency``."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Config:
    """Settings of the figure."""

    seeds: int = 10  # data sets with MDPs of their own, for each of ``mdps``, 1 to 1000
    mdps: int = 8  # random MDPs a seed, >= 1; intervals are over all runs, seeds times mdps
    num_states: int = 6
    num_actions: int = 4  # A
    temperature: float = 0.5  # α of the labeller, in units of the standard deviation of the rewards, > 0
    discount: float = 0.9  # in (0, 1)
    pairs: int = 512  # pairs of segments in a data set
    doublings: int = 7  # the largest n is ``pairs`` times 2 to this power
    biases: tuple[float, ...] = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0)  # λ of the sweep, rising, in (0, 1]
    # of the sweep over discounts, rising, in (0, 1)
    discounts: tuple[float, ...] = (0.01, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 0.98)
    seed: int = 0


def quick(config: Config) -> Config:
    """A smaller version for smoke runs: two MDPs a seed, at most 4 seeds, and n to 8192."""
    return dataclasses.replace(
        config,
        seeds=min(config.seeds, 4),
        mdps=2,
        doublings=4,
        biases=config.biases[1::2] + config.biases[-1:],
        discounts=config.discounts[1::2],
    )
