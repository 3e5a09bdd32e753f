import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nlhf.errors import InputError
from tabular.mdps.families import gridworld, layered, parse_board, random_mdp, token_tree
from tabular.mdps.mdp import make_mdp

MADE = {
    "random": lambda: random_mdp(jax.random.key(0), 5, 3),
    "certain": lambda: random_mdp(jax.random.key(0), 5, 3, deterministic=True),
    "layers": lambda: layered(jax.random.key(1), 3, 4, 2),
    "noisy layers": lambda: layered(jax.random.key(1), 3, 4, 2, deterministic=False),
    "one layer": lambda: layered(jax.random.key(1), 1, 2, 2),
    "tree": lambda: token_tree(jax.random.key(2), 3, 3),
    "one token": lambda: token_tree(jax.random.key(2), 3, 1),
    "grid": lambda: gridworld(slip=0.2),
}


@pytest.mark.parametrize("name", MADE)
def test_families_are_mdps(name):
    """What is built without a check passes it."""
    mdp = MADE[name]()
    same = make_mdp(**{k: np.asarray(v) for k, v in mdp._asdict().items()})
    for left, right in zip(mdp, same, strict=True):
        np.testing.assert_allclose(left, right)


def test_layers_lead_to_the_next_layer_and_then_to_the_end():
    mdp = layered(jax.random.key(1), 3, 4, 2)
    following = np.asarray(mdp.transition).argmax(-1)
    np.testing.assert_array_equal(following[:8] // 4, np.repeat([1, 2], 4)[:, None] * [1, 1])
    np.testing.assert_array_equal(following[8:], 12)
    assert mdp.initial[:4].sum() == 1


def test_a_tree_pays_each_response_its_reward_in_the_order_of_its_tokens():
    rewards = np.arange(8.0).reshape(2, 2, 2)
    mdp = token_tree(jax.random.key(0), 2, 3, leaf_reward=rewards)
    for tokens in np.ndindex(2, 2, 2):
        state, paid = 0, 0.0
        for token in tokens:
            paid += mdp.reward[state, token]
            state = int(mdp.transition[state, token].argmax())
        assert paid == rewards[tokens]
        assert mdp.terminal[state]
    assert (token_tree(jax.random.key(0), 2, 3, additive=True).reward[:3] != 0).all()


def test_a_batch_is_a_vmap():
    keys = jax.random.split(jax.random.key(0), 3)
    batch = jax.vmap(lambda key, beta: layered(key, 2, 2, 2, beta=beta))(keys, jnp.arange(1.0, 4.0))
    assert batch.transition.shape == (3, 5, 2, 5)
    np.testing.assert_array_equal(batch.beta, [1, 2, 3])


def test_walls_and_edges_leave_one_where_one_is_and_slips_move_anywhere():
    board = "s#\n.g"
    follow = np.asarray(gridworld(board).transition).argmax(-1)
    np.testing.assert_array_equal(follow, [[0, 1, 0, 0], [0, 1, 1, 2], [2, 2, 2, 2]])
    mdp = gridworld(board, slip=0.4)
    np.testing.assert_allclose(mdp.transition[1, 3], [0.1, 0.2, 0.7])
    np.testing.assert_allclose(mdp.reward[1, 3], -1 + 0.7 * 10)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: gridworld("s.\ng"), "row 1 of the board has 1 cells, but row 0 has 2"),
        (lambda: gridworld("s?g"), r"row 0 of the board has '\?'"),
        (lambda: gridworld(slip=1.5), "slip is 1.5"),
        (lambda: gridworld("s#g", discount=1.0), "state 0 never reaches a terminal state"),
        (lambda: random_mdp(jax.random.key(0), 0, 2), "num_states is 0"),
        (lambda: random_mdp(jax.random.key(0), 2, 2, discount=1.0), "discount is 1"),
        (lambda: random_mdp(jax.random.key(0), 2, 2, spread=-1.0), "spread is -1"),
        (lambda: layered(jax.random.key(0), 2.5, 2, 2), "horizon is 2.5"),
        (lambda: token_tree(jax.random.key(0), 2, 2, leaf_reward=jnp.zeros(3)), "leaf_reward has 3 entries"),
    ],
)
def test_what_is_no_family_is_refused(make, message):
    with pytest.raises(InputError, match=message):
        make()


def test_blank_lines_around_a_board_are_dropped():
    assert parse_board("\n..\n..\n", ".") == ["..", ".."]
