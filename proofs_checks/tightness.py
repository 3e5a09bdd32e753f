"""How close a claim can be brought to failing inside its range, at the longest step that it covers."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from proofs_checks import ascent
from proofs_checks.claims import VARIANTS, claims_of
from proofs_checks.rows import Effort

SIZES = (3, 8)
NUM_STEPS = 6

NAMES: tuple[str, ...] = tuple(claim.name for variant in VARIANTS for claim in claims_of(variant))


def tightest(name: str, effort: Effort) -> dict[str, Any]:
    """Search for the largest measured/bound of a claim at the end of its step-size range.

    β is searched over [1e-3, 10] with the game, the equilibrium and the start; 6 steps are run.

    Args:
      name: one of ``NAMES``.
      effort: seed, and how many searches of how many gradient steps.

    Returns:
      JSON values: ``best`` (the largest ratio), ``searches``, ``by_actions`` (best and median ratio for each
      number of actions) and ``instance``, which reaches the best.
    """
    variant, regularised, names = _place(name)
    num_searches, num_ascents = effort.pick((12, 60), (96, 400))
    problem = ascent.Problem(
        weight=jnp.tile(jnp.eye(len(names))[names.index(name)], (num_searches, 1)),
        stretch=jnp.ones(num_searches),
        beta=jnp.full(num_searches, jnp.nan) if regularised else jnp.zeros(num_searches),
    )
    by_actions, best = [], None
    for size in effort.pick(SIZES[:1], SIZES):
        key = jax.random.fold_in(effort.key(name), size)
        # one compilation serves all claims of a method
        subject = ascent.subject_of(variant, names, size, NUM_STEPS)
        found = ascent.ascend(subject, num_ascents, key, problem)
        ratios = np.asarray(found.ratio)
        row = int(ratios.argmax())
        by_actions.append({"actions": size, "best": float(ratios[row]), "median": float(np.median(ratios))})
        if best is None or ratios[row] > best["ratio"]:
            best = ascent.instance_of(found, row)
    return {
        "best": best["ratio"] if best else 0.0,
        "searches": num_searches * len(by_actions),
        "by_actions": by_actions,
        "instance": best,
    }


@functools.cache
def _place(name: str) -> tuple[str, bool, tuple[str, ...]]:
    """Return the variant, whether the claim is about β > 0, and the claims that share that."""
    for variant in VARIANTS:
        for regularised in (True, False):
            names = tuple(claim.name for claim in claims_of(variant) if claim.regularised == regularised)
            if name in names:
                return variant, regularised, names
    raise KeyError(name)
