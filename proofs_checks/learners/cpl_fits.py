"""What CPL learns: the library's method, fitted to tolerance on comparisons of segments.

Every fit is one program: MDPs of four states (and one that ends, never reached, whose steps fill segments of
one step up to the common length), 300 rows of comparisons with weights. Infinite data are rows with the
label's probability in its place; n comparisons are counts of n draws from the rows and the share of wins.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import expit, log_softmax

from nlhf import cpl
from nlhf.base import Comparisons
from nlhf.replay import latest
from nlhf.segments import Segments
from proofs_checks.learners.labels import learn
from proofs_checks.learners.outcomes import judged, log_slope
from proofs_checks.rows import Check, Effort, Outcome, check_of
from tabular.mdps.families import random_mdp
from tabular.mdps.mdp import MDP
from tabular.mdps.metrics import soft_value_gap
from tabular.mdps.segment_space import segment_space
from tabular.mdps.segments import draw_segments
from tabular.mdps.values import Values, soft_values

Array = jax.Array
SIZE, LENGTH, ROWS, LANES = (4, 3), 3, 300, 16
PAPER = "arXiv:2310.13639"
BIASES = (1.0, 0.75, 0.5, 0.25)


class Problem(NamedTuple):
    """N problems, with N in front of everything."""

    mdp: MDP  # S + 1 states, the last one terminal
    first: Segments  # ``[N, 300, 3]`` segments
    second: Segments  # ``[N, 300, 3]``
    regret: np.ndarray  # ``[N, 300]`` log-odds of the label by regret
    returns: np.ndarray  # ``[N, 300]`` by partial return
    weight: Array  # ``[N, 300]``
    log_policy: Array  # ``[N, S + 1, A]`` soft optimum


def _unreached_end(mdp: MDP) -> MDP:
    """Append a terminal state that nothing leads to."""
    grown = jnp.pad(mdp.transition, ((0, 1), (0, 0), (0, 1))).at[-1, :, -1].set(1.0)
    table = jnp.pad(mdp.reward, ((0, 1), (0, 0)))
    return mdp._replace(
        transition=grown,
        reward=table,
        log_ref=jnp.zeros_like(table),
        initial=jnp.pad(mdp.initial, (0, 1)),
        terminal=jnp.pad(mdp.terminal, (0, 1), constant_values=True),
    )


@jax.jit
@jax.vmap
def _draw(key: Array, beta: Array) -> tuple[MDP, Segments, Values]:
    mdp_key, start_key, walk_key = jax.random.split(key, 3)
    mdp = _unreached_end(random_mdp(mdp_key, *SIZE, beta=beta, discount=0.9))
    start = jax.random.randint(start_key, (2 * ROWS,), 0, SIZE[0])
    return mdp, draw_segments(walk_key, mdp, 2 * ROWS, LENGTH, start=start), soft_values(mdp)


def _every_pair_of_actions() -> tuple[Segments, Segments, Array]:
    """One step from one state, all actions against all; then nothing, in the state that ends."""
    pairs = np.indices((SIZE[0], SIZE[1], SIZE[1])).reshape(3, -1).T
    states = np.full((ROWS, LENGTH), SIZE[0])
    states[: len(pairs), 0] = pairs[:, 0]
    sides = []
    for column in (1, 2):
        actions = np.zeros((ROWS, LENGTH), int)
        actions[: len(pairs), 0] = pairs[:, column]
        sides.append(Segments(jnp.asarray(states), jnp.asarray(actions)))
    return sides[0], sides[1], jnp.asarray(np.arange(ROWS) < len(pairs), float)


@functools.lru_cache(maxsize=16)
def problems(effort: Effort, name: str, same_state: bool = False) -> Problem:
    """As many problems as lanes, β from 0.3 to 1.5, with pairs of segments or (``same_state``) of actions."""
    mdp, drawn, best = _draw(jax.random.split(effort.key(name), LANES), jnp.linspace(0.3, 1.5, LANES))
    first = jax.tree.map(lambda leaf: leaf[:, :ROWS], drawn)
    second = jax.tree.map(lambda leaf: leaf[:, ROWS:], drawn)
    weight = jnp.ones((LANES, ROWS))
    if same_state:
        sides = _every_pair_of_actions()
        first, second, weight = jax.tree.map(lambda leaf: jnp.stack([leaf] * LANES), sides)
    lane, power = np.arange(LANES)[:, None, None], 0.9 ** np.arange(LENGTH)

    def log_odds(table: Any) -> np.ndarray:
        score = [np.asarray(table)[lane, side.states, side.actions] @ power for side in (first, second)]
        return score[0] - score[1]

    return Problem(
        mdp, first, second, log_odds(best.advantage), log_odds(mdp.reward), weight, best.log_policy
    )


@jax.jit
@jax.vmap
def _fit(mdp: MDP, rows: Comparisons, start: Array, temperature: Array, bias: Array) -> Array:
    """One step of the library's CPL on a whole data set, fitted to tolerance."""
    return learn(cpl(temperature, bias, latest(rows)), segment_space(mdp), start, rows)


def fit(
    of: Problem, label: Any, weight: Any = None, start: Any = None, temperature: Any = None, bias: Any = 1.0
) -> np.ndarray:
    """Fitted policies ``[N, S, A]`` of the N problems.

    Args:
      of: problems.
      label: ``[N, 300]`` in [0, 1].
      weight: ``[N, 300]``; ``None`` is the problems' own.
      start: ``[N, S + 1, A]`` first policies; ``None`` is uniform.
      temperature: α; ``None`` is the MDP's β.
      bias: λ.
    """
    mdp = of.mdp
    context = jnp.zeros(of.weight.shape, int)
    weight = of.weight if weight is None else jnp.asarray(weight)
    rows = Comparisons(context, of.first, of.second, jnp.asarray(label), weight)
    start = jax.vmap(lambda mdp: mdp.reference)(mdp) if start is None else jnp.asarray(start)
    temperature = mdp.beta if temperature is None else temperature
    policy = _fit(mdp, rows, start, temperature, jnp.full(LANES, bias))
    return np.asarray(policy)[:, :-1]


def _error(of: Problem, log_policy: np.ndarray) -> np.ndarray:
    """``max |log π - log π*|`` of each problem."""
    return np.abs(log_policy - np.asarray(of.log_policy)[:, :-1]).max((1, 2))


def _shown(of: Problem) -> dict[str, Any]:
    """What a witness shows of a problem."""
    return {"lane": np.arange(LANES), "beta": of.mdp.beta}


def _consistent(effort: Effort) -> Outcome:
    of = problems(effort, "cpl.consistency")
    rng = effort.rng("cpl.consistency")
    starts = log_softmax(rng.normal(size=(effort.pick(2, 6), LANES, SIZE[0] + 1, SIZE[1])), axis=-1)
    error = np.stack([_error(of, fit(of, expit(of.regret), start=start)) for start in starts])
    wrong = _error(of, fit(of, expit(of.returns), start=starts[0])).min()
    return judged(error.T, "labels by partial return", wrong, 1e-5, instances=error.size, **_shown(of))


def _myopic_fits(effort: Effort) -> tuple[Problem, dict[str, np.ndarray]]:
    of = problems(effort, "cpl.partial_return", same_state=True)
    return of, {name: fit(of, expit(getattr(of, name))) for name in ("returns", "regret")}


def _myopic(effort: Effort) -> Outcome:
    of, found = _myopic_fits(effort)
    myopic = log_softmax(np.asarray(of.mdp.reward)[:, :-1] / np.asarray(of.mdp.beta)[:, None, None], axis=-1)
    error = {name: np.abs(policy - myopic).max((1, 2)) for name, policy in found.items()}
    return judged(error["returns"], "labels by regret", error["regret"].min(), 1e-5, **_shown(of))


_gap = jax.jit(jax.vmap(lambda mdp, policy: soft_value_gap(mdp, policy, policy, policy)))


def _loses(effort: Effort) -> Outcome:
    of, found = _myopic_fits(effort)
    end = np.full((LANES, 1, SIZE[1]), -np.log(SIZE[1]))
    gap = {
        name: np.asarray(_gap(of.mdp, jnp.asarray(np.concatenate([policy, end], 1))))
        for name, policy in found.items()
    }
    wrong = (1e-3 / gap["regret"]).min()
    detail = {"mean_loss": gap["returns"].mean(), "mean_loss_by_regret": gap["regret"].mean()}
    return judged(1e-3 / gap["returns"], "labels by regret", wrong, 1.0, detail=detail, **_shown(of))


def _rate(effort: Effort) -> Outcome:
    of = problems(effort, "cpl.rate")
    rng = effort.rng("cpl.rate")
    numbers = np.array(effort.pick((4_000, 16_000, 64_000), (4_000, 16_000, 64_000, 256_000)))
    repeats = effort.pick(8, 24)
    rmse = {"regret": np.zeros((len(numbers), repeats, LANES)), "returns": np.zeros((len(numbers), 1, LANES))}
    for name, found in rmse.items():
        probability = expit(np.asarray(getattr(of, name)))
        for i, number in enumerate(numbers):
            for repeat in range(found.shape[1]):
                count = rng.multinomial(number, np.full(ROWS, 1 / ROWS), size=LANES)
                wins = rng.binomial(count, probability)
                policy = fit(of, wins / np.maximum(count, 1), weight=count.astype(float))
                difference = policy - np.asarray(of.log_policy)[:, :-1]
                found[i, repeat] = np.sqrt((difference**2).mean((1, 2)))
    flat = rmse["regret"].reshape(len(numbers), -1)
    slope = log_slope(numbers, flat.mean(1))
    drawn = rng.integers(flat.shape[1], size=(400, flat.shape[1]))
    low, high = np.quantile([log_slope(numbers, flat[:, pick].mean(1)) for pick in drawn], (0.025, 0.975))
    control = log_slope(numbers, rmse["returns"].mean((1, 2)))
    return judged(
        abs(slope + 0.5),
        "labels by partial return",
        abs(control + 0.5),
        0.1,
        instances=flat.size,
        detail={"slope": slope, "low": low, "high": high, "control_slope": control},
        numbers=numbers.tolist(),
        rmse=flat.mean(1).tolist(),
    )


def _unseen(effort: Effort) -> Outcome:
    num, repeats = 3, effort.pick(8, 24)
    rng = effort.rng("cpl.conservative.unseen")
    mass = np.zeros((2, len(BIASES), repeats))
    for repeat in range(repeats):
        of = problems(effort, f"cpl.conservative.unseen.{repeat}")
        label = (rng.random((LANES, ROWS)) < expit(np.asarray(of.regret))).astype(float)
        weight = (np.arange(ROWS) < num) + np.zeros((LANES, 1))
        seen = np.zeros((LANES, *SIZE), bool)
        lane = np.arange(LANES)[:, None, None]
        for side in (of.first, of.second):
            seen[lane, np.asarray(side.states)[:, :num], np.asarray(side.actions)[:, :num]] = True
        outside = ~seen & seen.any(-1, keepdims=True)
        for i, bias in enumerate(BIASES):
            # λ on the winner instead: α (λ s+ - s-) = α λ (s+ - s-/λ)
            for wrong, (temperature, factor) in enumerate(
                ((of.mdp.beta, bias), (of.mdp.beta * bias, 1 / bias))
            ):
                policy = np.exp(fit(of, label, weight, temperature=temperature, bias=factor))
                mass[wrong, i, repeat] = (policy * outside).sum() / outside.any(-1).sum()
    mean = mass.mean(-1)
    ratio = mean[:, 1:] / mean[:, :-1]
    return judged(
        ratio[0],
        "λ on the winner's side",
        ratio[1],
        1.0,
        instances=repeats * LANES,
        detail={f"mass_at_{bias:g}": m for bias, m in zip(BIASES, mean[0], strict=True)},
        comparisons=num,
    )


_row = functools.partial(check_of, kind="identity", source=f"{PAPER}; proof ours")
_run = functools.partial(_row, kind="scaling", status="empirical")
ENTROPY = "finite MDP, maximum entropy with β > 0; CPL fitted to tolerance, λ = 1"
CHECKS: tuple[Check, ...] = (
    _row(
        "cpl.consistency",
        "with the probabilities of logistic labels by regret, the minimiser of the loss is π*",
        ENTROPY + "; segments of one length that leave only the constant undetermined; from any start",
        _consistent,
    ),
    _run(
        "cpl.rate",
        "the root mean square error of log π falls as n^-1/2 in the number of comparisons (within 0.1)",
        ENTROPY + "; labels drawn by regret",
        _rate,
    ),
    _row(
        "cpl.partial_return.myopic",
        "with labels by partial return on single steps from one state, the minimiser is exp(r/β) normalised",
        ENTROPY,
        _myopic,
    ),
    _run(
        "cpl.partial_return.loses",
        "that policy loses: J(π*) - J(π) >= 1e-3 on every MDP drawn",
        ENTROPY + "; random rewards, discount 0.9",
        _loses,
        kind="separation",
    ),
    _run(
        "cpl.conservative.unseen",
        "with few comparisons, the mean mass on actions they do not show falls as λ falls: 1, 3/4, 1/2, 1/4",
        "3 comparisons of segments of 3 steps, 12 pairs (s, a); in the states that they show; fits started "
        "at the uniform policy, which matters: so few comparisons leave directions flat",
        _unseen,
    ),
)
