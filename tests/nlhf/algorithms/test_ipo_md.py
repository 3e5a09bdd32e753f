import bank
import checks
import numpy as np
import pytest
import reference

from nlhf import ipo_md, online_mirror_descent
from nlhf.errors import InputError, RangeWarning


def test_steps_equal_the_transcription():
    checks.assert_steps_equal_transcription("ipo_md")


def mixed_fixed_point(item, mixture):
    """Proposition 5.2: π = BR(m), with m = π^(1 - mixture) μ^mixture the Nash at beta/(1 - mixture)."""
    game = item.game
    beta = float(game.beta)
    mixed = bank.solved(game.preference, game.log_ref, beta / (1 - mixture))
    contexts = zip(np.exp(mixed.log_nash), np.exp(game.log_ref), np.asarray(game.preference), strict=True)
    log_policy = np.log(np.stack([reference.best_response(m, mu, p, beta) for m, mu, p in contexts]))
    return log_policy, mixed.log_nash


@pytest.mark.parametrize("name", bank.GAMES)
def test_fixed_point_of_proposition_5_2(name):
    item, mixture = bank.known(name), 0.25
    log_policy, log_mixed = mixed_fixed_point(item, mixture)
    opponent = reference.softmax((1 - mixture) * log_policy + mixture * np.asarray(item.game.log_ref))
    np.testing.assert_allclose(np.log(opponent), log_mixed, rtol=0, atol=1e-12)
    method = bank.make("ipo_md", float(item.game.beta))
    checks.assert_fixed_point(method, item, log_policy)
    # it is attracting, and it is not the Nash policy
    end = np.asarray(checks.record(method, item).state.policy)
    np.testing.assert_allclose(end, log_policy, rtol=0, atol=1e-8)
    assert np.abs(end - np.asarray(item.log_nash)).max() > 1e-3


def test_without_mixture_it_is_online_mirror_descent():
    game = bank.known("contextual").game
    ours = checks.states(ipo_md(0.6, 0.3, 0.0), game, game.log_ref, 5)
    theirs = checks.states(online_mirror_descent(0.6, 0.3), game, game.log_ref, 5)
    for mine, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(mine.policy, other.policy, rtol=0, atol=1e-14)


def test_a_step_with_a_negative_weight_warns():
    with pytest.warns(RangeWarning, match=r"step_size is 6, outside \[0, 5\]"):
        ipo_md(6.0, 0.2, 0.5)


def test_errors():
    with pytest.raises(InputError, match=r"mixture is 1\.5, .* \[0, 1\]"):
        ipo_md(1.0, 0.1, 1.5)
    with pytest.raises(InputError, match="beta is 0"):
        ipo_md(1.0, 0.0, 0.5)
    with pytest.raises(InputError, match="step_size is -1"):
        ipo_md(-1.0, 0.1, 0.5)
