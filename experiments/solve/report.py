"""The table that ``nlhf solve`` prints."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from experiments.output import text

if TYPE_CHECKING:
    from experiments.solve.solution import Solution

ALL_SHOWN = 30  # a longer game shows its first actions only
FIRST_SHOWN = 20
LONGEST_FRACTION = 21


def report(solution: Solution, file: str, reference: str) -> str:
    """Lay out a solution: the game, the policy by falling probability, the certificate.

    Args:
      solution: what was solved.
      file: name of the game.
      reference: ``"uniform"`` or the name of a file.

    Returns:
      Lines of at most about 80 columns, with a newline at the end.
    """
    how = f"solved by {solution.algorithm}"
    if solution.steps is not None:
        how += f" in {_count(solution.steps, 'step')}"
    if solution.queries is not None:
        how += f", {_count(solution.queries, 'payoff query', 'payoff queries')}"
    regularised = f"beta {solution.beta:g}, reference {reference}"
    kind = regularised if solution.beta > 0 else "unregularised (beta 0)"
    head = text.pairs(
        [
            ("game", _game(solution, file)),
            ("majorities", _majorities(solution)),
            ("solution", f"{kind}, {how}"),
        ]
    )
    return f"{head}\n\n{_policy(solution)}\n\n{_certificate(solution)}\n"


def _game(solution: Solution, file: str) -> str:
    complete = solution.completeness
    observed = "all pairs observed" if complete == 1 else f"{100 * complete:.3g} % of pairs observed"
    return f"{text.shorten(file, 40)}: {len(solution.names)} actions, {observed}"


def _majorities(solution: Solution) -> str:
    facts = solution.statistics
    winner = solution.condorcet_winner
    return (
        f"{facts.intransitive_triples} of {_count(facts.strict_triples, 'strict triple')} intransitive, "
        f"{_count(facts.tied_pairs, 'tied pair')}, "
        + ("no Condorcet winner" if winner is None else f"Condorcet winner {text.shorten(winner)}")
    )


def _policy(solution: Solution) -> str:
    support = frozenset(solution.support)
    mark = "* " if len(support) < len(solution.names) else "  "
    order = np.argsort(-solution.policy, kind="stable")
    shown = order if len(order) <= ALL_SHOWN else order[:FIRST_SHOWN]
    fractions = solution.fractions
    if fractions is not None and max(len(fractions[i]) for i in shown) > LONGEST_FRACTION:
        fractions = None
    rows = []
    for i in shown:
        name = solution.names[i]
        row = [(mark if name in support else "  ") + text.shorten(name), text.probability(solution.policy[i])]
        rows.append(row if fractions is None else [*row, fractions[i]])
    header = ["  action", "probability"] if fractions is None else ["  action", "probability", "exact"]
    lines = text.table(header, rows, "<>>"[: len(header)])
    if len(shown) < len(order):
        rest = max(0.0, float(solution.policy[order[len(shown) :]].sum()))
        lines += f"\n  ... and {len(order) - len(shown)} more, together {text.probability(rest)}"
    return lines


def _certificate(solution: Solution) -> str:
    everything = len(solution.support) == len(solution.names)
    items = [
        ("support", "all actions" if everything else f"{_count(len(solution.support), 'action')}, marked *"),
        ("value", "1/2"),
        ("exploitability", text.small(solution.exploitability)),
        ("duality gap", text.small(solution.duality_gap)),
    ]
    if solution.beta > 0:
        original = f"{text.small(solution.exploitability_original)} = max_a (P policy)_a - 1/2"
        items.append(("at beta 0", original))
    if solution.residual is not None:
        items.append(("residual", text.small(solution.residual)))
    return text.pairs([*items, ("certificate", _evidence(solution))])


def _evidence(solution: Solution) -> str:
    if solution.kl_bound is not None:
        return f"KL(policy || Nash) <= {text.small(solution.kl_bound)} nats"
    if solution.fractions is not None:
        unique = "unique" if solution.unique else "not the only equilibrium"
        return f"exact rational certificate: max_a (P policy)_a = 1/2, {unique}"
    return f"no action is preferred to this policy by more than 1/2 + {text.small(solution.exploitability)}"


def _count(number: int, one: str, many: str = "") -> str:
    return f"{number} {one if number == 1 else many or one + 's'}"
