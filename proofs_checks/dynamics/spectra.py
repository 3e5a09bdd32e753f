"""Rates at the equilibrium: what a method does to KL(π*‖π) in the end is the spectrum of its Jacobian.

With A = P - 1/2 and D = diag π* - π* π*ᵀ, the matrix D^½ A D^½ is skew with eigenvalues ±is, s <= 1/π. A
method that moves logits by polynomials in A D has one factor a mode, and KL falls by its squared modulus:

    extragradient (composite)   |1 + ix(1 + ix)/c|/c,  x = gs, c = 1 + gβ: at most 1/c while x² <= 2c - 1
    optimistic updates, β = 0   the larger root of z² - (1 + 2iηs) z + iηs
    softmax policy gradient     1 - lr λ, λ the non-zero eigenvalues of 4 D (1 - A D/β)
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from nlhf import logspace, nash_mirror_prox, omwu
from nlhf.losses import squared
from proofs_checks import instances
from proofs_checks.dynamics.noise import LINEARISED, batch_run, plant
from proofs_checks.rates import fit_linear
from proofs_checks.rows import Check, Effort, Outcome, check_of
from tabular.families import full_support, rock_paper_scissors
from tabular.games import Game, make_game
from tabular.oracle import exact
from tabular.spaces.simplex import simplex

Array = jax.Array


def jacobian_factor(game: Game, log_nash: Array, step_size: Array) -> Array:
    """Jacobian ``[A, A]`` of one step of Nash Mirror Prox at the equilibrium, by autodiff."""
    method = nash_mirror_prox(step_size, game.beta)

    def move(log_policy: Array) -> Array:
        space = simplex(game)
        oracle = exact(game, space.log_prob)
        state, _ = method.step(jax.random.key(0), method.init(log_policy[None]), oracle, space)
        return state.policy[0]

    return jax.jacfwd(move)(log_nash[0])


def spin(game_advantage: np.ndarray, policy: np.ndarray) -> np.ndarray:
    """Return the s >= 0 of one game: moduli of the eigenvalues of D^½ A D^½, largest first.

    Args:
      game_advantage: ``[A, A]`` skew.
      policy: ``[A]`` equilibrium.
    """
    # D = R Rᵀ with R = (1 - π 1ᵀ) diag √π, so the spectrum is that of a skew matrix, free of cancellation
    root = (np.eye(len(policy)) - np.outer(policy, np.ones(len(policy)))) * np.sqrt(policy)
    return np.sort(np.abs(np.linalg.eigvals(root.T @ game_advantage @ root).imag))[::-1]


def _judge_spectrum(effort: Effort) -> Outcome:
    count = effort.pick(16, 1024)
    bank = instances.build(effort.key("scaling.spectrum"), count, effort.pick((3, 5), (2, 3, 5, 10)))
    # an action of reference mass 0 has no logit: those rows and columns of the Jacobian are cut away
    step = jax.jit(jax.vmap(jacobian_factor, in_axes=(0, 0, None)))
    cycle = make_game(rock_paper_scissors(51), beta=1e-3)
    width = bank.log_nash.shape[-1]
    matrices = np.asarray(step(bank.game, bank.log_nash, jnp.asarray(2.0)))
    factors = []
    for matrix, size, log_nash in zip(
        matrices, np.asarray(bank.size), np.asarray(bank.log_nash[:, 0]), strict=True
    ):
        # in the coordinates √π x the Jacobian is normal but for a rank one, so that its eigenvalues are
        # as exact as its entries; in logits their condition number is the range of √π
        root = 0.5 * log_nash[:size]
        normal = matrix[:size, :size] * np.exp(root[:, None] - root[None, :])
        factors.append(np.abs(np.linalg.eigvals(normal)).max() ** 2)
    allowed = (1 + 2 * np.asarray(bank.game.beta)) ** -2
    ratio = np.array(factors) / allowed
    row = int(ratio.argmax())
    control_step = 3.3
    control = jacobian_factor(cycle, cycle.log_ref, jnp.asarray(control_step))
    beyond = np.abs(np.linalg.eigvals(np.asarray(control))).max() ** 2 * (1 + control_step * 1e-3) ** 2
    return Outcome(
        instances=count,
        worst=float(ratio[row]),
        control="g = 3.3, beyond π, on 51 actions in a circle",
        control_worst=float(beyond),
        witness={"beta": float(bank.game.beta[row]), "size": int(bank.size[row]), "width": width},
    )


def optimistic_factor(eta: float, spins: np.ndarray) -> float:
    """Largest modulus of the roots of z² - (1 + 2iηs) z + iηs over the non-zero s."""
    alive = spins[spins > 1e-9]
    return max(float(np.abs(np.roots([1, -(1 + 2j * eta * s), 1j * eta * s])).max()) for s in alive)


def _judge_optimistic(effort: Effort) -> Outcome:
    count, eta, num_steps, every = effort.pick(4, 24), 0.5, effort.pick(8000, 24000), 8
    rng, key = effort.rng("scaling.optimistic"), effort.key("scaling.optimistic")
    games: list[Game] = []
    nash, spins = [], []
    for number in range(count):
        preference, policy = full_support(jax.random.fold_in(key, number), 3)
        games.append(make_game(preference, beta=0.0))
        nash.append(np.log(policy)[None])
        spins.append(spin(preference - 0.5, policy))
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *games)
    log_nash = jnp.asarray(np.array(nash))
    trace = batch_run(
        jax.vmap(omwu)(jnp.full(count, eta), jnp.zeros(count)),
        stacked,
        num_steps=num_steps,
        every=every,
        start=logspace.normalise(log_nash + jnp.asarray(0.01 * rng.normal(size=log_nash.shape))),
        log_nash=log_nash,
    )
    kl = np.asarray(trace.of("kl_to_nash"))[:, 0]
    deviation, control = [], []
    for row in range(count):
        fit = fit_linear(np.asarray(trace.step[0, 0]), kl[row])
        slope = -2 * np.log(optimistic_factor(eta, spins[row]))
        plain = -2 * np.log(np.abs(1 + 1j * eta * spins[row][spins[row] > 1e-9]).max())
        deviation.append(abs(fit.rate / slope - 1))
        control.append(abs(fit.rate / plain - 1))
    worst = int(np.argmax(deviation))
    return Outcome(
        instances=count,
        worst=float(deviation[worst]),
        control="the factor 1 + iηs of updates that are not optimistic",
        control_worst=float(min(control)),
        limit=0.02,
        witness={"step_size": eta, "spin": float(spins[worst][0]), "size": 3},
    )


def ascent(game: Game, log_policy: Array, rate: Array) -> Array:
    """One gradient step on logits of the online IPO loss, both responses drawn from the policy.

    ``θ+ = θ - rate ∇_θ Σ_ij sg(π_i π_j) squared(log π_i/π_ref_i, log π_j/π_ref_j, P_ij)``, whose gradient is
    ``4 D (log π - log π_ref - (P - 1/2) π/β)``.

    Args:
      game: one context.
      log_policy: ``[A]``.
      rate: learning rate on the logits.
    """
    weight = jnp.exp(log_policy)

    def loss(logits: Array) -> Array:
        ratio = logspace.normalise(logits) - game.log_ref[0]
        each = squared(ratio[:, None], ratio[None, :], game.preference[0], beta=game.beta)
        return jnp.sum(jax.lax.stop_gradient(weight[:, None] * weight[None, :]) * each)

    return logspace.normalise(log_policy - rate * jax.grad(loss)(log_policy))


@functools.partial(jax.jit, static_argnums=(4, 5))
def descend(game: Game, log_nash: Array, start: Array, rate: Array, num_steps: int, every: int) -> Array:
    """KL(π*‖π_t) at every ``every``-th step of online IPO by gradient descent, ``[N, R]``.

    Args:
      game: N games of one context.
      log_nash: ``[N, A]``.
      start: ``[N, A]``.
      rate: ``[N]`` learning rates.
      num_steps: a multiple of ``every``.
      every: stride.
    """

    def one(game: Game, log_nash: Array, start: Array, rate: Array) -> Array:
        def record(log_policy: Array, _: None) -> tuple[Array, Array]:
            moved = jax.lax.fori_loop(0, every, lambda _, point: ascent(game, point, rate), log_policy)
            return moved, logspace.kl(log_nash, log_policy)

        return jax.lax.scan(record, start, None, length=num_steps // every)[1]

    return jax.vmap(one)(game, log_nash, start, rate)


def gradient_spectrum(advantage: np.ndarray, policy: np.ndarray, beta: float) -> np.ndarray:
    """Non-zero eigenvalues of 4 D (1 - A D/β), the Jacobian of the online IPO gradient.

    Args:
      advantage: ``[A, A]``.
      policy: ``[A]`` equilibrium.
    """
    spread = np.diag(policy) - np.outer(policy, policy)
    values = np.linalg.eigvals(4 * spread @ (np.eye(len(policy)) - advantage @ spread / beta))
    return values[np.argsort(np.abs(values))[1:]]  # a constant added to all logits is the zero mode


class SelfPlay(NamedTuple):
    """Games, their equilibria, starts near them and spectra of the policy gradient."""

    game: Game
    log_nash: Array
    start: Array
    spectrum: list[np.ndarray]
    beta: np.ndarray


def self_play_games(effort: Effort) -> SelfPlay:
    """Draw games for the policy gradient, each with a start at distance 1e-3 of the equilibrium."""
    count = effort.pick(4, 16)
    rng = effort.rng("scaling.policy_gradient")
    beta = np.geomspace(0.05, 0.5, count)
    game, nash = plant(rng, beta, 4, spread=0.5)
    log_nash = nash[:, 0]
    start = logspace.normalise(log_nash + jnp.asarray(1e-3 * rng.normal(size=log_nash.shape)))
    spectrum = [
        gradient_spectrum(np.asarray(game.advantage[i, 0]), np.exp(np.asarray(log_nash[i])), float(beta[i]))
        for i in range(count)
    ]
    return SelfPlay(game, log_nash, start, spectrum, beta)


def edge(spectrum: np.ndarray) -> float:
    """Largest stable learning rate, min 2 Re λ/|λ|²."""
    return float((2 * spectrum.real / np.abs(spectrum) ** 2).min())


def _rate(steps: np.ndarray, kl: np.ndarray) -> float:
    return fit_linear(steps, np.maximum(kl, 1e-300), burn_in=0.3).rate


def _judge_gradient(effort: Effort) -> Outcome:
    games = self_play_games(effort)
    rate = np.array([0.2 * edge(values) for values in games.spectrum])
    num_steps, every = effort.pick(1024, 2048), 1
    kl = np.asarray(descend(games.game, games.log_nash, games.start, jnp.asarray(rate), num_steps, every))
    steps = np.arange(0, num_steps, every)
    start = np.asarray(games.start - games.log_nash)
    deviation, control = [], []
    for row, beta in enumerate(games.beta):
        policy, advantage = np.exp(np.asarray(games.log_nash[row])), np.asarray(games.game.advantage[row, 0])
        spread, unit = np.diag(policy) - np.outer(policy, policy), np.eye(len(policy))
        field = 4 * (unit - advantage @ spread / beta)
        rates = []
        # with uniform instead of policy weights the gradient would be preconditioned by 1/A, not by D
        for weight in (spread, unit / len(policy)):
            point, curve = start[row], []
            for _ in steps:
                # a constant part of the logits changes no policy, but its rounding would be a floor
                point = point - policy @ point
                curve.append(0.5 * policy @ point**2)
                point = point - rate[row] * weight @ field @ point
            rates.append(_rate(steps, np.array(curve)))
        measured = _rate(steps, kl[row])
        deviation.append(abs(measured / rates[0] - 1))
        control.append(abs(measured / rates[1] - 1))
    worst = int(np.argmax(deviation))
    return Outcome(
        instances=len(deviation),
        worst=float(deviation[worst]),
        control="the recursion under uniform pairs, 1/A in place of D",
        control_worst=float(max(control)),
        limit=0.02,
        witness={"beta": float(games.beta[worst]), "learning_rate": float(rate[worst]), "size": 4},
    )


_check = functools.partial(check_of, kind="scaling", source=LINEARISED)

CHECKS: tuple[Check, ...] = (
    _check(
        "nash_mirror_prox.asymptotic_factor",
        "the spectral radius squared of one step at π* is at most (1 + 2β)^-2: twice the proven exponent",
        "g = 2, any game and reference, β in [1e-3, 10]",
        _judge_spectrum,
    ),
    _check(
        "omwu.last_iterate_factor",
        "β = 0: log KL falls by 2 log max|root of z² - (1 + 2iηs)z + iηs| a query",
        "a Nash policy of full support, three actions, η = 1/2",
        _judge_optimistic,
    ),
    _check(
        "online_ipo.gradient_factor",
        "online IPO by gradient descent: KL falls at the rate of x+ = (1 - 4 lr D(1 - AD/β)) x, within 2 %",
        "near π*, lr at a fifth of the edge of stability, β in [0.05, 0.5]",
        _judge_gradient,
    ),
)
