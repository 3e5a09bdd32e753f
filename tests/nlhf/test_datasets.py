"""Minibatches have the rows and frequencies of their data set; useless data are refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nlhf import datasets
from nlhf.errors import InputError


def actions(*labels):
    first = jnp.arange(len(labels))
    return datasets.compare(first, first + 100, labels)


def test_rows_stay_together_and_come_in_proportion_to_their_weight():
    data = actions(1.0, 0.0, 0.5, 1.0)
    drawn = datasets.minibatches(data, 4000).duel(jax.random.key(0), None, None)
    rows = np.asarray(drawn.first)
    np.testing.assert_array_equal(drawn.second, rows + 100)
    np.testing.assert_array_equal(drawn.prefer_first, np.asarray(data.prefer_first)[rows])
    assert (drawn.weight == 1).all()
    np.testing.assert_allclose(np.bincount(rows, minlength=4) / 4000, 0.25, atol=0.035)
    weight = jnp.array([0.0, 1.0, 3.0, 0.0])
    drawn = datasets.minibatches(data._replace(weight=weight), 4000).duel(jax.random.key(0), None, None)
    share = np.bincount(np.asarray(drawn.first), minlength=4) / 4000
    np.testing.assert_allclose(share, [0, 0.25, 0.75, 0], atol=0.035)


@pytest.mark.parametrize(
    ("labels", "word"),
    [
        ((), "0 comparisons"),
        ((1.0, 2.0), "outside"),
        ((1.0, -0.5), "outside"),
        ((1.0, float("nan")), "outside"),
        ((1.0, 1.0), "always wins"),
        ((0.0, 0.0), "second response always wins"),
    ],
)
def test_labels_that_are_refused(labels, word):
    with pytest.raises(InputError, match=word):
        actions(*labels)


def test_other_refusals():
    data = actions(1.0, 0.0)
    with pytest.raises(InputError, match="unpaired"):
        datasets.compare(jnp.arange(3), jnp.arange(2), [1.0, 0.0])
    with pytest.raises(InputError, match="batch"):
        datasets.minibatches(data, 0)
    with pytest.raises(InputError, match="always wins"):
        datasets.minibatches(data._replace(weight=jnp.array([1.0, 0.0])), 2)
    with pytest.raises(InputError, match="0 comparisons"):
        datasets.minibatches(data._replace(weight=jnp.zeros(2)), 2)
    with pytest.raises(InputError, match="no table"):
        datasets.minibatches(data, 2).payoff(jax.random.key(0), None)
    with pytest.raises(InputError, match="num_steps"):
        datasets.train(None, type("", (), {"reference": 0}), None, key=None, num_steps=0)


def test_a_given_batch_is_answered_as_it_is():
    rows = actions(1.0, 0.0, 1.0)
    answer = datasets.fixed_batch(rows).duel(jax.random.key(0), None, None)
    jax.tree.map(np.testing.assert_array_equal, answer, rows)
    with pytest.raises(InputError, match="no table of preferences"):
        datasets.fixed_batch(rows).payoff(jax.random.key(0), None)
