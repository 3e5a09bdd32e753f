"""The claims on the bank, quick: every row as expected, and a wrong constant is noticed."""

import dataclasses

import numpy as np
import pytest

from nlhf import ALGORITHMS
from nlhf.method import default
from proofs_checks import claims
from proofs_checks.rows import HOLDS, Effort, decide

QUICK = Effort(quick=True)
BY_NAME = {check.name: check for check in claims.CHECKS}


@pytest.mark.parametrize("name", BY_NAME)
def test_each_claim_holds_and_its_control_fails(name):
    row = decide(BY_NAME[name], BY_NAME[name].judge(QUICK))
    assert row.verdict == HOLDS
    assert row.control_fails
    assert row.as_expected
    assert row.outcome.instances == 160
    witness = row.outcome.witness
    assert witness["measured"] <= witness["bound"] * (1 + 1e-9)
    assert np.shape(witness["advantage"]) == (witness["actions"],) * 2
    assert 0 < row.outcome.detail["worst at the longest step"] <= row.outcome.worst + 1e-15


def test_every_algorithm_with_claims_is_covered():
    with_claims = {name for name in ALGORITHMS if default(name, 0.1).claims}
    assert with_claims == {variant.split(".")[0] for variant in claims.VARIANTS}
    assert {"egpo", "nash_md", "omwu"} <= with_claims
    assert len(BY_NAME) == len(claims.CHECKS)


@pytest.mark.parametrize(("variant", "name"), [("egpo", "egpo.kl"), ("omwu", "omwu.average")])
def test_a_bound_that_is_too_low_fails_with_its_instance(variant, name):
    claim = next(claim for claim in claims.claims_of(variant) if claim.name == name)
    tight = dataclasses.replace(claim, bound=lambda step, known: 0.9 * claim.bound(step, known))
    outcome = claims.judge_claim(variant, tight, QUICK)
    assert outcome.worst > 1.01
    assert outcome.witness["measured"] > outcome.witness["bound"]


def test_fitted_rates_are_at_least_the_proved_ones():
    for name in ("egpo.kl", "nash_mirror_prox.kl", "online_mirror_descent.kl", "omwu.kl"):
        detail = BY_NAME[name].judge(QUICK).detail
        assert detail["fits"] >= 20
        assert detail["slowest fitted / proved rate"] > 0.99
