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
from experiments.solve.report import report
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
UNCONVERGED_KL = 1e-3  # nats; a user who reads the table alone must be warned
SETTINGS = ("algorithm", "beta", "steps", "step_size", "prior")  # what makes a run, beside the files
SUPPORT_MASS = 1e-6  # an iterative method never reaches 0: below this an action counts as not played


def main(command: commands.Solve) -> None:
    """Run the command: check, solve, save, print."""
    command = check(command)
    if command.out is None:
        solution = solve(*load(command), command)
    else:
        with result_folder.claim(command.out) as run:
            table, log_ref = load(command)
            origin, inputs = provenance(), _digests(command)
            settings = {name: getattr(command, name) for name in SETTINGS}
            run.begin("solve", {**settings, "sha256": inputs}, ("table.txt",))
            solution = solve(table, log_ref, command)
            if _digests(command) != inputs:
                raise InputError(f"{command.file}: an input changed while it was solved; run it again")
            run.add("table.txt", report(solution, command.file.name, command.reference))
            run.add_result({**origin, "file": str(command.file), "reference": command.reference}, solution)
        print(f"nlhf: wrote {command.out}/{result_folder.RESULT} and table.txt", file=sys.stderr)
    if command.json:
        print(json.dumps(solution.summary(), allow_nan=False))
    else:
        print(report(solution, command.file.name, command.reference), end="")


def _digests(command: commands.Solve) -> dict[str, str]:
    """What was solved, by content: a path may hold other data tomorrow."""
    named = command.reference != "uniform"
    return {
        "preferences": str(command.file) if _built_in(command) else digest(command.file),
        "reference": digest(command.reference) if named else command.reference,
    }


def check(command: commands.Solve) -> commands.Solve:
    """Check what can be checked before a file is opened, and fill in defaults.

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
        beta = _solved_beta(name, DEFAULT_BETA)
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
        return dataclasses.replace(command, algorithm=name, beta=beta, steps=None, step_size=None)
    return dataclasses.replace(command, algorithm=name, beta=beta, steps=command.steps or DEFAULT_STEPS)


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


def _solved_beta(name: str | None, beta: float) -> float:
    """The KL coefficient of the game that a method solves: of some always 0, whatever theirs."""
    if name in (None, *commands.SOLVERS):
        return 0.0 if name == "lp" else beta
    from nlhf.method import find

    return 0.0 if find(str(name)).solves == "unregularised" else beta


def solve(table: PreferenceTable, log_ref: np.ndarray, command: commands.Solve) -> Solution:
    """Solve a game.

    Args:
      log_ref: ``[A]`` reference log-probabilities; at beta 0 only where an iterative algorithm starts.
      command: how, as ``check`` returns it.

    Raises:
      InputError: if beta is too small for Newton's method, or a step size too large for its algorithm.
    """
    assert command.algorithm is not None
    assert command.beta is not None
    beta = _solved_beta(command.algorithm, command.beta)
    if command.algorithm in commands.SOLVERS:
        found, queries = _solve_exactly(table, log_ref, beta), None
    else:
        found, queries = _iterate(table, log_ref, beta, command)
    log_policy, policy = found.log_policy[0], found.policy[0]
    # by the logarithm: a policy of a small beta has actions below the smallest float64, yet with mass
    played = policy > SUPPORT_MASS if queries and beta == 0 else np.isfinite(log_policy)
    exploitability = float(found.exploitability[0])
    fractions = found.fractions[0] if found.fractions else None
    facts = statistics(table.preference)
    winner = facts.condorcet_winner
    return Solution(
        names=table.names,
        policy=policy,
        log_policy=log_policy,
        beta=beta,
        exploitability=exploitability,
        exploitability_original=float(((table.preference - 0.5) @ policy).max()),
        duality_gap=2 * exploitability,
        residual=None if found.residual is None else float(found.residual[0]),
        support=tuple(name for name, mass in zip(table.names, played, strict=True) if mass),
        algorithm=command.algorithm,
        steps=None if found.iterations is None else int(found.iterations[0]),
        queries=queries,
        condorcet_winner=None if winner is None else table.names[winner],
        intransitive_triples=facts.intransitive_triples,
        fractions=None if fractions is None else tuple(map(str, fractions)),
        unique=found.unique[0] if found.unique else None,
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


def _solve_exactly(table: PreferenceTable, log_ref: np.ndarray, beta: float) -> Nash:
    """Solve by Newton's method or the linear program; refuse an answer whose certificate says nothing."""
    from tabular.games import make_game
    from tabular.solution import solve as solve_game

    if beta == 0:  # any action may be played, whatever the reference
        return solve_game(make_game(table.preference, beta=0))
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
    table: PreferenceTable, log_ref: np.ndarray, beta: float, command: commands.Solve
) -> tuple[Nash, int]:
    """Run an iterative algorithm; return where it ended, with the evidence, and the queries it asked."""
    from nlhf.method import default, find
    from tabular.games import make_game
    from tabular.metrics import measure
    from tabular.nash import relative_residual
    from tabular.runner import run
    from tabular.solution import Solution as Nash

    name, steps = str(command.algorithm), command.steps or DEFAULT_STEPS
    method = default(name, command.beta or 0.0, command.step_size)
    caution = find(name).caution(command.beta or 0.0)
    if caution:
        warnings.warn(caution, stacklevel=2)
    game = make_game(table.preference, log_ref, beta)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".* has left NaN")  # it is an error here
        trace = run(method, game, num_steps=steps, every=steps, measures="exploitability")
    log_policy = np.asarray(trace.state.policy)
    if not np.isfinite(log_policy).all():
        raise InputError(f"{name} gave infinities or NaN within {steps} steps; give a smaller --step-size")
    exploitability = float(measure("exploitability", game, trace.state.policy))
    if beta > 0 and exploitability / beta > UNCONVERGED_KL:
        warnings.warn(
            f"not converged after {steps} steps: the policy may be {exploitability / beta:.1e} nats "
            "from the Nash policy; raise --steps, or take newton",
            stacklevel=2,
        )
    residual = None
    if beta > 0:
        residual = [relative_residual(game.preference[0], game.log_ref[0], game.beta, log_policy[0])]
    found = Nash(log_policy, beta, np.array([exploitability]), residual, [steps])
    return found, int(trace.queries[-1])
