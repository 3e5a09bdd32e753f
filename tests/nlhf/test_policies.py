import jax
import jax.numpy as jnp

from nlhf.policies import Mixture, Trained


def test_policies_are_pytrees_whose_reference_holds_nothing():
    assert jax.tree.leaves(Trained(None, ())) == []
    mixture = Mixture(Trained(jnp.ones(2), ()), Trained(None, ()), 0.5)
    assert len(jax.tree.leaves(mixture)) == 2
