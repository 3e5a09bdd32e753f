"""VPO's runs: what the fits measure, the exact jumps, and (slow) the rows."""

import numpy as np
import pytest

from proofs_checks.learners import vpo_rates
from proofs_checks.rows import Effort, decide

CHEAP = ("vpo.wall",)  # numpy alone


def param(check):
    marks = [] if check.name in CHEAP else [pytest.mark.slow]
    return pytest.param(check, marks=marks, id=check.name)


@pytest.mark.parametrize("check", [param(check) for check in vpo_rates.CHECKS])
def test_rows(check):
    row = decide(check, check.judge(Effort(quick=True)))
    assert row.as_expected, row.outcome


@pytest.mark.parametrize("power", [0.5, 1.0])
def test_exponent_of_a_known_regret(power):
    total = np.arange(1, 4001) ** power
    gaps = np.diff(total, prepend=0.0)[None]
    np.testing.assert_allclose(vpo_rates.exponent(gaps), power, atol=1e-12)


def _one_by_one(rng, inverse_beta, from_reference):
    """The process of ``jump`` draw by draw, without the geometric waits."""
    values = vpo_rates.grid()
    rare = np.exp(-inverse_beta / 8)
    law = rare / (rare + (1 - rare) * np.exp(-inverse_beta * values))
    best = rare / (rare + (1 - rare) * np.exp(0.5 * inverse_beta))

    def divergence(p, q):
        return p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))

    gap, bonus = divergence(law, best) / inverse_beta, -divergence(rare, law) / inverse_beta
    won = lost = time = 0
    while True:
        total = won * np.logaddexp(0, -values) + lost * np.logaddexp(0, values) + bonus
        policy = int(np.flatnonzero(total <= total.min() + 1e-12)[0])
        if gap[policy] < vpo_rates.FOUND:
            return time
        first = rng.random() < law[policy]
        second = rng.random() < (rare if from_reference else law[policy])
        time += 1
        if first != second:
            rare_won = rng.random() < 1 / (1 + np.exp(0.5))
            won, lost = won + rare_won, lost + (not rare_won)


@pytest.mark.parametrize("from_reference", [False, True])
def test_jumps_have_the_law_of_single_draws(from_reference):
    rng = np.random.default_rng(3)
    plain = np.array([_one_by_one(rng, 6.0, from_reference) for _ in range(150)])
    jumps = vpo_rates.jump(rng, 6.0, 4000, from_reference)
    distance = vpo_rates.stats.ks_2samp(plain, jumps).statistic
    other = vpo_rates.stats.ks_2samp(plain, vpo_rates.jump(rng, 6.0, 4000, not from_reference)).statistic
    critical = 1.95 * np.sqrt(1 / 150 + 1 / 4000)  # one in a thousand
    assert distance < critical < other
