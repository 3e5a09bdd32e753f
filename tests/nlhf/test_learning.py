import jax.numpy as jnp
import numpy as np
import recorder

from nlhf.base import hyper
from nlhf.learning import LearnerState, count_queries, init, learner, total


def step(key, state, oracle, space, *, replay, rate):
    answer = oracle.duel(key, state.policy, state.policy)
    return LearnerState((state.policy, rate), replay.append(state.memory, answer)), count_queries(answer)


def test_a_learner_starts_empty_and_steps_with_its_hyper_parameters():
    method = learner(init, step, recorder.replay(), rate=0.3)
    _, state = recorder.play(method)
    assert state.policy == ("start", 0.3)
    assert set(hyper(method)) == {"replay", "rate"}
    assert method.claims == ()


def test_counting_leaves_out_absent_rows_and_keeps_multiplicity():
    rows = recorder.ANSWER._replace(weight=jnp.array([3.0, 0.0]))
    assert int(count_queries(rows).queries) == 1
    np.testing.assert_array_equal(total(rows), 3)
