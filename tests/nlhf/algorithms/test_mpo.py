import bank
import checks
import jax.numpy as jnp
import numpy as np
import pytest

from nlhf import mpo, online_mirror_descent
from nlhf.errors import InputError, RangeWarning
from tabular import families, games
from tabular.runner import run


def test_steps_equal_the_transcription():
    checks.assert_steps_equal_transcription("mpo", num_steps=8)


@pytest.mark.parametrize("name", ["biased_rock_paper_scissors", "uniform_skew", "tournament"])
def test_a_magnet_that_rests_is_mirror_descent_towards_the_reference(name):
    item = bank.known(name)
    beta = float(item.game.beta)
    end = checks.record(mpo(4 * beta, beta, float("inf")), item).state
    np.testing.assert_allclose(end.magnet, item.game.log_ref, rtol=0, atol=0)
    np.testing.assert_allclose(end.policy, item.log_nash, rtol=0, atol=1e-10)
    explicit = online_mirror_descent(4 * beta / (1 + 4 * beta**2), beta)
    same = checks.record(explicit, item).state.policy
    np.testing.assert_allclose(end.policy, same, rtol=0, atol=1e-11)


def test_moving_magnet_reaches_the_unregularised_nash_policy():
    log_ref = np.log([0.5, 0.2, 0.3])
    game = games.make_game(families.biased_rock_paper_scissors(), log_ref, 0.0)
    nash = np.array([[4, 3, 4]]) / 11
    method = mpo(0.8, 0.2, 60)
    trace = run(method, game, num_steps=60_000, measures=("kl_to_nash",), log_nash=jnp.log(nash), every=60)
    gap = np.asarray(trace.of("kl_to_nash"))
    assert gap[0] > 1e-2
    assert gap[-1] <= 1e-12
    np.testing.assert_allclose(np.exp(trace.state.policy), nash, rtol=0, atol=1e-7)
    # every exactly solved period is a proximal step, which never increases KL(Nash, magnet)
    above = gap[:-1] > checks.FLOOR
    assert (np.diff(gap) <= 1e-12)[above].all()
    # a negative control: the magnet that rests stops elsewhere
    still = run(
        mpo(0.8, 0.2, float("inf")), game, num_steps=60_000, measures=("kl_to_nash",),
        log_nash=jnp.log(nash), every=60,
    )  # fmt: skip
    assert float(still.of("kl_to_nash")[-1]) > 1e-4


def test_the_unregularised_equilibrium_is_a_fixed_point():
    game = games.make_game(families.biased_rock_paper_scissors(), np.log([0.5, 0.2, 0.3]), 0.1)
    log_nash = jnp.log(jnp.array([[4.0, 3.0, 4.0]]) / 11)
    item = bank.Known(game, log_nash)
    checks.assert_fixed_point(mpo(0.4, 0.1, 3), item, log_nash)


def test_magnet_moves_every_period():
    game = bank.known("contextual").game
    visited = checks.states(mpo(0.5, 0.3, 3), game, game.log_ref, 7)
    assert [int(state.steps) for state in visited] == [0, 1, 2, 0, 1, 2, 0, 1]
    np.testing.assert_array_equal(visited[2].magnet, visited[0].policy)
    np.testing.assert_array_equal(visited[3].magnet, visited[3].policy)
    np.testing.assert_array_equal(visited[5].magnet, visited[3].policy)


def test_a_step_beyond_the_proved_range_warns():
    with pytest.warns(RangeWarning, match=r"step_size is 1, outside \[0, 0\.8\]"):
        mpo(1.0, 0.2, 3)


def test_errors():
    with pytest.raises(InputError, match="step_size is -1"):
        mpo(-1.0, 0.1, 3)
    with pytest.raises(InputError, match="beta is 0"):
        mpo(1.0, 0.0, 3)
    with pytest.raises(InputError, match="period is 0"):
        mpo(0.1, 0.1, 0)
