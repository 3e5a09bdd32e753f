"""The same method under two names, fixed points, and the flow of self-play."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

from nlhf import logspace
from nlhf.base import Algorithm
from proofs_checks.identities.steps import LIMIT, counted_late
from proofs_checks.identities.variational import (
    bank_of,
    log_softmax,
    method_of,
    path_of,
    settings_of,
    witness_of,
)
from proofs_checks.rows import Check, Effort, Outcome, check_of, outcome_of
from tabular.games import Game
from tabular.oracle import exact
from tabular.spaces.simplex import simplex


def gap(log_first: Any, log_second: Any) -> np.ndarray:
    """Largest difference of two log-policies ``[..., A]`` over 1 + the largest entry: ``[...]``."""
    present = np.isfinite(log_first)
    first, second = np.where(present, log_first, 0.0), np.where(present, log_second, 0.0)
    lost = np.where(present, 0.0, np.exp(log_second)).max(-1)
    return np.abs(first - second).max(-1) / (1 + np.abs(first).max(-1)) + lost


def _judge_first_step(effort: Effort) -> Outcome:
    """π_1 of two starts is the same policy."""
    bank = bank_of(effort)
    other = jnp.flip(jnp.arange(len(bank.share)) + 1)[:, None, None]
    moved = jnp.where(jnp.isfinite(bank.start), bank.start / other.astype(float), -jnp.inf)
    starts = bank.start, jnp.asarray(log_softmax(np.asarray(moved)))

    def difference(method: Algorithm) -> np.ndarray:
        first, second = (path_of(method, bank.game, start, 1).policy[1] for start in starts)
        return gap(first, second)

    name = "nash_md.decreasing"
    return _outcome(
        effort,
        difference(method_of(name, effort)),
        "t counted from 1",
        difference(counted_late(name, effort)),
    )


def _outcome(
    effort: Effort, errors: np.ndarray, control: str, wrong: np.ndarray, step_size: Any = None
) -> Outcome:
    """Outcome of one error an instance of the bank; both arrays start with the axis N."""
    errors, wrong = (array.reshape(len(array), -1).max(-1) for array in (errors, wrong))
    witness = functools.partial(witness_of, bank_of(effort), step_size=step_size)
    return outcome_of(errors, control, wrong, witness, LIMIT)


def _judge_mirror_prox(effort: Effort) -> Outcome:
    """Nash Mirror Prox with η = gβ against EGPO with step g/(1 + gβ), iterate by iterate."""
    bank, num_steps = bank_of(effort), effort.pick(20, 100)
    given = settings_of("nash_mirror_prox", effort)
    composite = given["step_size"]
    explicit = composite / (1 + composite * given["beta"])

    def walk(name: str, step_size: np.ndarray) -> np.ndarray:
        path = path_of(method_of(name, effort, step_size=step_size), bank.game, bank.start, num_steps)
        return np.stack([path.policy, path.half])

    prox = walk("nash_mirror_prox", composite)
    # the control keeps ηβ <= 1, where EGPO is defined
    wrong = np.minimum(composite, 1 / given["beta"])
    errors, control = (
        np.moveaxis(gap(prox, walk("egpo", size)), -1, 0).reshape(len(composite), -1)
        for size in (explicit, wrong)
    )
    return _outcome(effort, errors, "EGPO with step g", control, composite)


def _at_magnet(log_ref: Any, inner: Callable, policy: Any) -> Any:
    return inner(policy)._replace(magnet=log_ref)


def _judge_magnetic(effort: Effort) -> Outcome:
    """Magnetic mirror descent whose magnet stays at π_ref against online mirror descent."""
    bank, num_steps = bank_of(effort), effort.pick(20, 100)
    beta = np.asarray(bank.game.beta)
    composite = settings_of("mpo", effort)["step_size"]
    method = method_of("mpo", effort, period=np.full_like(beta, np.inf))
    method = method._replace(init=Partial(_at_magnet, bank.game.log_ref, method.init))
    magnetic = path_of(method, bank.game, bank.start, num_steps).policy

    def difference(step_size: np.ndarray) -> np.ndarray:
        explicit = method_of("online_mirror_descent", effort, step_size=step_size)
        return gap(magnetic, path_of(explicit, bank.game, bank.start, num_steps).policy).swapaxes(0, 1)

    wrong = np.minimum(composite, 1 / beta)
    right = composite / (1 + composite * beta)
    return _outcome(effort, difference(right), "the same number as step size", difference(wrong), composite)


def _judge_unmixed(effort: Effort) -> Outcome:
    """IPO-MD at mixture 0 against online mirror descent."""
    bank = bank_of(effort)
    given = settings_of("ipo_md", effort)
    plain = path_of(method_of("online_mirror_descent", effort), bank.game, bank.start, 10).policy

    def difference(mixture: Any) -> np.ndarray:
        method = method_of("ipo_md", effort, mixture=mixture)
        return gap(plain, path_of(method, bank.game, bank.start, 10).policy).swapaxes(0, 1)

    zero = np.zeros_like(given["beta"])
    return _outcome(effort, difference(zero), "mixture 1/8", difference(zero + 0.125), given["step_size"])


def biased(effort: Effort) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Fixed points with a mixture: ``BR_b(π*)`` where π* is the Nash policy at temperature b/(1 - mixture).

    The bank's own Newton solution at β serves as π*, so that b = β (1 - mixture).

    Returns:
      mixture ``[N]`` in (0, 0.9], b ``[N]``, and the best responses ``[N, 1, A]``.
    """
    bank = bank_of(effort)
    mixture = 0.9 * np.asarray(bank.share)
    beta = np.asarray(bank.game.beta) * (1 - mixture)
    log_nash = np.asarray(bank.log_nash)
    payoff = np.einsum("nxab,nxb->nxa", np.asarray(bank.game.advantage), np.exp(log_nash))
    return mixture, beta, log_softmax(np.asarray(bank.game.log_ref) + payoff / beta[:, None, None])


def _judge_biased(name: str, effort: Effort) -> Outcome:
    """One step at temperature b from the fixed point, and at temperature β from the Nash policy at β."""
    bank = bank_of(effort)
    mixture, beta, response = biased(effort)

    def moved(start: np.ndarray, beta: np.ndarray) -> np.ndarray:
        if name == "nash_md":
            method = method_of(name, effort, step_size=mixture / beta, beta=beta)
        else:
            method = method_of(name, effort, step_size=0.5 / (beta + 0.5), beta=beta, mixture=mixture)
        path = path_of(method, bank.game, start, 1).policy
        return gap(path[0], path[1])

    wrong = moved(np.asarray(bank.log_nash), np.asarray(bank.game.beta))
    return _outcome(effort, moved(response, beta), "the Nash policy at β itself", wrong, mixture / beta)


def _judge_biased_limit(effort: Effort) -> Outcome:
    """Run Nash-MD with a constant step from far away, in games where theory lets its mixture contract."""
    bank = bank_of(effort)
    mild = np.asarray(bank.game.beta)
    # its mixture makes mirror steps at temperature β with ηβ = mixture: proved up to 4β²/(1 + 4β²)
    mixture = 2 * mild**2 / (1 + 4 * mild**2)
    beta = mild * (1 - mixture)
    log_nash = np.asarray(bank.log_nash)
    payoff = np.einsum("nxab,nxb->nxa", np.asarray(bank.game.advantage), np.exp(log_nash))
    response = log_softmax(np.asarray(bank.game.log_ref) + payoff / beta[:, None, None])
    method = method_of("nash_md", effort, step_size=mixture / beta, beta=beta)
    last = path_of(method, bank.game, bank.start, 150).policy[-1]
    rows = np.flatnonzero(mild >= 0.5)
    errors, wrong = (gap(policy[rows, 0], last[rows]) for policy in (response, log_nash))

    def witness(index: int) -> dict[str, Any]:
        return witness_of(bank, int(rows[index]), step_size=mixture / beta)

    return outcome_of(errors, "the Nash policy at β/(1 - ηβ) itself", wrong, witness, LIMIT)


def _judge_magnet_fixed(effort: Effort) -> Outcome:
    """Two periods of MPO from an unregularised Nash policy of full support, whatever β."""
    bank, rng = bank_of(effort), effort.rng("mpo.fixed_point")
    count, _, size = bank.start.shape
    nash = rng.uniform(0.2, 1, (count, size))
    nash /= nash.sum(-1, keepdims=True)
    # Q B Q with B skew and Q the projection off the policy: its payoff against the policy is zero
    off = np.eye(size) - nash[:, :, None] * nash[:, None, :] / (nash**2).sum(-1)[:, None, None]
    skew = rng.normal(size=(count, size, size))
    advantage = off @ (skew - skew.swapaxes(1, 2)) @ off
    advantage = advantage - advantage.swapaxes(1, 2)
    advantage *= 0.5 / np.abs(advantage).max((1, 2), keepdims=True)
    log_ref = log_softmax(rng.normal(size=(count, 1, size)))
    game = Game(jnp.asarray(advantage[:, None]), jnp.asarray(log_ref), jnp.ones((count, 1)), bank.game.beta)
    method = method_of("mpo", effort, period=np.full(count, 2.0))

    def drift(log_policy: np.ndarray) -> np.ndarray:
        path = path_of(method, game, log_policy, 4).policy
        return gap(path[:1], path).max(0)

    def witness(index: int) -> dict[str, Any]:
        return {"size": size, "beta": float(bank.game.beta[index]), "nash": nash[index].tolist()}

    errors = drift(np.log(nash)[:, None])
    return outcome_of(errors, "the reference as start and magnet", drift(log_ref), witness, LIMIT)


def _judge_flow(effort: Effort) -> Outcome:
    """Derivative of KL(π*‖π+) in the step size of the library's step, at step size 0, by forward mode."""
    bank = bank_of(effort)
    method = method_of("online_mirror_descent", effort)

    def slope(game: Game, start: jax.Array, log_nash: jax.Array) -> tuple[jax.Array, ...]:
        space = simplex(game)

        def distance(step_size: jax.Array) -> jax.Array:
            stepped = Partial(method.step.func, step_size=step_size, beta=game.beta)  # type: ignore[attr-defined]
            oracle = exact(game, space.log_prob)
            moved = stepped(jax.random.key(0), method.init(start), oracle, space)[0].policy
            return logspace.kl(log_nash, moved)[0]

        derivative = jax.jvp(distance, (0.0 * game.beta,), (1.0 + 0.0 * game.beta,))[1]
        return derivative, logspace.kl(log_nash, start)[0], logspace.kl(start, log_nash)[0]

    measured, forward, reverse = map(
        np.asarray, jax.jit(jax.vmap(slope))(bank.game, bank.start, bank.log_nash)
    )
    beta = np.asarray(bank.game.beta)
    # the pull and the payoff cancel near equilibrium: what each adds is the scale of their rounding
    scale = 1 + beta * (forward + reverse)
    errors = np.abs(measured + beta * (forward + reverse)) / scale
    wrong = np.abs(measured + beta * forward) / scale
    return _outcome(effort, errors, "without the reverse divergence", wrong)


_identity = functools.partial(check_of, kind="identity")

CHECKS: tuple[Check, ...] = (
    _identity(
        "nash_md.first_step_forgets_start",
        "with η_0 = 1/β (t from 0) π_1 is the same from every start",
        "full-support starts",
        _judge_first_step,
        "theorem",
        "arXiv:2312.00886, Theorem 1",
    ),
    _identity(
        "nash_mirror_prox.is_egpo",
        "η = gβ gives the half and the full iterates of EGPO with step g/(1 + gβ)",
        "g <= 2; up to 100 steps from one start",
        _judge_mirror_prox,
    ),
    _identity(
        "online_mirror_descent.is_magnetic",
        "the implicit step g towards a magnet at π_ref is the explicit step g/(1 + gβ)",
        "g <= 4β; up to 100 steps from one start",
        _judge_magnetic,
    ),
    _identity(
        "ipo_md.without_mixture",
        "IPO-MD at mixture 0 is online mirror descent",
        "10 steps from one start",
        _judge_unmixed,
    ),
    _identity(
        "nash_md.constant_step_fixed_point",
        "a constant step keeps BR_β(π'), π' the Nash policy at temperature β/(1 - ηβ)",
        "0 < ηβ <= 0.9",
        functools.partial(_judge_biased, "nash_md"),
    ),
    _identity(
        "nash_md.constant_step_limit",
        "a constant step converges to BR_β(π'), π' the Nash policy at temperature β/(1 - ηβ)",
        "β/(1 - ηβ) >= 1/2 and a step half as long as is proved to contract; 150 steps",
        _judge_biased_limit,
    ),
    _identity(
        "ipo_md.fixed_point",
        "IPO-MD keeps BR_β(π'), π' the Nash policy at temperature β/(1 - mixture): what Nash-MD keeps where "
        "ηβ = mixture",
        "mixture in (0, 0.9]",
        functools.partial(_judge_biased, "ipo_md"),
        source="method: arXiv:2403.08635; derived",
    ),
    _identity(
        "mpo.fixed_point",
        "an unregularised Nash policy of full support is kept, magnet and all, at every β",
        "constructed games; 4 steps, the magnet moving every 2",
        _judge_magnet_fixed,
    ),
    _identity(
        "online_mirror_descent.flow",
        "d/dη KL(π*‖π+) = -β (KL(π*‖π) + KL(π‖π*)) at η = 0",
        "any π of full support",
        _judge_flow,
    ),
)
