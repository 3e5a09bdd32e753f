"""Settings of ``cpl-consistency``."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Config:
    """Settings of the figure.

    Attributes:
      seeds: data sets with MDPs of their own, for each of ``mdps``, 1 to 1000.
      mdps: random MDPs a seed, >= 1; intervals are over all runs, seeds times mdps.
      num_actions: A.
      temperature: α of the labeller, in units of the standard deviation of the rewards, > 0.
      discount: in (0, 1).
      pairs: pairs of segments in a data set.
      doublings: the largest n is ``pairs`` times 2 to this power.
      biases: λ of the sweep, rising, in (0, 1].
      discounts: of the sweep over discounts, rising, in (0, 1).
    """

    seeds: int = 10
    mdps: int = 8
    num_states: int = 6
    num_actions: int = 4
    temperature: float = 0.5
    discount: float = 0.9
    pairs: int = 512
    doublings: int = 7
    biases: tuple[float, ...] = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0)
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
