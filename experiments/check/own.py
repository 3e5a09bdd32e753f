"""Claims judged outside of the ledger: on a game of the user's, and of an algorithm of the user's."""

from __future__ import annotations

import dataclasses
import json
import math
import sys
import warnings
from typing import TYPE_CHECKING, Any, NamedTuple

from experiments import commands
from experiments.check.errors import UnexpectedVerdictError, unknown_claim
from experiments.output import records, text
from experiments.output.progress import Progress
from nlhf.algorithms import ALGORITHM_NAMES
from nlhf.errors import InputError, RangeWarning

if TYPE_CHECKING:
    from nlhf.base import Algorithm, Claim
    from proofs_checks import Verdict
    from tabular.games import Game

NUM_STEPS = 200
NUM_STARTS = 4


class Judged(NamedTuple):
    """A claim and what is to judge it on."""

    name: str  # of the algorithm, as it was given
    method: Any  # with its settings; on the bank a function of β
    claim: Claim  # what is promised


def main(command: commands.Check) -> None:
    """Run the command: judge each claim that speaks of the game (of the bank's without one), print verdicts.

    Raises:
      InputError: if a file or an option breaks a rule, or the game is outside the assumptions of the claim
        (or of all claims of the algorithm) that was asked for.
      UnexpectedVerdictError: if a claim fails.
    """
    beta = _check_options(command)
    names = _names(command)
    import jax

    # before any array: a bound can be judged in float64 only
    jax.config.update("jax_enable_x64", True)
    games: Any = "bank"
    about: dict[str, Any] = {"games": "bank"}
    settings: dict[str, Any] = {"search": not command.quick}
    if command.game is None:
        _check_step(command)
        pairs, where = _claims_on_bank(command), "of this algorithm fail"
    else:
        from tabular.games import make_game
        from tabular.preferences import load_preferences, load_reference

        table = load_preferences(command.game, command.prior)
        games = make_game(table.preference, load_reference(command.reference, table.names), beta)
        about = {"game": str(command.game), "actions": len(table.names), "beta": beta}
        about["reference"] = command.reference
        pairs, where = _claims(command, names, games), "fail on this game"
        settings = {"num_starts": NUM_STARTS}
    if not pairs:
        print(f"{names[0]} makes no claims, so there is nothing to judge")
        return
    verdicts = _judge(pairs, games, jax.random.key(command.seed), settings)
    if command.json:
        print(json.dumps(_summary(about, verdicts), allow_nan=False))
    else:
        print(_table(verdicts))
    failed = [found for _, found in verdicts if not found.holds]
    if failed:
        if not command.json:
            print("\n".join(str(found) for found in failed), file=sys.stderr)
        named = ", ".join(found.claim.name for found in failed)
        raise UnexpectedVerdictError(f"{len(failed)} of {len(verdicts)} claims {where}: {named}")


def _judge(pairs: list[Judged], games: Any, key: Any, settings: dict) -> list[tuple[str, Verdict]]:
    from proofs_checks import check

    verdicts = []
    progress = Progress()
    try:
        for name, method, claim in pairs:
            progress(claim.name, len(pairs))
            verdicts.append((name, check(claim, method, games, key, num_steps=NUM_STEPS, **settings)))
    finally:
        progress.close()
    return verdicts


def _check_options(command: commands.Check) -> float:
    """Refuse options that do not go together; return β."""
    where = "an algorithm of your own" if command.game is None else "a game of your own"
    for option, given in (("--quick", command.quick and command.game is not None), ("--full", command.full)):
        if given:
            warnings.warn(f"{option} has no effect on {where}", stacklevel=2)
    if command.out is not None:
        raise InputError(f"--out is given, but judging {where} writes nothing; leave one of them out")
    if command.step_size is not None and command.algorithm is None:
        raise InputError(
            f"--step-size is {command.step_size:g}, but step sizes differ between algorithms; name one by "
            "--algorithm"
        )
    beta = 0.1 if command.beta is None else command.beta
    if not 0 <= beta < math.inf:
        raise InputError(f"--beta is {beta:g}, but a KL coefficient is finite and >= 0; give another --beta")
    return beta


def _names(command: commands.Check) -> tuple[str, ...]:
    from nlhf.method import find

    if command.algorithm is not None:
        find(command.algorithm)
        return (command.algorithm,)
    owner = (command.claim or "").split(".")[0]
    return (owner,) if owner in ALGORITHM_NAMES else ALGORITHM_NAMES


def _check_step(command: commands.Check) -> None:
    """Refuse an algorithm whose steps leave no policy, on one game of four actions.

    Raises:
      InputError: as ``tabular.runner.run``.
    """
    import jax

    from nlhf.method import default
    from tabular.families import uniform_skew
    from tabular.games import make_game
    from tabular.runner import run

    game = make_game(uniform_skew(jax.random.key(0), 4), beta=0.1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RangeWarning)
        run(default(str(command.algorithm), 0.1, command.step_size), game, num_steps=5)


def _claims_on_bank(command: commands.Check) -> list[Judged]:
    """Return the claims of one algorithm, or the one asked for, with the algorithm as a function of β.

    Raises:
      InputError: if it does not make the claim that was asked for.
    """
    from nlhf.method import default

    name = str(command.algorithm)

    def make(beta: float) -> Algorithm:
        return default(name, beta, command.step_size)

    claims = make(0.1).claims
    if command.claim is not None and command.claim not in (claim.name for claim in claims):
        raise InputError(unknown_claim(command.claim, [claim.name for claim in claims]))
    return [Judged(name, make, claim) for claim in claims if command.claim in (None, claim.name)]


def _claims(command: commands.Check, names: tuple[str, ...], game: Game) -> list[Judged]:
    """Return what to judge: the claim asked for, else all that speak of this game.

    Raises:
      InputError: if a claim that was asked for, or every claim of the algorithm, assumes another game.
    """
    from proofs_checks.assumptions import check_assumptions

    beta = float(game.beta)
    made = [judged for name in names for judged in _made(name, names, command, beta)]
    if command.claim is not None:
        known = [claim.name for _, _, claim in made]
        made = [judged for judged in made if judged.claim.name == command.claim]
        if not made and command.step_size is None:
            stepped = dataclasses.replace(command, step_size=beta or 1.0)
            others = [judged.claim.name for name in names for judged in _made(name, names, stepped, beta)]
            if command.claim in others:
                name = command.claim.split(".")[0]
                raise InputError(
                    f"{command.claim} is about a constant step, but without one {name} takes its schedule; "
                    "give --step-size"
                )
        if not made:
            raise InputError(unknown_claim(command.claim, known))
    fitting, refusals = [], []
    for judged in made:
        try:
            check_assumptions(judged.claim, judged.method, game)
        except InputError as error:
            refusals.append(error)
            continue
        fitting.append(judged)
    if refusals and not fitting:
        raise refusals[0]
    for refusal in refusals:
        print(f"nlhf: left out: {refusal}", file=sys.stderr)
    return fitting


def _made(name: str, names: tuple[str, ...], command: commands.Check, beta: float) -> list[Judged]:
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
    return [Judged(name, method, claim) for claim in method.claims]


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


def _summary(about: dict[str, Any], verdicts: list[tuple[str, Any]]) -> dict[str, Any]:
    return records.encode(
        {
            **about,
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
