import bank
import checks
import numpy as np
import pytest
import reference

from nlhf import nash_prox
from nlhf.algorithms.nash_prox import inner_steps
from nlhf.errors import InputError


def test_steps_equal_the_transcription():
    checks.assert_steps_equal_transcription("nash_prox", num_steps=3, num_inner=4)


@pytest.mark.parametrize("name", bank.GAMES)
def test_converges_linearly_to_the_fixed_point(name):
    checks.assert_linear("nash_prox", name)


@pytest.mark.parametrize("control", ["sign", "pull"])
def test_negative_controls_fail(control):
    item = checks.easy_game()
    settings = bank.ROWS["nash_prox"].hyper(1.0)
    method = nash_prox(**settings)
    checks.assert_claims_hold(method, settings, item)
    wrong = {"sign": checks.flipped(method), "pull": checks.half_pull("nash_prox", settings)}[control]
    checks.assert_control_fails(method, wrong, settings, item)


def test_an_unsolved_inner_game_breaks_the_claim():
    item = bank.known("uniform_skew")
    settings = {"step_size": 1.0, "beta": 0.2}
    exactly = nash_prox(**settings, num_inner=200)
    checks.assert_claims_hold(exactly, settings, item)
    checks.assert_control_fails(exactly, nash_prox(**settings, num_inner=1), settings, item)


def test_an_outer_step_is_the_nash_policy_of_the_anchored_game():
    # weights beta on the reference and beta/eta on the centre are one weight on their geometric mixture
    item, eta = bank.known("uniform_skew"), 0.4
    beta = float(item.game.beta)
    centre = item.game.log_ref[:, ::-1]
    after = checks.states(nash_prox(eta, beta, 200), item.game, centre, 1)[-1].policy
    log_ref = np.asarray((item.game.log_ref + centre / eta) / (1 + 1 / eta))
    anchored = np.log(reference.softmax(log_ref))
    expected = bank.solved(item.game.preference, anchored, beta * (1 + 1 / eta)).log_nash
    np.testing.assert_allclose(after, expected, rtol=0, atol=1e-13)


def test_the_claim_is_carried_only_where_inner_games_are_solved():
    needed = inner_steps(0.3, 0.3)
    np.testing.assert_allclose((1 + 4 * 1.3**2) ** -needed, 1e-6, rtol=1e-10)
    assert nash_prox(0.3, 0.3, int(np.ceil(needed))).claims
    assert nash_prox(0.3, 0.3, int(needed)).claims == ()


def test_errors():
    with pytest.raises(InputError, match="step_size is 0"):
        nash_prox(0.0, 0.1, 1)
    with pytest.raises(InputError, match="beta is 0"):
        nash_prox(1.0, 0.0, 1)
    with pytest.raises(InputError, match="num_inner is 0"):
        nash_prox(1.0, 0.1, 0)
    with pytest.raises(InputError, match=r"num_inner is 2\.5"):
        nash_prox(1.0, 0.1, 2.5)
