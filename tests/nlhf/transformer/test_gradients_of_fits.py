"""The losses of a fit, and its calibration term, against gradients of the exact objectives; float64.

Six losses share one compiled program, which chooses by a traced number.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_language as tiny
from jax.tree_util import Partial
from tiny_language import KEY, setting

from nlhf import losses
from nlhf.base import Calibration, Comparisons
from nlhf.policies import Trained
from nlhf.transformer import space as space_module
from nlhf.transformer.responses import Responses

LIMIT = 1e-9


@pytest.fixture(autouse=True, scope="module")
def _quick_compilation():
    with tiny.quick_compilation():
        yield


CALIBRATION = -0.7
HYPER = {"beta": 0.4, "optimism": 0.35, "temperature": 0.9, "bias": 0.6, "preferred": 0.25}
FITTED = ("logistic", "squared", "hinge", "exploratory", "cloning", "contrastive")


def one_of(first, second, label, *, index):
    """The losses of the package, chosen by a traced number: one program serves all of them."""
    beta, optimism = HYPER["beta"], HYPER["optimism"]
    branches = (
        Partial(losses.logistic, beta=beta),
        Partial(losses.squared, beta=beta),
        Partial(losses.hinge, beta=beta),
        Partial(losses.exploratory, beta=beta, optimism=optimism),
        Partial(losses.cloning, preferred=HYPER["preferred"]),
        Partial(losses.contrastive, temperature=HYPER["temperature"], bias=HYPER["bias"]),
    )
    return jax.lax.switch(index, branches, first, second, label)


def by_hand(name, s, t, p):
    """The same from their definitions; s and t are log-ratios of the first and the second response."""
    beta, alpha, scale, bias, c = HYPER.values()
    margin = s - t
    if name in ("logistic", "exploratory"):
        value = p * jnp.log1p(jnp.exp(-beta * margin)) + (1 - p) * jnp.log1p(jnp.exp(beta * margin))
        return value + (alpha * t if name == "exploratory" else 0.0)
    if name == "squared":
        return p * (margin - 0.5 / beta) ** 2 + (1 - p) * (margin + 0.5 / beta) ** 2
    if name == "hinge":
        return p * jnp.maximum(0.0, 1 - beta * margin) + (1 - p) * jnp.maximum(0.0, 1 + beta * margin)
    if name == "cloning":
        return -(1 - c) * (s + t) / 2 - c * (p * s + (1 - p) * t)
    wins, loses = scale * s - scale * bias * t, scale * t - scale * bias * s
    return p * jnp.log1p(jnp.exp(-wins)) + (1 - p) * jnp.log1p(jnp.exp(-loses))


@pytest.fixture(scope="module")
def fitted():
    """``fit(index, calibration weight) -> parameters``; each string is once a draw of the calibration."""
    at = setting(3)
    rng = np.random.default_rng(7)
    num = 27
    first, second = rng.permutation(num), rng.integers(num, size=num)
    label = rng.random(num)
    calibrated = tiny.parameters(at.config, 4)
    # weights are the calibration policy's probabilities (times 5), and the draw of row i is string i: the
    # term then is its expectation, exactly
    weight = 5 * np.exp(np.asarray(at.world.table(calibrated)[0]))
    asked = []

    def every_string(key, model, policy, prompt, *, num_responses, length, end):
        asked.append(policy)
        assert (num_responses, length, end) == (1, 3, None)
        return Responses(prompt[:, None], at.all.tokens[0][:, None], jnp.zeros((num, 1)))

    one = jax.tree.map(lambda leaf: leaf[0], at.all)
    rows = Comparisons(
        jnp.zeros(num, int),
        jax.tree.map(lambda leaf: leaf[first], one),
        jax.tree.map(lambda leaf: leaf[second], one),
        jnp.asarray(label),
        jnp.asarray(weight),
    )
    drawer = Trained(calibrated, ())

    def fit(index, scale):
        policy = at.trained()
        loss = Partial(one_of, index=jnp.asarray(index))
        moved = at.space.fit(KEY, policy, loss, rows, Calibration(drawer, jnp.asarray(scale)))
        return tiny.movement(at.policy, moved.parameters)

    def exact(name, scale, share=None):
        share = weight / weight.sum() if share is None else share

        def value(tokens):
            ratio = tokens.sum(-1)[0] - at.log_ref
            rows = by_hand(name, ratio[first], ratio[second], label)
            return (weight * rows).sum() / weight.sum() + scale / weight.sum() * share @ tokens.sum(-1)[0]

        return at.world.gradient(value, at.policy)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(space_module, "sample", every_string)
        fit(0, 0.0)  # compiles; what follows runs the compiled program
    (policy,) = asked
    assert isinstance(policy, Trained)
    return fit, exact


@pytest.mark.parametrize("name", FITTED)
def test_a_fit_goes_down_the_gradient_of_its_loss(fitted, name):
    fit, exact = fitted
    index = FITTED.index(name)
    assert tiny.relative_error(fit(index, 0.0), exact(name, 0.0)) <= LIMIT
    others = [exact(other, 0.0) for other in FITTED if other != name]
    assert min(tiny.relative_error(fit(index, 0.0), other) for other in others) > 1e-2


def test_the_calibration_term_is_an_expectation_under_the_calibration_policy(fitted):
    fit, exact = fitted
    found = fit(0, CALIBRATION)
    assert tiny.relative_error(found, exact("logistic", CALIBRATION)) <= LIMIT
    at = setting(3)
    own = np.exp(np.asarray(at.log_prob))
    assert tiny.relative_error(found, exact("logistic", CALIBRATION, own)) > 1e-2
    assert tiny.relative_error(found, exact("logistic", -CALIBRATION)) > 1e-2
