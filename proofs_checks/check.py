"""Judge a claim about an algorithm on games: does the metric stay below the bound at every step?

For anyone's own claim about anyone's own algorithm; the ledger uses the same measurement.
"""

from __future__ import annotations

import functools
import math
import warnings
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from nlhf import logspace
from nlhf.base import Algorithm, Claim, PolicySpace, check_whole, hyper
from nlhf.errors import InputError, RangeWarning
from proofs_checks import bound as bounds
from proofs_checks.rows import ROUNDING
from tabular.games import Game
from tabular.metrics import check_measure
from tabular.nash import solve_regularised
from tabular.oracle import OracleFactory, exact
from tabular.payoff import dense
from tabular.runner import Axes, Measure, run
from tabular.spaces.simplex import simplex

Array = jax.Array
Method = Algorithm | Callable[[float], Algorithm]
SIGMAS = 3.0  # standard errors that a mean over seeds is allowed
MIN_SEEDS = 10  # below, the standard error itself is a guess
LOST = 1e-3  # nats: where rounding moves a log-policy this far, nothing can be judged
START_SPREAD = 2.0  # nats: standard deviation of the random starts' logits


class Witness(NamedTuple):
    """The run that came closest to breaking a claim, or broke it worst.

    Attributes:
      game: the game, unbatched.
      start: ``[X, A]`` first log-policy.
      step: after how many steps.
      measured: the metric (its mean over seeds).
      standard_error: of that mean; 0 for one seed.
      bound: the promised ceiling.
      step_size: the method's step size, NaN for a schedule.
    """

    game: Game
    start: np.ndarray
    step: int
    measured: float
    standard_error: float
    bound: float
    step_size: float


class Verdict(NamedTuple):
    """What became of a claim.

    Attributes:
      claim: the claim.
      holds: whether measured <= bound at every step of every run.
      worst: the largest measured/bound, less what rounding (and three standard errors) can add.
      runs: games times starts.
      witness: where ``worst`` was reached.
    """

    claim: Claim
    holds: bool
    worst: float
    runs: int
    witness: Witness

    def __str__(self) -> str:
        """Say in a few lines what was tried and where it came closest."""
        found = self.witness
        noise = f" (standard error {found.standard_error:.2g})" if found.standard_error else ""
        lines = [
            f"{self.claim.name}: {'holds' if self.holds else 'FAILS'}, worst measured/bound "
            f"{self.worst:.6g} in {self.runs} runs",
            f"  claim   {self.claim.statement}",
            f"  source  {self.claim.source} ({self.claim.status})",
            f"  worst   after step {found.step}: {self.claim.metric} of the {self.claim.iterate} iterate is "
            f"{found.measured:.6g}{noise}, bound {found.bound:.6g}",
            f"  game    {found.game.num_actions} actions, beta = {float(found.game.beta):.6g}, step size "
            f"{found.step_size:.6g}",
        ]
        if found.game.log_ref.size <= 8:
            with np.printoptions(precision=6, suppress=False):
                lines += [
                    "  preference "
                    + str(np.asarray(found.game.preference[0])).replace("\n", "\n" + " " * 13),
                    f"  reference  {np.exp(np.asarray(found.game.log_ref[0]))}",
                    f"  start      {np.exp(found.start[0])}",
                ]
        return "\n".join(lines)


def check(
    claim: Claim | str,
    algorithm: Method,
    games: Game | Sequence[Game],
    key: Array | None = None,
    *,
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

    Args:
      claim: what is promised, or the name of one of the algorithm's claims.
      algorithm: a method, or ``beta -> method`` where the games differ in β.
      games: one game or several, of any sizes.
      key: random key of starts and seeds; ``None`` is key 0.
      num_steps: steps of each run, >= 1.
      num_starts: starts a game, >= 1.
      num_seeds: seeds a start, >= 1.
      make_oracle: as in ``tabular.runner.run``.
      make_space: likewise; policies must be tables, as those of ``simplex`` are.

    Returns:
      A ``Verdict``; ``print`` it.

    Raises:
      InputError: if a game is outside the claim's assumptions (says which), there is no game, the name is not
        that of a claim, or float64 is off.
      ArithmeticError: if a game's equilibrium cannot be solved.
    """
    if jnp.result_type(float) != jnp.float64:
        raise InputError(
            "jax_enable_x64 is False, but a bound can be judged only in float64; "
            'call jax.config.update("jax_enable_x64", True) before anything else'
        )
    games = [games] if isinstance(games, Game) else list(games)
    _check_arguments(claim, algorithm, games)
    num_steps, num_starts = check_whole("num_steps", num_steps), check_whole("num_starts", num_starts)
    num_seeds = check_whole("num_seeds", num_seeds)
    if make_oracle is not exact and num_seeds < MIN_SEEDS:
        raise InputError(
            f"num_seeds is {num_seeds}, but with an oracle that is not exact a claim is read in expectation, "
            f"and its standard error needs at least {MIN_SEEDS}; give more seeds"
        )
    key = jax.random.key(0) if key is None else key
    verdicts = []
    for index, game in enumerate(games):
        method = algorithm if isinstance(algorithm, Algorithm) else algorithm(float(game.beta))
        promised = find_claim(claim, method) if isinstance(claim, str) else claim
        check_assumptions(promised, method, game)
        start_key, run_key = jax.random.split(jax.random.fold_in(key, index))
        verdicts.append(
            _judge_game(
                promised,
                method,
                game,
                start_key,
                run_key,
                num_steps,
                num_starts,
                num_seeds,
                make_oracle,
                make_space,
            )
        )
    worst = max(verdicts, key=lambda verdict: verdict.worst)
    return worst._replace(runs=len(games) * num_starts)


def assert_claim(
    claim: Claim | str, algorithm: Method, games: Game | Sequence[Game], *rest: Any, **named: Any
) -> Verdict:
    """Raise unless a claim holds; for unit tests.

    Args:
      claim: as in ``check``, like all other arguments.
      algorithm: likewise.
      games: likewise.
      *rest: likewise.
      **named: likewise.

    Returns:
      The verdict.

    Raises:
      AssertionError: with the worst instance printed.
      InputError: as ``check``.
    """
    verdict = check(claim, algorithm, games, *rest, **named)
    if not verdict.holds:
        raise AssertionError(str(verdict))
    return verdict


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


def check_assumptions(claim: Claim, method: Algorithm, game: Game) -> None:
    """Refuse a game or a step size that a claim does not speak of.

    Args:
      claim: the claim.
      method: the algorithm with its hyper-parameters.
      game: one game.

    Raises:
      InputError: names the assumption, the value that breaks it and the mend.
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
    settings = hyper(method)
    own = settings.get("beta", beta)
    if abs(float(own) - beta) > 1e-12 * max(beta, 1e-300):
        raise InputError(
            f"the algorithm's beta is {float(own):g}, but {claim.name} assumes that of the game, {beta:g}; "
            "give both the same beta"
        )
    step_size = settings.get("step_size")
    if step_size is not None and not callable(step_size):
        low, high = (float(end) for end in claim.step_size_range(np.asarray(beta)))
        inside = low <= float(step_size) <= high * (1 + 8 * np.finfo(float).eps)
        if not (inside and float(step_size) > 0):
            raise InputError(
                f"the step size is {float(step_size):g}, but {claim.name} assumes one above 0 in "
                f"[{low:g}, {high:g}] at beta = {beta:g}; give another step size"
            )


def _check_arguments(claim: Any, algorithm: Any, games: list) -> None:
    if not games:
        raise InputError("there are 0 games, but a claim is judged on at least 1; give a game")
    if not isinstance(claim, Claim | str):
        raise InputError(f"claim is a {type(claim).__name__}, but it must be a Claim or the name of one")
    if not isinstance(algorithm, Algorithm) and not callable(algorithm):
        raise InputError(
            f"algorithm is a {type(algorithm).__name__}, but it must be an Algorithm or a function of beta; "
            "call its factory"
        )
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
                    "in float64; build it from float64 tables after jax_enable_x64"
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


def _judge_game(
    claim: Claim,
    method: Algorithm,
    game: Game,
    start_key: Array,
    run_key: Array,
    num_steps: int,
    num_starts: int,
    num_seeds: int,
    make_oracle: OracleFactory,
    make_space: Callable,
) -> Verdict:
    log_nash = _nash(game) if claim.regularised else game.log_ref
    random = START_SPREAD * jax.random.normal(start_key, (num_starts - 1, *game.log_ref.shape))
    random = jnp.where(jnp.isneginf(game.log_ref)[None], -jnp.inf, random)
    starts = jnp.concatenate([game.log_ref[None], logspace.normalise(random)])
    seeds = jax.random.split(run_key, num_seeds)
    measure = Measure(claim.metric, claim.iterate)
    with warnings.catch_warnings():
        # the assumptions were checked, against this claim alone
        warnings.simplefilter("ignore", RangeWarning)
        trace = run(
            method,
            game,
            num_steps=num_steps,
            key=seeds,
            start=starts,
            log_nash=log_nash,
            measures=(measure,),
            make_space=make_space,
            make_oracle=make_oracle,
            axes=(Axes(start=0), Axes(key=0)),
        )
    values = np.asarray(trace.values[measure])
    mean, error = values.mean(1), np.zeros(values.shape[::2])
    if num_seeds > 1:
        error = values.std(1, ddof=1) / math.sqrt(num_seeds)
    step = np.arange(num_steps + 1.0)
    step_size = hyper(method).get("step_size", math.nan)
    step_size = math.nan if callable(step_size) else step_size
    lost = float(bounds.log_rounding(game, starts[0], jnp.asarray(float(num_steps)), step_size))
    if lost > LOST:
        raise InputError(
            f"the game has beta = {float(game.beta):g}, but then rounding moves log-policies by {lost:.1g} "
            "nats, and nothing can be judged; raise beta"
        )
    ratios, ceilings = judge_runs(
        claim, jnp.asarray(mean - SIGMAS * error), game, log_nash, starts, jnp.asarray(step), step_size
    )
    row, index, worst = bounds.worst(ratios)
    found = Witness(
        game=game,
        start=np.asarray(starts[row]),
        step=index,
        measured=float(mean[row, index]),
        standard_error=float(error[row, index]),
        bound=float(ceilings[row, index]),
        step_size=float(step_size),
    )
    return Verdict(claim, worst <= 1 + ROUNDING, worst, num_starts, found)


def judge_runs(
    claim: Claim, measured: Array, game: Game, log_nash: Array, starts: Array, step: Array, step_size: Any
) -> tuple[np.ndarray, np.ndarray]:
    """Return ratios and bounds ``[N, R]`` of N runs of one game.

    Args:
      claim: the claim.
      measured: ``[N, R]`` its metric.
      game: the game, unbatched.
      log_nash: ``[X, A]``.
      starts: ``[N, X, A]``.
      step: ``[R]`` float step numbers.
      step_size: the method's.
    """

    def one(values: Array, start: Array) -> tuple[Array, Array]:
        known = bounds.constants(game, log_nash, start, step_size)
        ceiling = claim.bound(step, known)
        delta = bounds.log_rounding(game, start, step, step_size)
        return bounds.ratio(claim, values, ceiling, delta, game.beta), jnp.broadcast_to(ceiling, step.shape)

    ratios, ceilings = jax.vmap(one)(measured, starts)
    return np.asarray(ratios), np.asarray(ceilings)


@functools.partial(jax.jit)
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
