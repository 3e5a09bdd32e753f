import jax.numpy as jnp
import numpy as np
import pytest

from nlhf.errors import InputError
from tabular.mdps.mdp import make_mdp, shaped, with_reward

STAY_OR_GO = np.array([[[1.0, 0.0], [0.0, 1.0]], [[0.0, 1.0], [0.0, 1.0]]])
REWARD = np.array([[0.0, 1.0], [0.0, 0.0]])
ENDS = np.array([False, True])


def test_the_defaults_are_maximum_entropy_and_a_uniform_start():
    mdp = make_mdp(STAY_OR_GO, REWARD, terminal=ENDS)
    assert not mdp.log_ref.any()
    np.testing.assert_allclose(np.exp(mdp.reference), 0.5)
    np.testing.assert_array_equal(mdp.initial, [1.0, 0.0])
    assert (mdp.num_states, mdp.num_actions) == (2, 2)


def test_a_terminal_state_stays_where_it_is_whatever_its_row_says():
    mdp = make_mdp(np.where(ENDS[:, None, None], np.nan, STAY_OR_GO), REWARD, terminal=ENDS)
    np.testing.assert_array_equal(mdp.transition[1], [[0.0, 1.0], [0.0, 1.0]])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"transition": STAY_OR_GO * 0.9},
            r"transition row \[0, 0\] sums to 0.9, but it must sum to 1; divide",
        ),
        ({"transition": STAY_OR_GO * 2 - 1}, r"transition\[0, 0, 1\] is -1"),
        ({"transition": STAY_OR_GO * np.nan, "terminal": None}, "is nan, but a probability is finite"),
        ({"transition": STAY_OR_GO[0]}, r"shape \(2, 2\), but it must be \[S, A, S\]"),
        ({"reward": REWARD[0]}, r"reward has shape \(2,\), but the MDP needs \(2, 2\)"),
        ({"reward": REWARD + np.inf}, r"reward\[0, 0\] is inf, but it must be finite"),
        ({"reward": REWARD + 1}, r"reward\[1, 0\] is 1, but state 1 is terminal and pays nothing"),
        ({"log_ref": np.log([[0.5, 0.4], [0.5, 0.5]])}, "log_ref.* sums to 0.9"),
        ({"initial": [0.5, 0.4]}, "initial sums to 0.9"),
        ({"initial": [1.0]}, "initial has shape"),
        ({"terminal": [0, 1]}, "terminal has dtype int64, but it must be boolean"),
        ({"terminal": [True, True], "reward": 0 * REWARD}, "every state is terminal"),
        ({"discount": 0.0}, r"discount is 0, but it must be a finite number in \(0, 1\]"),
        ({"discount": 1.01}, "discount is 1.01"),
        ({"discount": np.nan}, "discount is nan"),
        ({"discount": 1.0, "terminal": None}, "discount is 1, but state 0 never reaches a terminal state"),
        ({"beta": -0.1}, "beta is -0.1"),
    ],
)
def test_what_is_no_mdp_is_refused(change, message):
    arguments = {"transition": STAY_OR_GO, "reward": REWARD, "terminal": ENDS, **change}
    with pytest.raises(InputError, match=message):
        make_mdp(**arguments)


def test_without_a_discount_only_moves_that_the_reference_allows_lead_to_the_end():
    make_mdp(STAY_OR_GO, REWARD, terminal=ENDS, discount=1.0)
    with np.errstate(divide="ignore"), pytest.raises(InputError, match="state 0 never reaches"):
        make_mdp(STAY_OR_GO, REWARD, terminal=ENDS, discount=1.0, log_ref=np.log([[1.0, 0.0], [0.5, 0.5]]))


def test_shaping_adds_the_potential_and_pays_nothing_at_the_end():
    mdp = make_mdp(STAY_OR_GO, REWARD, terminal=ENDS, discount=0.5)
    other = shaped(mdp, jnp.array([3.0, 7.0]))
    np.testing.assert_allclose(other.reward, [[3 - 0.5 * 3, 1 + 3], [0, 0]])
    with pytest.raises(InputError, match="reward has shape"):
        with_reward(mdp, jnp.zeros(2))
