"""Two responses, one of which the reference hardly plays: the instances on which exploration is judged.

The rewards are (1, 1/2) or (0, 1/2) and the reference plays the first response with probability exp(-1/(8β)):
it is worth finding, or worth leaving alone. Runs are the library's; ``jump`` simulates online DPO in numpy.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import expit

from nlhf import dpo, vpo
from nlhf.algorithms.xpo import step as xpo_step
from nlhf.base import Algorithm
from nlhf.learning import init, learner
from proofs_checks.learners.labels import arms, gaps
from proofs_checks.learners.xpo_lemmas import rare_log_ref
from proofs_checks.rows import Effort
from tabular.bandits import Bandit
from tabular.replay import counts
from tabular.spaces.finite_class import finite_class

SOLVED = 1 / 8  # a gap below it: the proposition's level
GOOD, BAD = 1.0, 0.0  # reward of the rare response; the other's is 1/2
Array = jax.Array


def grid(size: int = 9, low: float = -1.0) -> np.ndarray:
    """``[M]`` differences of reward, ordered so that ties go to the reference."""
    values = np.linspace(low, 1.0, size)
    return values[np.argsort(np.abs(values), kind="stable")]


CLASSES = {
    "grid": grid(),
    "paper": np.array([0.0, 0.5]),  # the reference and the optimum
    "one-sided": grid(5, 0.0),
}
SPACE = finite_class(np.stack([CLASSES["grid"], 0 * CLASSES["grid"]], 1)[:, None])


def rare(inverse_beta: np.ndarray, reward: np.ndarray) -> Bandit:
    """N bandits, with 1/β ``[N]`` and the reward ``[N]`` of the rare response."""
    both = np.stack([reward, np.full(len(reward), 0.5)], 1)
    return arms(both, rare_log_ref(inverse_beta), 1 / np.asarray(inverse_beta, float))


def _xpo(scale: Any, beta: Any) -> Algorithm:
    # xpo() itself, which refuses the flipped sign that the controls need
    return learner(init, xpo_step, counts(1, 2), optimism=scale * beta, beta=beta)


# ``make(scale, beta)``, scale: α/β of XPO (of any sign), α of VPO, no matter to DPO
METHODS: dict[str, Callable[[Any, Any], Algorithm]] = {
    "xpo": _xpo,
    "dpo": lambda scale, beta: dpo(beta, 0 * beta, counts(1, 2)),
    "vpo": lambda scale, beta: vpo(scale, beta, counts(1, 2)),
}


def hitting(gap: np.ndarray) -> np.ndarray:
    """Comparisons made before the first solved iterate; the length of the run where there is none."""
    solved = gap < SOLVED
    return np.where(solved.any(1), solved.argmax(1), gap.shape[1] - 1)


def wait(
    rng: np.random.Generator,
    num_seeds: int,
    values: np.ndarray,
    choose: Callable[[np.ndarray], np.ndarray],
    solved: np.ndarray,
    inform: np.ndarray,
    won: float,
    cap: float = np.inf,
) -> np.ndarray:
    """Comparisons until the chosen policy is a solved one, ``[num_seeds]``, exact in distribution.

    A pair of equal responses changes nothing, so the rounds until the next one that tells something are
    geometric; the state is how often the rare response won and lost.

    Args:
      values: ``[M]`` differences of reward of the class.
      choose: losses ``[num_seeds, M]`` to indices of policies.
      solved: ``[M]``.
      inform: ``[M]`` chance that a pair is of different responses.
      won: chance that the rare response wins.
      cap: where times are cut off.
    """
    wins, losses, time = np.zeros((3, num_seeds))
    waiting = np.ones(num_seeds, bool)
    while waiting.any():
        policy = choose(wins[:, None] * np.logaddexp(0, -values) + losses[:, None] * np.logaddexp(0, values))
        waiting &= ~solved[policy] & (time < cap)
        # inverse transform: numpy's own geometric draws overflow where the rate is tiny
        rounds = np.maximum(np.ceil(np.log(rng.random(num_seeds)) / np.log1p(-inform[policy])), 1.0)
        label = rng.random(num_seeds) < won
        time = np.where(waiting, np.minimum(time + rounds, cap), time)
        wins, losses = wins + (waiting & label), losses + (waiting & ~label)
    return time


def jump(
    rng: np.random.Generator,
    inverse_beta: float,
    num_seeds: int,
    cap: float = 1e12,
    policies: str = "grid",
    both: float = 2.0,
) -> np.ndarray:
    """Hitting times of online DPO on the good instance, at most ``cap``, as ``wait`` draws them.

    A pair of different responses is drawn in ``both`` orders, 2; ``policies`` is a key of ``CLASSES``.
    """
    beta, values = 1 / inverse_beta, CLASSES[policies]
    log_ref = rare_log_ref(np.array([inverse_beta]))[0]
    # log-odds of the rare response in each policy; the optimum's difference is 1/2
    odds = log_ref[0] - log_ref[1] + values / beta
    best = log_ref[0] - log_ref[1] + 0.5 / beta
    chance, share = expit(odds), expit(-odds)
    gap = beta * (
        chance * (np.log(chance) - np.log(expit(best))) + share * (np.log(share) - np.log(expit(-best)))
    )
    inform = np.maximum(both * chance * share, 1e-300)

    def choose(loss: np.ndarray) -> np.ndarray:
        return np.round(loss, 12).argmin(1)

    return wait(rng, num_seeds, values, choose, gap < SOLVED, inform, expit(0.5), cap)


INVERSE_BETAS = np.array([60.0, 200.0, 800.0])
WAITING = np.array([24.0, 32.0, 40.0, 56.0, 72.0, 96.0])  # 1/β at which hitting times are measured
SCALES = np.array([1e-3, 3e-3, 1e-2, 3e-2, 1e-1])  # α/β of the sweep
OPTIMISM = 0.6  # times β/√T: ours, the theorem's up to its constant
FIXED = 0.03  # α/β where no horizon is meant
ABLATION = (60.0, 400)  # 1/β and comparisons of the ablation
SIGN = (100.0, 1600)  # 1/β and comparisons of the flipped sign


class Batch:
    """Runs to be made together: parts by name, each a grid of settings times seeds.

    Seeds of one part share their keys over the grid, so that settings are compared on common draws.
    """

    def __init__(self) -> None:
        self.columns: list[np.ndarray] = []
        self.keys: list[Array] = []
        self.shapes: dict[str, tuple[int, ...]] = {}

    def add(self, key: Array, name: str, scale: Any, inverse_beta: Any, reward: Any, num_seeds: int) -> None:
        """Ask for ``[scale, inverse_beta, reward, num_seeds]`` runs."""
        axes = [np.atleast_1d(np.asarray(axis, float)) for axis in (scale, inverse_beta, reward)]
        mesh = np.meshgrid(*axes, np.arange(num_seeds), indexing="ij")
        self.columns.append(np.stack([axis.reshape(-1) for axis in mesh[:3]]))
        seeds = jax.random.split(jax.random.fold_in(key, len(self.shapes)), num_seeds)
        self.keys.append(jnp.tile(seeds, mesh[0].size // num_seeds))
        self.shapes[name] = mesh[0].shape

    def play(self, method: str, num_steps: int) -> dict[str, np.ndarray]:
        """Gaps ``[scale, inverse_beta, reward, num_seeds, num_steps + 1]`` of every part, of one program."""
        scale, inverse_beta, reward = np.concatenate(self.columns, 1)
        bandit = rare(inverse_beta, reward)
        methods = jax.vmap(METHODS[method])(jnp.asarray(scale, float), bandit.beta)
        found = gaps(methods, bandit, jnp.concatenate(self.keys), num_steps, SPACE)
        ends = np.cumsum([int(np.prod(shape)) for shape in self.shapes.values()])
        parts = zip(self.shapes.items(), np.split(found, ends[:-1]), strict=True)
        return {name: part.reshape(*shape, -1) for (name, shape), part in parts}


HORIZONS = np.array([400, 1600, 6400])  # T of the regret rows; below a few hundred no rate shows yet
SHORT = 1600  # comparisons of all other runs of XPO


@functools.cache
def regret_runs(effort: Effort) -> dict[str, np.ndarray]:
    """Runs of XPO with an optimism for each T; and without optimism, and with the flipped sign."""
    root, batch = OPTIMISM / np.sqrt(HORIZONS), Batch()
    add = functools.partial(batch.add, effort.key("regret_runs"))
    add("right", root, INVERSE_BETAS, [GOOD, BAD], effort.pick(16, 48))
    add("wrong", [0.0, -root[-1]], INVERSE_BETAS, [GOOD, BAD], effort.pick(8, 16))
    return batch.play("xpo", int(HORIZONS[-1]))


@functools.cache
def xpo_runs(effort: Effort) -> dict[str, np.ndarray]:
    """The other runs of XPO that rows judge; a negative scale is the flipped sign, 0 is no optimism."""
    seeds, batch = effort.pick(16, 48), Batch()
    add = functools.partial(batch.add, effort.key("xpo_runs"))
    add("sweep", SCALES, 200.0, [GOOD, BAD], seeds)
    add("flat", [0.0, -FIXED], 200.0, [GOOD, BAD], seeds)
    add("ablation", [0.0, FIXED], ABLATION[0], [GOOD, BAD], 20)
    add("sign", [FIXED, -FIXED], SIGN[0], GOOD, 20)
    add("waiting", FIXED, WAITING, GOOD, 20)
    return batch.play("xpo", SHORT)


@functools.cache
def dpo_runs(effort: Effort) -> dict[str, np.ndarray]:
    """All runs of online DPO that rows judge."""
    batch = Batch()
    add = functools.partial(batch.add, effort.key("dpo_runs"))
    add("waiting", 0.0, WAITING[: effort.pick(3, 4)], GOOD, 200)
    add("ablation", 0.0, ABLATION[0], [GOOD, BAD], 20)
    add("regret", 0.0, INVERSE_BETAS, [GOOD, BAD], 12)
    return batch.play("dpo", effort.pick(1600, 4096))
