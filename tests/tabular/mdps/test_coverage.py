import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nlhf.errors import InputError
from tabular.mdps.coverage import class_reachability, reachability
from tabular.mdps.families import layered, random_mdp, token_tree


def deterministic_policies(mdp):
    """Every one of them, with the choice in the terminal state held fixed."""
    choices = itertools.product(range(mdp.num_actions), repeat=mdp.num_states - 1)
    with np.errstate(divide="ignore"):
        return jnp.asarray(np.log([np.eye(mdp.num_actions)[[*choice, 0]] for choice in choices]))


@pytest.mark.parametrize("deterministic", [True, False])
def test_reachability_is_the_best_of_all_policies(deterministic):
    mdp = layered(jax.random.key(0), 3, 2, 2, deterministic=deterministic)
    best = class_reachability(mdp, deterministic_policies(mdp))
    np.testing.assert_allclose(reachability(mdp), best, atol=1e-12)


def test_a_token_tree_is_covered_by_its_number_of_prefixes():
    tree = token_tree(jax.random.key(0), 3, 3)
    table = reachability(tree)
    # each next token is certain to be reached by some policy: 3 + 9 + 27, of which 27 are whole responses
    assert table.sum() == 39
    assert table[4:13].sum() == 27
    one = class_reachability(tree, tree.reference[None])
    np.testing.assert_allclose(one.sum(), 3, rtol=1e-12)


def test_what_the_reference_excludes_is_not_reached():
    tree = token_tree(jax.random.key(0), 2, 2)
    half = tree._replace(log_ref=jnp.tile(jnp.array([0.0, -jnp.inf]), (4, 1)))
    np.testing.assert_array_equal(reachability(half), [[1, 0], [1, 0], [0, 0], [0, 0]])


def test_a_cycle_is_refused():
    with pytest.raises(InputError, match=r"state 0 can be met twice.*unroll the MDP into layers"):
        reachability(random_mdp(jax.random.key(0), 3, 2))
