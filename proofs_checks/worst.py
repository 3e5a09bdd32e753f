"""Where a claim of anybody's comes closest to failing: on the ledger's bank, and by gradient search.

Both only propose an instance. It is judged by ``proofs_checks.check`` like any other game, from its numbers
alone, so that a verdict never rests on what is approximate or specific here.
"""

from __future__ import annotations

import contextlib
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
from proofs_checks.instances import BETAS, Bank, subset
from proofs_checks.rows import Effort
from tabular.games import Game, with_beta

Array = jax.Array
Maker = Callable[[float], Algorithm]
NUM_ACTIONS = 3  # of the search: most false claims already fail with three
NUM_STEPS = 30  # of the search, at most
NUM_SEARCHES = 32
NUM_ASCENTS = 100
NUM_PROGRAMS = 16  # instances of the bank where each needs a compilation of its own


class Proposal(NamedTuple):
    """An instance to be judged."""

    game: Game  # unbatched
    start: Array  # ``[1, A]`` first log-policy
    tried: int  # among how many instances it is the worst


def on_bank(claim: Claim, make: Maker, num_steps: int) -> Proposal:
    """Return the worst of the ledger's quick bank: 160 instances, 2 to 5 actions, eight kinds of game.

    Args:
      claim: what is promised.
      make: ``beta -> method``.
      num_steps: of each run.

    Raises:
      InputError: if a step size is outside the claim's range.
    """
    ((count, sizes),) = claims.banks(Effort(quick=True))
    bank = claims.bank_of(Effort(quick=True), count, sizes)
    if not claim.regularised:
        bank = bank._replace(game=with_beta(bank.game, jnp.zeros(count)))
    ratios = np.full(count, -np.inf)
    for rows, program, methods in _programs(claim, make, np.asarray(bank.game.beta), NUM_PROGRAMS):
        for size in np.unique(bank.size[rows]).tolist():
            # without padding: an algorithm of anybody else need not know excluded actions
            inside = np.asarray(bank.size)[rows] == size
            subject = ascent.Subject((claim,), program, None, size, num_steps)
            part = _cut(subset(bank, rows[inside]), size)
            chosen = jax.tree.map(lambda leaf, inside=inside: leaf[inside], methods)
            ratios[rows[inside]] = _judge_batch(subject, part.game, part.log_nash, part.start, chosen)
    worst = int(ratios.argmax())
    one = jax.tree.map(lambda leaf: leaf[0], _cut(subset(bank, worst), int(bank.size[worst])))
    return Proposal(one.game, one.start, int((ratios > -np.inf).sum()))


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

    Payoffs, equilibrium and start are searched, and β in [1e-3, 10] where the algorithm can be traced in it;
    else the searches stand at betas spread over that range.

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
    ends = []
    for rows, program, methods in _programs(claim, make, betas, 3):
        subject = ascent.Subject((claim,), program, None, NUM_ACTIONS, min(num_steps, NUM_STEPS))
        free = given is None and len(rows) == NUM_SEARCHES and methods == ()
        here = np.resize(betas[rows], max(len(rows), NUM_SEARCHES // 3))
        problem = ascent.Problem(
            weight=jnp.ones((len(here), 1)),
            stretch=jnp.ones(len(here)),
            beta=jnp.full(len(here), jnp.nan) if free else jnp.asarray(here),
            method=methods,
        )
        ends.append(ascent.ascend(subject, NUM_ASCENTS, key, problem))
    found = jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *ends)
    row = int(np.argmax(found.ratio))
    game = Game(found.advantage[row][None], found.log_ref[row][None], jnp.ones(1), found.beta[row])
    return Proposal(game, found.log_start[row][None], len(found.ratio))


def _programs(
    claim: Claim, make: Maker, betas: np.ndarray, most: int
) -> list[tuple[np.ndarray, Callable, Any]]:
    """Cut a batch of betas into what one compiled program can do: rows, ``make`` inside it, algorithms.

    The whole batch, where an algorithm can be traced in β, or where the algorithms of all betas are one
    program with other numbers. Else (inner steps in a number that depends on β) ``most`` of the rows, each a
    program.
    """

    def traced(step_size: Any, beta: Any) -> Algorithm:
        return make(beta)

    rows = np.arange(len(betas))
    for beta in np.quantile(betas, (0, 0.5, 1), method="nearest").tolist():
        check_settings(claim, make(beta), beta)
    with contextlib.suppress(TypeError):
        jax.eval_shape(lambda beta: (make(beta), beta)[1], jnp.zeros(()))
        return [(rows, traced, ())]
    methods = [make(beta)._replace(claims=()) for beta in betas.tolist()]
    one_program = len({jax.tree.structure(method) for method in methods}) == 1
    if one_program and not any(callable(leaf) for leaf in jax.tree.leaves(methods)):
        return [
            (rows, traced, jax.tree.map(lambda *leaves: jnp.stack([*map(jnp.asarray, leaves)]), *methods))
        ]
    chosen = np.unique(np.linspace(0, len(rows) - 1, most).astype(int))
    return [
        (np.array([row]), lambda step_size, beta, method=methods[row]: method, ()) for row in chosen.tolist()
    ]


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
    settings = hyper(algorithm)
    betas = {float(settings["beta"])} if "beta" in settings else {float(game.beta) for game in games}
    if len(betas) > 1:
        raise InputError(
            f"the games have {len(betas)} betas, but a search for an algorithm that names none needs one; "
            "give a function of beta"
        )
    return betas.pop()
