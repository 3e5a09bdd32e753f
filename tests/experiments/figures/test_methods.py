"""The methods of the figures: a batch over β is the batch that vmap makes, and no two look alike."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.figures.convergence import run as convergence
from experiments.figures.convergence.curves import Measured
from experiments.figures.convergence.methods import REGULARISED, UNREGULARISED, regularised, stack
from nlhf import egpo
from nlhf.base import Algorithm, Constants, hyper
from tabular.mistakes import warn_outside_range

BETAS = (0.3, 0.03)


def test_stack_is_vmap_over_the_factory():
    betas = jnp.array(BETAS)
    ours, expected = stack(REGULARISED["egpo"], BETAS), jax.vmap(egpo)(1 / (betas + 0.5), betas)
    assert jax.tree.structure(ours) == jax.tree.structure(expected)
    for mine, theirs in zip(jax.tree.leaves(ours), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-15)


@pytest.mark.parametrize("name", REGULARISED)
def test_every_method_stays_inside_the_range_of_its_claims(name):
    for beta in BETAS:
        algorithm = REGULARISED[name].make(beta)
        assert isinstance(algorithm, Algorithm)
        assert hyper(algorithm)["beta"] == beta
        warn_outside_range(algorithm, beta)  # a warning is an error here


def test_no_two_methods_share_a_label_or_a_colour():
    for methods in (REGULARISED, UNREGULARISED):
        assert len({method.label for method in methods.values()}) == len(methods)
        assert len({method.colour for method in methods.values()}) == len(methods)


STRANGER = """from typing import Any, NamedTuple
from nlhf import logspace
from nlhf.base import Algorithm, Info

class State(NamedTuple):
    policy: Any

def halving(step_size, beta):
    def init(policy):
        return State(policy)
    def step(key, state, oracle, space):
        payoff = oracle.payoff(key, state.policy).preference
        return State(logspace.normalise(state.policy + 0.1 * payoff)), Info(1)
    return Algorithm(init, step)
"""


def test_a_method_of_a_stranger_is_run_beta_by_beta_beside_ours(tmp_path, monkeypatch):
    """Its step is a closure: nothing in it can be stacked over β."""
    (tmp_path / "my_methods.py").write_text(STRANGER)
    monkeypatch.syspath_prepend(tmp_path)
    name = "my_methods:halving"
    method = regularised((name,))[name]
    config = convergence.Config(seeds=1, betas=BETAS, add=(name,))
    advantage = jnp.array([[0.0, 0.3, -0.2], [-0.3, 0.0, 0.1], [0.2, -0.1, 0.0]])
    betas = jnp.asarray(BETAS)
    games = convergence._games((advantage + 0.5)[None, None], jnp.full((1, 1, 2, 1, 3), -jnp.log(3.0)), betas)
    games = games._replace(context_prob=jnp.ones((1, 1, 1)), beta=betas[None, None])
    log_nash = convergence._solve((advantage + 0.5)[None, None], games.log_ref[:, :, :, 0], betas)[
        :, :, :, None
    ]
    constants = Constants(np.nan, betas[None, None, :, None], jnp.ones((1, 1, 2, 1)), np.nan)
    ((first, second),) = convergence._added(name, method, config, games, log_nash, constants, 40, [40, 20])
    assert isinstance(first, Measured)
    assert (first.x[-1], second.x[-1]) == (40, 20)
    assert first.middle[-1] < first.middle[0]
    assert first.bound is None
