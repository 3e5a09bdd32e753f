"""Where a claim of anybody's comes closest to failing: on the ledger's bank, and by gradient search.

Both only propose an instance. It is judged by ``proofs_checks.check`` like any other game, from its numbers
alone, so that a verdict never rests on what is approximate or specific here.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from nlhf.base import Algorithm, Claim, hyper
from nlhf.errors import InputError
from proofs_checks import ascent, claims
from proofs_checks.assumptions import check_settings
from proofs_checks.instances import BETAS, Bank
from proofs_checks.rows import Effort
from tabular.games import Game, with_beta

Array = jax.Array
Maker = Callable[[float], Algorithm]
NUM_ACTIONS = 3  # of the search: most false claims already fail with three
NUM_STEPS = 30  # of the search, at most
NUM_SEARCHES = 32
NUM_ASCENTS = 100


class Proposal(NamedTuple):
    """An instance to be judged.

    Attributes:
      game: unbatched.
      start: ``[1, A]`` first log-policy.
      tried: among how many instances it is the worst.
    """

    game: Game
    start: Array
    tried: int


def on_bank(claim: Claim, make: Maker, num_steps: int) -> Proposal:
    """Return the worst of the ledger's quick bank: 160 instances, 2 to 5 actions, eight kinds of game.

    Args:
      claim: what is promised.
      make: ``beta -> method``.
      num_steps: of each run.

    Raises:
      InputError: if the algorithm cannot be made for the bank's betas, or a step size is outside the claim's
        range.
    """
    ((count, sizes),) = claims.banks(Effort(quick=True))
    bank = claims.bank_of(Effort(quick=True), count, sizes)
    if not claim.regularised:
        bank = bank._replace(game=with_beta(bank.game, jnp.zeros(count)))
    betas = np.asarray(bank.game.beta)
    traced, methods = _methods(claim, make, betas)
    ratios = np.zeros(count)
    for size in sizes:
        # without padding: an algorithm of anybody else need not know excluded actions
        rows = np.flatnonzero(np.asarray(bank.size) == size)
        subject = ascent.Subject((claim,), traced, None, size, num_steps)
        part = _cut(jax.tree.map(lambda leaf, rows=rows: leaf[rows], bank), size)
        chosen = jax.tree.map(lambda leaf, rows=rows: leaf[rows], methods)
        ratios[rows] = _judge_batch(subject, part.game, part.log_nash, part.start, chosen)
    worst = int(ratios.argmax())
    one = _cut(jax.tree.map(lambda leaf: leaf[worst], bank), int(bank.size[worst]))
    return Proposal(one.game, one.start, count)


def _cut(bank: Bank, size: int) -> Bank:
    game = bank.game
    return bank._replace(
        game=game._replace(advantage=game.advantage[..., :size, :size], log_ref=game.log_ref[..., :size]),
        log_nash=bank.log_nash[..., :size],
        start=bank.start[..., :size],
    )


@functools.partial(jax.jit, static_argnums=0)
def _judge_batch(subject: ascent.Subject, game: Game, log_nash: Array, start: Array, method: Any) -> Array:
    def one(game: Game, log_nash: Array, start: Array, method: Any) -> Array:
        return ascent.judge_instance(subject, (game, log_nash, start, jnp.nan), jnp.ones(1), method).ratio

    return jax.vmap(one)(game, log_nash, start, method)


def by_search(claim: Claim, make: Maker, beta: float | None, key: Array, num_steps: int) -> Proposal:
    """Return the worst instance of a gradient search: 32 ascents of 100 steps over games of 3 actions.

    Payoffs, equilibrium and start are searched, and β in [1e-3, 10] where the algorithm can be made for every
    β. Where it can be made only for concrete ones, the searches are spread over that range.

    Args:
      claim: what is promised.
      make: ``beta -> method``.
      beta: the only β that the algorithm is made for; ``None`` for a function of β.
      key: random key of the first candidates.
      num_steps: of each run; the search looks at 30 of them at most.

    Raises:
      InputError: as ``on_bank``.
    """
    given = 0.0 if not claim.regularised else beta
    betas = np.geomspace(*BETAS, NUM_SEARCHES) if given is None else np.full(NUM_SEARCHES, given)
    traced, methods = _methods(claim, make, betas)
    subject = ascent.Subject((claim,), traced, None, NUM_ACTIONS, min(num_steps, NUM_STEPS))
    free = given is None and methods == ()
    problem = ascent.Problem(
        weight=jnp.ones((NUM_SEARCHES, 1)),
        stretch=jnp.ones(NUM_SEARCHES),
        beta=jnp.full(NUM_SEARCHES, jnp.nan) if free else jnp.asarray(betas),
        method=methods,
    )
    found = ascent.ascend(subject, NUM_ASCENTS, key, problem)
    row = int(np.argmax(found.ratio))
    game = Game(found.advantage[row][None], found.log_ref[row][None], jnp.ones(1), found.beta[row])
    return Proposal(game, found.log_start[row][None], NUM_SEARCHES)


def _methods(claim: Claim, make: Maker, betas: np.ndarray) -> tuple[Callable, Any]:
    """Return ``make`` for a compiled program: as it is, or else the algorithms of all betas as one batch.

    The steps of the smallest, the middle and the largest β must be in the claim's range.
    """
    for beta in np.quantile(betas, (0, 0.5, 1), method="nearest").tolist():
        check_settings(claim, make(beta), beta)

    def traced(step_size: Any, beta: Any) -> Algorithm:
        return make(beta)

    try:
        jax.eval_shape(lambda beta: jax.tree.leaves(make(beta)) and beta, jnp.zeros(()))
        return traced, ()
    except TypeError as error:
        said = type(error).__name__
    methods = [make(beta)._replace(claims=()) for beta in betas.tolist()]
    one_program = len({jax.tree.structure(method) for method in methods}) == 1
    if not one_program or any(callable(leaf) for leaf in jax.tree.leaves(methods)):
        raise InputError(
            f"the function of beta makes another program for each beta, and cannot be compiled ({said}); "
            "compute with jax.numpy instead of math, min and if, or give games instead of the bank and search"
        )
    return traced, jax.tree.map(lambda *leaves: jnp.stack([*map(jnp.asarray, leaves)]), *methods)


def fixed_beta(claim: Claim, algorithm: Algorithm, games: list[Game]) -> float:
    """Return the β that an algorithm with all its settings is meant for.

    Args:
      claim: whether it is about β > 0.
      algorithm: not a function of β.
      games: those that are judged; none for the bank.

    Raises:
      InputError: for the bank, whose games differ in β, and where neither the algorithm nor its games say.
    """
    if not claim.regularised:
        return 0.0
    if not games:
        raise InputError(
            "the games of the bank have betas from 0.001 to 10, but the algorithm is made for one; give a "
            "function of beta, such as lambda beta: my_algorithm(0.1, beta)"
        )
    settings = hyper(algorithm) if hasattr(algorithm.step, "keywords") else {}
    betas = {float(settings["beta"])} if "beta" in settings else {float(game.beta) for game in games}
    if len(betas) > 1:
        raise InputError(
            f"the games have {len(betas)} betas, but a search for an algorithm that names none needs one; "
            "give a function of beta"
        )
    return betas.pop()
