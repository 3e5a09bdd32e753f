"""What a run of a learner refuses, and what it must survive."""

import jax
import jax.numpy as jnp
import learners
import numpy as np
import pytest

from nlhf import InputError, cpl, dpo, xpo
from nlhf.replay import buffer, latest
from tabular.bandits import Bandit, make_bandit
from tabular.mdps.families import gridworld
from tabular.oracle import labelled
from tabular.replay import counts
from tabular.runner import run
from tabular.spaces.bounded import bounded_rewards

BANDIT = make_bandit([1.0, 0.5, 0.2], np.log([0.1, 0.5, 0.4]), beta=0.1)
WORLD = {"num_steps": 2, "measures": ("suboptimality",), "make_oracle": labelled(2)}


def test_counts_of_another_size_are_refused():
    with pytest.raises(InputError, match=r"counts\(1, 4\), but the game has \(1, 3\)"):
        run(xpo(0.01, 0.1, counts(1, 4)), BANDIT, **WORLD)


def test_what_is_no_replay_is_refused():
    for wrong in (None, counts, 100):
        with pytest.raises(InputError, match="must be a Replay"):
            xpo(0.01, 0.1, wrong)


def test_a_buffer_that_is_too_small_says_how_large():
    with pytest.raises(InputError, match=r"give buffer\(2\) or more"):
        run(xpo(0.01, 0.1, buffer(1)), BANDIT, make_space=bounded_rewards(1.0), **WORLD)


def test_a_memory_made_for_other_answers_is_refused():
    context, first, second, label = (jnp.asarray(column) for column in learners.rows_of(jax.random.key(0)))
    data = (
        buffer(40)
        .empty()
        .comparisons._replace(context=context, first=first, second=second, prefer_first=label)
    )
    with pytest.raises(InputError, match="2 comparisons a step, but this memory was made from 40"):
        run(dpo(0.1, 0.0, latest(data)), BANDIT, make_space=bounded_rewards(1.0), **WORLD)


def test_arrays_without_axes_are_refused():
    with pytest.raises(InputError, match=r"optimism has shape \(3,\)"):
        run(xpo(jnp.ones(3), 0.1, counts(1, 3)), BANDIT, **WORLD)
    stacked = Bandit(BANDIT.reward, BANDIT.log_ref, BANDIT.context_prob, jnp.full(3, 0.1))
    with pytest.raises(InputError, match=r"beta of the game has shape \(3,\)"):
        run(xpo(0.1, 0.1, counts(1, 3)), stacked, **WORLD)


def test_a_decision_process_needs_its_own_space_and_oracle():
    with pytest.raises(InputError, match="segment_space"):
        run(cpl(0.1, 1.0, buffer(3)), gridworld(), num_steps=1, measures=("soft_value_gap",))


def test_another_beta_is_warned_of():
    with pytest.warns(UserWarning, match="beta is 0.3, but the game's is 0.1"):
        run(xpo(0.01, 0.3, counts(1, 3)), BANDIT, make_space=bounded_rewards(1.0), **WORLD)


def test_an_excluded_action_keeps_bounded_fits_finite():
    bandit = make_bandit([1.0, 0.5, 0.2], [np.log(0.5), -np.inf, np.log(0.5)], beta=0.1)
    trace = run(xpo(0.01, 0.1, counts(1, 3)), bandit, make_space=bounded_rewards(1.0), **WORLD)
    policy = np.asarray(trace.state.policy)
    assert policy[0, 1] == -np.inf
    assert np.isfinite(policy[0, [0, 2]]).all()
    assert np.isfinite(trace.of("suboptimality")).all()


def test_a_fit_without_a_minimum_ends_in_numbers():
    trace = run(xpo(0.5, 0.1, counts(1, 3)), BANDIT, **WORLD)
    assert not np.isnan(np.asarray(trace.state.policy)).any()
