"""Where noise stops the extragradient: the level itself, and how it scales with step, draws and beta.

Let F at both half steps be unbiased with covariance C (given the queried policy), A = P - 1/2,
D = diag π* - π* π*ᵀ. Near π* the deviation x of the logits moves by

    x+ = M x + η ξ + η² A D ξ',    M = (1 - ηβ) + η A D ((1 - ηβ) + η A D),

ξ' the noise of the half step: it enters one order of η higher. The covariance of x therefore solves
X = M X Mᵀ + η² C + η⁴ A D C (A D)ᵀ, and E KL(π*‖π) = tr(D X)/2 up to higher orders in the noise. To first
order in η, A D only rotates, and E KL = η tr(D C) / (4β): for C = σ² this is (ησ²/(4β)) (1 - Σ π*²), and for
labels of n shared draws C is the covariance of one draw over n.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from scipy.linalg import solve_discrete_lyapunov

from nlhf import egpo
from nlhf.base import Feedback, Oracle, Policy, Static
from proofs_checks.dynamics.noise import LINEARISED, batch_run
from proofs_checks.rows import Check, Effort, Outcome, check_of
from tabular.families import planted, uniform_skew
from tabular.games import Game
from tabular.oracle import OracleFactory, exact, sampled

Array = jax.Array

SIGMA = 0.02  # small: third-order terms of the KL are then below its standard error
BURN_IN = 5.0  # relaxation times of the slowest mode, 1/(2ηβ), doubled: e^-10 of the start is left
ERRORS = 4.0  # standard errors within which a mean must agree


@functools.cache
def gaussian(sigma: float) -> OracleFactory:
    """Exact payoffs plus independent normal noise on every action.

    Args:
      sigma: standard deviation, in units of preference probability.

    Returns:
      A factory for ``tabular.runner.run``; the same sigma gives the same object.
    """

    def make_oracle(game: Game, log_prob: Callable[[Policy], Array]) -> Oracle:
        true = exact(game, log_prob)
        return Oracle(Partial(_perturbed, true.payoff, Static((sigma,))), true.duel)

    return make_oracle


def _perturbed(payoff: Callable, settings: tuple[float], key: Array, policy: Policy) -> Feedback:
    truth = payoff(key, policy).preference
    return Feedback(None, truth + settings[0] * jax.random.normal(key, truth.shape))


class Settled(NamedTuple):
    """Time means of KL(π*‖π) once the start is forgotten."""

    kl: np.ndarray  # ``[N, S]`` of N instances and S seeds
    game: Game  # the N games
    log_nash: Array  # ``[N, 1, A]``
    step_size: np.ndarray  # ``[N]``
    beta: np.ndarray  # ``[N]``


def settle(
    key: Array,
    step_size: Any,
    beta: Any,
    *,
    seeds: int,
    make_oracle: OracleFactory,
    num_actions: int = 6,
    which: Any = None,
    length: float = 4.0,
) -> Settled:
    """Run from the planted equilibrium until settled, and average over the second part of the run.

    Args:
      step_size: ``[N]`` η.
      beta: ``[N]``.
      seeds: S.
      make_oracle: as in ``tabular.runner.run``.
      num_actions: A.
      which: ``[N]`` numbers of the games; equal numbers share preferences and equilibrium, and the reference
        moves with beta. ``None`` is one game for all.
      length: recorded part, in multiples of the burn-in.
    """
    step_size, beta = np.asarray(step_size, float), np.asarray(beta, float)
    which = np.zeros(len(beta), int) if which is None else np.asarray(which)
    run_key = jax.random.fold_in(key, len(beta))
    games, nash = [], []
    for number, coefficient in zip(which, beta, strict=True):
        game_key, nash_key = jax.random.split(jax.random.fold_in(key, number))
        game, log_nash = planted(
            nash_key, uniform_skew(game_key, num_actions), float(coefficient), spread=0.7
        )
        games.append(game)
        nash.append(log_nash)
    stacked, log_nash = jax.tree.map(lambda *leaves: jnp.stack(leaves), *games), jnp.stack(nash)
    every = 8
    burn_in = int(np.ceil(BURN_IN / float((step_size * beta).min()) / every))
    records = burn_in + int(np.ceil(length * burn_in))
    trace = batch_run(
        jax.vmap(egpo)(jnp.asarray(step_size), jnp.asarray(beta)),
        stacked,
        jax.random.split(run_key, (len(beta), seeds)),
        num_steps=records * every,
        every=every,
        make_oracle=make_oracle,
        start=log_nash,
        log_nash=log_nash,
    )
    mean = np.asarray(trace.of("kl_to_nash"))[..., burn_in:].mean(-1)
    return Settled(mean, stacked, log_nash, step_size, beta)


def one_draw(advantage: np.ndarray, policy: np.ndarray) -> np.ndarray:
    """Covariance ``[A, A]`` of the payoff of one shared draw of the opponent with independent labels.

    Args:
      advantage: ``[A, A]``.
      policy: ``[A]`` the opponent.
    """
    mean = advantage @ policy
    second = (advantage * policy) @ advantage.T
    # a label ± 1/2 has second moment 1/4, whatever its mean
    np.fill_diagonal(second, 0.25)
    return second - np.outer(mean, mean)


def predicted(settled: Settled, covariance: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> np.ndarray:
    """Return ``[N]`` floors tr(D X)/2 of the linearised recursion.

    Args:
      settled: its games and settings are read.
      covariance: ``covariance(advantage, policy) -> [A, A]`` of one answer.
    """
    floors = []
    for advantage, policy, eta, beta in zip(
        np.asarray(settled.game.advantage[:, 0]),
        np.exp(np.asarray(settled.log_nash[:, 0])),
        settled.step_size,
        settled.beta,
        strict=True,
    ):
        spread = np.diag(policy) - np.outer(policy, policy)
        turn, unit = eta * advantage @ spread, np.eye(len(policy))
        move = (1 - eta * beta) * unit + turn @ ((1 - eta * beta) * unit + turn)
        noise = eta**2 * covariance(advantage, policy)
        floors.append(0.5 * np.trace(spread @ solve_discrete_lyapunov(move, noise + turn @ noise @ turn.T)))
    return np.array(floors)


def first_order(settled: Settled, sigma: float) -> np.ndarray:
    """Return ``[N]`` floors (ησ²/(4β)) (1 - Σ π*²)."""
    policy = np.exp(np.asarray(settled.log_nash[:, 0]))
    return settled.step_size * sigma**2 / (4 * settled.beta) * (1 - (policy**2).sum(-1))


def slope(abscissa: Any, kl: np.ndarray, groups: int = 8) -> tuple[float, float]:
    """Least-squares slope of log mean KL in log abscissa, and its standard error over groups of seeds.

    Args:
      abscissa: ``[N]`` positive.
      kl: ``[N, S]`` with S a multiple of ``groups``.
      groups: number of independent fits.
    """
    means = kl.reshape(kl.shape[0], groups, -1).mean(-1)
    slopes = np.polyfit(np.log(np.asarray(abscissa, float)), np.log(means), 1)[0]
    return float(slopes.mean()), float(slopes.std(ddof=1) / np.sqrt(groups))


class Design(NamedTuple):
    """Rows of one batch: a variety of games, then one game at growing step, then at growing beta."""

    variety: slice
    by_step: slice
    by_beta: slice


@functools.lru_cache(maxsize=2)
def _gaussian_runs(effort: Effort) -> tuple[Settled, Design]:
    step_size, beta = np.meshgrid(
        effort.pick((0.05, 0.1), (0.03, 0.06, 0.12)), effort.pick((0.3, 1.0), (0.2, 0.5, 1.0, 2.0))
    )
    first, sweep = step_size.size, effort.pick(4, 8)
    runs = settle(
        effort.key("noise.floor"),
        np.concatenate([step_size.ravel(), np.geomspace(0.03, 0.2, sweep), np.full(4, 0.05)]),
        np.concatenate([beta.ravel(), np.full(sweep, 0.5), np.geomspace(0.3, 2.0, 4)]),
        which=np.concatenate([np.arange(first), np.zeros(sweep + 4, int)]),
        seeds=effort.pick(32, 96),
        make_oracle=gaussian(SIGMA),
    )
    return runs, Design(slice(0, first), slice(first, first + sweep), slice(first + sweep, None))


@functools.lru_cache(maxsize=8)
def _sampled_runs(effort: Effort, draws: int) -> Settled:
    count = effort.pick(2, 4)
    return settle(
        effort.key("noise.sampled"),
        np.full(count, 0.05),
        np.geomspace(0.5, 1.0, count),
        which=np.arange(count),
        seeds=effort.pick(48, 128),
        make_oracle=sampled(draws),
        num_actions=5,
    )


def _part(runs: Settled, rows: slice) -> Settled:
    return jax.tree.map(lambda leaf: leaf[rows], runs)


def _errors(kl: np.ndarray) -> np.ndarray:
    return kl.std(1, ddof=1) / np.sqrt(kl.shape[1])


def _witness(settled: Settled, row: int) -> dict[str, Any]:
    return {
        "step_size": float(settled.step_size[row]),
        "beta": float(settled.beta[row]),
        "preference": (np.asarray(settled.game.advantage[row, 0]) + 0.5).tolist(),
        "log_nash": np.asarray(settled.log_nash[row, 0]).tolist(),
    }


def _judge_law(effort: Effort) -> Outcome:
    everything, design = _gaussian_runs(effort)
    runs = _part(everything, design.variety)
    mean, law = runs.kl.mean(1), first_order(runs, SIGMA)
    error = _errors(runs.kl) / law
    # relative terms of the next order are ηβ/2 and ηs²/(2β), s <= 1/π; twice that leaves room for the rest
    allowed = runs.step_size * (runs.beta + 1 / (np.pi**2 * runs.beta)) + 3 * error
    deviation = np.abs(mean / law - 1) / allowed
    row = int(deviation.argmax())
    return Outcome(
        instances=runs.kl.size,
        worst=float(deviation[row]),
        control="the noise of the half step counted in full beside that of the full step",
        control_worst=float((np.abs(mean / (2 * law) - 1) / allowed).min()),
        witness=_witness(runs, row),
        detail={"deviation": float(np.abs(mean / law - 1).max()), "standard_error": float(error.max())},
    )


def _judge_exact(effort: Effort) -> Outcome:
    everything, design = _gaussian_runs(effort)
    runs = _part(everything, design.variety)
    mean, error = runs.kl.mean(1), _errors(runs.kl)
    law = predicted(runs, lambda advantage, policy: SIGMA**2 * np.eye(len(policy)))
    away = np.abs(mean - law) / (ERRORS * error)
    row = int(away.argmax())
    return Outcome(
        instances=runs.kl.size,
        worst=float(away[row]),
        control="the noise of the half step counted in full beside that of the full step",
        control_worst=float((np.abs(mean - 2 * law) / (ERRORS * error)).min()),
        witness=_witness(runs, row),
        detail={
            "standard_error": float((error / mean).max()),
            "first_order": float((np.abs(mean - first_order(runs, SIGMA)) / (ERRORS * error)).max()),
        },
    )


def _judge_sampled(effort: Effort) -> Outcome:
    draws = 32
    runs = _sampled_runs(effort, draws)
    mean, error = runs.kl.mean(1), _errors(runs.kl)
    law = predicted(runs, lambda advantage, policy: one_draw(advantage, policy) / draws)
    single = predicted(runs, one_draw)
    deviation = np.abs(mean / law - 1)
    row = int(deviation.argmax())
    return Outcome(
        instances=runs.kl.size,
        worst=float(deviation[row]),
        control="the covariance of one draw, not divided by their number",
        control_worst=float(np.abs(mean / single - 1).min()),
        limit=0.05,
        witness=_witness(runs, row),
        detail={"standard_error": float((error / mean).max())},
    )


def _exponent(abscissa: Any, kl: np.ndarray, expected: float) -> Outcome:
    """The whole interval of three standard errors must lie within 0.1 of the expected exponent."""
    value, error = slope(abscissa, kl)
    wrong = slope(abscissa, np.sqrt(kl))[0]
    return Outcome(
        instances=kl.size,
        worst=abs(value - expected) + 3 * error,
        control="a distance taken for the KL",
        control_worst=abs(wrong - expected),
        limit=0.1,
        detail={"exponent": value, "standard_error": error, "control": wrong},
    )


def _judge_step(effort: Effort) -> Outcome:
    runs, design = _gaussian_runs(effort)
    part = _part(runs, design.by_step)
    return _exponent(part.step_size, part.kl, 1.0)


def _judge_beta(effort: Effort) -> Outcome:
    runs, design = _gaussian_runs(effort)
    part = _part(runs, design.by_beta)
    return _exponent(part.beta, part.kl, -1.0)


def _judge_draws(effort: Effort) -> Outcome:
    draws = effort.pick((4, 32), (2, 8, 32))
    kl = np.stack([_sampled_runs(effort, count).kl for count in draws])
    # all games and seeds of one n side by side: a seed's mean then runs over the games
    return _exponent(draws, kl.mean(1), -1.0)


_check = functools.partial(check_of, kind="noise", source=LINEARISED)

CHECKS: tuple[Check, ...] = (
    _check(
        "egpo.noise.floor",
        "E KL(π*‖π_t) -> (ησ²/(4β)) (1 - Σ π*²), up to a share η(β + 1/(π²β)) and 3 standard errors",
        "independent normal noise σ = 0.02 on each payoff at both half steps",
        _judge_law,
    ),
    _check(
        "egpo.noise.floor_exact",
        "E KL(π*‖π_t) -> tr(D X)/2, X = M X Mᵀ + η²σ² + η⁴σ² (AD)(AD)ᵀ, within 4 standard errors",
        "independent normal noise σ = 0.02 on each payoff at both half steps",
        _judge_exact,
    ),
    _check(
        "egpo.noise.floor_sampled",
        "E KL(π*‖π_t) -> tr(D X)/2 with C the covariance of one labelled draw over n, within 5 %",
        "n = 32 labelled draws a query; η/β <= 0.1",
        _judge_sampled,
    ),
    _check(
        "egpo.noise.step_exponent",
        "the floor grows like η^1",
        "normal noise, β = 1/2, η in [0.03, 0.2]",
        _judge_step,
    ),
    _check(
        "egpo.noise.beta_exponent",
        "the floor falls like β^-1",
        "planted π*, η = 0.05, β in [0.3, 2]",
        _judge_beta,
    ),
    _check(
        "egpo.noise.draws_exponent",
        "the floor falls like n^-1",
        "labels, η = 0.05, β >= 1/2, n >= 2",
        _judge_draws,
    ),
)
