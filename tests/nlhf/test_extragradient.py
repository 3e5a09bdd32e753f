"""The bounds that EGPO and Nash Mirror Prox share: one family of claims under two names of the step."""

import numpy as np
import pytest

from nlhf import Constants, egpo, nash_mirror_prox
from nlhf.extragradient import extragradient_claims

STEP = np.arange(8.0)


def by_name(method):
    return {claim.name.split(".")[1]: claim for claim in method.claims if claim.regularised}


@pytest.mark.parametrize("beta", [1e-3, 0.1, 2.0])
@pytest.mark.parametrize("g", [0.1, 1.0, 2.0])
def test_the_two_names_promise_the_same(beta, g):
    ours, theirs = by_name(nash_mirror_prox(g, beta)), by_name(egpo(g / (1 + g * beta), beta))
    known = Constants(g, beta, kl_start=0.7, log_start=2.0, span_start=1.3)
    other = known._replace(step_size=g / (1 + g * beta))
    assert list(ours) == list(theirs) == ["kl", "half_kl", "half_exploitability", "exploitability", "span"]
    for name, claim in ours.items():
        np.testing.assert_allclose(claim.bound(STEP, known), theirs[name].bound(STEP, other), rtol=1e-11)
        np.testing.assert_allclose(claim.rate(known), theirs[name].rate(other), rtol=1e-11)


def test_the_bounds_in_numbers():
    g, beta, kl, span = 2.0, 0.5, 0.7, 1.3
    known = Constants(g, beta, kl, 2.0, span)
    claims = by_name(nash_mirror_prox(g, beta))
    rho = 1 / (1 + g * beta)
    t = STEP[1:]
    expected = {
        "kl": rho**t * kl,
        "half_kl": 2 * rho**t * kl,
        "half_exploitability": (1 / g + rho / (2 * beta)) * rho ** (t - 1) * kl,
        "exploitability": (1 / g + rho / (4 * beta)) * rho ** (t - 1) * kl,
        "span": rho**t * span + 4 / beta * rho ** ((t - 1) / 2) * np.sqrt(kl),
    }
    for name, bound in expected.items():
        np.testing.assert_allclose(claims[name].bound(STEP, known)[1:], bound, rtol=1e-13)
    assert np.isinf(claims["exploitability"].bound(STEP, known)[0]), (
        "a start may be exploitable without limit"
    )


def test_the_ranges():
    beta = np.array([0.1, 1.0])
    mirror = by_name(nash_mirror_prox(1.0, 0.1))
    np.testing.assert_allclose(mirror["kl"].step_size_range(beta)[1], 2 * beta + 2 * np.sqrt(1 + beta**2))
    np.testing.assert_allclose(mirror["span"].step_size_range(beta)[1], 2.0)
    # in EGPO's own step the end of every range is g = 2
    for claim in by_name(egpo(0.5, 0.1)).values():
        end = claim.step_size_range(beta)[1]
        np.testing.assert_allclose(end / (1 - end * beta), 2.0)


def test_names_and_sources_are_the_member_s():
    claims = extragradient_claims(
        "mine", "here", lambda s, b: s, ("short", "long"), lambda b: (0, 1), lambda b: (0, 2)
    )
    assert {claim.source for claim in claims} == {"here"}
    assert all(claim.name.startswith("mine.") for claim in claims)
    assert claims[0].statement.endswith("for short")
    assert all("for long" in claim.statement for claim in claims[1:])
