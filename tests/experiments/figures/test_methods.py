"""The methods of the figures: a batch over β is the batch that vmap makes, and no two look alike."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.figures.convergence.methods import REGULARISED, UNREGULARISED, stack
from nlhf import egpo
from nlhf.base import Algorithm, hyper
from tabular.runner import warn_outside_range

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
