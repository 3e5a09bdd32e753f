"""``run_many`` gives the traces of ``run``, whatever the chunks, and compiles each algorithm once."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nlhf import egpo, nash_md, nash_mirror_prox, omwu, online_mirror_descent
from nlhf.errors import InputError, RangeWarning
from tabular import families
from tabular.games import make_game, with_beta
from tabular.many import grid, run_many
from tabular.oracle import sampled
from tabular.runner import Axes, _jitted, run

BETAS = jnp.array([0.3, 0.5, 1.0])
STEPS = 4 * BETAS / (1 + 4 * BETAS**2) / 4
ALGORITHMS = {
    "online_mirror_descent": online_mirror_descent(STEPS, BETAS),
    "nash_md": nash_md(None, BETAS),
    "nash_mirror_prox": nash_mirror_prox(STEPS, BETAS),
    "egpo": egpo(STEPS, BETAS),
    "omwu": omwu(STEPS, BETAS),
}


def games(count: int = 4, num_actions: int = 5):
    keys = jax.random.split(jax.random.key(0), count)
    references = jax.random.split(jax.random.key(1), count)
    return [
        make_game(families.uniform_skew(key, num_actions, 2), families.random_reference(ref, num_actions, 2))
        for key, ref in zip(keys, references, strict=True)
    ]


def assert_same(ours, theirs):
    assert jax.tree.structure(ours) == jax.tree.structure(theirs)
    for one, two in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        assert one.shape == two.shape
        np.testing.assert_allclose(one, two, rtol=0, atol=1e-12)


@pytest.mark.parametrize("workers", [1, 2, 3, 8])
def test_traces_equal_those_of_run(workers):
    game, axes = grid(games(), BETAS)
    many = run_many(ALGORITHMS, game, axes=axes, num_steps=6, every=2, workers=workers)
    assert list(many) == list(ALGORITHMS)
    for name, algorithm in ALGORITHMS.items():
        assert_same(many[name], run(algorithm, game, axes=axes, num_steps=6, every=2))
    assert many["egpo"].of("duality_gap").shape == (4, 3, 4)


def test_each_cell_of_the_grid_is_the_run_of_its_game_and_setting():
    listed = games(2)
    game, axes = grid(listed, BETAS)
    gap = run_many({"egpo": ALGORITHMS["egpo"]}, game, axes=axes, num_steps=5)["egpo"].of("duality_gap")
    for i, single in enumerate(listed):
        for j, beta in enumerate(BETAS):
            alone = run(egpo(STEPS[j], beta), single._replace(beta=beta), num_steps=5)
            np.testing.assert_allclose(gap[i, j], alone.of("duality_gap"), rtol=0, atol=1e-12)


def test_seeds_starts_and_equilibria_are_cut_with_the_games():
    game, axes = grid(games(), BETAS)
    start = jax.nn.log_softmax(jax.random.normal(jax.random.key(3), game.log_ref.shape))
    log_nash = jax.nn.log_softmax(jax.random.normal(jax.random.key(4), (4, 3, *game.log_ref.shape[1:])))
    axes = (axes[0]._replace(start=0), axes[1], Axes(key=0))
    arguments = {
        "axes": axes,
        "key": jax.random.split(jax.random.key(2), 3),
        "start": start,
        "log_nash": log_nash,
        "num_steps": 3,
        "measures": ("kl_to_nash", "duality_gap"),
        "make_oracle": sampled(2),
    }
    egpo_alone = {"egpo": ALGORITHMS["egpo"]}
    many = run_many(egpo_alone, game, workers=2, **arguments)["egpo"]
    assert many.of("kl_to_nash").shape == (4, 3, 3, 4)
    assert_same(many, run(ALGORITHMS["egpo"], game, **arguments))


def test_keys_can_be_the_outermost_level():
    game, keys = with_beta(games(1)[0], 0.3), jax.random.split(jax.random.key(5), 4)
    arguments = {"axes": (Axes(key=0),), "key": keys, "num_steps": 3, "make_oracle": sampled(2)}
    algorithm = egpo(0.2, 0.3)
    many = run_many({"egpo": algorithm}, game, workers=2, **arguments)["egpo"]
    assert_same(many, run(algorithm, game, **arguments))


def test_settings_alone_and_no_axes_are_not_cut():
    game = with_beta(games(1)[0], 0.3)
    for algorithm, axes in ((egpo(STEPS, 0.3), (Axes(algorithm=0),)), (egpo(0.2, 0.3), ())):
        if axes:
            algorithm = jax.vmap(lambda step: egpo(step, 0.3))(STEPS)
        many = run_many({"egpo": algorithm}, game, axes=axes, workers=2, num_steps=3)["egpo"]
        assert_same(many, run(algorithm, game, axes=axes, num_steps=3))


def test_second_call_does_not_compile():
    game, axes = grid(games(), BETAS)
    run_many(ALGORITHMS, game, axes=axes, num_steps=4, workers=2)
    before = _jitted._cache_size()
    halved = {name: jax.tree.map(lambda leaf: leaf / 2, method) for name, method in ALGORITHMS.items()}
    run_many(halved, game, axes=axes, num_steps=4, workers=2)
    assert _jitted._cache_size() == before


def test_warns_once_an_algorithm_about_its_range():
    game, axes = grid(games(2), BETAS)
    too_large = jnp.full(BETAS.shape, 0.9) / BETAS
    with pytest.warns(RangeWarning, match=r"egpo\.(half_)?kl") as caught:
        run_many({"egpo": egpo(too_large, BETAS)}, game, axes=axes, num_steps=1, workers=2)
    assert len({str(warning.message) for warning in caught}) == len(caught)  # not one for each chunk
    assert {warning.filename for warning in caught} == {__file__}


def test_refusals():
    game, axes = grid(games(2), BETAS)
    with pytest.raises(InputError, match="workers is 0"):
        run_many(ALGORITHMS, game, axes=axes, num_steps=1, workers=0)
    with pytest.raises(InputError, match="not a metric"):
        run_many(ALGORITHMS, game, axes=axes, num_steps=1, measures=("speed",))
    with pytest.raises(InputError, match="2 different shapes"):
        grid([*games(1), *games(1, num_actions=4)], BETAS)
    with pytest.raises(InputError, match="0 different shapes"):
        grid([], BETAS)
    with pytest.raises(InputError, match="0 dimensions"):
        grid(games(1), 0.3)
