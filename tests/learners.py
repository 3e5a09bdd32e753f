"""One row for every learner: its hyper-parameters, and its objective transcribed in numpy from its box.

Nothing in an objective uses the library or JAX. ``objective(ratio, rows, world, **hyper)`` takes log-ratios
``[X, A]``, the rows ``(context, first, second, label)`` and what is fixed of the world, and returns what the
next fit minimises after those comparisons alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from nlhf import LEARNERS
from nlhf.base import Algorithm
from nlhf.replay import Replay
from tabular.bandits import Bandit, make_bandit
from tabular.uncertainty import elliptic

BETA = 0.4
BANDIT = make_bandit(
    np.array([[0.9, 0.1, 0.5, 0.3], [0.2, 0.8, 0.0, 0.6]]),
    np.log([[0.1, 0.4, 0.3, 0.2], [0.25, 0.05, 0.5, 0.2]]),
    BETA,
    [0.7, 0.3],
)


class World(NamedTuple):
    """What objectives may use beside the rows.

    Attributes:
      context_prob: ``[X]``.
      reference: ``[X, A]`` probabilities.
      policy: ``[X, A]`` probabilities of the policy before the fit.
    """

    context_prob: np.ndarray
    reference: np.ndarray
    policy: np.ndarray


def differences(ratio, rows):
    """Log-ratio of the first response less that of the second, and the label."""
    context, first, second, label = rows
    return ratio[context, first] - ratio[context, second], label


def dpo(ratio, rows, world, beta, mixture):
    h, p = differences(ratio, rows)
    return np.sum(p * np.log1p(np.exp(-beta * h)) + (1 - p) * np.log1p(np.exp(beta * h)))


def ipo(ratio, rows, world, beta, mixture):
    h, p = differences(ratio, rows)
    signed = np.where(p == 1, h, -h)
    return np.sum((signed - 0.5 / beta) ** 2)


def slic(ratio, rows, world, beta, mixture, regularisation):
    h, p = differences(ratio, rows)
    signed = np.where(p == 1, h, -h)
    pull = world.context_prob @ (world.reference * ratio).sum(-1)
    return np.sum(np.maximum(0, 1 - beta * signed) - regularisation * pull)


def xpo(ratio, rows, world, optimism, beta):
    context, _, second, _ = rows
    return optimism * np.sum(ratio[context, second]) + dpo(ratio, rows, world, beta, 0.0)


def xpo_previous(ratio, rows, world, optimism, beta):
    bonus = world.context_prob @ (world.policy * ratio).sum(-1)
    return optimism * len(rows[0]) * bonus + dpo(ratio, rows, world, beta, 0.0)


def vpo(ratio, rows, world, optimism, beta):
    # the reward form: calibrated rewards, value in closed form
    reward = beta * ratio
    reward = reward - world.context_prob @ (world.reference * reward).sum(-1)
    context, first, second, p = rows
    margin = reward[context, first] - reward[context, second]
    likelihood = np.sum(-p * np.log1p(np.exp(-margin)) - (1 - p) * np.log1p(np.exp(margin)))
    value = world.context_prob @ (beta * np.log((world.reference * np.exp(reward / beta)).sum(-1)))
    return -likelihood - optimism * value


def kl_ucb(ratio, rows, world, beta, width):
    return dpo(ratio, rows, world, beta, 0.0)


def rlhf(ratio, rows, world, step_size, beta):
    return dpo(ratio, rows, world, beta, 0.0)


def cpl(ratio, rows, world, temperature, bias):
    context, first, second, p = rows
    s, t = ratio[context, first], ratio[context, second]
    winner, loser = np.where(p == 1, s, t), np.where(p == 1, t, s)
    return -np.sum(temperature * winner - np.logaddexp(temperature * winner, bias * temperature * loser))


def behaviour_cloning(ratio, rows, world, preferred):
    context, first, second, p = rows
    s, t = ratio[context, first], ratio[context, second]
    return -np.sum((1 - preferred) * (s + t) / 2 + preferred * np.where(p == 1, s, t))


class Row(NamedTuple):
    """What the suite needs to know about a learner.

    Attributes:
      hyper: its hyper-parameters but for the replay.
      objective: as the module says.
      fitted: name of the state's field that minimises the objective.
      smooth: whether the objective has gradients everywhere.
    """

    hyper: dict[str, Any]
    objective: Callable[..., float]
    fitted: str = "policy"
    smooth: bool = True


ROWS: dict[str, Row] = {
    "xpo": Row({"optimism": 0.05, "beta": BETA}, xpo),
    "vpo": Row({"optimism": 1.5, "beta": BETA}, vpo),
    "cpl": Row({"temperature": 0.5, "bias": 0.7}, cpl),
    "dpo": Row({"beta": BETA, "mixture": 0.25}, dpo),
    "ipo": Row({"beta": BETA, "mixture": 0.25}, ipo),
    "slic": Row({"beta": BETA, "mixture": 0.25, "regularisation": 0.1}, slic, smooth=False),
    "rlhf": Row({"step_size": 0.5, "beta": BETA}, rlhf, "reward"),
    "behaviour_cloning": Row({"preferred": 0.6}, behaviour_cloning),
    "kl_ucb": Row({"width": 0.3, "beta": BETA}, kl_ucb, "estimate"),
    "xpo_previous": Row({"optimism": 0.05, "beta": BETA}, xpo_previous),
}
NAMES = tuple(LEARNERS)


def make(name: str, replay: Replay, bandit: Bandit = BANDIT, **changes: Any) -> Algorithm:
    """The learner with the hyper-parameters of its row, some of them changed."""
    extra = {"uncertainty": elliptic(bandit)} if name == "kl_ucb" else {}
    return LEARNERS[name](**{**ROWS[name].hyper, **extra, **changes}, replay=replay)


def rows_of(key: jax.Array, count: int = 40) -> tuple[np.ndarray, ...]:
    """Rows in which every pair of different actions of both contexts may occur; labels at random."""
    rng = np.random.default_rng(np.asarray(jax.random.key_data(key)).tolist())
    context, first = rng.integers(2, size=count), rng.integers(4, size=count)
    second = (first + rng.integers(1, 4, size=count)) % 4
    reward = np.asarray(BANDIT.reward)
    chance = 1 / (1 + np.exp(reward[context, second] - reward[context, first]))
    return context, first, second, (rng.random(count) < chance).astype(float)
