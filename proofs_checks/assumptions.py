"""What a claim assumes of a game, of an algorithm and of its own bound: one line for whatever breaks it."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from nlhf.base import Algorithm, Claim, hyper
from nlhf.errors import InputError
from tabular.games import Game
from tabular.metrics import check_measure
from tabular.payoff import dense


def find_claim(name: str, method: Algorithm) -> Claim:
    """Return an algorithm's claim by its name.

    Raises:
      InputError: if it makes no claim of that name; lists those it makes.
    """
    for claim in method.claims:
        if claim.name == name:
            return claim
    made = ", ".join(claim.name for claim in method.claims) or "none"
    raise InputError(f"{name!r} is not a claim of this algorithm; its claims are: {made}")


def step_size_of(method: Algorithm) -> Any:
    """Return an algorithm's step size: NaN for a schedule, and where it has none."""
    step_size = hyper(method).get("step_size")
    return np.nan if step_size is None or callable(step_size) else step_size


def check_assumptions(claim: Claim, method: Algorithm, game: Game) -> None:
    """Refuse a game or a step size that a claim does not speak of.

    Args:
      claim: what is to be judged.
      method: the algorithm with its hyper-parameters.
      game: one game, not a batch.

    Raises:
      InputError: names the assumption, the value that breaks it and the remedy.
    """
    check_measure(claim.metric, game.log_ref if claim.regularised else None)
    _check_preferences(claim, game)
    beta = float(game.beta)
    if claim.regularised and not beta > 0:
        raise InputError(
            f"the game has beta = {beta:g}, but {claim.name} assumes a regularised game, beta > 0; raise beta"
        )
    if not claim.regularised and beta != 0:
        raise InputError(
            f"the game has beta = {beta:g}, but {claim.name} assumes the original game, beta = 0; set it to 0"
        )
    num_contexts = game.log_ref.shape[0]
    if claim.metric == "span_to_nash" and num_contexts > 1:
        # the span is that of the worst context, the divergence at the start a mean over them
        raise InputError(
            f"the game has {num_contexts} contexts, but {claim.name} assumes 1, as it bounds a span by a "
            "divergence; judge each context as a game of its own"
        )
    check_settings(claim, method, beta)


def check_settings(claim: Claim, method: Algorithm, beta: float) -> None:
    """Refuse an algorithm whose β is not the game's, or whose step is outside the range of a claim.

    Raises:
      InputError: as ``check_assumptions``.
    """
    own = hyper(method).get("beta", beta)
    if abs(float(own) - beta) > 1e-12 * max(beta, 1e-300):
        raise InputError(
            f"the algorithm's beta is {float(own):g}, but {claim.name} assumes that of the game, {beta:g}; "
            "give both the same beta"
        )
    step_size = float(step_size_of(method))
    low, high = (float(end) for end in claim.step_size_range(np.asarray(beta)))
    inside = low <= step_size <= high * (1 + 8 * np.finfo(float).eps) and step_size > 0
    if not (inside or np.isnan(step_size)):
        raise InputError(
            f"the step size is {step_size:g}, but {claim.name} assumes one above 0 in "
            f"[{low:g}, {high:g}] at beta = {beta:g}; give another step size"
        )


def check_arguments(claim: Any, algorithm: Any, games: Any) -> None:
    """Refuse what is no claim, no algorithm or no game.

    Args:
      claim: as in ``proofs_checks.check``.
      games: a list, or ``"bank"``.

    Raises:
      InputError: names the argument and what it must be.
    """
    if jnp.result_type(float) != jnp.float64:
        raise InputError(
            "jax_enable_x64 is False, but a bound can be judged only in float64; call nlhf.setup() before "
            "anything else"
        )
    if not isinstance(claim, Claim | str):
        raise InputError(f"claim is a {type(claim).__name__}, but it must be a Claim or the name of one")
    if not isinstance(algorithm, Algorithm) and not callable(algorithm):
        raise InputError(
            f"algorithm is a {type(algorithm).__name__}, but it must be an Algorithm or a function of beta; "
            "call its factory"
        )
    if isinstance(games, str):
        if games != "bank":
            raise InputError(f'games is {games!r}, but it must be "bank" or games; build them by make_game')
        return
    if not games:
        raise InputError("there are 0 games, but a claim is judged on at least 1; give a game")
    for index, game in enumerate(games):
        if not isinstance(game, Game):
            raise InputError(
                f"game {index} is a {type(game).__name__}, but it must be a Game; build it by make_game"
            )
        if np.ndim(game.beta) or np.ndim(game.log_ref) != 2:
            raise InputError(f"game {index} is a batch of games; give a list of single ones")
        for leaf in jax.tree.leaves(game):
            if jnp.asarray(leaf).dtype != jnp.float64:
                raise InputError(
                    f"game {index} holds {jnp.asarray(leaf).dtype} numbers, but a bound can be judged only "
                    "in float64; build it from float64 tables after nlhf.setup()"
                )


def _check_preferences(claim: Claim, game: Game) -> None:
    """Refuse a structured game, which no constructor has looked at, that is no preference game."""
    advantage = np.asarray(dense(game.advantage))
    skew = np.abs(advantage + advantage.swapaxes(-1, -2)).max()
    if not np.isfinite(advantage).all() or skew > 1e-12 or np.abs(advantage).max() > 0.5 + 1e-12:
        raise InputError(
            f"the game's P - 1/2 reaches {np.abs(advantage).max():g} and differs from minus its transpose by "
            f"{skew:g}, but {claim.name} assumes P + P^T = 1 with entries in [0, 1]; give preferences"
        )
