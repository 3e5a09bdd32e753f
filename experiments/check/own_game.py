"""``nlhf check --game FILE``: do the algorithms keep their promises on a game of your own?"""

from __future__ import annotations

import dataclasses
import json
import sys
import warnings
from typing import TYPE_CHECKING, Any

from experiments import commands
from experiments.output import records, text
from experiments.output.progress import Progress
from nlhf.errors import InputError, RangeWarning

if TYPE_CHECKING:
    from nlhf.base import Algorithm, Claim
    from proofs_checks import Verdict
    from tabular.games import Game

NUM_STEPS = 200
NUM_STARTS = 4


def main(command: commands.Check) -> None:
    """Run the command: read the game, judge each claim that speaks of it, print the verdicts.

    Raises:
      InputError: if a file or an option breaks a rule, or the game is outside the assumptions of the claim
        (or of all claims of the algorithm) that was asked for.
      UnexpectedVerdictError: if a claim fails.
    """
    solve = _as_solve(command)
    # imported only now, so that a bad option is reported at once
    from experiments.solve.command import check, load

    beta = check(solve).beta
    names = _names(command)
    table, log_ref = load(solve)
    import jax

    from proofs_checks import check as judge
    from tabular.games import make_game

    game = make_game(table.preference, log_ref, beta)
    pairs = _claims(command, names, game)
    key = jax.random.key(command.seed)
    verdicts: list[tuple[str, Verdict]] = []
    progress = Progress()
    try:
        for name, method, claim in pairs:
            progress(claim.name, len(pairs))
            found = judge(claim, method, game, key, num_steps=NUM_STEPS, num_starts=NUM_STARTS)
            verdicts.append((name, found))
    finally:
        progress.close()
    if command.json:
        print(json.dumps(_summary(command, beta, table.names, verdicts), allow_nan=False))
    else:
        print(_table(verdicts))
    failed = [found for _, found in verdicts if not found.holds]
    if failed:
        from experiments.check.command import UnexpectedVerdictError

        if not command.json:
            print("\n".join(str(found) for found in failed), file=sys.stderr)
        named = ", ".join(found.claim.name for found in failed)
        raise UnexpectedVerdictError(f"{len(failed)} of {len(verdicts)} claims fail on this game: {named}")


def _as_solve(command: commands.Check) -> commands.Solve:
    """The same game as ``nlhf solve`` reads, with the same checks of its options."""
    assert command.game is not None
    for option, given in (("--quick", command.quick), ("--full", command.full)):
        if given:
            warnings.warn(f"{option} has no effect on a game of your own", stacklevel=2)
    if command.out is not None:
        raise InputError("--out is given, but --game writes nothing; leave one of them out")
    if command.step_size is not None and command.algorithm is None:
        raise InputError(
            f"--step-size is {command.step_size:g}, but step sizes differ between algorithms; name one by "
            "--algorithm"
        )
    if command.algorithm is not None and command.algorithm not in commands.ITERATIVE:
        raise InputError(text.unknown(command.algorithm, commands.ITERATIVE, "algorithm"))
    beta = 0.1 if command.beta is None else command.beta
    # the steps and the algorithm are the claims' own; egpo stands in, so that beta and step size are checked
    return commands.Solve(
        file=command.game,
        beta=beta,
        reference=command.reference,
        algorithm=command.algorithm or "egpo",
        step_size=command.step_size,
        prior=command.prior,
    )


def _names(command: commands.Check) -> tuple[str, ...]:
    if command.algorithm is not None:
        return (command.algorithm,)
    owner = (command.claim or "").split(".")[0]
    return (owner,) if owner in commands.ITERATIVE else commands.ITERATIVE


def _claims(
    command: commands.Check, names: tuple[str, ...], game: Game
) -> list[tuple[str, Algorithm, Claim]]:
    """Return what to judge: the claim asked for, else all that speak of this game.

    Raises:
      InputError: if a claim that was asked for, or every claim of the algorithm, assumes another game.
    """
    from proofs_checks.assumptions import check_assumptions

    made = [
        (name, method, claim)
        for name in names
        for method, claim in _made(name, names, command, float(game.beta))
    ]
    if command.claim is not None:
        known = [claim.name for _, _, claim in made]
        made = [entry for entry in made if entry[2].name == command.claim]
        if not made and command.step_size is None:
            beta = float(game.beta)
            stepped = dataclasses.replace(command, step_size=beta or 1.0)
            others = [claim.name for name in names for _, claim in _made(name, names, stepped, beta)]
            if command.claim in others:
                name = command.claim.split(".")[0]
                raise InputError(
                    f"{command.claim} is about a constant step, but without one {name} takes its schedule; "
                    "give --step-size"
                )
        if not made:
            from experiments.check.command import unknown_claim

            raise InputError(unknown_claim(command.claim, known))
    elif not made:
        raise InputError(
            f"{names[0]} makes no claims, so there is nothing to judge; take another --algorithm"
        )
    fitting, refusals = [], []
    for name, method, claim in made:
        try:
            check_assumptions(claim, method, game)
        except InputError as error:
            refusals.append(error)
            continue
        fitting.append((name, method, claim))
    if not fitting:
        raise refusals[0]
    for refusal in refusals:
        print(f"nlhf: left out: {refusal}", file=sys.stderr)
    return fitting


def _made(
    name: str, names: tuple[str, ...], command: commands.Check, beta: float
) -> list[tuple[Algorithm, Claim]]:
    """An algorithm at its default step (or the one given), once for each of its claims."""
    from nlhf.base import hyper
    from nlhf.method import default, find

    record = find(name)
    if beta == 0 and not record.zero and len(names) > 1:
        return []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RangeWarning)  # the assumptions are checked, claim by claim
        try:
            method = default(name, beta, command.step_size)
        except InputError as error:
            if len(names) == 1:
                raise
            print(f"nlhf: left out: {error}", file=sys.stderr)
            return []
        more = record.exact(beta, hyper(method).get("step_size"))
        if more:
            method = default(name, beta, command.step_size, **more)
    return [(method, claim) for claim in method.claims]


def _table(verdicts: list[tuple[str, Any]]) -> str:
    from proofs_checks.report import number

    rows = [
        [
            found.claim.name,
            "holds" if found.holds else "FAILS",
            number(found.worst),
            str(found.witness.step),
            number(found.witness.measured),
            number(found.witness.bound),
            found.claim.status,
        ]
        for _, found in verdicts
    ]
    header = ["claim", "verdict", "worst measured/bound", "after step", "measured", "bound", "status"]
    return text.table(header, rows, "<<>>>><")


def _summary(
    command: commands.Check, beta: float, names: tuple[str, ...], verdicts: list[tuple[str, Any]]
) -> dict[str, Any]:
    return records.encode(
        {
            "game": str(command.game),
            "actions": len(names),
            "beta": beta,
            "reference": command.reference,
            "verdicts": [
                {
                    "algorithm": name,
                    "claim": found.claim.name,
                    "statement": found.claim.statement,
                    "source": found.claim.source,
                    "status": found.claim.status,
                    "holds": found.holds,
                    "worst": found.worst,
                    "runs": found.runs,
                    "step": found.witness.step,
                    "measured": found.witness.measured,
                    "bound": found.witness.bound,
                    "step_size": found.witness.step_size,
                    "log_start": found.witness.start[0].tolist(),
                }
                for name, found in verdicts
            ],
        }
    )
