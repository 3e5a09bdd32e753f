"""Every algorithm's step by what is asked of it: each policy it makes maximises a stated objective.

The objective is always ``gain <P(· ≻ opponent), u> - Σ_k weight_k KL(u ‖ anchor_k)``, strictly concave in u:
its maximiser is the one policy at which the gradient in u is the same for all actions. The gradient comes
from automatic differentiation of the objective as written here; payoffs and opponents are computed in numpy.
No closed form of a step and no target of the library is used.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from nlhf import ALGORITHMS
from nlhf.base import Algorithm
from proofs_checks.instances import GOLDEN, Bank, build, describe
from proofs_checks.rows import Effort
from tabular.games import Game
from tabular.oracle import exact
from tabular.spaces.simplex import simplex

# the objective reads probabilities, not their logarithms: at smaller beta they underflow
BETAS = (5e-3, 10.0)
NUM_INNER = 40  # at β' >= 2.5 an inner step shrinks log-errors 26-fold: solved to rounding long before


class Maximiser(NamedTuple):
    """A policy and the objective that it must maximise; everything batched over N instances."""

    log_policy: np.ndarray  # ``[N, A]``
    log_opponent: np.ndarray  # ``[N, A]``, the payoff is P(· ≻ opponent)
    gain: np.ndarray  # ``[N]`` weight of the payoff
    weights: np.ndarray  # ``[2, N]`` of the two KL terms
    anchors: np.ndarray  # ``[2, N, A]`` their second arguments, as log-probabilities


class Path(NamedTuple):
    """What an algorithm did: policies before and after every step."""

    policy: np.ndarray  # ``[S + 1, N, A]`` log-probabilities, the start first
    # ``[S + 1, N, A]`` extrapolated policies, the start first; ``policy`` where a state has none
    half: np.ndarray
    log_ref: np.ndarray  # ``[N, A]``


def _toward(
    log_policy: Any, log_opponent: Any, gain: Any, first: tuple[Any, Any], second: tuple[Any, Any]
) -> Maximiser:
    gain = np.asarray(gain)
    weights = np.stack([np.broadcast_to(weight, gain.shape) for weight, _ in (first, second)])
    return Maximiser(log_policy, log_opponent, gain, weights, np.stack([first[1], second[1]]))


def _mirror(
    log_policy: Any, log_opponent: Any, centre: Any, log_ref: Any, step_size: Any, beta: Any
) -> Maximiser:
    """``argmax_u η <P(· ≻ opponent), u> - ηβ KL(u ‖ π_ref) - (1 - ηβ) KL(u ‖ centre)``."""
    pull = step_size * beta
    return _toward(log_policy, log_opponent, step_size, (pull, log_ref), (1 - pull, centre))


def geometric_mixture(log_policy: np.ndarray, log_other: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Normalised geometric mixture ``policy^(1 - weight) other^weight``, ``[N, A]`` log-probabilities."""
    present = np.isfinite(log_other)
    logits = (1 - weight[:, None]) * np.where(present, log_policy, 0) + weight[:, None] * np.where(
        present, log_other, 0
    )
    return log_softmax(np.where(present, logits, -np.inf))


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """Normalise over the last axis, in numpy."""
    shifted = logits - logits.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


def _online_mirror_descent(path: Path, *, step_size: Any, beta: Any) -> Iterator[Maximiser]:
    for before, after in zip(path.policy[:-1], path.policy[1:], strict=True):
        yield _mirror(after, before, before, path.log_ref, step_size, beta)


def _nash_md(path: Path, *, step_size: Any, beta: Any) -> Iterator[Maximiser]:
    """``argmax_u η <P(· ≻ m), u> - KL(u ‖ m)``, m the geometric mixture; ``None`` is η_t = 2/(β(t + 2))."""
    for count, (before, after) in enumerate(zip(path.policy[:-1], path.policy[1:], strict=True)):
        eta = 2 / (beta * (count + 2)) if step_size is None else step_size
        mixed = geometric_mixture(before, path.log_ref, eta * beta)
        yield _toward(after, mixed, eta, (1.0, mixed), (0.0, path.log_ref))


def _nash_mirror_prox(path: Path, *, step_size: Any, beta: Any) -> Iterator[Maximiser]:
    """``argmax_u (1/β) <P(· ≻ opponent), u> - KL(u ‖ π_ref) - (1/η) KL(u ‖ π)``, η = gβ, for π and then h."""
    for t in range(len(path.policy) - 1):
        centre, half = path.policy[t], path.half[t + 1]
        for made, opponent in ((half, centre), (path.policy[t + 1], half)):
            kl_terms = (1.0, path.log_ref), (1 / (step_size * beta), centre)
            yield _toward(made, opponent, 1 / beta, *kl_terms)


def _nash_prox(path: Path, *, step_size: Any, beta: Any) -> Iterator[Maximiser]:
    """The new policy is its own opponent: ``argmax_u <P(· ≻ π+), u> - β KL(u ‖ π_ref) - (β/η) KL(u ‖ π)``."""
    for before, after in zip(path.policy[:-1], path.policy[1:], strict=True):
        yield _toward(after, after, np.ones_like(beta), (beta, path.log_ref), (beta / step_size, before))


def _egpo(path: Path, *, step_size: Any, beta: Any) -> Iterator[Maximiser]:
    for t in range(len(path.policy) - 1):
        centre, half = path.policy[t], path.half[t + 1]
        yield _mirror(half, centre, centre, path.log_ref, step_size, beta)
        yield _mirror(path.policy[t + 1], half, centre, path.log_ref, step_size, beta)


def _omwu(path: Path, *, step_size: Any, beta: Any) -> Iterator[Maximiser]:
    """``h_t`` from π_t against ``h_{t-1}`` (the start for t = 0), ``π_{t+1}`` from π_t against ``h_t``.

    The state after n queries holds π_{n-1} and h_{n-1}, and after none the start twice.
    """
    for n in range(1, len(path.policy)):
        yield _mirror(path.half[n], path.half[n - 1], path.policy[n], path.log_ref, step_size, beta)
        # the first query makes no policy: a step of size zero keeps the start
        eta = step_size if n > 1 else 0 * step_size
        yield _mirror(path.policy[n], path.half[n - 1], path.policy[n - 1], path.log_ref, eta, beta)


def _mpo(path: Path, *, step_size: Any, beta: Any, period: Any) -> Iterator[Maximiser]:
    """``argmax_u <P(· ≻ π), u> - β KL(u ‖ magnet) - (1/g) KL(u ‖ π)``, the magnet a period's first policy."""
    rows = np.arange(len(beta))
    for t in range(len(path.policy) - 1):
        magnet = path.policy[(t // period * period).astype(int), rows]
        before = path.policy[t]
        yield _toward(path.policy[t + 1], before, np.ones_like(beta), (beta, magnet), (1 / step_size, before))


def _ipo_md(path: Path, *, step_size: Any, beta: Any, mixture: Any) -> Iterator[Maximiser]:
    """The mirror step from the policy against its geometric mixture with the reference."""
    for before, after in zip(path.policy[:-1], path.policy[1:], strict=True):
        opponent = geometric_mixture(before, path.log_ref, mixture)
        yield _mirror(after, opponent, before, path.log_ref, step_size, beta)


DEFINITIONS: dict[str, Callable[..., Iterator[Maximiser]]] = {
    "online_mirror_descent": _online_mirror_descent,
    "nash_md": _nash_md,
    "nash_md.decreasing": _nash_md,
    "nash_mirror_prox": _nash_mirror_prox,
    "nash_prox": _nash_prox,
    "egpo": _egpo,
    "omwu": _omwu,
    "mpo": _mpo,
    "ipo_md": _ipo_md,
}


@functools.lru_cache(maxsize=2)
def bank_of(effort: Effort) -> Bank:
    """Return the instances of all step checks; every start is drawn, none is the reference.

    Args:
      effort: 1,024 games of 2 to 16 actions, or 64 of 2 to 8.
    """
    sizes = effort.pick((2, 3, 5, 8), (2, 3, 5, 10, 16))
    bank = build(effort.key("variational"), effort.pick(64, 1024), sizes, BETAS)
    spread = np.where(np.arange(len(bank.share)) % 2 == 0, 2.0, 8.0)
    drawn = spread[:, None, None] * effort.rng("variational").normal(size=bank.start.shape)
    logits = np.where(np.isfinite(bank.game.log_ref), drawn, -np.inf)
    return bank._replace(start=jnp.asarray(log_softmax(logits)))


def settings_of(name: str, effort: Effort) -> dict[str, Any]:
    """Return the hyper-parameters ``[N]`` under which the steps of an algorithm are judged."""
    bank = bank_of(effort)
    beta, share = np.asarray(bank.game.beta), np.asarray(bank.share)
    explicit = {"step_size": share / (beta + 0.5), "beta": beta}
    index = np.arange(len(beta))
    return {
        "online_mirror_descent": explicit,
        "nash_md": {"step_size": share / beta, "beta": beta},
        "nash_md.decreasing": {"step_size": None, "beta": beta},
        "nash_mirror_prox": {"step_size": 2 * share, "beta": beta},
        "nash_prox": {"step_size": beta / 2.5, "beta": beta},
        "egpo": explicit,
        "omwu": explicit,
        "mpo": {"step_size": 4 * beta * share, "beta": beta, "period": 1.0 + index % 3},
        "ipo_md": {**explicit, "mixture": (0.5 + GOLDEN * index) % 1},
    }[name]


def method_of(name: str, effort: Effort, **changes: Any) -> Algorithm:
    """Return the library's algorithm as a batch of N, ready for ``step_errors``.

    Args:
      name: a key of ``DEFINITIONS``.
      **changes: hyper-parameters ``[N]`` that differ from ``settings_of``.
    """
    factory = ALGORITHMS[name.split(".")[0]]
    given = {**settings_of(name, effort), **changes}
    if name == "nash_prox":
        given = {"num_inner": NUM_INNER, **given}
    # None and a count are structure, everything else is a number an instance
    fixed = {key: value for key, value in given.items() if value is None or isinstance(value, int)}
    batched = {key: value for key, value in given.items() if key not in fixed}
    return jax.vmap(lambda hyper: factory(**hyper, **fixed))(jax.tree.map(jnp.asarray, batched))


def path_of(method: Algorithm, game: Game, start: Any, num_steps: int, compiled: bool = False) -> Path:
    """Run a batch of algorithms over the simplex with the exact oracle.

    Args:
      method: any ``Algorithm``; leaves with a leading axis N are one value an instance.
      game: N games of one context.
      start: ``[N, 1, A]`` first policies.
      num_steps: S.
      compiled: compile the step as a whole; pays where it contains a loop, else primitives that the
        algorithms share compile faster.
    """
    count = len(start)

    def axis(leaf: Any) -> int | None:
        return 0 if np.ndim(leaf) and np.shape(leaf)[0] == count else None

    axes = jax.tree.map(axis, method)

    def init(method: Algorithm, start: jax.Array) -> Any:
        return method.init(start)

    def step(method: Algorithm, game: Game, state: Any) -> Any:
        space = simplex(game)
        return method.step(jax.random.key(0), state, exact(game, space.log_prob), space)[0]

    advance = jax.vmap(step, (axes, 0, 0))
    advance = jax.jit(advance) if compiled else advance
    states = [jax.vmap(init, (axes, 0))(method, jnp.asarray(start))]
    for _ in range(num_steps):
        states.append(advance(method, game, states[-1]))
    policy = np.stack([np.asarray(state.policy)[:, 0] for state in states])
    half = np.stack([np.asarray(getattr(state, "half", state.policy))[:, 0] for state in states])
    return Path(policy, half, np.asarray(game.log_ref)[:, 0])


def step_errors(name: str, method: Algorithm | None = None, effort: Effort = Effort()) -> np.ndarray:  # noqa: B008
    """How far the policies that an algorithm makes are from the maximisers that it is defined by.

    The gradient of the objective at the policy, less its mean over the actions, over the total weight of the
    KL terms: the error of the log-policy in nats; relative to 1 + max |log π|. Mass that is lost or on
    excluded actions counts as well.

    Args:
      name: a key of ``DEFINITIONS``, whose definition judges.
      method: what is judged; ``None`` is the library's algorithm, ``method_of(name, effort)``.

    Returns:
      ``[N]`` errors, NaN where a policy is.
    """
    bank = bank_of(effort)
    method = method_of(name, effort) if method is None else method
    # a step of nash_prox solves a whole game
    loops = name == "nash_prox"
    path = path_of(method, bank.game, bank.start, 2 if loops else 5, compiled=loops)
    advantage = np.asarray(bank.game.advantage)[:, 0]
    present = np.isfinite(path.log_ref)
    worst = np.zeros(len(present))
    for made in DEFINITIONS[name](path, **settings_of(name, effort)):
        payoff = np.einsum("nab,nb->na", advantage, np.exp(made.log_opponent))
        worst = np.maximum(worst, np.asarray(_imbalance(made, payoff, present)))
    return worst


def witness_of(bank: Bank, index: int, **more: Any) -> dict[str, Any]:
    """Describe one instance of a bank in JSON values, with further columns ``[N]`` by name."""
    extra = {key: float(value[index]) for key, value in more.items() if value is not None}
    return {**describe(bank, index), **extra}


@jax.jit
@jax.vmap
def _errors(
    log_policy: jax.Array,
    payoff: jax.Array,
    gain: jax.Array,
    weights: jax.Array,
    anchors: jax.Array,
    present: jax.Array,
) -> jax.Array:
    def objective(policy: jax.Array) -> jax.Array:
        log_prob = jnp.log(jnp.where(present, policy, 1.0))
        divergence = (policy[None, :] * (log_prob[None, :] - anchors)).sum(-1)
        return gain * (policy @ payoff) - weights @ divergence

    gradient = jax.grad(objective)(jnp.exp(log_policy))
    count = present.sum().astype(gradient.dtype)
    level = jnp.where(present, gradient, 0.0).sum() / count
    largest = jnp.max(jnp.where(present, jnp.abs(log_policy), 0.0))
    imbalance = jnp.max(jnp.where(present, jnp.abs(gradient - level), 0.0)) / weights.sum()
    inside = jnp.where(present, jnp.exp(log_policy), 0.0).sum()
    outside = jnp.where(present, 0.0, jnp.exp(log_policy)).sum()
    return jnp.maximum(imbalance / (1 + largest), jnp.abs(inside - 1) + outside)


def _imbalance(made: Maximiser, payoff: np.ndarray, present: np.ndarray) -> jax.Array:
    anchors = np.where(present, made.anchors, 0.0)  # -inf minus -inf where an action is out of the game
    per_instance = made.weights.swapaxes(0, 1), anchors.swapaxes(0, 1)
    return _errors(made.log_policy, payoff, made.gain, *per_instance, present)
