"""What is left of the claims when payoffs are sampled: bounds in expectation, with high probability, floors.

One lemma carries all the bounds. Let F be what an oracle answers to a policy q: unbiased given everything
before the query, E F = (P - 1/2) q, and of range at most 1 whatever is drawn (labels in {0, 1}, or means of
them). Write w = ηβ <= 1 and m for the normalised π^(1-w) π_ref^w. For every policy u

    (1-w) KL(u‖π) + w KL(u‖π_ref) = KL(u‖m) + c,                 c the same for every u                    (1)
    π*·(P - 1/2) q = β [KL(q‖π*) + KL(π*‖π_ref) - KL(q‖π_ref)]   (π* is the regularised equilibrium)       (2)

**Nash-MD**, q = m, π+ proportional to m exp(ηF). KL(π*‖π+) = KL(π*‖m) - η π*·F + log Σ m exp(ηF), and by
Hoeffding's lemma, applied to the realised F under a ~ m, the last term is at most η m·F + η²/8. Given m the
mean of η (m - π*)·F is -η π*·(P - 1/2) m, for m·(P - 1/2) m = 0. With (1) at u = π* and u = m, and (2),

    E[KL(π*‖π+) | m] <= (1-w) KL(π*‖π) - (1-w) KL(m‖π) - w KL(m‖π*) + η²/8.

**Online mirror descent**, q = π: the mean has in addition η ((P - 1/2)(π - m))·(m - π*), at most
(η/2) |π - m|_1 |m - π*|_1, which by Pinsker the two negative terms pay for when η <= 4β (1-w), that is
η <= 4β/(1 + 4β²). Then E KL+ <= (1-w) KL + η²/8 again.

**EGPO, Nash Mirror Prox and OMWU**, q = h, h proportional to m exp(ηF'), F' the answer to the extrapolation
(for OMWU the one before). log Σ m exp(ηF) = η h·F' - KL(h‖m) + log Σ h exp(η(F - F')), where F - F' has range
at most 2, so that the last term is at most η h·(F - F') + η²/2. The terms in F' cancel, and

    E[KL(π*‖π+) | h] <= (1-w) KL(π*‖π) - (1-w) KL(h‖π) - w KL(h‖π*) + η²/2,

for every ηβ <= 1: no bound on the step is left, as none is used to pay for the extrapolation error.

With c = 1/8 (or 1/2): E KL_t <= (1-w)^t KL_0 + (cη/β)(1 - (1-w)^t); for Nash-MD with η_t = 2/(β(t+2)), by
induction, E KL_t <= 1/(2β²(t+1)) for t >= 1.

**With high probability.** The noise of one step, η (F - E F)·(q - π*), lies in an interval of width
η |q - π*|_1, so E exp(λ noise) <= exp(λ² η² |q - π*|²_1 / 8), and -λ w KL(q‖π*) <= -λ w |q - π*|²_1 / 2
absorbs it while λ <= 4β/η. Hence E exp(λ KL_t) <= exp(λ B_t), with B_t the bound in expectation (also for the
decreasing step, since 4β/η_t grows slower than the contraction shrinks λ), and by Markov's inequality
KL_t <= B_t + (η/(4β)) log(1/δ) with probability at least 1 - δ; for the decreasing step that is
B_t + log(1/δ)/(2β²(t+1)). (Not for online mirror descent, which has spent the negative terms.)
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import log_softmax

from nlhf import egpo, nash_md, omwu, online_mirror_descent
from nlhf.base import Algorithm
from nlhf.errors import RangeWarning
from proofs_checks import instances
from proofs_checks.rows import Check, Effort, Outcome, check_of
from tabular.games import Game
from tabular.oracle import OracleFactory, exact, sampled
from tabular.runner import Axes, run
from tabular.traces import Trace

Array = jax.Array

DELTA = 0.05  # probability with which the bound of the second kind may be broken
BETAS = (0.03, 3.0)
LINEARISED = "derived: linearisation at the equilibrium"  # source of rows here and beside
MIRROR, EXTRAGRADIENT = 1 / 8, 1 / 2  # c of the module's text


def plant(rng: np.random.Generator, beta: np.ndarray, size: int, spread: float = 1.0) -> tuple[Game, Array]:
    """Games whose equilibrium is known without a solver: choose π*, derive the reference, in numpy.

    ``log π_ref = log π* - (P - 1/2) π*/β`` up to a constant; every pair's preference is uniform on (0, 1).

    Args:
      beta: ``[N]`` KL coefficients, > 0.
      size: A.
      spread: standard deviation of the equilibrium's logits, in nats.

    Returns:
      N games of one context and their ``[N, 1, A]`` log Nash policies.
    """
    beta = np.asarray(beta, float)
    upper = np.triu(rng.uniform(-0.5, 0.5, (len(beta), size, size)), 1)
    advantage = upper - upper.swapaxes(-1, -2)
    log_nash = log_softmax(spread * rng.normal(size=(len(beta), size)), axis=-1)
    log_ref = log_nash - np.einsum("nab,nb->na", advantage, np.exp(log_nash)) / beta[:, None]
    game = Game(
        jnp.asarray(advantage[:, None]),
        jnp.asarray(log_softmax(log_ref, axis=-1)[:, None]),
        jnp.ones((len(beta), 1)),
        jnp.asarray(beta),
    )
    return game, jnp.asarray(log_nash[:, None])


class Sampled(NamedTuple):
    """What one method did on the bank."""

    kl: np.ndarray  # ``[N, S, R]`` KL(π*‖π_t) of N instances and S seeds at R recorded steps, step 0 first
    transposed: np.ndarray  # the same with a judge who prefers the other one of each pair
    step: np.ndarray  # ``[R]``
    step_size: np.ndarray  # ``[N]`` η, or NaN
    bank: instances.Bank  # the instances


class Method(NamedTuple):
    """A method and the constants of its bound."""

    make: Callable[..., Algorithm]  # ``make(step_size, beta) -> Algorithm`` for one instance
    longest: Callable[[Any], Any]  # ``longest(beta)``, end of the range of the explicit step
    constant: float  # c of the module's text, 0 for the decreasing step
    lag: int = 0  # queries before the first move of π


def _all(beta: Any) -> Any:
    return 1 / beta


def _self_play(beta: Any) -> Any:
    return 4 * beta / (1 + 4 * beta**2)


def _decreasing(step_size: Any, beta: Any) -> Algorithm:
    del step_size
    return nash_md(None, beta)


METHODS = {
    "nash_md.constant": Method(nash_md, _all, MIRROR),
    "nash_md.decreasing": Method(_decreasing, _all, 0.0),
    "online_mirror_descent": Method(online_mirror_descent, _self_play, MIRROR),
    "egpo": Method(egpo, _all, EXTRAGRADIENT),
    "omwu": Method(omwu, _all, EXTRAGRADIENT, lag=1),
}


def batch_run(
    method: Algorithm,
    game: Game,
    keys: Array | None = None,
    *,
    num_steps: int,
    every: int,
    make_oracle: OracleFactory = exact,
    start: Array | None = None,
    log_nash: Array | None = None,
    measures: tuple = ("kl_to_nash",),
) -> Trace:
    """Run N instances with S seeds each, inside or outside the covered ranges.

    Args:
      method: a batch of N algorithms.
      game: a batch of N games.
      keys: ``[N, S]`` keys; ``None`` where nothing is random, with S = 1.
      num_steps: as in ``tabular.runner.run``.
      start: ``[N, X, A]``; ``None`` is the reference.
      log_nash: ``[N, X, A]``.
      measures: as in ``tabular.runner.run``.

    Returns:
      A trace with the axes ``[N, S]`` in front.
    """
    keys = jax.random.split(jax.random.key(0), (game.log_ref.shape[0], 1)) if keys is None else keys
    first = game.log_ref if start is None else start
    truth = game.log_ref if log_nash is None else log_nash
    with warnings.catch_warnings():
        # some rows leave the covered range on purpose: that is where they have something to show
        warnings.simplefilter("ignore", RangeWarning)
        return run(
            method,
            game,
            num_steps=num_steps,
            every=every,
            key=keys,
            start=first,
            log_nash=truth,
            measures=measures,
            make_oracle=make_oracle,
            axes=(Axes(0, 0, 0, 0, 0), Axes(key=0)),
        )


@functools.lru_cache(maxsize=2 * len(METHODS))
def sample(effort: Effort, name: str) -> Sampled:
    """Run one method of ``METHODS`` on the bank with one draw a query (a lazy judge's worst case).

    Args:
      name: key of ``METHODS``.
    """
    method = METHODS[name]
    count, seeds, num_steps = effort.pick(8, 32), effort.pick(100, 200), effort.pick(64, 192)
    bank = instances.build(effort.key("noise.bank"), count, effort.pick((2, 5), (2, 3, 5, 10)), BETAS)
    beta = bank.game.beta
    step_size = bank.share * method.longest(beta)
    algorithms = jax.vmap(method.make)(step_size, beta)
    every = num_steps // 16
    keys = jax.random.split(effort.key(f"noise.{name}"), (count, seeds))
    values = []
    for sign in (1.0, -1.0):
        game = bank.game._replace(advantage=sign * bank.game.advantage)
        trace = batch_run(
            algorithms,
            game,
            keys,
            num_steps=num_steps,
            every=every,
            make_oracle=sampled(1),
            start=bank.start,
            log_nash=bank.log_nash,
        )
        values.append(np.asarray(trace.of("kl_to_nash")))
    return Sampled(values[0], values[1], np.arange(0, num_steps + 1, every), np.asarray(step_size), bank)


def bound(name: str, runs: Sampled, delta: float = 1.0, noise: bool = True) -> np.ndarray:
    """Return the bound ``[N, R]`` of the module's text, in expectation or (delta < 1) with probability 1 - δ.

    Args:
      name: key of ``METHODS``.
      runs: the runs to bound; only their settings and KL_0 are read.
      delta: allowed probability of failure; 1 is the bound in expectation.
      noise: False leaves out what the noise adds, as a control.
    """
    method, beta = METHODS[name], np.asarray(runs.bank.game.beta)[:, None]
    tail = np.log(1 / delta)
    if method.constant == 0:
        with np.errstate(divide="ignore"):
            return (1 + tail) / (2 * beta**2 * (runs.step + 1)) + np.where(runs.step == 0, np.inf, 0.0)
    eta = runs.step_size[:, None]
    kept = np.maximum(1 - eta * beta, 0.0) ** np.maximum(runs.step - method.lag, 0)
    extra = method.constant * eta / beta * (1 - kept) + eta / (4 * beta) * tail
    return kept * runs.kl[:, 0, :1] + (extra if noise else 0.0)


def _worst(ratio: np.ndarray, runs: Sampled) -> tuple[float, dict[str, Any]]:
    """Largest entry of ``[N, R]`` ratios, leaving out step 0, and the instance that reached it."""
    later = ratio[:, 1:]
    row, column = np.unravel_index(np.argmax(np.where(np.isnan(later), np.inf, later)), later.shape)
    bank = runs.bank
    size = int(bank.size[row])
    witness = {
        "beta": float(bank.game.beta[row]),
        "size": size,
        "step_size": float(runs.step_size[row]),
        "step": int(runs.step[1:][column]),
    }
    if size <= 8:
        witness["preference"] = np.asarray(bank.game.advantage[row, 0, :size, :size] + 0.5).tolist()
        witness["log_ref"] = np.asarray(bank.game.log_ref[row, 0, :size]).tolist()
        witness["log_start"] = np.asarray(bank.start[row, 0, :size]).tolist()
    return float(later[row, column]), witness


def _lower_mean(kl: np.ndarray) -> np.ndarray:
    """Mean over seeds less three standard errors."""
    return kl.mean(1) - 3 * kl.std(1, ddof=1) / np.sqrt(kl.shape[1])


def _lower_quantile(kl: np.ndarray) -> np.ndarray:
    """The (1 - δ)-quantile over seeds, taken three binomial standard deviations lower in the ranking."""
    seeds = kl.shape[1]
    rank = int(np.floor((1 - DELTA) * seeds - 3 * np.sqrt(seeds * DELTA * (1 - DELTA))))
    return np.sort(kl, axis=1)[:, rank - 1]


def _judge(effort: Effort, name: str, delta: float, lower: Callable[[np.ndarray], np.ndarray]) -> Outcome:
    runs = sample(effort, name)
    ratio = lower(runs.kl) / bound(name, runs, delta)
    worst, witness = _worst(ratio, runs)
    control = _worst(lower(runs.transposed) / bound(name, runs, delta), runs)[0]
    label = "a judge who answers for the transpose of the preferences"
    if METHODS[name].constant:
        silent = _worst(lower(runs.kl) / np.maximum(bound(name, runs, delta, noise=False), 1e-300), runs)[0]
        # both wrong versions must be caught: the row is as strong as the weaker of them
        control, label = min(control, silent), label + "; and the bound without what the noise adds"
    # far from the start, where the noise is all that is left, how close the bound is
    settled = np.isfinite(bound(name, runs)) & (runs.step >= runs.step[-1] // 2)
    if METHODS[name].constant:
        settled &= bound(name, runs, noise=False) < 0.1 * bound(name, runs)
    detail = {"settled": float(np.max(ratio, where=settled, initial=0.0))}
    detail["seeds"] = float(runs.kl.shape[1])
    return Outcome(int(runs.kl.shape[0]), worst, label, control, witness=witness, detail=detail)


def _statement(name: str, delta: bool) -> str:
    method = METHODS[name]
    left = "with probability 1 - δ, KL(π*‖π_t)" if delta else "E KL(π*‖π_t)"
    if method.constant == 0:
        top = "(1 + log(1/δ))" if delta else "1"
        return f"{left} <= {top} / (2β²(t + 1)) for η_t = 2/(β(t + 2)), t >= 1"
    power, part = ("t-1" if method.lag else "t"), ("η/(8β)" if method.constant == MIRROR else "η/(2β)")
    tail = " + (η/(4β)) log(1/δ)" if delta else ""
    return f"{left} <= (1 - ηβ)^({power}) KL(π*‖π_0) + {part} (1 - (1 - ηβ)^({power})){tail}"


def _check(name: str, delta: float) -> Check:
    tail = delta < 1
    span = "η <= 4β/(1 + 4β²)" if name == "online_mirror_descent" else "ηβ <= 1"
    how = "derived: Hoeffding's lemma inside the mirror step"
    return check_of(
        f"{name}.noise.{'quantile' if tail else 'expectation'}",
        _statement(name, tail),
        f"payoffs unbiased given the past, of range at most 1, drawn anew at each query; {span}; "
        "judged less three standard errors over the seeds",
        functools.partial(_judge, name=name, delta=delta, lower=_lower_quantile if tail else _lower_mean),
        source=how + (", then Markov's inequality" if tail else ""),
        kind="noise",
    )


CHECKS: tuple[Check, ...] = (
    *(_check(name, 1.0) for name in METHODS),
    *(_check(name, DELTA) for name in METHODS if name != "online_mirror_descent"),
)
