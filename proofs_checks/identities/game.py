"""Facts about the regularised game itself: the gap in closed form, what KL to the equilibrium measures.

Both sides are computed in numpy from the definitions, except where the library's own number is judged: its
equilibria, its metrics and its divergence.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy.optimize import minimize

from nlhf import logspace
from proofs_checks.identities.variational import log_softmax, witness_of
from proofs_checks.instances import Bank, build
from proofs_checks.rows import Check, Effort, Outcome, check_of, outcome_of
from tabular.metrics import METRICS

LIMIT = 1e-12  # relative to 1 + |value|
EPSILON = float(np.finfo(float).eps)


class Pair(NamedTuple):
    """Games with their equilibria and two policies that are not, as numpy arrays.

    Attributes:
      bank: the instances.
      advantage: ``[N, A, A]``.
      beta: ``[N]``.
      log_ref, log_nash, first, second: ``[N, A]``; 0 in place of the logarithm of an excluded action.
      present: ``[N, A]`` which actions are in the game.
    """

    bank: Bank
    advantage: np.ndarray
    beta: np.ndarray
    log_ref: np.ndarray
    log_nash: np.ndarray
    first: np.ndarray
    second: np.ndarray
    present: np.ndarray

    def prob(self, log_policy: np.ndarray) -> np.ndarray:
        """Probabilities, 0 where an action is excluded."""
        return np.where(self.present, np.exp(log_policy), 0.0)

    def payoff(self, log_policy: np.ndarray) -> np.ndarray:
        """``(P - 1/2) π``."""
        return np.einsum("nab,nb->na", self.advantage, self.prob(log_policy))

    def kl(self, log_policy: np.ndarray, log_other: np.ndarray) -> np.ndarray:
        """``Σ p (log p - log q)``, as it is defined; good to 1e-16 times the largest logarithm."""
        return (self.prob(log_policy) * (log_policy - log_other)).sum(-1)

    def value(self, log_policy: np.ndarray, log_opponent: np.ndarray) -> np.ndarray:
        """``P_β(π ≻ π') - 1/2 = π (P - 1/2) π' - β KL(π‖π_ref) + β KL(π'‖π_ref)``."""
        score = (self.prob(log_policy) * self.payoff(log_opponent)).sum(-1)
        price = self.kl(log_policy, self.log_ref) - self.kl(log_opponent, self.log_ref)
        return score - self.beta * price

    def response(self, log_policy: np.ndarray) -> np.ndarray:
        """``BR_β(π)``, proportional to ``π_ref exp((P - 1/2) π / β)``."""
        logits = self.log_ref + self.payoff(log_policy) / self.beta[:, None]
        return self.zero(log_softmax(np.where(self.present, logits, -np.inf)))

    def zero(self, log_policy: np.ndarray) -> np.ndarray:
        """0 in place of the -inf of an excluded action."""
        return np.where(self.present, log_policy, 0.0)

    def hidden(self, table: np.ndarray) -> np.ndarray:
        """-inf for an excluded action again, as the library writes it."""
        return np.where(self.present, table, -np.inf)

    def bregman(self, log_policy: np.ndarray, log_other: np.ndarray) -> np.ndarray:
        """The library's KL divergence."""
        tables = (jnp.asarray(self.hidden(table)) for table in (log_policy, log_other))
        return np.asarray(logspace.kl(*tables))

    def rounding(self) -> np.ndarray:
        """What rounding leaves in a log-policy: 16 units in the last place of the largest term ``[N]``."""
        largest = np.maximum(np.abs(self.log_ref).max(-1), 0.5 / self.beta)
        return 16 * EPSILON * np.maximum(1, largest)


@functools.lru_cache(maxsize=2)
def pair_of(effort: Effort) -> Pair:
    """Draw games with β from 1e-3 to 10 and two policies each: one anywhere, one 1e-3 nats from the Nash."""
    sizes = effort.pick((2, 3, 5, 8), (2, 3, 5, 10, 16))
    bank = build(effort.key("game"), effort.pick(64, 1024), sizes)
    log_ref, log_nash = (np.asarray(leaf)[:, 0] for leaf in (bank.game.log_ref, bank.log_nash))
    present = np.isfinite(log_ref)
    noise = effort.rng("game").normal(size=(2, *log_ref.shape))
    near = np.where(present, log_nash, 0) + 1e-3 * noise[1]
    drawn = (log_softmax(np.where(present, logits, -np.inf)) for logits in (3 * noise[0], near))
    reference, nash, first, second = (np.where(present, table, 0.0) for table in (log_ref, log_nash, *drawn))
    advantage, beta = np.asarray(bank.game.advantage)[:, 0], np.asarray(bank.game.beta)
    return Pair(bank, advantage, beta, reference, nash, first, second, present)


def judged(pair: Pair, errors: np.ndarray, control: str, wrong: np.ndarray, limit: float = LIMIT) -> Outcome:
    """Outcome of one error an instance ``[N]``, right and wrong."""
    return outcome_of(errors, control, wrong, functools.partial(witness_of, pair.bank), limit)


def _relative(measured: np.ndarray, expected: np.ndarray) -> np.ndarray:
    return np.abs(measured - expected) / (1 + np.abs(expected))


def _closed_form(effort: Effort) -> Outcome:
    """The library's gap against the value of the best response, and against the log-sum-exp form."""
    pair = pair_of(effort)
    errors, wrong = np.zeros(len(pair.beta)), np.zeros(len(pair.beta))
    for log_policy in (pair.first, pair.second):
        value = pair.value(pair.response(log_policy), log_policy)
        logits = pair.hidden(pair.log_ref + pair.payoff(log_policy) / pair.beta[:, None])
        shift = logits.max(-1)
        normaliser = shift + np.log(np.exp(logits - shift[:, None]).sum(-1))
        closed = pair.beta * (normaliser + pair.kl(log_policy, pair.log_ref))
        tables = (pair.hidden(log_policy)[:, None], pair.payoff(log_policy)[:, None])
        gap = jax.vmap(METRICS["exploitability"])
        own, payoff = map(jnp.asarray, tables)
        measured = np.asarray(gap(pair.bank.game, own, payoff, pair.bank.log_nash))
        errors = np.maximum(errors, np.maximum(_relative(measured, value), _relative(measured, closed)))
        reverse = pair.beta * pair.kl(pair.response(log_policy), log_policy)
        wrong = np.maximum(wrong, _relative(reverse, value))
    return judged(pair, errors, "β KL(BR(π)‖π), the divergence reversed", wrong)


def _brute_force(effort: Effort) -> Outcome:
    """The gap against the maximum that SciPy finds over the other player's logits."""
    pair = pair_of(effort)
    # games of two and three actions at mild beta, where a quasi-Newton search ends at rounding
    small = (pair.present.sum(-1) <= 3) & (pair.beta > 0.05) & (np.abs(pair.log_ref).max(-1) < 6)
    rows = np.flatnonzero(small)[: effort.pick(5, 60)]
    errors, wrong = np.zeros(len(pair.beta)), np.zeros(len(pair.beta))
    gap = pair.beta * pair.bregman(pair.first, pair.response(pair.first))
    for row in rows:
        inside = pair.present[row]
        payoff, reference = pair.payoff(pair.first)[row, inside], pair.log_ref[row, inside]
        start = pair.kl(pair.first, pair.log_ref)[row]
        beta = pair.beta[row]

        def lost(
            logits: np.ndarray,
            payoff: np.ndarray = payoff,
            reference: np.ndarray = reference,
            beta: float = beta,
        ) -> tuple[float, np.ndarray]:
            log_policy = log_softmax(logits)
            policy = np.exp(log_policy)
            worth = payoff - beta * (log_policy - reference)
            return -float(policy @ worth), -policy * (worth - policy @ worth)

        best = minimize(lost, np.zeros(inside.sum()), jac=True, method="BFGS", options={"gtol": 1e-11})
        found = -best.fun + beta * start
        errors[row] = _relative(np.asarray(found), gap[row])
        wrong[row] = _relative(np.asarray(-best.fun), gap[row])
    index = int(np.argmax(errors))
    return Outcome(
        len(rows),
        float(errors.max()),
        "the opponent's own KL term forgotten",
        float(wrong.max()),
        LIMIT,
        witness_of(pair.bank, index),
    )


def _nash_wins(effort: Effort) -> Outcome:
    pair = pair_of(effort)
    value = pair.value(pair.log_nash, pair.first)
    measured = pair.beta * pair.bregman(pair.first, pair.log_nash)
    wrong = pair.beta * pair.bregman(pair.log_nash, pair.first)
    return judged(
        pair, _relative(measured, value), "β KL(π*‖π), the divergence reversed", _relative(wrong, value)
    )


def _monotone(effort: Effort) -> Outcome:
    pair = pair_of(effort)

    def operator(log_policy: np.ndarray) -> np.ndarray:
        pull = pair.beta[:, None] * (log_policy - pair.log_ref)
        return -pair.payoff(log_policy) + np.where(pair.present, pull, 0.0)

    difference = pair.prob(pair.first) - pair.prob(pair.second)
    value = ((operator(pair.first) - operator(pair.second)) * difference).sum(-1)
    one_way = pair.beta * pair.bregman(pair.first, pair.second)
    other_way = pair.beta * pair.bregman(pair.second, pair.first)
    return judged(
        pair, _relative(one_way + other_way, value), "one of the two divergences", _relative(one_way, value)
    )


_ANY = "any π of full support, β from 1e-3 to 10"

_check = functools.partial(check_of, kind="identity")

CHECKS: tuple[Check, ...] = (
    _check(
        "game.gap_closed_form",
        "max_u P_β(u ≻ π) - 1/2 = β KL(π‖BR(π)) = β [lse(log π_ref + (P - 1/2)π/β) + KL(π‖π_ref)]",
        _ANY,
        _closed_form,
    ),
    _check(
        "game.gap_is_maximum",
        "β KL(π‖BR(π)) is what a search over u for max P_β(u ≻ π) - 1/2 finds",
        "two or three actions, β > 0.05, where a quasi-Newton search ends at rounding",
        _brute_force,
    ),
    _check(
        "game.nash_margin",
        "P_β(π* ≻ π) - 1/2 = β KL(π‖π*)",
        _ANY,
        _nash_wins,
    ),
    _check(
        "game.strong_monotonicity",
        "<F(p) - F(q), p - q> = β (KL(p‖q) + KL(q‖p)), F(p) = -P p + β log(p/π_ref)",
        "any p, q of full support, β from 1e-3 to 10",
        _monotone,
        source="behind the uniqueness of arXiv:2312.00886, Proposition 1; derived",
    ),
)
