"""Products with weights: their values and both gradients, against numpy, in every dtype."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nlhf.transformer.model.matmul import product, wide_product

EQUATIONS = {
    "bsd,dhgw->bshgw": ((2, 3, 4), (4, 2, 3, 5)),
    "bshgw,hgwd->bsd": ((2, 3, 2, 3, 5), (2, 3, 5, 4)),
    "nd,vd->nv": ((3, 4), (7, 4)),
    "nd,dv->nv": ((3, 4), (4, 7)),
}


def factors(equation, dtype, weight_dtype):
    rng = np.random.default_rng(0)
    x, weight = (rng.standard_normal(shape) for shape in EQUATIONS[equation])
    return jnp.asarray(x, dtype), jnp.asarray(weight, weight_dtype)


@pytest.mark.parametrize("equation", EQUATIONS)
@pytest.mark.parametrize("function", [product, wide_product])
def test_values_and_gradients_are_those_of_numpy(function, equation):
    x, weight = factors(equation, jnp.float64, jnp.float64)
    value, back = jax.vjp(lambda x, weight: function(equation, x, weight), x, weight)
    change = np.random.default_rng(1).standard_normal(value.shape)
    np.testing.assert_allclose(value, np.einsum(equation, x, weight), rtol=1e-12)
    # a direction at a time: the gradients are sums over all entries of what a move of one factor changes
    for place, found in enumerate(back(jnp.asarray(change))):
        move = np.random.default_rng(2).standard_normal(found.shape)
        moved = [np.asarray(x), np.asarray(weight)]
        moved[place] = move
        np.testing.assert_allclose(
            (np.asarray(found) * move).sum(), (change * np.einsum(equation, *moved)).sum(), rtol=1e-12
        )


def test_dtypes_are_those_of_the_factors_and_sums_are_float32():
    x, weight = factors("nd,dv->nv", jnp.bfloat16, jnp.float32)
    assert product("nd,dv->nv", x, weight).dtype == jnp.bfloat16
    found, back = jax.vjp(lambda x, weight: wide_product("nd,dv->nv", x, weight), x, weight)
    assert found.dtype == jnp.float32
    exact = np.asarray(x, np.float64) @ np.asarray(weight.astype(jnp.bfloat16), np.float64)
    np.testing.assert_allclose(found, exact, rtol=1e-5, atol=1e-6)  # bfloat16 sums would err by 1e-2
    to_x, to_weight = back(jnp.ones_like(found))
    assert (to_x.dtype, to_weight.dtype) == (jnp.bfloat16, jnp.float32)


def test_no_factor_of_a_backward_pass_is_widened():
    """In bfloat16 all three products take bfloat16; the derivative that JAX finds by itself does not."""
    x, weight = factors("nd,dv->nv", jnp.bfloat16, jnp.float32)

    def plain(x, weight):
        return jnp.einsum("nd,dv->nv", x, weight.astype(x.dtype), preferred_element_type=jnp.float32)

    def factors_of(function):
        jaxpr = jax.make_jaxpr(jax.grad(lambda x, w: function(x, w).sum(), argnums=(0, 1)))(x, weight)
        return [
            {str(var.aval.dtype) for var in equation.invars}
            for equation in jaxpr.jaxpr.eqns
            if equation.primitive.name == "dot_general"
        ]

    ours = factors_of(lambda x, w: wide_product("nd,dv->nv", x, w))
    assert ours[-2:] == [{"bfloat16"}, {"bfloat16"}]
    assert {"float32", "bfloat16"} in factors_of(plain)
