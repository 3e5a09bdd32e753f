import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

from nlhf import egpo, nash_md
from nlhf.base import Algorithm, Claim, Static, algorithm, check_number, check_whole, hyper, warn_above
from nlhf.errors import InputError, RangeWarning


def test_an_algorithm_is_a_pytree_of_its_hyper_parameters():
    method = egpo(0.5, 0.1)
    leaves, structure = jax.tree.flatten(method)
    assert sorted(leaves) == [0.1, 0.5]
    again = jax.tree.unflatten(structure, leaves)
    assert hyper(again) == {"step_size": 0.5, "beta": 0.1}
    assert jax.tree.structure(egpo(1.0, 2.0)) == structure
    assert jax.tree.structure(nash_md(1.0, 0.1)) != structure
    assert again.claims == method.claims


def test_an_algorithm_is_an_argument_of_a_jitted_function():
    traces = []

    @jax.jit
    def total(method):
        traces.append(1)
        return hyper(method)["step_size"] + hyper(method)["beta"]

    assert float(total(egpo(0.5, 0.1))) == 0.6
    assert float(total(egpo(0.25, 0.5))) == 0.75
    assert len(traces) == 1


def test_a_vmapped_factory_makes_a_batch():
    batch = jax.vmap(egpo)(jnp.array([0.1, 0.2]), jnp.array([1.0, 2.0]))
    assert type(batch) is Algorithm
    np.testing.assert_array_equal(hyper(batch)["step_size"], [0.1, 0.2])


def test_an_algorithm_describes_axes_of_vmap():
    axes = egpo(0, None)
    assert hyper(axes) == {"step_size": 0, "beta": None}
    assert hyper(jax.tree.map(lambda axis: axis, axes))["step_size"] == 0


def test_algorithm_binds_hyper_parameters():
    method = algorithm(lambda policy: policy, lambda key, state, *, power: state**power, power=3)
    assert method.claims == ()
    assert method.init(2) == 2
    assert method.step(None, 2) == 8
    assert hyper(method) == {"power": 3}


def test_static_is_structure_not_data():
    bound = Partial(max, Static((3, "a")))
    leaves, structure = jax.tree.flatten(bound)
    assert leaves == []
    assert structure == jax.tree.structure(Partial(max, Static((3, "a"))))
    assert structure != jax.tree.structure(Partial(max, Static((4, "a"))))


def test_a_claim_is_static_and_hashable():
    claim = egpo(0.5, 0.1).claims[0]
    assert type(claim) is Claim
    assert jax.tree.leaves(claim) == []
    assert hash(claim) == hash(egpo(0.2, 0.3).claims[0])


@pytest.mark.parametrize("value", [0.0, 3, np.float32(0.5), np.array([0.1, 2.0]), jnp.ones(2)])
def test_check_number_returns_what_is_in_range(value):
    assert check_number("beta", value) is value


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (-0.5, r"beta is -0\.5, but it must be a finite number in \[0, inf\]; give another beta"),
        (float("nan"), "beta is nan"),
        (float("inf"), "beta is inf"),
        (np.array([0.1, -2.0, 3.0]), "beta is -2"),
        (jnp.array([0.1, jnp.nan]), "beta is nan"),
    ],
)
def test_check_number_names_value_rule_and_mend(value, message):
    with pytest.raises(InputError, match=message):
        check_number("beta", value)


@pytest.mark.parametrize("value", ["0.1", [0.1, "x"], {"beta": 1}])
def test_check_number_refuses_what_is_no_number(value):
    with pytest.raises(InputError, match=r"beta is .*, but it must be a number"):
        check_number("beta", value)


def test_check_number_ends_of_the_range():
    assert check_number("mixture", 1, high=1) == 1
    with pytest.raises(InputError, match=r"mixture is 1\.01, .* \[0, 1\]"):
        check_number("mixture", 1.01, high=1)
    with pytest.raises(InputError, match=r"beta is 0, .* \(0, inf\]"):
        check_number("beta", 0, open_low=True)


def test_check_number_lets_schedules_and_tracers_pass():
    schedule = Partial(lambda steps: -1.0)
    assert check_number("step_size", schedule) is schedule
    assert float(jax.jit(lambda value: check_number("beta", value))(-1.0)) == -1.0


@pytest.mark.parametrize("value", [3, 3.0, np.int32(3)])
def test_check_whole_returns_an_int(value):
    assert check_whole("num_draws", value) == 3
    assert type(check_whole("num_draws", value)) is int


@pytest.mark.parametrize("value", [0, -1, 2.5, float("nan"), float("inf")])
def test_check_whole_refuses(value):
    with pytest.raises(InputError, match="num_draws is"):
        check_whole("num_draws", value)


def test_warn_above_names_value_range_and_reason():
    with pytest.warns(RangeWarning, match=r"step_size is 3, outside \[0, 2\]: it is long; the run continues"):
        warn_above("step_size", np.array([1.0, 3.0]), 2.0, "it is long")
    warn_above("step_size", 2.0, 2.0, "it is long")
    warn_above("step_size", Partial(lambda steps: 9.0), 2.0, "it is long")
    warn_above("step_size", None, 2.0, "it is long")
    jax.jit(lambda value: warn_above("step_size", value, 2.0, "it is long"))(9.0)
