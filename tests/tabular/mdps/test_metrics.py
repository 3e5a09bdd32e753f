import jax
import numpy as np
import pytest
from scipy.special import log_softmax, logsumexp

from tabular.mdps.families import layered
from tabular.mdps.metrics import log_policy_rmse, return_gap, soft_value_gap


@jax.jit
def measured(mdp, log_policy):
    return [metric(mdp, log_policy, None, None) for metric in (soft_value_gap, return_gap, log_policy_rmse)]


def backwards(mdp, choose):
    """Values and policy of a finite horizon in numpy; ``choose(q) -> (v, log_policy)``."""
    v = np.zeros(mdp.num_states)
    for _ in range(mdp.num_states):
        q = np.asarray(mdp.reward) + np.asarray(mdp.transition) @ v
        v, log_policy = choose(q)
        v[np.asarray(mdp.terminal)] = 0
    return v, log_policy


@pytest.mark.slow
def test_metrics_vanish_at_their_optimum_and_measure_what_they_say():
    mdp = layered(jax.random.key(1), 3, 3, 3, beta=0.2)
    log_ref, initial = np.asarray(mdp.log_ref), np.asarray(mdp.initial)
    given = log_softmax(2 * np.random.default_rng(0).normal(size=(10, 3)), axis=-1)

    def soft(q):
        return 0.2 * logsumexp(log_ref + q / 0.2, axis=-1), log_softmax(log_ref + q / 0.2, axis=-1)

    def hard(q):
        with np.errstate(divide="ignore"):
            return q.max(-1), np.log((q == q.max(-1, keepdims=True)).astype(float))

    def as_given(beta):
        return lambda q: ((np.exp(given) * (q - beta * (given - log_ref))).sum(-1), given)

    (soft_v, best), (hard_v, greedy) = backwards(mdp, soft), backwards(mdp, hard)
    expected = (
        initial @ (soft_v - backwards(mdp, as_given(0.2))[0]),
        initial @ (hard_v - backwards(mdp, as_given(0.0))[0]),
        np.sqrt(np.mean((given - best)[:9] ** 2)),
    )
    assert min(expected) > 0.01
    np.testing.assert_allclose(measured(mdp, given), expected, rtol=1e-11)
    soft_gap, _, rmse = measured(mdp, best)
    assert max(soft_gap, rmse) < 1e-14
    greedy[9] = given[9]
    assert abs(measured(mdp, greedy)[1]) < 1e-13
