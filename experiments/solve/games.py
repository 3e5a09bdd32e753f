"""``nlhf games``: a small instance of every family of games, what is known of it, and whether that holds."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from experiments import commands
from experiments.output import records, text
from nlhf.errors import InputError, unknown
from tabular import published

if TYPE_CHECKING:
    from tabular.preferences import PreferenceTable

SEED = 0
ACTIONS = 9  # odd, so that rock-paper-scissors has no ties; small, so that every equilibrium is proved
PLANTED_BETA = 0.1
MARKS = {True: "", False: "+", None: "?"}
DESCRIPTIONS = {
    "uniform_skew": "every pair uniform on (0, 1), any number of contexts",
    "tournament": "every pair decided by a fair coin",
    "bradley_terry": "transitive: sigmoid of a difference of scores",
    "low_rank_logits": "sigmoid of the cross product of points in the plane",
    "disc": "half the cross product of points in the unit disc",
    "rock_paper_scissors": "each action beats the half of the circle before it",
    "biased_rock_paper_scissors": "cycle of 0.9, 0.9 and 0.8; Nash (4, 3, 4)/11",
    "three_types": "a population of three types of rater, epsilon 0.1",
    "dice": "intransitive dice; each beats the next with 5/9",
    "elo_example": "Bradley-Terry scores (0, log 9, log 2)",
    "planted": f"uniform_skew, its Nash policy at beta {PLANTED_BETA:g} chosen",
    "full_support": "random; its Nash policy is chosen and plays every action",
    "population_language": "27 strings, by the majority of 3 judges",
    "nash_md_table3": f"published: {published.SOURCE}",
}


class Instance(NamedTuple):
    """A game of a family."""

    preference: Any  # ``[A, A]``
    nash: np.ndarray | None = None  # ``[A]`` its equilibrium where the family states one, else ``None``
    # ``[A]`` reference, where that equilibrium is the regularised one at beta 0.1, else ``None``
    log_ref: np.ndarray | None = None
    names: tuple[str, ...] = ()  # of the actions


@dataclasses.dataclass(frozen=True)
class Row:
    """What is known of one instance."""

    family: str  # name in ``tabular.families``, or of the published table
    description: str  # one line
    actions: int  # A
    completeness: float  # share of pairs with observations; 1.0 for a game given by a formula
    strict_triples: int  # triples without a tie
    intransitive_triples: int  # those that are cycles
    condorcet_winner: str | None  # the action preferred to every other, or ``None``
    support: int  # actions that the unregularised equilibrium plays
    unique: bool | None  # whether that equilibrium is the only one; ``None`` if not decided
    proved: bool  # whether its value was verified in rational arithmetic
    exploitability: float  # max_a (P p)_a - 1/2 of that equilibrium in float64
    known_error: float | None  # largest difference from the equilibrium that the family states, or ``None``


def main(command: commands.Games) -> None:
    """Run the command."""
    import jax

    jax.config.update("jax_enable_x64", True)  # before any array
    rows = build()
    if command.json:
        print(json.dumps({"games": records.encode(rows)}, allow_nan=False))
    else:
        print(report(rows), end="")


def build() -> tuple[Row, ...]:
    """Make the instances and solve them; the same every time."""
    return tuple(_row(name, description) for name, description in DESCRIPTIONS.items())


def built_in(name: str) -> PreferenceTable:
    """Return a game of the list by its name; ``-`` counts as ``_``.

    Raises:
      InputError: if there is none of that name, and no such file either.
    """
    from tabular.preferences import PreferenceTable

    plain = name.replace("-", "_")
    if plain not in DESCRIPTIONS:
        raise InputError(f"{name}: no such file; {unknown(name, tuple(DESCRIPTIONS), 'built-in game')}")
    made = make(plain)
    return PreferenceTable(made.names, made.preference, None, 1.0)


def report(rows: tuple[Row, ...]) -> str:
    """Lay the rows out: one table of statistics, one list of descriptions."""
    header = ["family", "A", "seen", "cyclic", "winner", "Nash", "value", "error"]
    cells = [
        [
            row.family,
            str(row.actions),
            f"{100 * row.completeness:.3g}%",
            f"{row.intransitive_triples}/{row.strict_triples}",
            text.shorten(row.condorcet_winner or "-", 8),
            f"{row.support}{MARKS[row.unique]}",
            "1/2" if row.proved else f"1/2 + {text.small(row.exploitability)}",
            "-" if row.known_error is None else text.small(row.known_error),
        ]
        for row in rows
    ]
    descriptions = text.pairs([(row.family, row.description) for row in rows])
    return (
        f"{text.table(header, cells, '<>>>>>>>')}\n\n"
        "A: actions; seen: pairs observed; cyclic: intransitive triples of those without ties;\n"
        "winner: of Condorcet; Nash: actions it plays at beta 0 (+ not unique, ? not known);\n"
        "value: max_a (P Nash)_a, 1/2 where proved in rational arithmetic; error: distance from\n"
        f"the equilibrium that the family states. Random families are drawn with seed {SEED}.\n\n"
        f"{descriptions}\n"
    )


def make(name: str) -> Instance:
    """Make the instance of a family, the same every time."""
    import jax
    import jax.numpy as jnp

    from tabular import families
    from tabular.language import population_language
    from tabular.payoff import dense

    def key(index: int) -> jax.Array:
        return jax.random.fold_in(jax.random.key(SEED), index)

    def planted() -> Instance:
        preference = families.uniform_skew(key(7), ACTIONS)
        game, log_nash = families.planted(key(8), preference, PLANTED_BETA)
        return Instance(preference, np.exp(log_nash[0]), np.asarray(game.log_ref[0]))

    def table() -> Instance:
        names, preference = published.nash_md_table3()
        return Instance(preference, names=names)

    uniform = np.full(ACTIONS, 1 / ACTIONS)
    biased_nash = np.array([4, 3, 4]) / 11
    three_types_nash = np.array([1 / 3 + 0.05, 1 / 3 + 0.05, 1 / 3 - 0.1])
    makers: dict[str, Callable[[], Instance]] = {
        "uniform_skew": lambda: Instance(families.uniform_skew(key(0), ACTIONS)),
        "tournament": lambda: Instance(families.tournament(key(1), ACTIONS)),
        "bradley_terry": lambda: Instance(families.bradley_terry(jax.random.normal(key(2), (ACTIONS,)))),
        "low_rank_logits": lambda: Instance(families.low_rank_logits(key(3), ACTIONS)),
        "disc": lambda: Instance(dense(families.disc(key(4), ACTIONS).advantage) + jnp.asarray(0.5)),
        "rock_paper_scissors": lambda: Instance(families.rock_paper_scissors(ACTIONS), uniform),
        "biased_rock_paper_scissors": lambda: Instance(families.biased_rock_paper_scissors(), biased_nash),
        "three_types": lambda: Instance(families.three_types(0.1), three_types_nash),
        "dice": lambda: Instance(families.dice(), np.full(3, 1 / 3)),
        "elo_example": lambda: Instance(families.elo_example()),
        "planted": planted,
        "full_support": lambda: Instance(*families.full_support(key(6), ACTIONS)),
        "population_language": lambda: Instance(population_language(key(9), length=3).game.preference),
        "nash_md_table3": table,
    }
    made = makers[name]()
    preference = np.asarray(made.preference)
    preference = preference.reshape(preference.shape[-2:])  # of one context
    return made._replace(preference=preference, names=made.names or tuple(map(str, range(len(preference)))))


def _row(family: str, description: str) -> Row:
    from tabular.game_statistics import statistics
    from tabular.games import make_game
    from tabular.solution import solve

    instance = make(family)
    facts = statistics(instance.preference)
    solution = solve(make_game(instance.preference, beta=0))
    winner = facts.condorcet_winner
    error = None
    if instance.nash is not None:
        found = solution.policy[0]
        if instance.log_ref is not None:
            found = solve(make_game(instance.preference, instance.log_ref, PLANTED_BETA)).policy[0]
        error = float(np.abs(found - instance.nash).max())
    return Row(
        family=family,
        description=description,
        actions=facts.actions,
        completeness=1.0,
        strict_triples=facts.strict_triples,
        intransitive_triples=facts.intransitive_triples,
        condorcet_winner=None if winner is None else instance.names[winner],
        support=int((solution.policy[0] > 0).sum()),
        unique=solution.unique[0],
        proved=solution.fractions[0] is not None,
        exploitability=float(solution.exploitability[0]),
        known_error=error,
    )
