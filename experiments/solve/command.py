"""``nlhf solve``: from a file of preferences to a Nash policy and the evidence for it."""

from __future__ import annotations

import dataclasses
import json
import math
import sys
import warnings
from typing import TYPE_CHECKING

import numpy as np

from experiments import commands
from experiments.output import result_folder
from experiments.output.provenance import digest, provenance
from experiments.solve.solution import Solution
from nlhf.algorithms import ALGORITHM_NAMES
from nlhf.errors import InputError
from tabular.game_statistics import statistics
from tabular.preferences import PreferenceTable, load_preferences, load_reference

if TYPE_CHECKING:
    from tabular.solution import Solution as Nash

DEFAULT_BETA = 0.1
DEFAULT_STEPS = 1000
LARGEST_KL = 1e-6  # nats to the Nash policy; only a beta below 1e-14 or so leaves more
UNCONVERGED_KL = 1e-3  # nats; a user who reads the table alone must be told
SUPPORT_MASS = 1e-6  # an iterative method never reaches 0: below this an action counts as not played


@dataclasses.dataclass(frozen=True)
class Plan:
    """The checked settings of a solve.

    Attributes:
      algorithm: newton, lp, or an iterative one.
      beta: as given, or the default.
      steps: of an iterative algorithm, else ``None``.
      step_size: of an iterative algorithm, ``None`` for its default.
    """

    algorithm: str
    beta: float
    steps: int | None
    step_size: float | None


def main(command: commands.Solve) -> None:
    """Run the command: check, solve, save, print."""
    plan = check(command)
    if command.out is None:
        solution = solve(*load(command), plan)
    else:
        with result_folder.claim(command.out) as run:
            table, log_ref = load(command)
            origin, inputs = provenance(), _digests(command)
            settings = {**dataclasses.asdict(plan), "prior": command.prior, "sha256": inputs}
            run.begin("solve", settings, ("table.txt",))
            solution = solve(table, log_ref, plan)
            if _digests(command) != inputs:
                raise InputError(f"{command.file}: an input changed while it was solved; run it again")
            run.add("table.txt", _report(command, solution))
            run.add_result({**origin, "file": str(command.file), "reference": command.reference}, solution)
        print(f"nlhf: wrote {command.out}/{result_folder.RESULT} and table.txt", file=sys.stderr)
    if command.json:
        print(json.dumps(solution.summary(), allow_nan=False))
    else:
        print(_report(command, solution), end="")


def _digests(command: commands.Solve) -> dict[str, str]:
    """What was solved, by content: a path may hold other data tomorrow."""
    named = command.reference != "uniform"
    return {
        "preferences": str(command.file) if _built_in(command) else digest(command.file),
        "reference": digest(command.reference) if named else command.reference,
    }


def check(command: commands.Solve) -> Plan:
    """Check what can be checked before a file is opened, and fill in defaults.

    Args:
      command: the arguments.

    Returns:
      The settings.

    Raises:
      InputError: if one is out of range, or the algorithm and beta do not fit.
    """
    name, beta = command.algorithm, command.beta
    if beta is not None and not 0 <= beta < math.inf:
        raise InputError(f"--beta is {beta:g}, but a KL coefficient is finite and >= 0; give another --beta")
    if command.steps is not None and command.steps < 1:
        raise InputError(f"--steps is {command.steps}, but a number of steps is >= 1; give another --steps")
    if command.step_size is not None and not 0 < command.step_size < math.inf:
        raise InputError(
            f"--step-size is {command.step_size:g}, but a step size is finite and > 0; give another, "
            "or leave it out"
        )
    if name not in (None, *commands.SOLVERS):
        name = _check_method(name, command.step_size)
    if beta is None:
        beta = 0.0 if _unregularised(name) else DEFAULT_BETA
    if name is None:
        name = "newton" if beta > 0 else "lp"
    if name == "newton" and beta == 0:
        raise InputError("--beta is 0, but newton solves games with beta > 0; raise --beta, or take lp")
    if name == "lp" and beta > 0:
        raise InputError(f"--beta is {beta:g}, but lp solves the game with beta 0; give 0, or take newton")
    if name in commands.SOLVERS:
        for option, value in (("--steps", command.steps), ("--step-size", command.step_size)):
            if value is not None:
                warnings.warn(f"{option} {value:g} has no effect: {name} stops by itself", stacklevel=2)
        return Plan(name, beta, None, None)
    return Plan(name, beta, command.steps or DEFAULT_STEPS, command.step_size)


def _check_method(name: str, step_size: float | None) -> str:
    """Return the name of an iterative algorithm as ours are written, a place as it is."""
    from nlhf.method import find

    _use_float64()  # before somebody's module makes arrays
    method = find(name, others=commands.SOLVERS)
    if method.learns:
        raise InputError(
            f"--algorithm is {name}, which learns from labelled comparisons, but solve answers queries for "
            f"payoffs; take one of {', '.join((*commands.SOLVERS, *ALGORITHM_NAMES))}"
        )
    if step_size is not None and "step_size" not in method.parameters:
        raise InputError(f"--step-size is {step_size:g}, but {name} takes none; leave it out")
    return name if ":" in name else method.name


def _use_float64() -> None:
    # imported only where it is needed, so that a folder in use and a bad file are reported at once
    import jax

    # before any array: an equilibrium is a reference in float64 only
    jax.config.update("jax_enable_x64", True)


def _unregularised(name: str | None) -> bool:
    """Whether a method solves the game with beta = 0, whatever its settings."""
    if name in (None, *commands.SOLVERS):
        return name == "lp"
    from nlhf.method import find

    return find(name).solves == "unregularised"


def solve(table: PreferenceTable, log_ref: np.ndarray, plan: Plan) -> Solution:
    """Solve a game.

    Args:
      table: the game.
      log_ref: ``[A]`` reference log-probabilities; at beta 0 only where an iterative algorithm starts.
      plan: how.

    Returns:
      The solution with its certificate.

    Raises:
      InputError: if beta is too small for Newton's method, or a step size too large for its algorithm.
    """
    fractions = unique = support = residual = steps = queries = None
    beta = 0.0 if _unregularised(plan.algorithm) else plan.beta
    if plan.algorithm == "lp":
        from tabular.games import make_game
        from tabular.solution import solve as solve_game

        # any action may be played, whatever the reference
        nash = solve_game(make_game(table.preference, beta=0))
        log_policy, exploitability, unique = nash.log_policy[0], float(nash.exploitability[0]), nash.unique[0]
        if nash.fractions[0] is not None:
            fractions = tuple(str(mass) for mass in nash.fractions[0])
    elif plan.algorithm == "newton":
        nash = _newton(table, log_ref, beta)
        log_policy, steps = nash.log_policy[0], int(nash.iterations[0])
        exploitability, residual = float(nash.exploitability[0]), float(nash.residual[0])
    else:
        log_policy, exploitability, residual, queries = _iterate(table, log_ref, plan, beta)
        steps = plan.steps
        support = np.exp(log_policy) > SUPPORT_MASS if beta == 0 else None
    policy = np.exp(log_policy)
    facts = statistics(table.preference)
    # by the logarithm: a policy of a small beta has actions below the smallest float64, yet with mass
    played = np.isfinite(log_policy) if support is None else support
    winner = facts.condorcet_winner
    return Solution(
        names=table.names,
        policy=policy,
        log_policy=log_policy,
        beta=beta,
        exploitability=exploitability,
        exploitability_original=float(((table.preference - 0.5) @ policy).max()),
        duality_gap=2 * exploitability,
        residual=residual,
        support=tuple(name for name, mass in zip(table.names, played, strict=True) if mass),
        algorithm=plan.algorithm,
        steps=steps,
        queries=queries,
        condorcet_winner=None if winner is None else table.names[winner],
        intransitive_triples=facts.intransitive_triples,
        fractions=fractions,
        unique=unique,
        statistics=facts,
        completeness=table.completeness,
    )


def load(command: commands.Solve) -> tuple[PreferenceTable, np.ndarray]:
    """Read the game and its reference policy ``[A]``, and set JAX to float64.

    Raises:
      InputError: if a file breaks a rule.
    """
    if _built_in(command):
        from experiments.solve.games import built_in

        _use_float64()
        table = built_in(command.file.name)
    else:
        table = load_preferences(command.file, command.prior)
    log_ref = load_reference(command.reference, table.names)
    _use_float64()
    return table, log_ref


def _built_in(command: commands.Solve) -> bool:
    """Whether a bare word is meant that is no file: then it names a game of ``nlhf games``."""
    return command.file.name == str(command.file) and not command.file.suffix and not command.file.exists()


def _newton(table: PreferenceTable, log_ref: np.ndarray, beta: float) -> Nash:
    """Solve by Newton's method; refuse an answer whose certificate says nothing."""
    from tabular.games import make_game
    from tabular.solution import solve as solve_game

    try:
        nash = solve_game(make_game(table.preference, log_ref, beta))
        bound = float(nash.exploitability[0]) / beta
        if bound <= LARGEST_KL:
            return nash
        reason = f"certified only up to {bound:.1e} nats"
    except ArithmeticError:
        reason = "Newton's method does not converge"
    raise InputError(f"--beta is {beta:g}, too small for this game in float64: {reason}; raise it, or give 0")


def _iterate(
    table: PreferenceTable, log_ref: np.ndarray, plan: Plan, beta: float
) -> tuple[np.ndarray, float, float | None, int]:
    """Run an iterative algorithm; return log-policy, exploitability, residual and queries."""
    import jax.numpy as jnp

    from nlhf.method import default, find
    from tabular.games import make_game
    from tabular.metrics import measure
    from tabular.nash import relative_residual
    from tabular.runner import run

    assert plan.steps is not None
    method = default(plan.algorithm, plan.beta, plan.step_size)
    caution = find(plan.algorithm).caution(plan.beta)
    if caution:
        warnings.warn(caution, stacklevel=2)
    game = make_game(table.preference, log_ref, beta)
    trace = run(method, game, num_steps=plan.steps, every=plan.steps, measures=("exploitability",))
    log_policy = trace.state.policy
    if not bool(jnp.isfinite(log_policy).all()):
        raise InputError(
            f"{plan.algorithm} left the finite numbers within {plan.steps} steps; give a smaller --step-size"
        )
    exploitability = float(measure("exploitability", game, log_policy))
    if beta > 0 and exploitability / beta > UNCONVERGED_KL:
        warnings.warn(
            f"not converged after {plan.steps} steps: the policy may be {exploitability / beta:.1e} nats "
            "from the Nash policy; raise --steps, or take newton",
            stacklevel=2,
        )
    residual = None
    if beta > 0:
        residual = float(relative_residual(game.preference[0], game.log_ref[0], game.beta, log_policy[0]))
    return np.asarray(log_policy[0]), exploitability, residual, int(trace.queries[-1])


def _report(command: commands.Solve, solution: Solution) -> str:
    from experiments.solve.report import report

    return report(solution, command.file.name, command.reference)
