"""The games of the convergence figure, batched by size: ``[G, S]`` instances, G families and S seeds."""

from __future__ import annotations

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from nlhf import logspace
from tabular import families, published

Array = jax.Array

MEDIUM_ACTIONS = 14  # of the published table; smaller games are padded to it, so that all share a compilation
LARGE_ACTIONS = 100
TITLES = {
    "palm2": "14 policies judged by PaLM 2",
    "three_types": "Three types of rater",
    "dice": "Intransitive dice",
    "rock_paper_scissors": "Biased rock-paper-scissors",
    "random": f"Random game, A = {MEDIUM_ACTIONS}",
    "planted": f"Planted equilibrium, A = {LARGE_ACTIONS}",
}


class Group(NamedTuple):
    """G families of games with the same number of actions.

    Attributes:
      names: G keys of ``TITLES``.
      preference: ``[G, S, A, A]``.
      log_ref: ``[G, S, B, A]`` reference at each β; ``-inf`` where a smaller game was padded.
      log_start: ``[G, S, A]`` start for the unregularised game.
    """

    names: tuple[str, ...]
    preference: Array
    log_ref: Array
    log_start: Array


def build(key: Array, num_seeds: int, betas: Array) -> tuple[Group, Group]:
    """Draw the instances: a seed draws the reference (normal logits), and the game where it is random.

    The planted family has its equilibrium drawn instead, and a reference derived from it at each β.

    Args:
      key: random key.
      num_seeds: S >= 1.
      betas: ``[B]`` KL coefficients.
    """
    _, palm2 = published.nash_md_table3()
    fixed = {
        "palm2": palm2,
        "three_types": families.three_types(0.1),
        "dice": families.dice(),
        "rock_paper_scissors": families.biased_rock_paper_scissors(),
    }
    sizes = np.array([*(len(table) for table in fixed.values()), MEDIUM_ACTIONS])
    padded = jnp.stack([jnp.asarray(_pad(table)) for table in fixed.values()])
    medium, large = _draw(key, num_seeds, padded, jnp.asarray(sizes), betas)
    return Group((*fixed, "random"), *medium), Group(("planted",), *large)


def _pad(table: np.ndarray) -> np.ndarray:
    extra = MEDIUM_ACTIONS - len(table)
    return np.pad(table, (0, extra), constant_values=0.5)


@functools.partial(jax.jit, static_argnums=1)
def _draw(
    key: Array, num_seeds: int, fixed: Array, sizes: Array, betas: Array
) -> tuple[tuple[Array, ...], ...]:
    reference_key, random_key, planted_key, nash_key = jax.random.split(key, 4)
    num_fixed, num_betas = fixed.shape[0], betas.shape[0]
    preference = jnp.concatenate(
        [
            jnp.broadcast_to(fixed[:, None], (num_fixed, num_seeds, MEDIUM_ACTIONS, MEDIUM_ACTIONS)),
            families.uniform_skew(random_key, MEDIUM_ACTIONS, num_seeds)[None],
        ]
    )
    logits = jax.random.normal(reference_key, (num_fixed + 1, num_seeds, MEDIUM_ACTIONS))
    present = jnp.arange(MEDIUM_ACTIONS)[None, None, :] < sizes[:, None, None]
    log_start = logspace.normalise(jnp.where(present, logits, -jnp.inf))
    log_ref = jnp.broadcast_to(log_start[:, :, None], (*log_start.shape[:2], num_betas, MEDIUM_ACTIONS))

    large = families.uniform_skew(planted_key, LARGE_ACTIONS, num_seeds)
    log_nash = logspace.normalise(jax.random.normal(nash_key, (num_seeds, LARGE_ACTIONS)))
    pull = jnp.einsum("sab,sb->sa", large - 0.5, jnp.exp(log_nash))
    planted_ref = logspace.normalise(log_nash[:, None] - pull[:, None] / betas[None, :, None])
    uniform = jnp.broadcast_to(logspace.uniform(LARGE_ACTIONS), (1, num_seeds, LARGE_ACTIONS))
    return (preference, log_ref, log_start), (large[None], planted_ref[None], uniform)
