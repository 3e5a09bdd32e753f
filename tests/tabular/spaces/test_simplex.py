import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
import scipy.optimize

from nlhf import losses
from nlhf.base import Comparisons, Feedback
from nlhf.targets import explicit
from tabular import families
from tabular.games import make_game
from tabular.spaces.simplex import log_ratio_loss, minimise, simplex

BETA = 0.3
GAME = make_game(
    families.uniform_skew(jax.random.key(0), 4, 2), families.random_reference(jax.random.key(1), 4, 2), BETA
)
POLICY = jax.nn.log_softmax(jax.random.normal(jax.random.key(2), (2, 4)))
SPACE = simplex(GAME)


def test_log_prob_of_all_and_of_some_responses():
    np.testing.assert_array_equal(SPACE.log_prob(POLICY), POLICY)
    responses = jnp.array([[3, 0, 0], [1, 1, 2]])
    np.testing.assert_array_equal(SPACE.log_prob(POLICY, responses)[1], POLICY[1, jnp.array([1, 1, 2])])


def test_project_is_exact():
    preference = jax.random.uniform(jax.random.key(3), (2, 4))
    target = functools.partial(explicit, step_size=0.9, beta=BETA)
    moved = SPACE.project(POLICY, target, Feedback(None, preference))
    for x in range(2):
        expected = reference.mirror(
            np.exp(POLICY[x]), np.exp(GAME.log_ref[x]), np.asarray(preference[x]), 0.9, BETA
        )
        np.testing.assert_allclose(np.exp(moved[x]), expected, rtol=1e-14)


def test_mix_is_the_geometric_mixture():
    mixed = SPACE.mix(POLICY, SPACE.reference, 0.3)
    weights = np.exp(POLICY) ** 0.7 * np.exp(GAME.log_ref) ** 0.3
    np.testing.assert_allclose(np.exp(mixed), weights / weights.sum(-1, keepdims=True), rtol=1e-13)


NUM_ROWS = 80  # every data set is padded to it, so that a fit compiles once a loss


@functools.partial(jax.jit, static_argnames="loss")
def fit(game, start, data, loss):
    """Fit with a loss at BETA."""
    return simplex(game).fit(jax.random.key(0), start, functools.partial(loss, beta=BETA), data)


def padded(context, first, second, label):
    """The rows, then absent ones that hold rubbish."""
    count = len(label)
    extra = NUM_ROWS - count
    columns = (jnp.pad(jnp.asarray(column), (0, extra)) for column in (context, first, second))
    labels = jnp.concatenate([jnp.asarray(label), jnp.full(extra, jnp.nan)])
    return Comparisons(*columns, labels, (jnp.arange(NUM_ROWS) < count).astype(float))


def all_pairs(labels):
    """Every ordered pair of two different actions in both contexts, with soft labels ``[X, A, A]``."""
    pairs = [(x, a, b) for x in range(2) for a in range(4) for b in range(4) if a != b]
    context, first, second = (jnp.array(column) for column in zip(*pairs, strict=True))
    return padded(context, first, second, labels[context, first, second])


def test_fit_of_the_squared_loss_against_its_closed_form():
    # least squares of log-ratio differences: log_ratio = mean over b of (2 P(a, b) - 1) / (2 beta)
    fitted = fit(GAME, POLICY, all_pairs(GAME.preference), losses.squared)
    ratio = np.asarray(GAME.preference - 0.5).sum(-1) / 4 / BETA
    expected = np.log(reference.softmax(np.asarray(GAME.log_ref) + ratio))
    np.testing.assert_allclose(fitted, expected, rtol=0, atol=1e-8)


def test_fit_of_the_logistic_loss_recovers_bradley_terry_rewards():
    scores = jax.random.normal(jax.random.key(4), (2, 4))
    labels = jax.nn.sigmoid(scores[:, :, None] - scores[:, None, :])
    fitted = fit(GAME, GAME.log_ref, all_pairs(labels), losses.logistic)
    expected = np.log(reference.softmax(np.asarray(GAME.log_ref + scores / BETA)))
    np.testing.assert_allclose(fitted, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("loss", [losses.squared, losses.logistic])
def test_fit_against_scipy_on_random_comparisons(loss):
    keys = jax.random.split(jax.random.key(5), 4)
    context = jax.random.randint(keys[0], (60,), 0, 2)
    first, second = (jax.random.randint(key, (60,), 0, 4) for key in keys[1:3])
    label = jax.random.bernoulli(keys[3], GAME.preference[context, first, second]).astype(float)
    data = padded(context, first, second, label)
    fitted = fit(GAME, POLICY, data, loss)
    rows = [np.asarray(leaf)[:60] for leaf in data]
    log_ref = np.asarray(GAME.log_ref)

    def objective(flat):
        ratio = np.log(reference.softmax(flat.reshape(2, 4))) - log_ref
        margin = ratio[rows[0], rows[1]] - ratio[rows[0], rows[2]]
        if loss is losses.logistic:
            first_wins, second_wins = -np.logaddexp(0, -BETA * margin), -np.logaddexp(0, BETA * margin)
            each = -rows[3] * first_wins - (1 - rows[3]) * second_wins
            slope = BETA * (1 / (1 + np.exp(-BETA * margin)) - rows[3])
        else:
            each = rows[3] * (margin - 1 / (2 * BETA)) ** 2 + (1 - rows[3]) * (margin + 1 / (2 * BETA)) ** 2
            slope = 2 * (margin - (2 * rows[3] - 1) / (2 * BETA))
        gradient = np.zeros((2, 4))
        np.add.at(gradient, (rows[0], rows[1]), slope / 60)
        np.add.at(gradient, (rows[0], rows[2]), -slope / 60)
        return each.mean(), gradient.ravel()

    options = {"ftol": 1e-16, "gtol": 1e-10, "maxiter": 1000}
    found = scipy.optimize.minimize(objective, np.zeros(8), jac=True, method="L-BFGS-B", options=options)
    ours = objective(np.asarray(fitted).ravel())[0]
    assert ours <= found.fun + 1e-12
    np.testing.assert_allclose(fitted, np.log(reference.softmax(found.x.reshape(2, 4))), rtol=0, atol=1e-4)
    value = log_ratio_loss(fitted, GAME, functools.partial(loss, beta=BETA), data)
    np.testing.assert_allclose(value, ours, rtol=1e-12)


def test_absent_rows_do_not_count():
    data = all_pairs(GAME.preference)
    loss = functools.partial(losses.squared, beta=BETA)
    present = jax.tree.map(lambda leaf: leaf[:24], data)
    value, slope = jax.value_and_grad(log_ratio_loss)(POLICY, GAME, loss, data)
    expected, gradient = jax.value_and_grad(log_ratio_loss)(POLICY, GAME, loss, present)
    np.testing.assert_allclose(value, expected, rtol=1e-14)
    np.testing.assert_allclose(slope, gradient, rtol=1e-13)
    absent = data._replace(weight=jnp.zeros(NUM_ROWS))
    assert float(log_ratio_loss(POLICY, GAME, loss, absent)) == 0


def test_excluded_actions_stay_excluded():
    log_ref = jax.nn.log_softmax(GAME.log_ref.at[0, 2].set(-jnp.inf))
    start = jax.nn.log_softmax(POLICY.at[0, 2].set(-jnp.inf))
    data = all_pairs(GAME.preference)
    missing = (data.context == 0) & ((data.first == 2) | (data.second == 2))
    data = data._replace(weight=jnp.where(missing, 0.0, data.weight))
    fitted = np.asarray(fit(GAME._replace(log_ref=log_ref), start, data, losses.squared))
    assert fitted[0, 2] == -np.inf
    kept = [0, 1, 3]
    ratio = np.asarray(GAME.preference - 0.5)[0][np.ix_(kept, kept)].sum(-1) / 3 / BETA
    expected = np.log(reference.softmax(np.asarray(log_ref)[0, kept] + ratio))
    np.testing.assert_allclose(fitted[0, kept], expected, rtol=0, atol=1e-8)


def test_fit_works_under_vmap():
    data = all_pairs(GAME.preference)
    starts = jnp.stack([POLICY, GAME.log_ref])
    together = jax.vmap(lambda start: fit(GAME, start, data, losses.squared))(starts)
    np.testing.assert_allclose(together[0], together[1], rtol=0, atol=1e-8)


def test_minimise_on_rosenbrock_and_on_a_pytree():
    def rosenbrock(point):
        return (1 - point["x"]) ** 2 + 100 * (point["y"] - point["x"] ** 2) ** 2

    end = minimise(rosenbrock, {"x": jnp.array(-1.2), "y": jnp.array(1.0)})
    np.testing.assert_allclose([end["x"], end["y"]], 1, atol=1e-9)
    few = minimise(rosenbrock, {"x": jnp.array(-1.2), "y": jnp.array(1.0)}, max_steps=2)
    assert abs(float(few["x"]) - 1) > 0.1
    start = {"x": jnp.array(1.0), "y": jnp.array(1.0)}
    assert minimise(rosenbrock, start)["x"] == 1
