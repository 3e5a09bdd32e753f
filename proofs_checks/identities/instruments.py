"""The referee's own instruments: its Newton solver, its KL divergence, its exact solver of the plain game."""

from __future__ import annotations

from decimal import Decimal, localcontext
from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
from scipy.optimize import linprog

from nlhf import logspace
from proofs_checks.identities.game import LIMIT, judged, pair_of
from proofs_checks.identities.variational import log_softmax
from proofs_checks.rows import ROUNDING, Check, Effort, Outcome, check_of
from tabular import families
from tabular.rational import solve_exact

DIGITS = 50


def _residual(effort: Effort) -> Outcome:
    pair = pair_of(effort)

    def residual(sign: float) -> np.ndarray:
        gap = pair.log_nash - pair.log_ref - sign * pair.payoff(pair.log_nash) / pair.beta[:, None]
        top, bottom = (
            np.where(pair.present, gap, end).max(-1) if end < 0 else np.where(pair.present, gap, end).min(-1)
            for end in (-np.inf, np.inf)
        )
        return (top - bottom) / (1 + np.maximum(np.abs(pair.log_ref).max(-1), 0.5 / pair.beta))

    return judged(pair, residual(1.0), "the equilibrium of the transposed game", residual(-1.0))


def _exploited(effort: Effort) -> Outcome:
    """``β KL(π‖BR(π))`` at the solution over what an error of rounding size in its logarithms explains."""
    pair = pair_of(effort)
    allowed = pair.beta * pair.rounding() ** 2 / 2

    def measured(log_policy: np.ndarray) -> np.ndarray:
        return pair.beta * pair.bregman(log_policy, pair.response(log_policy)) / allowed

    return judged(
        pair, measured(pair.log_nash), "a policy 1e-3 nats away", measured(pair.second), 1 + ROUNDING
    )


def _naive(log_policy: np.ndarray, log_other: np.ndarray) -> np.ndarray:
    return (np.exp(log_policy) * (log_policy - log_other)).sum(-1)


def _close_pairs(effort: Effort) -> tuple[np.ndarray, np.ndarray]:
    """Policies of ten actions and neighbours at distances from 1e-15 to 1 nats, ``[N, 10]`` each."""
    rng, count = effort.rng("close pairs"), effort.pick(64, 2000)
    log_policy = log_softmax(3 * rng.normal(size=(count, 10)))
    distance = 10 ** rng.uniform(-15, 0, (count, 1))
    return log_policy, log_softmax(log_policy + distance * rng.normal(size=log_policy.shape))


def _digits(log_policy: np.ndarray, log_other: np.ndarray) -> Decimal:
    """``Σ p r - p + q`` with r = log p - log q of the float64 logarithms as they stand, to 50 digits."""
    with localcontext() as context:
        context.prec = DIGITS
        total = Decimal(0)
        for own, other in zip(
            map(Decimal, log_policy.tolist()), map(Decimal, log_other.tolist()), strict=True
        ):
            total += own.exp() * (own - other) - own.exp() + other.exp()
        return total


def _fifty_digits(effort: Effort) -> Outcome:
    """Relative error of the library's divergence, with no 1 + |value|: small divergences count in full."""
    policies, others = (table[: effort.pick(20, 200)] for table in _close_pairs(effort))
    truth = [_digits(policy, other) for policy, other in zip(policies, others, strict=True)]
    measured = np.asarray(logspace.kl(jnp.asarray(policies), jnp.asarray(others)))

    def error(values: np.ndarray) -> np.ndarray:
        pairs = zip(values.tolist(), truth, strict=True)
        return np.array([float(abs(Decimal(value) - exact) / exact) for value, exact in pairs if exact])

    errors, wrong = error(measured), error(_naive(policies, others))
    index = int(np.argmax(errors))
    witness = {"log_policy": policies[index].tolist(), "log_other": others[index].tolist()}
    detail = {"smallest": float(min(measured))}
    return Outcome(
        len(errors), float(errors.max()), "Σ p log(p/q)", float(wrong.max()), LIMIT, witness, detail
    )


def _naive_sign(effort: Effort) -> Outcome:
    """Share of neighbours 1e-9 nats apart whose divergence comes out negative."""
    rng, count = effort.rng("naive"), effort.pick(200, 2000)
    log_policy = log_softmax(rng.normal(size=(count, 10)))
    log_other = log_softmax(log_policy + 1e-9 * rng.normal(size=log_policy.shape))
    naive, bregman = (
        _naive(log_policy, log_other),
        logspace.kl(jnp.asarray(log_policy), jnp.asarray(log_other)),
    )
    index = int(np.argmin(naive))
    witness = {"log_policy": log_policy[index].tolist(), "log_other": log_other[index].tolist()}
    return Outcome(
        count,
        float(np.mean(naive < 0)),
        "the Bregman form Σ p log(p/q) - p + q",
        float(np.mean(np.asarray(bregman) < 0)),
        0.0,
        witness,
        {"most_negative": float(naive.min())},
    )


def _floor(effort: Effort) -> Outcome:
    """KL(π*‖π_t) under an algorithm that converges linearly, at the end, over what rounding explains.

    The iterates are plain numpy: a composite extragradient step of size 2 in each game with β >= 0.1.
    """
    pair = pair_of(effort)
    log_policy = pair.first
    for _ in range(600):
        half = log_policy
        for _ in range(2):
            payoff = pair.payoff(half)
            logits = log_policy + 2 * pair.beta[:, None] * pair.log_ref + 2 * payoff
            scaled = logits / (1 + 2 * pair.beta[:, None])
            half = pair.zero(log_softmax(pair.hidden(scaled)))
        log_policy = half
    rows = np.flatnonzero(pair.beta >= 0.1)
    # an error of δ in the logarithms of both policies is a divergence of at most (2δ)²/2
    allowed = (2 * pair.rounding()) ** 2 / 2
    reached = pair.bregman(pair.log_nash, log_policy) / allowed
    naive = np.abs(pair.kl(pair.log_nash, log_policy)) / allowed
    return Outcome(
        len(rows),
        float(reached[rows].max()),
        "Σ p log(p/q)",
        float(naive[rows].max()),
        detail={"largest": float((reached * allowed)[rows].max())},
    )


def _games(effort: Effort, sizes: tuple[int, ...], count: int) -> list[np.ndarray]:
    rng = effort.rng("plain games")
    games = []
    for index in range(count):
        size = sizes[index % len(sizes)]
        upper = np.triu(rng.uniform(size=(size, size)), 1)
        games.append(upper + np.tril(1 - upper.T, -1) + 0.5 * np.eye(size))
    return games


def _centred(preference: np.ndarray) -> list[list[Fraction]]:
    """P - 1/2 as exact rationals, the lower triangle one minus the upper one."""
    size = len(preference)
    upper = [[Fraction(float(preference[i, j])) - Fraction(1, 2) for j in range(size)] for i in range(size)]
    return [
        [upper[i][j] if i < j else Fraction(0) if i == j else -upper[j][i] for j in range(size)]
        for i in range(size)
    ]


def _violation(masses: list[Fraction], centred: list[list[Fraction]]) -> float:
    """Largest of ``max_i ((P - 1/2) p)_i``, ``-min p`` and ``|Σ p - 1|``, in rationals throughout."""
    gains = [sum((a * p for a, p in zip(row, masses, strict=True)), Fraction(0)) for row in centred]
    excess = abs(sum(masses, Fraction(0)) - 1)
    return float(max(max(gains), -min(masses), excess, Fraction(0)))


def _exact_nash(effort: Effort) -> Outcome:
    """Judge what the exact solver returns without it: rationals in, rationals out."""
    worst, control, witness = -1.0, 0.0, {}
    games = _games(effort, (3, 4, 5, 8), effort.pick(8, 80))
    for preference in games:
        solution = solve_exact(preference)
        assert solution.fractions is not None
        centred = _centred(preference)
        # what a float64 reading of the table moves an entry by: exact on tables that floats hold exactly
        error = max(_violation(list(solution.fractions), centred), float(solution.exploitability))
        if error > worst:
            worst, witness = error, {"preference": preference.tolist()}
        lost = list(solution.fractions)
        lost[int(np.argmax(solution.policy))] = Fraction(0)
        total = sum(lost)
        control = max(control, _violation([mass / total for mass in lost], centred) if total else 1.0)
    return Outcome(len(games), worst, "the most played action dropped", control, LIMIT, witness)


def _vertex(preference: np.ndarray) -> np.ndarray:
    """A vertex of the equilibria by SciPy's linear program: max v, (P - 1/2) p + v <= 0 on the simplex."""
    size = len(preference)
    bounds = [(0.0, None)] * size + [(None, None)]
    rows = np.column_stack([preference - 0.5, np.ones(size)])
    total = np.append(np.ones(size), 0.0)[None]
    result = linprog(-np.eye(size + 1)[-1], rows, np.zeros(size), total, [1.0], bounds, "highs")
    return np.asarray(result.x[:size])


def _even(preference: np.ndarray, policy: np.ndarray) -> bool:
    """Whether this is an equilibrium with an even number of actions in its support."""
    return bool(((preference - 0.5) @ policy).max() < 1e-9 and (policy > 1e-9).sum() % 2 == 0)


def _odd_support(effort: Effort) -> Outcome:
    games = _games(effort, (2, 3, 4, 5, 6, 8), effort.pick(24, 600))
    policies = [_vertex(game) for game in games]
    even = [_even(game, policy) for game, policy in zip(games, policies, strict=True)]
    full = np.array([(policy > 1e-9).all() for policy in policies])
    sizes = np.array([len(game) for game in games])
    made = (families.full_support(key, 4) for key in jax.random.split(effort.key("made"), 4))
    index = int(np.argmax(even))
    return Outcome(
        len(games),
        float(sum(even)),
        "games made to have a Nash policy on all of four actions",
        float(sum(_even(*game) for game in made)),
        0.0,
        {"preference": games[index].tolist()},
        {f"full_support_share_{size}": float(full[sizes == size].mean()) for size in (3, 4, 5, 6)},
    )


CHECKS: tuple[Check, ...] = (
    check_of(
        "game.newton_residual",
        "log π* = log π_ref + (P - 1/2)π*/β + constant at the Newton solution, relative to its largest term",
        "β from 1e-3 to 10, references down to 1e-8",
        _residual,
        kind="identity",
    ),
    check_of(
        "game.newton_certificate",
        "β KL(π‖BR(π)) at the Newton solution is at most what rounding of its logarithms explains",
        "β from 1e-3 to 10, references down to 1e-8",
        _exploited,
        kind="lemma",
    ),
    check_of(
        "game.kl_to_fifty_digits",
        "Σ p r - p + q, r = log p - log q, as the library evaluates it, to a relative 1e-12",
        "ten actions, policies 1e-15 to 1 nats apart; decimal arithmetic of 50 digits",
        _fifty_digits,
        kind="identity",
    ),
    check_of(
        "game.kl_floor",
        "the Bregman form follows a linear rate down to the square of the logarithms' rounding",
        "β >= 0.1, 600 composite extragradient steps of size 2",
        _floor,
        kind="lemma",
    ),
    check_of(
        "game.naive_kl_is_nonnegative",
        "Σ p log(p/q) >= 0 in floating point",
        "policies 1e-9 nats apart",
        _naive_sign,
        kind="lemma",
        refuted=True,
    ),
    check_of(
        "game.exact_nash",
        "the exact solver's rationals satisfy p >= 0, Σp = 1, max_i ((P - 1/2) p)_i <= 0",
        "random games of 3 to 8 actions; β = 0",
        _exact_nash,
        kind="identity",
    ),
    check_of(
        "game.odd_support",
        "every Nash policy of a generic game without regularisation has a support of odd size",
        "every pair uniform on (0, 1); β = 0",
        _odd_support,
        kind="identity",
    ),
)
