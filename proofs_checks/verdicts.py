"""Judge a claim about an algorithm on games: does the metric stay below the bound at every step?

For anyone's own claim about anyone's own algorithm; the ledger uses the same measurement.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from nlhf import logspace
from nlhf.base import Algorithm, Claim, PolicySpace, as_algorithm, check_whole
from nlhf.errors import InputError, RangeWarning
from proofs_checks import bound as bounds
from proofs_checks import worst
from proofs_checks.assumptions import check_arguments, check_assumptions, find_claim, step_size_of
from proofs_checks.rows import ROUNDING
from tabular.bounds import check_bound, constants
from tabular.games import Game
from tabular.nash import solve_regularised
from tabular.oracle import OracleFactory, exact
from tabular.payoff import dense
from tabular.runner import Axes, run
from tabular.spaces.simplex import simplex
from tabular.traces import Measure

Array = jax.Array
Method = Algorithm | Callable[[float], Algorithm]
SIGMAS = 3.0  # standard errors that a mean over seeds is allowed
MIN_SEEDS = 10  # below, the standard error itself is a guess
LOST = 1e-3  # nats: where rounding moves a log-policy this far, nothing can be judged
START_SPREAD = 2.0  # nats: standard deviation of the random starts' logits


class Witness(NamedTuple):
    """The run that came closest to breaking a claim, or broke it worst."""

    game: Game  # the game, unbatched
    start: np.ndarray  # ``[X, A]`` first log-policy
    step: int  # after how many steps
    measured: float  # the metric (its mean over seeds)
    standard_error: float  # of that mean; 0 for one seed
    bound: float  # the promised ceiling
    step_size: float  # the method's step size, NaN for a schedule


class Verdict(NamedTuple):
    """What became of a claim."""

    claim: Claim  # the claim
    holds: bool  # whether measured <= bound at every step of every run
    worst: float  # the largest measured/bound, less what rounding (and three standard errors) can add
    runs: int  # games times starts
    witness: Witness  # where ``worst`` was reached
    searches: int = 0  # gradient searches for a worse instance

    def __str__(self) -> str:
        """Say in a few lines what was tried and where it came closest."""
        found = self.witness
        noise = f" (standard error {found.standard_error:.2g})" if found.standard_error else ""
        searched = f" and {self.searches} searches" if self.searches else ""
        step_size = "" if math.isnan(found.step_size) else f", step size {found.step_size:.6g}"
        lines = [
            f"{self.claim.name}: {'holds' if self.holds else 'FAILS'}, worst measured/bound "
            f"{self.worst:.6g} in {self.runs} runs{searched}",
            f"  claim   {self.claim.statement}",
            f"  source  {self.claim.source} ({self.claim.status})",
            f"  worst   after step {found.step}: {self.claim.metric} of the {self.claim.iterate} iterate is "
            f"{found.measured:.6g}{noise}, bound {found.bound:.6g}",
            f"  game    {found.game.num_actions} actions, beta = {float(found.game.beta):.6g}{step_size}",
        ]
        if found.game.log_ref.size <= 8:
            table = [_decimals(row) for row in np.asarray(found.game.preference[0])]
            lines += [
                "  preference " + ("\n" + " " * 13).join(table),
                f"  reference  {_decimals(np.exp(np.asarray(found.game.log_ref[0])))}",
                f"  start      {_decimals(np.exp(found.start[0]))}",
            ]
        return "\n".join(lines)


def _decimals(row: np.ndarray) -> str:
    """Write probabilities so that they can be read: ``0.500 0.000217 1.000``."""

    def one(value: float) -> str:
        if value == 0 or value >= 1e-3:
            return f"{value:.3f}"
        return f"{value:.2e}" if value < 1e-7 else np.format_float_positional(value, 3, fractional=False)

    return " ".join(one(float(value)) for value in row)


class _Setup(NamedTuple):
    """How runs are made, for all games of a verdict."""

    num_steps: int
    num_seeds: int
    make_oracle: OracleFactory
    make_space: Callable[[Game], PolicySpace]


def check(
    claim: Claim | str,
    algorithm: Method,
    games: Game | Sequence[Game] | str,
    key: Array | None = None,
    *,
    search: bool = False,
    num_steps: int = 200,
    num_starts: int = 2,
    num_seeds: int = 1,
    make_oracle: OracleFactory = exact,
    make_space: Callable[[Game], PolicySpace] = simplex,
) -> Verdict:
    """Run an algorithm on games and compare a metric with its claimed bound after every step.

    The equilibrium of each game is solved by Newton's method. The runs start from the reference and from
    ``num_starts - 1`` random policies of full support. With a sampled oracle give ``num_seeds > 1``: the
    claim is then read in expectation, and fails where the mean less three standard errors is above it.

    ``games="bank"`` judges on the ledger's bank instead of games of one's own: 160 instances of 2 to 5
    actions (random, decided, cyclic, transitive, nearly tied, dominated and planted games; five kinds of
    reference, three of start), β from 0.001 to 10; about 10 seconds, mostly compiling. ``search=True`` then
    lets 32 gradient ascents look for an instance that breaks the claim, over payoffs, equilibrium, start
    and β of games with 3 actions and the first 30 steps; about 5 seconds. The worst instance of either is
    solved and run again as a game of its own, and that run is the verdict's. An algorithm that can neither be
    traced in β nor batched over it (its number of inner steps depends on β) is compiled instance by instance,
    on 16 instances of the bank and by 30 searches at three betas.

    Args:
      claim: what is promised, or the name of one of the algorithm's claims. Its ``bound(step, known)`` may
        use whatever ``nlhf.Constants`` holds, and must be written with ``jax.numpy``.
      algorithm: a method, or ``beta -> method`` where the games differ in β, as those of the bank do.
      games: one game or several, of any sizes, or ``"bank"``.
      key: random key of starts, seeds and searches; ``None`` is key 0.
      search: whether to search for worse instances; with the exact oracle on tables only.
      num_steps: steps of each run, >= 1.
      num_starts: starts a game, >= 1; an instance of the bank has one, its own.
      num_seeds: seeds a start, >= 1.
      make_oracle: as in ``tabular.runner.run``.
      make_space: likewise; policies must be tables, as those of ``simplex`` are.

    Returns:
      A ``Verdict``; ``print`` it.

    Raises:
      InputError: if a game is outside the claim's assumptions (says which), there is no game, the name is not
        that of a claim, the bound cannot be evaluated on arrays, the bank or the search is asked for with
        something else than exact payoffs on tables, the bank with an algorithm that is made for one β, or
        float64 is off.
      ArithmeticError: if a game's equilibrium cannot be solved.
    """
    banked = isinstance(games, str)
    own = [games] if isinstance(games, Game) else [] if isinstance(games, str) else list(games)
    algorithm = as_algorithm(algorithm) if hasattr(algorithm, "step") else algorithm
    check_arguments(claim, algorithm, games if banked else own)
    num_steps, num_starts = check_whole("num_steps", num_steps), check_whole("num_starts", num_starts)
    setup = _Setup(num_steps, check_whole("num_seeds", num_seeds), make_oracle, make_space)
    if make_oracle is not exact and num_seeds < MIN_SEEDS:
        raise InputError(
            f"num_seeds is {num_seeds}, but with an oracle that is not exact a claim is read in expectation, "
            f"and its standard error needs at least {MIN_SEEDS}; give more seeds"
        )
    if (banked or search) and (make_oracle is not exact or make_space is not simplex):
        raise InputError(
            "the bank and the search run the exact oracle on tables, but another make_oracle or make_space "
            "is given; leave it out, or give games and search=False"
        )

    def method_at(beta: float) -> Algorithm:
        return algorithm if isinstance(algorithm, Algorithm) else as_algorithm(algorithm(beta))

    key = jax.random.key(0) if key is None else key
    promised = (
        claim
        if isinstance(claim, Claim)
        else find_claim(claim, method_at(0.1 if banked else float(own[0].beta)))
    )
    check_bound(promised, num_steps, compiled=banked or search)
    fixed = None
    if (banked or search) and isinstance(algorithm, Algorithm):
        fixed = worst.fixed_beta(promised, algorithm, own)
    verdicts, runs, searches = [], 0, 0
    for index, game in enumerate(own):
        method = method_at(float(game.beta))
        promised = find_claim(claim, method) if isinstance(claim, str) else claim
        check_assumptions(promised, method, game)
        start_key, run_key = jax.random.split(jax.random.fold_in(key, index))
        starts = _starts(game, start_key, num_starts)
        verdicts.append(_judge_game(promised, method, game, starts, run_key, setup))
        runs += num_starts
    proposals = []
    if banked:
        proposals.append(worst.on_bank(promised, method_at, num_steps))
        runs += proposals[0].tried
    if search:
        search_key = jax.random.fold_in(key, len(own))
        proposals.append(worst.by_search(promised, method_at, fixed, search_key, num_steps))
        searches = proposals[-1].tried
    for game, start, _ in proposals:
        method = method_at(float(game.beta))
        check_assumptions(promised, method, game)
        verdicts.append(_judge_game(promised, method, game, start[None], key, setup))
    return max(verdicts, key=lambda verdict: verdict.worst)._replace(runs=runs, searches=searches)


def assert_claim(
    claim: Claim | str,
    algorithm: Method,
    games: Game | Sequence[Game] | str,
    key: Array | None = None,
    *,
    search: bool = False,
    **settings: Any,
) -> Verdict:
    """Raise unless a claim holds; for unit tests.

    >>> from nlhf import Claim, egpo
    >>> def bound(step, known):
    ...     return (1 - known.step_size * known.beta) ** step * known.kl_start
    >>> mine = Claim("mine", metric="kl_to_nash", bound=bound)
    >>> verdict = assert_claim(mine, lambda beta: egpo(1 / (beta + 0.5), beta), "bank", search=True)
    >>> verdict.holds, verdict.runs, verdict.searches
    (True, 160, 32)

    Args:
      claim: what is promised, or the name of one of the algorithm's claims. Its ``bound(step, known)`` is
        given ``step`` as an array and ``known``, a ``nlhf.Constants``: ``step_size``, ``beta``, ``kl_start``,
        ``log_start``, ``span_start`` (how far the start is), ``num_actions``, ``log_min_ref`` and
        ``largest_advantage`` (how hard the game is). Write it with ``jax.numpy``.
      algorithm: a method, or ``beta -> method``.
      games: one game or several, or ``"bank"``, the ledger's 160 instances (about 10 seconds).
      key: random key of starts, seeds and searches; ``None`` is key 0.
      search: whether to search for an instance that breaks the claim, by gradient ascent (about 5 seconds).
      **settings: ``num_steps``, ``num_starts``, ``num_seeds``, ``make_oracle``, ``make_space`` of ``check``.

    Returns:
      The verdict.

    Raises:
      AssertionError: with the worst instance printed.
      InputError: as ``check``.
    """
    verdict = check(claim, algorithm, games, key, search=search, **settings)
    if not verdict.holds:
        raise AssertionError(str(verdict))
    return verdict


def _starts(game: Game, key: Array, num_starts: int) -> Array:
    """Return ``[S, X, A]`` first policies: the reference, and random ones on its support."""
    random = START_SPREAD * jax.random.normal(key, (num_starts - 1, *game.log_ref.shape))
    random = jnp.where(jnp.isneginf(game.log_ref)[None], -jnp.inf, random)
    return jnp.concatenate([game.log_ref[None], logspace.normalise(random)])


def _judge_game(
    claim: Claim, method: Algorithm, game: Game, starts: Array, key: Array, setup: _Setup
) -> Verdict:
    log_nash = _nash(game) if claim.regularised else game.log_ref
    measure = Measure(claim.metric, claim.iterate)
    with warnings.catch_warnings():
        # the assumptions were checked, against this claim alone
        warnings.simplefilter("ignore", RangeWarning)
        trace = run(
            method,
            game,
            num_steps=setup.num_steps,
            key=jax.random.split(key, setup.num_seeds),
            start=starts,
            log_nash=log_nash,
            measures=(measure,),
            make_space=setup.make_space,
            make_oracle=setup.make_oracle,
            axes=(Axes(start=0), Axes(key=0)),
        )
    values = np.asarray(trace.values[measure])
    mean, error = values.mean(1), np.zeros(values.shape[::2])
    if setup.num_seeds > 1:
        error = values.std(1, ddof=1) / math.sqrt(setup.num_seeds)
    step = jnp.arange(setup.num_steps + 1.0)
    step_size = step_size_of(method)
    lost = float(bounds.log_rounding(game, starts[0], step[-1], step_size))
    if lost > LOST:
        raise InputError(
            f"the game has beta = {float(game.beta):g}, but then rounding moves log-policies by {lost:.1g} "
            "nats, and nothing can be judged; raise beta"
        )
    ratios, ceilings = judge_runs(
        claim, jnp.asarray(mean - SIGMAS * error), game, log_nash, starts, step, step_size
    )
    row, index, largest = bounds.worst(ratios)
    found = Witness(
        game=game,
        start=np.asarray(starts[row]),
        step=index,
        measured=float(mean[row, index]),
        standard_error=float(error[row, index]),
        bound=float(ceilings[row, index]),
        step_size=float(step_size),
    )
    return Verdict(claim, largest <= 1 + ROUNDING, largest, len(starts), found)


def judge_runs(
    claim: Claim, measured: Array, game: Game, log_nash: Array, starts: Array, step: Array, step_size: Any
) -> tuple[np.ndarray, np.ndarray]:
    """Return ratios and bounds ``[N, R]`` of N runs of one game.

    Args:
      measured: ``[N, R]`` its metric.
      game: the game, unbatched.
      log_nash: ``[X, A]``.
      starts: ``[N, X, A]``.
      step: ``[R]`` float step numbers.
      step_size: NaN for a schedule.
    """

    def one(values: Array, start: Array) -> tuple[Array, Array]:
        known = constants(game, log_nash, start, step_size)
        ceiling = claim.bound(step, known)
        delta = bounds.log_rounding(game, start, step, step_size)
        return bounds.ratio(claim, values, ceiling, delta, game.beta), jnp.broadcast_to(ceiling, step.shape)

    ratios, ceilings = jax.vmap(one)(measured, starts)
    return np.asarray(ratios), np.asarray(ceilings)


@jax.jit
def _solve(preference: Array, log_ref: Array, beta: Array) -> Any:
    return jax.vmap(solve_regularised, (0, 0, None))(preference, log_ref, beta)


def _nash(game: Game) -> Array:
    solution = _solve(dense(game.advantage) + 0.5, game.log_ref, game.beta)
    residual = float(solution.residual.max())
    if not residual <= 1e-13:
        raise ArithmeticError(
            f"Newton stopped at a residual of {residual:.2e} for beta = {float(game.beta):g}, so there is no "
            "equilibrium to judge by; raise beta"
        )
    return solution.log_policy
