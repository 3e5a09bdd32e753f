"""The rows of the lemmas at quick effort, and whether their machinery would notice what is wrong."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nlhf import omwu
from nlhf.logspace import kl, uniform
from proofs_checks.lemmas import bank as lemma_bank
from proofs_checks.lemmas import extragradient as extragradient_lemmas
from proofs_checks.lemmas import extragradient_bounds
from proofs_checks.lemmas import game as lemmas
from proofs_checks.lemmas import omwu as omwu_lemmas
from proofs_checks.lemmas import steps as step_lemmas
from proofs_checks.lemmas.bank import HUGE, Case, Lemma, Sides, checks, ratio
from proofs_checks.rows import FAILS, Effort, decide
from tabular.families import rock_paper_scissors
from tabular.games import make_game

QUICK = Effort(quick=True)
MODULES = (lemmas, step_lemmas, extragradient_lemmas, extragradient_bounds, omwu_lemmas)
CHECKS = tuple(itertools.chain.from_iterable(module.CHECKS for module in MODULES))


# `nlhf check --quick`, a step of CI, judges the same rows
@pytest.mark.slow
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.name)
def test_row(check):
    outcome = check.judge(QUICK)
    row = decide(check, outcome)
    assert row.as_expected, (outcome.worst, outcome.control_worst, outcome.witness)
    assert outcome.instances >= 200
    assert 2 <= outcome.witness["actions"] <= 8


def test_names_are_unique():
    assert len({check.name for check in CHECKS}) == len(CHECKS)


@pytest.mark.slow
def test_a_row_does_not_depend_on_what_was_judged_before_it():
    first = step_lemmas.CHECKS[2].judge(QUICK)
    lemma_bank._evaluate.cache_clear()
    lemma_bank._banks.cache_clear()
    assert step_lemmas.CHECKS[2].judge(QUICK) == first


def _lemma(measure):
    return checks((Lemma(measure, "game.test", "derived", "test", "test", "test", "test"),))[0]


def test_a_bound_one_part_in_a_million_too_small_is_rejected():
    def squeezed(case: Case) -> Sides:
        return Sides(jnp.asarray(2.0), jnp.asarray(2.0 - 2e-6), jnp.asarray(3.0), jnp.asarray(2.0))

    row = decide(_lemma(squeezed), _lemma(squeezed).judge(QUICK))
    assert row.verdict == FAILS
    assert not row.as_expected


def test_what_is_not_a_number_is_rejected_and_witnessed():
    def undefined(case: Case) -> Sides:
        value = jnp.where(case.game.beta > 9.9, jnp.nan, 0.0)
        return Sides(value, jnp.asarray(1.0), jnp.asarray(2.0), jnp.asarray(1.0))

    outcome = _lemma(undefined).judge(QUICK)
    assert decide(_lemma(undefined), outcome).verdict == FAILS
    assert outcome.witness["beta"] > 9.9


def test_a_lemma_without_a_policy_counts_every_game_once():
    def game_alone(case: Case) -> Sides:
        return Sides(case.game.beta, jnp.asarray(20.0), case.game.beta, jnp.asarray(1.0))

    assert _lemma(game_alone).judge(QUICK).instances == 200


def test_ratio_of_nothing():
    left, right = np.array([0.0, -1.0, 1.0, 1.0, 2.0]), np.array([0.0, 0.0, 0.0, -1.0, 4.0])
    np.testing.assert_array_equal(ratio(left, right), [0, 0, HUGE, HUGE, 0.5])
    assert ratio(1e-16, 0.0, 1e-15) == 0
    assert np.isnan(ratio(np.nan, 1.0))


@pytest.fixture
def cycle():
    game = make_game(rock_paper_scissors(3), beta=0.2)
    first, second = jnp.log(jnp.array([0.7, 0.2, 0.1])), jnp.log(jnp.array([0.1, 0.3, 0.6]))
    return Case(game, uniform(3), first, second, jnp.asarray(1.0), jnp.asarray(0.0))


def test_decided_pairs_attain_the_span_of_a_payoff(cycle):
    sides = lemmas.payoff_span(cycle)
    # rows of the cycle differ by (1/2, 1/2, -1)
    np.testing.assert_allclose(sides.left[1], 1.5)
    assert sides.right[1] == 2


def test_exploitability_of_a_pure_policy_in_closed_form(cycle):
    pure = jnp.array([0.0, -jnp.inf, -jnp.inf])
    payoffs = np.array([0.0, 0.5, -0.5])
    expected = 0.2 * (np.log(np.exp(payoffs / 0.2).mean()) + np.log(3))
    np.testing.assert_allclose(lemmas.exploitability(cycle, pure), expected, rtol=1e-12)


def test_identities_are_equalities_not_bounds(cycle):
    # error over rounding: the identity must be closer than a part in 1e10 of its largest term
    for measure in (extragradient_lemmas.prox_three_point, extragradient_lemmas.full_identity):
        assert float(measure(cycle).left) < 1e-12
        assert float(measure(cycle).wrong_left) > 1e-3


def test_the_end_of_the_range_is_where_the_coupling_is_just_covered(cycle):
    g = float(extragradient_lemmas.longest(cycle))
    np.testing.assert_allclose(g**2 / 4, 1 + g * 0.2)


@pytest.mark.parametrize("beta", [0.0, 1e-3, 0.1, 0.5, 1.0, 10.0])
def test_omwu_s_lyapunov_range_and_half_step_cover_its_claims(beta):
    kappa = omwu_lemmas.CONSTANT
    composite = {}
    for claim in omwu(0.1, 0.1).claims:
        if claim.status == "derived" and claim.regularised:
            high = float(claim.step_size_range(beta)[1])
            composite[claim.name] = high / (1 - high * beta)
    assert set(composite) == {"omwu.kl", "omwu.half_kl"}
    proved = 2 * (beta + np.sqrt(beta**2 + kappa)) / kappa
    assert composite["omwu.kl"] == pytest.approx(proved, rel=1e-12)
    g = composite["omwu.half_kl"]
    assert g <= proved
    assert 1 + g * beta - (2 + np.sqrt(2)) * g**2 / 4 >= 0.5


def test_omwu_s_memory_weight_maximises_the_range():
    weight = np.linspace(0.01, 0.99, 981)
    needed = (1 + weight) / (weight * (1 - weight))
    np.testing.assert_allclose(weight[needed.argmin()], omwu_lemmas.MEMORY, atol=1e-3)
    np.testing.assert_allclose(needed.min(), omwu_lemmas.CONSTANT, rtol=1e-5)


def test_full_exploitability_s_algebra_is_a_maximum_over_the_unknown_share():
    # K - s + 2 √(a s (K - s)) + a s over s in [0, K], with K = 1
    share = np.linspace(0, 1, 100_001)
    for a in (0.01, 0.3, 1.0, 10.0):
        value = (1 - share + 2 * np.sqrt(a * share * (1 - share)) + a * share).max()
        np.testing.assert_allclose(value, 1 + a, rtol=1e-6)


def test_kl_allowance_covers_a_perturbed_log():
    log_p, log_q = jnp.log(jnp.array([0.7, 0.3])), jnp.log(jnp.array([0.6, 0.4]))
    moved = jax.nn.log_softmax(log_q + jnp.array([1e-6, -1e-6]))
    shift = abs(float(kl(log_p, moved) - kl(log_p, log_q)))
    assert 0 < shift <= float(lemma_bank.kl_allowance(kl(log_p, log_q), 2e-6))
