"""The data of ``cpl-consistency``: random MDPs, pairs of segments, labels by regret and by partial return."""

from __future__ import annotations

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.figures.cpl_consistency.config import Config
from nlhf.base import Comparisons
from nlhf.segments import Segments
from tabular.mdps.families import random_mdp
from tabular.mdps.mdp import MDP
from tabular.mdps.segments import draw_segments, partial_return, soft_regret

Array = jax.Array
LENGTH = 3  # steps of a segment
RULES = {"regret": soft_regret, "return": partial_return}


class Data(NamedTuple):
    """Pairs of segments of N runs, and what their labels come from; NumPy arrays."""

    first: Segments  # ``[N, R, T]``
    second: Segments  # likewise
    probability: dict[str, np.ndarray]  # by rule, ``[N, R]``, that the first is preferred
    chance: np.ndarray  # ``[N, K, R]`` uniform in [0, 1), one for each label of each pair


def random_mdps(config: Config) -> MDP:
    """Random MDPs, one a run, with one more state, terminal and never reached: the rest of short segments."""

    def one(key: Array) -> MDP:
        mdp = random_mdp(
            key, config.num_states, config.num_actions, discount=config.discount, beta=config.temperature
        )
        ends = jnp.zeros((1, config.num_actions, config.num_states + 1)).at[..., -1].set(1.0)
        return mdp._replace(
            transition=jnp.concatenate([jnp.pad(mdp.transition, ((0, 0), (0, 0), (0, 1))), ends]),
            reward=jnp.pad(mdp.reward, ((0, 1), (0, 0))),
            log_ref=jnp.pad(mdp.log_ref, ((0, 1), (0, 0))),
            initial=jnp.pad(mdp.initial, (0, 1)),
            terminal=jnp.arange(config.num_states + 1) == config.num_states,
        )

    return jax.jit(jax.vmap(one))(_keys(config, 0))


def _keys(config: Config, purpose: int) -> Array:
    """One key a run; more seeds add runs and leave the others as they are."""
    root = jax.random.fold_in(jax.random.key(config.seed), purpose)
    return jax.vmap(lambda row: jax.random.fold_in(root, row))(jnp.arange(config.seeds * config.mdps))


def draw(config: Config, mdps: MDP, purpose: int, length: int, *, same: bool = False) -> Data:
    """Draw pairs of segments, filled up to 3 steps with the terminal state, and their labels' chance.

    Args:
      config: how many, and the root of the draws.
      purpose: a number that keeps the draws of the panels apart.
      length: steps of a segment, 1 to 3.
      same: whether both segments start in one state.
    """
    shape = (config.pairs, 2**config.doublings)
    keys = _keys(config, purpose)
    return Data(*jax.tree.map(np.asarray, _pairs(keys, mdps, np.asarray(length), np.asarray(same), shape)))


@functools.partial(jax.jit, static_argnums=4)
def _pairs(keys: Array, mdps: MDP, length: Array, same: Array, shape: tuple[int, int]) -> tuple:
    (pairs, repeats), last = shape, mdps.num_states - 1

    def one(key: Array, mdp: MDP) -> tuple:
        start_key, walk_key, label_key = jax.random.split(key, 3)
        start = jax.random.randint(start_key, (2 * pairs,), 0, last)
        start = jnp.where(same, jnp.tile(start[:pairs], 2), start)
        # one walk for both sides, and cut where a segment is shorter: one program for all panels
        both = draw_segments(walk_key, mdp, 2 * pairs, LENGTH, start=start)
        kept = jnp.broadcast_to(jnp.arange(LENGTH) < length, both.states.shape)
        both = Segments(jnp.where(kept, both.states, last), jnp.where(kept, both.actions, 0))
        first = jax.tree.map(lambda leaf: leaf[:pairs], both)
        second = jax.tree.map(lambda leaf: leaf[pairs:], both)
        probability = {
            name: jax.nn.sigmoid(rule(mdp, first) - rule(mdp, second)) for name, rule in RULES.items()
        }
        return first, second, probability, jax.random.uniform(label_key, (repeats, pairs))

    return jax.vmap(one)(keys, mdps)


def labelled(data: Data, rule: str, n: int | None, *, exact: bool = False) -> Comparisons:
    """Label n times, the pairs in order and then all of them evenly; ``None`` is each pair once, exactly.

    Args:
      data: pairs of N runs.
      rule: key of ``RULES``.
      n: at most the number of pairs, or a multiple of it.
      exact: whether the labels are probabilities; the loss is linear in them.
    """
    label, pairs = data.probability[rule], data.chance.shape[-1]
    repeats = 1 if n is None else max(n // pairs, 1)
    if n is not None and not exact:
        label = (data.chance[:, :repeats] < label[:, None]).mean(1)
    weight = np.where(np.arange(pairs) < (pairs if n is None else n), float(repeats), 0.0)
    context, weights = data.first.states[..., 0], np.broadcast_to(weight, label.shape)
    return Comparisons(context, data.first, data.second, label, weights)  # type: ignore[arg-type]


def unseen_mass(data: Comparisons, policies: np.ndarray) -> np.ndarray:
    """Return ``[L, N]`` the mass on unseen actions, averaged over the states seen with some action unseen.

    Args:
      data: N data sets of segments of one step.
      policies: ``[L, N, S, A]``.
    """
    shape = policies.shape[1:]
    seen = np.zeros(shape, bool)
    for row, present in enumerate(np.asarray(data.weight) > 0):
        for side in (data.first, data.second):
            states, actions = (np.asarray(leaf)[row, present, 0] for leaf in (side.states, side.actions))
            seen[row, states, actions] = True
    counted = seen.any(-1) & ~seen.all(-1)
    mass = np.where(seen, 0.0, np.exp(policies)).sum(-1)
    return (mass * counted).sum(-1) / np.maximum(counted.sum(-1), 1)
