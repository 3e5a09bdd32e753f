"""Figure ``cpl-cartpole``: contrastive preference learning on CartPole rollouts, against behaviour cloning.

Segments of expert rollouts with noise injected are compared in pairs, labelled by regret (the optimal
advantage of maximum-entropy control, from a grid), and networks are trained on N such pairs by the algorithm
files that run on tables: CPL with λ = 1 and λ = 1/2, cloning of all segments and of the preferred ones, and,
as a control, CPL on labels by partial return, which is the same for all segments that stay upright. Policies
are judged by returns in the environment, at most 500, taking the likelier action or drawing one, and by their
distance ``E KL(π*‖π)`` from the maximum-entropy optimum on states of fresh segments.

Expected: CPL on regret labels comes closest to π*, and drawing its actions keeps the pole up for several
times as long as drawing those of a clone, which are as noisy as the data. CPL on partial-return labels learns
nothing. λ = 1/2 helps where comparisons are few. The likelier action is another matter: noise that is as
often left as right leaves the expert's action the likelier one of a clone, so cloning the preferred segments
does as well there as CPL, or better; the advantage of CPL is in the policy, not in its mode.
"""

from __future__ import annotations

import dataclasses
import functools
from concurrent.futures import ThreadPoolExecutor

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

from experiments.figures.cpl_cartpole import data as cartpole_data
from experiments.figures.cpl_cartpole import environment as cartpole
from experiments.figures.cpl_cartpole import value as cartpole_value
from experiments.figures.shared.curves import Announce, Brief, Curve, announced, bootstrap, check_seeds, curve
from nlhf import actor_space, actors, behaviour_cloning, cpl, datasets
from nlhf.base import Algorithm, Comparisons, Oracle
from nlhf.replay import Replay, latest
from tabular.many import num_workers

Array = jax.Array
# method, its number (λ of CPL, c of cloning), the rule of its labels
METHODS: dict[str, tuple[str, float, str]] = {
    "cpl": ("cpl", 1.0, "regret"),
    "cpl_half": ("cpl", 0.5, "regret"),
    "cloning_preferred": ("cloning", 1.0, "regret"),
    "cloning_all": ("cloning", 0.0, "regret"),
    "cpl_partial_return": ("cpl", 1.0, "partial_return"),
}
METRICS = ("greedy", "drawn", "distance")


@dataclasses.dataclass(frozen=True)
class Config:
    """Settings of the figure."""

    seeds: int = 8  # data sets, networks and trainings a point, >= 2
    pairs: tuple[int, ...] = (30, 100, 300, 1000, 3000)  # N, numbers of comparisons
    # folder with ``cartpole.npz``; ``None`` is our own controller in our own equations
    data: str | None = None
    length: int = 20  # T, steps of a segment
    noise: float = 1.0  # largest share of replaced actions
    temperature: float = 1.0  # α of the maximum-entropy objective, of labels and of CPL
    grid: tuple[int, int, int, int] = (13, 13, 17, 17)  # corners along x, x', θ, θ'
    width: int = 32
    batch: int = 32
    updates: int = 1000
    learning_rate: float = 3e-3
    episodes: int = 20  # played by each trained network, in either way
    seed: int = 0


def quick(config: Config) -> Config:
    """A smaller version for smoke runs: 3 seeds, 2 numbers of comparisons, short training, a coarse grid."""
    return dataclasses.replace(
        config, seeds=min(config.seeds, 3), pairs=(30, 300), grid=(9, 9, 11, 11), updates=200, episodes=8
    )


@dataclasses.dataclass(frozen=True, repr=False)
class Result(Brief):
    """Everything the figure and the table are drawn from."""

    config: Config
    # by metric, method by method: means over seeds with 95 % bootstrap intervals
    curves: dict[str, list[Curve]]
    # mean return of the data's episodes ("expert"), of the likelier action of π* ("optimum"), of draws from
    # it ("optimum drawn") and of coin flips ("random")
    references: dict[str, float]
    # median and 90 % quantile of the soft Bellman residual of the grid between its corners, on states of
    # segments, relative to 1/(1 - discount)
    residual: tuple[float, float]
    label_agreement: float  # share of regret labels that name the segment of larger Σ A*


@announced
def run(config: Config, progress: Announce) -> Result:
    """Solve the grid, draw data, train and judge.

    Raises:
      InputError: if there are fewer than 2 seeds, or the data cannot be read.
    """
    check_seeds(config.seeds, least=2)
    total = len(METHODS) + 2
    own_key, state_key, play_key, *keys = jax.random.split(jax.random.key(config.seed), 3 + config.seeds)
    # before the work, so that a file that cannot be read is reported at once
    given = None if config.data is None else cartpole_data.read_rollouts(config.data)
    progress("solving the grid", total)
    grid = cartpole_value.solve(config.grid, temperature=config.temperature)
    rollouts = cartpole_data.own_rollouts(own_key) if given is None else given
    progress("drawing comparisons", total)
    stacked, agreement = _draw(config, rollouts, grid, keys)
    fresh = cartpole_data.draw_segments(state_key, rollouts, 200, config.length, config.noise)
    states = fresh.states.reshape(-1, 4)

    def call(kind: str) -> dict[str, tuple[Array, ...]]:
        found = {}
        for name in METHODS:
            if METHODS[name][0] == kind:
                progress(f"training {name.replace('_', ' ')}", total)
                found[name] = _measured(config, name, stacked[METHODS[name][2]], keys, grid, states)
        return found

    # a thread for each compiled program: methods of one kind differ in numbers only
    with ThreadPoolExecutor(num_workers()) as pool:
        parts = list(pool.map(call, ("cpl", "cloning")))
    found = {name: measured for part in parts for name, measured in part.items()}
    shape = (len(config.pairs), config.seeds)
    curves = {
        metric: [
            curve(name, config.pairs, bootstrap(np.reshape(found[name][place], shape).T, resamples=4000))
            for name in METHODS
        ]
        for place, metric in enumerate(METRICS)
    }
    residual = cartpole_value.quality(grid, states)
    return Result(
        config,
        curves,
        _references(config, rollouts, grid, play_key),
        (float(jnp.median(residual)), float(jnp.quantile(residual, 0.9))),
        agreement,
    )


def _draw(
    config: Config, rollouts: cartpole_data.Rollouts, grid: cartpole_value.Grid, keys: list[Array]
) -> tuple[dict[str, Comparisons], float]:
    """Return data sets ``[numbers x seeds, largest number, ...]`` by rule, and the labels' agreement.

    The rules label the same segments; rows beyond N have weight 0.
    """
    most = max(config.pairs)
    sets: dict[str, list[Comparisons]] = {rule: [] for rule in cartpole_data.LABELS}
    agreements = []
    for key in keys:
        segment_key, label_key = jax.random.split(jax.random.fold_in(key, 0))
        both = cartpole_data.draw_segments(segment_key, rollouts, 2 * most, config.length, config.noise)
        first, second = (jax.tree.map(lambda column, i=i: column[i::2], both) for i in (0, 1))
        for rule in sets:
            labels = cartpole_data.label(label_key, grid, first, second, rule)
            sets[rule].append(cartpole_data.scaled(first, second, labels))
        larger = cartpole_data.total_advantage(grid, first) > cartpole_data.total_advantage(grid, second)
        agreements.append(float((larger == (sets["regret"][-1].prefer_first > 0.5)).mean()))
    stacked = {
        rule: jax.tree.map(
            lambda *columns: jnp.stack(columns),
            *(
                one._replace(weight=(jnp.arange(most) < num).astype(one.weight.dtype))
                for num in config.pairs
                for one in parts
            ),
        )
        for rule, parts in sets.items()
    }
    return stacked, float(np.mean(agreements))


def _method(name: str, config: Config, replay: Replay) -> Algorithm:
    kind, number, _ = METHODS[name]
    if kind == "cpl":
        return cpl(config.temperature, number, replay)
    return behaviour_cloning(number, replay)


def _measured(
    config: Config, name: str, data: Comparisons, keys: list[Array], grid: cartpole_value.Grid, states: Array
) -> tuple[Array, ...]:
    """Each of ``METRICS``, for every number of comparisons and every seed, in one row."""
    count = len(config.pairs) * config.seeds
    one = [jax.tree.map(lambda column, row=row: column[row], data) for row in range(count)]
    oracles = [datasets.minibatches(part, config.batch) for part in one]
    oracle = jax.tree.map(lambda *leaves: jnp.stack(leaves), *oracles)
    replay = latest(oracles[0].duel(jax.random.key(0), None, None))
    run_keys = jnp.stack([jax.random.fold_in(key, 1) for _ in config.pairs for key in keys])
    return _train_and_judge(config, _method(name, config, replay), oracle, run_keys, grid, states)


@functools.partial(jax.jit, static_argnums=0)
def _train_and_judge(
    config: Config,
    method: Algorithm,
    oracle: Oracle,
    keys: Array,
    grid: cartpole_value.Grid,
    states: Array,
) -> tuple[Array, ...]:
    def one(inputs: tuple[Oracle, Array]) -> tuple[Array, ...]:
        oracle, key = inputs
        start_key, train_key, judge_key = jax.random.split(key, 3)
        network = actors.init(start_key, (4, config.width, config.width, 2), jnp.float32)
        space = actor_space.actor_space(network, actors.categorical, learning_rate=config.learning_rate)
        state = datasets.train(method, space, oracle, key=train_key, num_steps=config.updates)
        return _judge(config, grid, states, state.policy.parameters, judge_key)

    # one after the other: batched products of small matrices are slower than products in turn
    return jax.lax.map(one, (oracle, keys))


def _judge(
    config: Config, grid: cartpole_value.Grid, states: Array, parameters: actors.MLP, key: Array
) -> tuple[Array, ...]:
    def play(greedy: Array) -> Array:
        policy = Partial(cartpole.network_policy, actors.apply, parameters, greedy)
        keys = jax.random.split(key, config.episodes)
        return jax.vmap(lambda one: cartpole.episode(one, policy).alive.sum())(keys).mean()

    log_best = jax.nn.log_softmax(cartpole_value.q_values(grid, states) / grid.temperature)
    logits = actors.apply(parameters, cartpole.scaled(states))
    log_policy = jax.nn.log_softmax(logits.astype(log_best.dtype))
    distance = (jnp.exp(log_best) * (log_best - log_policy)).sum(-1).mean()
    greedy, drawn = jax.vmap(play)(jnp.array([True, False]))
    return greedy, drawn, distance


def _references(
    config: Config, rollouts: cartpole_data.Rollouts, grid: cartpole_value.Grid, key: Array
) -> dict[str, float]:
    policies = {
        "optimum": Partial(cartpole_value.greedy, grid),
        "optimum drawn": Partial(_soft_optimum, grid),
        "random": Partial(lambda key, state: jax.random.bernoulli(key).astype(int)),
    }
    played = {name: cartpole.returns(key, policy, 50).mean() for name, policy in policies.items()}
    return {
        "expert": float(rollouts.returns.mean()),
        **{name: float(value) for name, value in played.items()},
    }


def _soft_optimum(grid: cartpole_value.Grid, key: Array, state: Array) -> Array:
    return jax.random.categorical(key, cartpole_value.q_values(grid, state) / grid.temperature)
