"""The bounds of a trace are its algorithm's claims at the run's own constants (more in test_bound)."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nlhf import Claim, egpo
from nlhf.errors import RangeWarning
from tabular import Axes, families, grid, make_game, run, run_many, solve
from tabular.bounds import bounds
from tabular.traces import Measure

GAME = make_game(families.biased_rock_paper_scissors(), beta=0.1)
NASH = solve(GAME)
KL = Measure("kl_to_nash")


def test_a_bound_is_the_claim_at_the_constants_of_the_run():
    trace = run(egpo(1.5, 0.1), GAME, num_steps=4, every=2, log_nash=NASH)
    start = NASH.policy @ (NASH.log_policy - np.asarray(GAME.log_ref))[0]
    np.testing.assert_allclose(bounds(trace)[KL], start * (1 - 0.15) ** np.array([0, 2, 4]), rtol=1e-12)
    assert (trace.of("kl_to_nash") <= bounds(trace)[KL] * (1 + 1e-12)).all()


def test_there_is_no_bound_outside_of_the_range_nor_without_the_nash_policy():
    with pytest.warns(RangeWarning):
        far = run(egpo(9.0, 0.1), GAME, num_steps=1, log_nash=NASH)
    assert np.isnan(bounds(far)[KL]).all()
    assert bounds(run(egpo(1.5, 0.1), GAME, num_steps=1)).keys() <= {Measure("duality_gap")}


def test_a_batch_has_a_bound_for_each_run():
    sizes, betas = np.array([0.5, 1.0]), np.array([0.1, 0.3])
    stacked, axes = grid([GAME], betas)
    nash = jnp.stack([solve(GAME._replace(beta=jnp.asarray(beta))).log_policy for beta in betas])[None]
    settings = dict(num_steps=2, log_nash=nash, measures="kl_to_nash", axes=axes)
    batch = jax.vmap(egpo)(sizes, betas)
    many = run_many({"egpo": batch}, stacked, workers=1, **settings)["egpo"]
    found = bounds(many)[KL]
    assert found.shape == (1, 2, 3)
    np.testing.assert_allclose(found[0], bounds(run(batch, stacked, **settings))[KL][0])
    for i in range(2):
        alone = run(
            egpo(sizes[i], betas[i]),
            GAME._replace(beta=jnp.asarray(betas[i])),
            num_steps=2,
            log_nash=nash[0, i],
        )
        np.testing.assert_allclose(found[0, i], bounds(alone)[KL], rtol=1e-10)
    keys = jax.random.split(jax.random.key(0), 2)
    seeds = run(egpo(1.5, 0.1), GAME, num_steps=1, log_nash=NASH, key=keys, axes=(Axes(key=0),))
    assert bounds(seeds)[KL].shape == (2, 2)


def test_the_lowest_of_several_claims_counts():
    high, low = (
        Claim(name, "duality_gap", lambda t, known, c=c: c + 0 * t) for name, c in (("a", 3.0), ("b", 2.0))
    )
    trace = run(egpo(1.5, 0.1)._replace(claims=(high, low)), GAME, num_steps=1)
    np.testing.assert_array_equal(bounds(trace)[Measure("duality_gap")], [2.0, 2.0])
