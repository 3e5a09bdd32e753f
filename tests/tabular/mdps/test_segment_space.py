import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

from nlhf import cpl
from nlhf.base import Calibration, Comparisons
from nlhf.errors import InputError
from nlhf.losses import contrastive, logistic
from nlhf.replay import latest
from nlhf.segments import Segments
from tabular.mdps.families import layered, random_mdp
from tabular.mdps.segment_space import (
    fresh_segments,
    offline_segments,
    segment_features,
    segment_log_ratio,
    segment_loss,
    segment_space,
    segment_space_to,
)
from tabular.mdps.segments import compare, draw_segments, soft_regret
from tabular.mdps.values import occupancy, soft_values
from tabular.runner import run

MDP = random_mdp(jax.random.key(0), 4, 3, beta=0.5)
FINITE = layered(jax.random.key(1), 2, 2, 3, beta=0.5)


draw = jax.jit(functools.partial(draw_segments, num=60, length=3))


@functools.cache
def population():
    """Pairs of segments with the probability of the label in its place: what infinite data say."""
    first, second = (draw(jax.random.key(seed), MDP) for seed in (1, 2))
    score = soft_regret(MDP, jax.tree.map(lambda one, other: jnp.stack([one, other]), first, second))
    return compare(first, second, jax.nn.sigmoid(score[0] - score[1]))


def test_log_ratios_are_linear_in_the_features():
    for mdp in (MDP, FINITE):
        drawn = draw(jax.random.key(3), mdp)
        log_policy = jax.nn.log_softmax(jax.random.normal(jax.random.key(4), mdp.reward.shape))
        ratio = (log_policy - mdp.log_ref).ravel()
        found = segment_log_ratio(mdp, log_policy, drawn)
        np.testing.assert_allclose(found, segment_features(mdp, drawn) @ ratio, atol=1e-12)
    # where a run is over nothing is chosen, so nothing is learned
    np.testing.assert_array_equal(segment_features(FINITE, drawn)[:, 12:], 0)


def test_a_segments_log_probability_in_the_space_is_the_discounted_sum():
    space = segment_space(MDP)
    steps = Segments(jnp.array([[0, 1]]), jnp.array([[2, 0]]))
    log_policy = jax.nn.log_softmax(jax.random.normal(jax.random.key(4), (4, 3)))
    expected = log_policy[0, 2] + 0.9 * log_policy[1, 0]
    np.testing.assert_allclose(space.log_prob(log_policy, steps), [expected])
    np.testing.assert_array_equal(space.log_prob(log_policy), log_policy)
    np.testing.assert_allclose(np.exp(space.reference), 1 / 3)


@pytest.mark.slow
def test_cpl_on_the_population_is_the_optimum_in_one_step():
    trace = run(
        cpl(temperature=0.5, bias=1.0, replay=latest(population())),
        MDP,
        num_steps=1,
        measures=("log_policy_rmse",),
        make_space=segment_space,
        make_oracle=offline_segments(population()),
    )
    np.testing.assert_allclose(trace.state.policy, soft_values(MDP).log_policy, atol=1e-6)
    assert trace.queries[-1] == 60
    values = trace.of("log_policy_rmse")
    assert values[0] > 0.1
    assert values[1] < 1e-6


def test_weights_count_rows_and_absent_rows_may_hold_anything():
    loss = Partial(contrastive, temperature=0.5, bias=0.7)
    rows = population()
    log_policy = jax.nn.log_softmax(jax.random.normal(jax.random.key(5), (4, 3)))
    value = jax.value_and_grad(lambda p, data: segment_loss(MDP, p, loss, data))
    doubled = jax.tree.map(lambda leaf: jnp.concatenate([leaf[:10], leaf[:10], leaf[10:12]]), rows)
    counted = jax.tree.map(lambda leaf: leaf[:13], rows)._replace(
        weight=jnp.r_[jnp.full(10, 2.0), 1.0, 1.0, 0.0],
        prefer_first=rows.prefer_first[:13].at[12].set(jnp.nan),
    )
    for left, right in zip(value(log_policy, doubled), value(log_policy, counted), strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-12)


def test_calibration_averages_over_runs_of_its_policy():
    first, second = (draw(jax.random.key(seed), FINITE) for seed in (1, 2))
    data = compare(first, second, jnp.full(60, 0.3))
    log_policy = jax.nn.log_softmax(jax.random.normal(jax.random.key(4), FINITE.reward.shape))
    loss = Partial(logistic, beta=0.5)
    extra = [
        60 * segment_loss(FINITE, log_policy, loss, data, Calibration(FINITE.log_ref, weight))
        for weight in (0.0, 3.0)
    ]
    # minus three times the divergence of whole runs, layer by layer
    visits = occupancy(FINITE, FINITE.log_ref).sum(-1)
    divergence = visits @ (jnp.exp(FINITE.log_ref) * (FINITE.log_ref - log_policy)).sum(-1)
    np.testing.assert_allclose(extra[1] - extra[0], -3 * divergence, rtol=1e-10)


def test_an_offline_oracle_gives_its_data_and_a_batch_of_them_by_weight():
    space = segment_space(MDP)
    data = population()._replace(weight=jnp.where(jnp.arange(60) < 30, 1.0, 0.0))
    whole = offline_segments(data)(MDP, space.log_prob).duel(
        jax.random.key(0), space.reference, space.reference
    )
    jax.tree.map(np.testing.assert_array_equal, whole, data)
    oracle = offline_segments(data, batch=2000)(MDP, space.log_prob)
    drawn = oracle.duel(jax.random.key(0), space.reference, space.reference)
    shown = {float(value) for value in data.prefer_first[:30]}
    assert {float(value) for value in drawn.prefer_first} == shown
    assert isinstance(drawn, Comparisons)
    np.testing.assert_array_equal(drawn.weight, 1)
    with pytest.raises(InputError, match="no table of preferences"):
        oracle.payoff(jax.random.key(0), space.reference)


@pytest.mark.slow
def test_fresh_segments_come_from_the_two_policies():
    left, right = (jnp.tile(jnp.log(jnp.array(p)), (4, 1)) for p in ([0.98, 0.01, 0.01], [0.01, 0.01, 0.98]))
    oracle = fresh_segments(500, 3)(MDP, segment_space(MDP).log_prob)
    drawn = oracle.duel(jax.random.key(0), left, right)
    assert (drawn.first.actions == 0).mean() > 0.95
    assert (drawn.second.actions == 2).mean() > 0.95
    np.testing.assert_array_equal(drawn.first.states[:, 0], drawn.second.states[:, 0])
    apart = fresh_segments(500, 3, same_start=False)(MDP, segment_space(MDP).log_prob)
    drawn = apart.duel(jax.random.key(0), left, right)
    assert (drawn.first.states[:, 0] != drawn.second.states[:, 0]).any()


def test_equal_arguments_give_the_same_factory():
    assert fresh_segments(5, 3) is fresh_segments(5, 3)
    assert segment_space_to(1e-8, 50) is segment_space_to(1e-8, 50)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: offline_segments(population()._replace(weight=jnp.zeros(60))), "0 comparisons"),
        (lambda: offline_segments(population()._replace(prefer_first=jnp.ones(60))), "all 60 labels are 1"),
        (lambda: offline_segments(population(), batch=0), "batch is 0"),
        (
            lambda: offline_segments(population())(FINITE._replace(reward=jnp.zeros((3, 3))), None),
            "names state 3",
        ),
        (
            lambda: offline_segments(population())(FINITE._replace(reward=jnp.zeros((9, 2))), None),
            "names action 2",
        ),
        (lambda: fresh_segments(0, 3), "num_duels is 0"),
        (lambda: segment_space_to(0.0, 5), "tolerance is 0"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(InputError, match=message):
        call()
