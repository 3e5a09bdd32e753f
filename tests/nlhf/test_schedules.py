import numpy as np
import optax
import pytest

from nlhf import egpo, nash_md, nash_mirror_prox, nash_prox, omwu, rlhf
from nlhf.base import hyper
from nlhf.replay import buffer
from nlhf.schedules import ScheduledState
from tabular.families import biased_rock_paper_scissors
from tabular.games import make_game
from tabular.runner import run

GAME = make_game(biased_rock_paper_scissors(), np.log([0.5, 0.2, 0.3]), beta=0.3)


def few_inner(step_size, beta):
    return nash_prox(step_size, beta, 3)


def remembering(step_size, beta):
    return rlhf(step_size, beta, buffer(10))


def last(method):
    return np.asarray(run(method, GAME, num_steps=10, measures=()).state.policy)


@pytest.mark.parametrize("factory", [egpo, omwu, nash_md, nash_mirror_prox, few_inner, remembering])
def test_every_step_size_may_be_a_schedule(factory):
    for schedule in (optax.constant_schedule(0.5), lambda count: 0.5 + 0 * count):
        np.testing.assert_allclose(last(factory(schedule, 0.3)), last(factory(0.5, 0.3)), atol=1e-12)
    method = factory(optax.exponential_decay(0.5, transition_steps=20, decay_rate=0.7), 0.3)
    assert method.claims == ()
    assert callable(hyper(method)["step_size"])
    assert np.abs(last(method) - last(factory(0.5, 0.3))).max() > 1e-4


def test_the_state_of_a_schedule_shows_what_its_own_state_has():
    state = egpo(lambda count: 0.5, 0.3).init(GAME.log_ref)
    assert isinstance(state, ScheduledState)
    assert state.half is GAME.log_ref
    assert not hasattr(state, "memory")
