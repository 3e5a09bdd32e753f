"""The mutation run: every mistake, made in every algorithm that allows it, is caught by a row of the ledger.

A step row catches any change of a step; what is asked here as well is which *claims* notice, for a bound that
no mistake can break would be worth little. ``pytest -m slow -s`` prints the table.
"""

import pytest

from proofs_checks import claims
from proofs_checks.controls import CONTROLS
from proofs_checks.identities import variational
from proofs_checks.rows import Effort, decide

QUICK = Effort(quick=True)
PAIRS = [
    (name, mistake)
    for mistake, control in CONTROLS.items()
    for name in variational.DEFINITIONS
    if name.split(".")[0] in control.algorithms and (name, mistake) != ("nash_md", "off_by_one")
]
VARIANT = {"nash_md": "nash_md.constant"}
STEP_LIMIT = 1e-12
# beyond the method's own step row; a mistake in the payoff's sign or in the half step breaks a bound
NOTICED = ("transposed", "stale_half", "no_extrapolation")


def caught_by(name, mistake):
    """Names of the rows that fail when the mistake is made."""
    wrong = CONTROLS[mistake].apply(variational.method_of(name, QUICK))
    rows = [f"{name}.step"] if not variational.step_errors(name, wrong, QUICK).max() <= STEP_LIMIT else []
    variant = VARIANT.get(name, name)
    for claim in claims.claims_of(variant) if variant in claims.VARIANTS else ():
        outcome = claims.judge_claim(variant, claim, QUICK, mistake)
        if not outcome.worst <= outcome.limit:
            rows.append(claim.name)
    return rows


@pytest.mark.slow
@pytest.mark.parametrize(("name", "mistake"), PAIRS, ids=["-".join(pair) for pair in PAIRS])
def test_every_mistake_is_caught(name, mistake):
    rows = caught_by(name, mistake)
    print(f"\n{name:24s} {mistake:18s} caught by {', '.join(rows) or 'NOTHING'}")
    assert rows
    variant = VARIANT.get(name, name)
    made = {claim.name for claim in claims.claims_of(variant)} if variant in claims.VARIANTS else set()
    if made and mistake in NOTICED:
        assert made & set(rows), "no claim notices"


@pytest.mark.slow
@pytest.mark.parametrize("variant", claims.VARIANTS)
def test_without_a_mistake_nothing_is_caught(variant):
    for check in claims.CHECKS:
        if check.name in {claim.name for claim in claims.claims_of(variant)}:
            assert decide(check, check.judge(QUICK)).as_expected
