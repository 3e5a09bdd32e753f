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
LARGE_ACTIONS = 101  # odd: an even skew matrix with one null vector has a second, and no unique equilibrium
TITLES = {
    "palm2": "14 policies judged by PaLM 2",
    "three_types": "Three types of rater",
    "dice": "Intransitive dice",
    "rock_paper_scissors": "Biased rock-paper-scissors",
    "random": f"Random game, A = {MEDIUM_ACTIONS}",
    "planted": f"Planted equilibrium, A = {LARGE_ACTIONS}",
}


class Group(NamedTuple):
    """G families of games with the same number of actions."""

    names: tuple[str, ...]  # G keys of ``TITLES``
    preference: Array  # ``[G, S, A, A]``
    log_ref: Array  # ``[G, S, B, A]`` reference at each β; ``-inf`` where a smaller game was padded
    log_start: Array  # ``[G, S, A]`` start for the unregularised game
    # ``[G, S, A]`` planted regularised equilibrium, the same at every β; ``None`` if not planted
    log_nash: Array | None


def build(key: Array, num_seeds: int, betas: Array) -> tuple[Group, Group]:
    """Draw the instances: a seed draws the reference (normal logits), and the game where it is random.

    The planted family has its equilibria drawn instead: one of full support for β = 0, from which the matrix
    is made, and one for β > 0, from which a reference is derived at each β.

    Args:
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
    medium_key, matrix_key, nash_key = jax.random.split(key, 3)
    medium = _draw(medium_key, num_seeds, padded, jnp.asarray(sizes), len(betas))
    seed_keys = jax.random.split(matrix_key, num_seeds)
    full = [families.full_support(seed_key, LARGE_ACTIONS)[0] for seed_key in seed_keys]
    large = _plant(nash_key, jnp.asarray(np.stack(full)), betas)
    preference, log_ref, log_start = medium
    return Group((*fixed, "random"), preference, log_ref, log_start, None), Group(("planted",), *large)


def _pad(table: np.ndarray) -> np.ndarray:
    extra = MEDIUM_ACTIONS - len(table)
    return np.pad(table, (0, extra), constant_values=0.5)


@functools.partial(jax.jit, static_argnums=(1, 4))
def _draw(
    key: Array, num_seeds: int, fixed: Array, sizes: Array, num_betas: int
) -> tuple[Array, Array, Array]:
    reference_key, random_key = jax.random.split(key)
    num_fixed = fixed.shape[0]
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
    return preference, log_ref, log_start


@jax.jit
def _plant(key: Array, preference: Array, betas: Array) -> tuple[Array, Array, Array, Array]:
    num_seeds, num_actions, _ = preference.shape
    log_nash = logspace.normalise(jax.random.normal(key, (num_seeds, num_actions)))
    pull = jnp.einsum("sab,sb->sa", preference - 0.5, jnp.exp(log_nash))
    log_ref = logspace.normalise(log_nash[:, None] - pull[:, None] / betas[None, :, None])
    uniform = jnp.broadcast_to(logspace.uniform(num_actions), (1, num_seeds, num_actions))
    return preference[None], log_ref[None], uniform, log_nash[None]
