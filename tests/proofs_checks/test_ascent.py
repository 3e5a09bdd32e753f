"""The search for worst instances: it plants what it says, climbs, and finds what is known to be there."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nlhf import Constants, egpo
from proofs_checks import ascent, breaking, tightness
from proofs_checks.rows import Effort
from tabular.games import make_game
from tabular.runner import run
from tabular.solution import solve

QUICK = Effort(quick=True)
SUBJECT = ascent.subject_of("egpo", ("egpo.kl",), 3, 4)


def search(stretch, beta, count=24, ascents=120):
    problem = ascent.Problem(jnp.ones((count, 1)), jnp.full(count, stretch), jnp.full(count, beta))
    return ascent.ascend(SUBJECT, ascents, jax.random.key(0), problem)


@pytest.fixture(scope="module")
def beyond():
    """EGPO at g = 3.9, β = 1e-3: far beyond its range, where three actions are enough to break it."""
    own = 3.9 / (1 + 3.9e-3)
    return search(own * (1e-3 + 0.5), 1e-3)


def replay(instance):
    """The ratios of an instance, from its JSON values alone and by the library's solver and runner."""
    preference = np.array(instance["advantage"]) + 0.5
    game = make_game(preference, np.array(instance["log_ref"]), instance["beta"])
    nash = solve(game).log_policy
    np.testing.assert_allclose(nash[0], instance["log_nash"], atol=1e-9)
    method = egpo(instance["step_size"], instance["beta"])
    start = jnp.array(instance["log_start"])[None]
    trace = run(
        method._replace(claims=()),
        game,
        num_steps=4,
        start=start,
        log_nash=nash,
        measures=("kl_to_nash",),
    )
    value = np.asarray(trace.of("kl_to_nash"))
    known = Constants(instance["step_size"], instance["beta"], value[0], 0.0)
    return value / np.asarray(method.claims[0].bound(np.arange(5.0), known))


def test_a_violation_is_found_and_is_one_when_run_again(beyond):
    row = int(np.argmax(beyond.ratio))
    instance = ascent.instance_of(beyond, row)
    assert instance["ratio"] > 1.1
    assert replay(instance)[instance["step"]] == pytest.approx(instance["ratio"], rel=1e-6)


def test_the_planted_policies_are_equilibria(beyond):
    advantage, log_nash = np.asarray(beyond.advantage), np.asarray(beyond.log_nash)
    np.testing.assert_array_equal(advantage, -advantage.swapaxes(1, 2))
    assert np.abs(advantage).max() <= 0.5
    gap = log_nash - np.asarray(beyond.log_ref) - np.einsum("nab,nb->na", advantage, np.exp(log_nash)) / 1e-3
    assert np.ptp(gap, axis=-1).max() < 1e-10


def test_inside_the_range_nothing_is_found_but_it_climbs():
    # the same compiled search, where the claim is proved
    early = search(1.0, 1e-3, ascents=1)
    late = search(1.0, 1e-3)
    assert float(late.ratio.max()) <= 1 + 1e-9
    assert float(jnp.median(late.ratio)) > float(jnp.median(early.ratio))


def test_same_key_same_instances(beyond):
    own = 3.9 / (1 + 3.9e-3)
    again = search(own * (1e-3 + 0.5), 1e-3)
    np.testing.assert_array_equal(again.advantage, beyond.advantage)


def test_every_claim_has_a_place():
    assert len(set(tightness.NAMES)) == len(tightness.NAMES) == 22
    with pytest.raises(KeyError):
        tightness.tightest("no.claim", QUICK)


def test_brackets():
    assert breaking._bracket({1.0: 0.5, 2.0: 1.2, 1.5: 0.9, 3.0: 0.8}) == (1.5, 2.0)
    assert breaking._bracket({1.0: 0.5, 2.0: 1.0}) == (2.0, None)
    assert breaking._bracket({1.0: 1.5}) == (0.0, 1.0)


@pytest.mark.slow
def test_the_tightest_instance_of_a_claim():
    found = tightness.tightest("nash_mirror_prox.half_kl", QUICK)
    assert 0.55 < found["best"] <= 1
    assert found["instance"]["ratio"] == found["best"]


@pytest.mark.slow
def test_breaking_points():
    found = breaking.breaking("egpo", QUICK)
    assert [point["beta"] for point in found["points"]] == [1e-2, 0.3]
    first, second = found["points"]
    # the local stability limit of a large circle is π; three actions break the bound not far above it
    assert 2.5 < first["holds_to"] < first["violated_from"] < 4
    assert second["worst"] <= 1
    assert found["instances"][0]["ratio"] > 1
