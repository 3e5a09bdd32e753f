"""XPO's regret against its theorem, with the theorem's optimism and a constant of ours.

At the horizons that can be run the bound with constant 1 exceeds any regret, as exp(2 R_max) and the
logarithms are large. With 1/64 it does not, and online DPO breaks it on the instances of ``rare``.
"""

from __future__ import annotations

import functools
import itertools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import log_softmax

from nlhf.algorithms.xpo import step as xpo_step
from nlhf.base import Algorithm
from nlhf.learning import init, learner
from proofs_checks.learners import rare
from proofs_checks.learners.labels import arms, copies, gaps
from proofs_checks.learners.outcomes import judged, log_slope
from proofs_checks.learners.xpo_lemmas import PAPER, rare_log_ref
from proofs_checks.rows import Check, Effort, Outcome, check_of
from tabular.replay import counts
from tabular.spaces.finite_class import finite_class

BETA, ACTIONS, SHARE = 0.25, 3, 1 / 64
FAILURE = 0.1  # δ
CONSTANT = 0.5  # α/β of the control, which does not shrink with T
Array = jax.Array


_QUARTERS = np.array(list(itertools.product(np.linspace(0, 1, 5), repeat=ACTIONS)))
# ``[125, A]`` rewards in quarters, the middle first: ties go there
CLASS = _QUARTERS[np.argsort(np.abs(_QUARTERS - 0.5).sum(1), kind="stable")]
SPACE = finite_class(CLASS[:, None])


class Constants(NamedTuple):
    """What the theorem depends on, each ``[N]``: V_max + R_max and C_cov of N classes, and their size."""

    scale: np.ndarray
    coverability: np.ndarray
    size: int

    def log_term(self, horizon: np.ndarray) -> np.ndarray:
        """``log(|Π| T/δ)``."""
        return np.log(self.size * horizon / FAILURE)

    def optimism(self, horizon: np.ndarray) -> np.ndarray:
        """α/β of the theorem with constant 1; R_max = 1."""
        inside = self.log_term(horizon) / (horizon * self.coverability)
        return np.sqrt(inside) / (self.scale * np.exp(2))

    def bound(self, horizon: np.ndarray) -> np.ndarray:
        """Its regret bound with constant 1."""
        inside = self.coverability * self.log_term(horizon) * np.log(horizon) ** 2 / horizon
        return self.scale * np.exp(2) * np.sqrt(inside)


def constants(log_ref: np.ndarray, rewards: np.ndarray, beta: np.ndarray) -> Constants:
    """Those of rewards ``[M, A]``, at N references ``log_ref`` ``[N, A]`` and β ``[N]``."""
    ratio = log_softmax(log_ref[:, None] + rewards / beta[:, None, None], axis=-1) - log_ref[:, None]
    largest = (beta[:, None, None] * np.abs(ratio)).max((1, 2))
    cover = np.exp(ratio + log_ref[:, None]).max(1).sum(-1)
    return Constants(largest + 1, cover, len(rewards))


def _method(optimism: Array) -> Algorithm:
    return learner(init, xpo_step, counts(1, ACTIONS), optimism=optimism, beta=jnp.full((), BETA))


@functools.cache
def small_class(effort: Effort) -> tuple[np.ndarray, ...]:
    """Mean regret of XPO on N random bandits, rewards drawn from the class of 125.

    Returns:
      ``[3]`` T, ``[3, N]`` regret over the first T comparisons with the theorem's optimism for T, with an
      optimism that does not depend on T, and the bound.
    """
    count, rng = effort.pick(12, 24), effort.rng("small_class")
    horizon = np.array(effort.pick((100, 400, 1600), (250, 1000, 4000)))
    log_ref = log_softmax(1.5 * rng.normal(size=(count, ACTIONS)), axis=-1)
    reward = CLASS[rng.integers(len(CLASS), size=count)]
    known = constants(log_ref, CLASS, np.full(count, BETA))
    column = horizon[:, None].astype(float)
    scale = np.concatenate([known.optimism(column), np.full((1, count), CONSTANT)])
    found = gaps(
        jax.vmap(_method)(jnp.asarray(BETA * scale.reshape(-1))),
        copies(arms(reward, log_ref, BETA), 4),
        jnp.tile(jax.random.split(effort.key("small_class"), count), 4),
        int(horizon[-1]),
        SPACE,
    ).reshape(4, count, -1)
    regret, constant = (
        np.array([found[which, :, :stop].mean(-1) for which, stop in zip(rows, horizon, strict=True)])
        for rows in (range(3), (3, 3, 3))
    )
    return horizon, regret, constant, known.bound(column)


def _exponent(effort: Effort) -> Outcome:
    horizon, regret, constant, _ = small_class(effort)
    right, wrong = (-log_slope(horizon, each.mean(1)) for each in (regret, constant))
    return judged(
        0.4 / right,
        "the optimism β/2 at every horizon",
        0.4 / max(wrong, 1e-3),
        instances=regret.size,
        detail={"exponent": right, "at a constant optimism": wrong},
        beta=BETA,
        policies=len(CLASS),
    )


def _bound(effort: Effort) -> Outcome:
    (_, regret, _, bound), horizon = small_class(effort), rare.HORIZONS
    # the mean over seeds and instances of each T and 1/β
    level = np.array(
        [
            each[..., :stop].mean((-1, -2)).max(-1)
            for each, stop in zip(rare.regret_runs(effort)["right"], horizon, strict=True)
        ]
    )
    values = np.stack([rare.CLASSES["grid"], 0 * rare.CLASSES["grid"]], 1)
    known = constants(rare_log_ref(rare.INVERSE_BETAS), values, 1 / rare.INVERSE_BETAS)
    waiting = rare.dpo_runs(effort)["regret"][0, :, 0]
    stop = waiting.shape[-1] - 1
    ratios = {
        "random bandits": (regret / bound).max(),
        "rare response": (level / known.bound(horizon[:, None].astype(float))).max(),
    }
    other = waiting[..., :stop].mean((-1, -2)) / known.bound(np.array(float(stop)))
    return judged(
        max(ratios.values()) / SHARE,
        "online DPO in its place, on the rare response",
        other.max() / SHARE,
        instances=regret.size + level.size,
        detail={f"regret over the bound with c = 1, {name}": value for name, value in ratios.items()},
        horizon=horizon.tolist(),
    )


_row = functools.partial(check_of, kind="scaling", status="empirical")
CHECKS: tuple[Check, ...] = (
    _row(
        "xpo.small_class_exponent",
        "with α proportional to β √(log T/T) XPO's mean regret falls like T^-c, c >= 0.4",
        "random bandits of 3 responses, 125 policies, β = 1/4, the theorem's α",
        _exponent,
        source=f"{PAPER}, Theorem 3.1 (there 1/2 up to logarithms)",
    ),
    _row(
        "xpo.regret_bound",
        "XPO's mean regret <= c (V_max + R_max) e^(2 R_max) √(C_cov log(|Π| T/δ) log² T / T), c = 1/64",
        "those bandits, and the rare responses at 1/β in (60, 200, 800), the worse of the two; δ = 0.1",
        _bound,
        source=f"{PAPER}, Theorem 3.1, with a constant of ours",
    ),
)
