"""Named families of games: random, transitive, intransitive, and the examples that papers argue with."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from nlhf import logspace
from nlhf.base import check_number
from nlhf.errors import InputError
from tabular.games import Game, make_game
from tabular.payoff import LowRank

Array = jax.Array


def from_upper(upper: Array) -> Array:
    """Return the preference matrix ``[..., A, A]`` with the entries of ``upper`` above its diagonal."""
    above = jnp.triu(upper - 0.5, 1)
    return 0.5 + above - jnp.swapaxes(above, -1, -2)


def uniform_skew(key: Array, num_actions: int, num_contexts: int = 1) -> Array:
    """Every pair's preference drawn from U(0, 1): ``[X, A, A]``; the games of the EGPO paper.

    Args:
      num_actions: A >= 2.
      num_contexts: X >= 1.

    Reference: arXiv:2503.08942, simulations.
    """
    _check_size(num_actions)
    return from_upper(jax.random.uniform(key, (num_contexts, num_actions, num_actions)))


def tournament(key: Array, num_actions: int, num_contexts: int = 1) -> Array:
    """Every pair decided for certain, by a fair coin: ``[X, A, A]`` with entries 0, 1/2 and 1."""
    _check_size(num_actions)
    coin = jax.random.bernoulli(key, 0.5, (num_contexts, num_actions, num_actions))
    return from_upper(coin.astype(jnp.result_type(float)))


def bradley_terry(scores: Array) -> Array:
    """Transitive preferences ``sigmoid(score_a - score_b)``: ``[..., A]`` scores to ``[..., A, A]``."""
    return from_upper(jax.nn.sigmoid(scores[..., :, None] - scores[..., None, :]))


def low_rank_logits(key: Array, num_actions: int, scale: float = 4.0) -> Array:
    """Intransitive preferences ``sigmoid(scale (u_a × u_b))`` from points u in the plane, ``[1, A, A]``."""
    _check_size(num_actions)
    points = jax.random.normal(key, (num_actions, 2))
    cross = points[:, None, 0] * points[None, :, 1] - points[:, None, 1] * points[None, :, 0]
    return from_upper(jax.nn.sigmoid(scale * cross))[None]


def disc(key: Array, num_actions: int, beta: float = 0.1) -> Game:
    """Disc game in factored form: advantage ``(u_a × u_b) / 2`` for points u in the unit disc.

    The advantage has rank 2 and is never stored as a matrix, so A may be millions.

    Args:
      num_actions: A >= 2.
      beta: KL coefficient; the reference is uniform.
    """
    _check_size(num_actions)
    angle_key, radius_key = jax.random.split(key)
    angle = jax.random.uniform(angle_key, (1, num_actions), maxval=2 * jnp.pi)
    radius = jnp.sqrt(jax.random.uniform(radius_key, (1, num_actions)))
    advantage = LowRank((0.5 * radius * jnp.cos(angle))[..., None], (radius * jnp.sin(angle))[..., None])
    check_number("beta", beta)
    return Game(
        advantage,
        logspace.uniform(num_actions)[None],
        jnp.ones((1,)),
        jnp.asarray(beta, jnp.result_type(float)),
    )


def rock_paper_scissors(num_actions: int = 3) -> np.ndarray:
    """Generalised rock-paper-scissors: action a beats the (A - 1)/2 before it in the circle, ``[A, A]``.

    Uniform play is the equilibrium. Large circles are the lower-bound instance of mirror methods: their
    linearisation has the largest possible spectral radius, 1/π in the limit, so that online mirror descent is
    unstable above η = 2β/(β² + 1/π²) and the extragradient above g = π. For even A opposite actions tie.
    """
    _check_size(num_actions)
    distance = (np.arange(num_actions)[:, None] - np.arange(num_actions)[None, :]) % num_actions
    wins = np.sign(
        np.where(2 * distance == num_actions, 0, np.where(2 * distance < num_actions, distance, -1))
    )
    return 0.5 + 0.5 * np.where(distance == 0, 0, wins)


def biased_rock_paper_scissors() -> np.ndarray:
    """Three actions with P(b ≻ a) = P(c ≻ b) = 0.9 and P(a ≻ c) = 0.8; Nash (4/11, 3/11, 4/11).

    Reference: the toy game of arXiv:2410.23223 (COMAL).
    """
    return np.array([[0.5, 0.1, 0.8], [0.9, 0.5, 0.1], [0.2, 0.9, 0.5]])


def three_types(epsilon: float = 0.1) -> np.ndarray:
    """Preferences of a population of three types of rater; no Bradley-Terry model describes it.

    ``P(2 ≻ 1) = 2/3 - ε/2``, ``P(3 ≻ 1) = 1/3 - ε/4``, ``P(3 ≻ 2) = 2/3 + ε/4``; the Nash policy is
    ``(1/3 + ε/2, 1/3 + ε/2, 1/3 - ε)``, while reward learning picks action 1 for ε > 0 and 2 for ε < 0.

    Args:
      epsilon: in [-1/3, 1/3].

    Reference: arXiv:2312.00886, section 3.2.
    """
    check_number("epsilon", epsilon, low=-1 / 3, high=1 / 3)
    second_first, third_first, third_second = 2 / 3 - epsilon / 2, 1 / 3 - epsilon / 4, 2 / 3 + epsilon / 4
    lower = np.array([[0.5, 0, 0], [second_first, 0.5, 0], [third_first, third_second, 0.5]])
    return lower + np.triu(1 - lower.T, 1)


def dice() -> np.ndarray:
    """Intransitive dice {2, 4, 9}, {1, 6, 8}, {3, 5, 7}: each beats the next with probability 5/9.

    Reference: arXiv:2312.00886, appendix C.
    """
    faces = np.array([[2, 4, 9], [1, 6, 8], [3, 5, 7]])
    mine, theirs = faces[:, None, :, None], faces[None, :, None, :]
    return ((mine > theirs) + 0.5 * (mine == theirs)).mean((2, 3))


def elo_example() -> np.ndarray:
    """Bradley-Terry scores (0, log 9, log 2): the best policy by reward and by preference differ.

    Among policies with π_1 = 2 π_2 reward picks (2/3, 1/3, 0) and preference picks (0, 0, 1), which wins
    50/99 of their duels.

    Reference: arXiv:2312.00886, appendix A.
    """
    return np.asarray(bradley_terry(jnp.log(jnp.array([1.0, 9.0, 2.0]))))


def planted(key: Array, preference: Array, beta: float, spread: float = 1.0) -> tuple[Game, Array]:
    """A game whose regularised Nash policy is known exactly, at any size: choose it, derive the reference.

    ``log_ref = log π* - (P - 1/2) π* / β`` up to normalisation.

    Args:
      key: random key of the equilibrium's logits.
      preference: ``[X, A, A]`` or ``[A, A]``.
      beta: KL coefficient, > 0.
      spread: standard deviation of the equilibrium's logits, in nats.

    Returns:
      The game and its ``[X, A]`` log Nash policy.

    Raises:
      InputError: as ``make_game``, or if beta is 0.
    """
    check_number("beta", beta, open_low=True)
    game = make_game(preference, beta=beta)
    log_nash = logspace.normalise(spread * jax.random.normal(key, game.log_ref.shape))
    advantage = jnp.einsum("xab,xb->xa", game.advantage, jnp.exp(log_nash))
    return game._replace(log_ref=logspace.normalise(log_nash - advantage / beta)), log_nash


def full_support(key: Array, num_actions: int, floor: float = 0.2) -> tuple[np.ndarray, np.ndarray]:
    """A random game whose unregularised Nash policy x is chosen and has full support.

    ``A = Q B Q`` with B random skew and Q the projection off x, so that A x = 0, scaled to |A| <= 1/2. A
    generic random game has a full-support Nash policy with probability 2^(1-A) for odd A, never for even A.
    For even A the null space is at least a plane, so x is not the only equilibrium.

    Args:
      num_actions: A >= 2; two actions tie.
      floor: smallest weight before normalisation, in (0, 1).

    Returns:
      ``[A, A]`` preference and ``[A]`` Nash policy.
    """
    _check_size(num_actions)
    nash_key, skew_key = jax.random.split(key)
    nash = np.asarray(jax.random.uniform(nash_key, (num_actions,), minval=floor, maxval=1.0))
    nash = nash / nash.sum()
    skew = np.asarray(jax.random.normal(skew_key, (num_actions, num_actions)))
    off = np.eye(num_actions) - np.outer(nash, nash) / (nash @ nash)
    advantage = off @ (skew - skew.T) @ off
    advantage = np.triu(advantage, 1)
    advantage = advantage - advantage.T
    largest = np.abs(advantage).max()
    # with two actions only the tie has a full-support equilibrium, and what is left here is rounding
    return 0.5 + advantage * (0.5 / largest if largest > 1e-9 else 0.0), nash


def random_reference(key: Array, num_actions: int, num_contexts: int = 1, spread: float = 1.0) -> Array:
    """Reference with normal logits of standard deviation ``spread``, ``[X, A]`` log-probabilities."""
    return logspace.normalise(spread * jax.random.normal(key, (num_contexts, num_actions)))


def _check_size(num_actions: int) -> None:
    if num_actions < 2:
        raise InputError(f"num_actions is {num_actions}, but a game needs at least 2; give a larger one")
