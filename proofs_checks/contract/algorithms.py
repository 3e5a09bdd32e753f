"""What every algorithm that asks for payoffs must do, whoever wrote it."""

from __future__ import annotations

import warnings
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from nlhf import logspace
from nlhf.base import Info
from nlhf.method import arguments, make
from proofs_checks.contract.worlds import (
    BETA,
    Contract,
    assert_normalised,
    compiled,
    first,
    game,
    noisy,
    one_step,
    shifted_oracle,
    shifted_space,
    structure,
    worlds,
)
from tabular import bounds, families, games
from tabular.metrics import METRICS
from tabular.runner import Axes, run
from tabular.solution import solve
from tabular.spaces.network import init_network

Array = jax.Array


class AlgorithmContract(Contract):
    """Checks of an algorithm that asks for payoffs; ``contract`` makes a class of them.

    Attributes:
      method: the record.
      settings: arguments of its factory, in the place of their defaults.
    """

    def final(self, problem: Any = None, start: Any = None, num_steps: int = 4, **more: Any) -> Array:
        """The policy after a few steps."""
        problem, start = game() if problem is None else problem, first() if start is None else start
        made = more.pop("algorithm", None) or self.make()
        return run(made, problem, num_steps=num_steps, start=start, measures=(), **more).state.policy

    def test_state_keeps_structure_shape_and_dtype(self) -> None:
        """A scan carries the state: it may not change."""
        method = self.make()
        state = method.init(first())
        assert state.policy is first(), "init starts from the policy it is given"
        after, info = one_step(method, game(), jax.random.key(0), state)
        assert type(after) is type(state)
        assert structure(after) == structure(state)
        assert type(info) is Info
        assert jnp.issubdtype(jnp.result_type(info.queries), jnp.integer)
        if isinstance(self.method.queries, int):
            assert int(info.queries) == self.method.queries

    def test_single_precision_tables_stay_single_precision(self) -> None:
        """float32 arrays in a float64 session."""
        method = self.make()
        single = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), game())
        state = method.init(first().astype(jnp.float32))
        after, _ = one_step(method, single, jax.random.key(0), state)
        assert structure(after) == structure(state)
        double, _ = one_step(method, game(), jax.random.key(0), method.init(first()))
        np.testing.assert_allclose(after.policy, double.policy, atol=3e-6)

    def test_runs_with_float64_off(self) -> None:
        """As most users run it."""
        with jax.enable_x64(False), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="float64 is off")
            matrix = families.uniform_skew(jax.random.key(1), 4, 2)
            single = games.make_game(matrix, families.random_reference(jax.random.key(2), 4, 2), BETA)
            trace = run(self.make(), single, num_steps=4, measures=("duality_gap",))
            gap = trace.of("duality_gap")
            assert trace.state.policy.dtype == gap.dtype == jnp.float32
            assert bool(jnp.isfinite(gap).all())
            assert bool(gap[-1] < gap[0]), "four steps from the reference make it worse"

    def test_same_key_same_bits(self) -> None:
        """Nothing is random but by the key."""
        one, two, other = (self.final(make_oracle=noisy, key=jax.random.key(seed)) for seed in (7, 7, 8))
        np.testing.assert_array_equal(one, two)
        assert np.abs(np.asarray(one) - np.asarray(other)).max() > 1e-6, "the key is not used"

    def test_other_hyper_parameters_do_not_recompile(self) -> None:
        """They are leaves."""
        self.final()
        before = compiled()
        self.final(games.with_beta(game(), 0.25), algorithm=self.make(0.25), key=jax.random.key(5))
        assert compiled() == before

    def test_vmap_over_seeds_equals_a_loop(self) -> None:
        """A batch of runs is the runs."""
        keys = jax.random.split(jax.random.key(9), 3)
        together = self.final(make_oracle=noisy, key=keys, axes=(Axes(key=0),))
        apart = jnp.stack([self.final(make_oracle=noisy, key=key) for key in keys])
        np.testing.assert_allclose(together, apart, rtol=0, atol=1e-12)

    def test_vmap_over_algorithms_equals_a_loop(self) -> None:
        """``jax.vmap`` over the factory is a batch of algorithms."""
        betas = [0.2, 0.3, 0.5]
        each = [arguments(self.method, beta, **self.settings) for beta in betas]
        batched = {key for key, value in each[0].items() if isinstance(value, float)}
        batched |= {key for key in each[0] if len({str(one[key]) for one in each}) > 1}
        fixed = {key: value for key, value in each[0].items() if key not in batched}
        stacked = {key: jnp.array([one[key] for one in each], float) for key in sorted(batched)}
        batch = jax.vmap(lambda values: make(self.method, {**values, **fixed}))(stacked)
        axes = (Axes(algorithm=0, game=games.Game(None, None, None, 0)),)
        together = self.final(games.with_beta(game(), np.array(betas)), algorithm=batch, axes=axes)
        for i, beta in enumerate(betas):
            alone = self.final(games.with_beta(game(), beta), algorithm=make(self.method, each[i]))
            np.testing.assert_allclose(together[i], alone, rtol=0, atol=1e-12)

    def test_relabelling_actions_relabels_the_result(self) -> None:
        """The order of actions means nothing."""
        order = jnp.array([2, 0, 3, 1])
        advantage = game().advantage[:, order][:, :, order]
        relabelled = game()._replace(advantage=advantage, log_ref=game().log_ref[:, order])
        two = self.final(relabelled, first()[:, order])
        np.testing.assert_allclose(two, self.final()[:, order], rtol=0, atol=1e-13)

    def test_constants_added_to_payoffs_and_logits_change_nothing(self) -> None:
        """A policy is known up to a constant a row."""
        shifted = self.final(make_oracle=shifted_oracle, make_space=shifted_space)
        np.testing.assert_allclose(shifted, self.final(), rtol=0, atol=1e-13)

    def long(self, problem: Any, start: Any, beta: float = BETA) -> np.ndarray:
        """The policy after sixty steps, whose measures must be finite and not negative."""
        measures = ("duality_gap", "exploitability_original", "kl_to_reference")
        trace = run(self.make(beta), problem, start=start, num_steps=60, measures=measures)
        for values in trace.values.values():
            assert np.isfinite(values).all()
            assert (np.asarray(values) >= -1e-15).all()
        assert_normalised(trace.state.policy)
        return np.asarray(trace.state.policy)

    def test_log_policies_stay_normalised_and_finite_at_extremes(self) -> None:
        """A reference with mass 1e-8 on the strongest action, beta = 1e-3: logits of hundreds of nats."""
        log_ref = jnp.log(jnp.array([[1e-8, 0.5, 0.3, 0.2 - 1e-8], [0.97, 0.01, 0.01, 0.01]]))
        matrix = families.tournament(jax.random.key(4), 4, 2)
        assert np.isfinite(self.long(games.make_game(matrix, log_ref, 1e-3), first(), 1e-3)).all()

    def test_excluded_actions_keep_mass_exactly_zero(self) -> None:
        """The rest is the game without the action."""
        problem = game()._replace(log_ref=logspace.normalise(game().log_ref.at[0, 1].set(-jnp.inf)))
        start = logspace.normalise(first().at[0, 1].set(-jnp.inf))
        policy = self.long(problem, start)
        assert policy[0, 1] == -np.inf
        assert np.isfinite(np.delete(policy[0], 1)).all()
        kept = jnp.array([0, 2, 3])
        advantage = problem.advantage[:1, kept][:, :, kept]
        smaller = games.Game(advantage, problem.log_ref[:1, kept], jnp.ones(1), problem.beta)
        alone = self.final(smaller, start[:1, kept], num_steps=60)
        np.testing.assert_allclose(policy[0, [0, 2, 3]], alone[0], rtol=0, atol=1e-13)

    def test_claims_have_a_source_a_metric_and_evaluate(self) -> None:
        """A claim is data that the referee can read."""
        settings = arguments(self.method, BETA, **self.settings)
        method, step_size = make(self.method, settings), settings.get("step_size")
        size = np.nan if step_size is None else step_size
        known = bounds.constants(game(), solve(game()).log_policy, game().log_ref, size)
        assert len({claim.name for claim in method.claims}) == len(method.claims)
        for claim in method.claims:
            constants = known if claim.regularised else known._replace(beta=0.0)
            assert claim.source
            assert claim.statement
            assert claim.metric in METRICS
            assert claim.iterate in ("last", "half", "average")
            ceiling = np.asarray(claim.bound(jnp.array([0.0, 1.0, 10.0, 100.0]), constants))
            assert not np.isnan(ceiling).any()
            assert (ceiling[1:] > 0).all()
            assert (np.diff(ceiling) <= 0).all()
            assert claim.status in ("theorem", "derived", "empirical")
            assert claim.rate_kind in ("linear", "power", "none")
            assert (claim.rate is None) == (claim.rate_kind == "none")
            assert claim.rate is None or float(claim.rate(constants)) > 0
            low, high = claim.step_size_range(np.asarray(BETA if claim.regularised else 0.0))
            assert 0 <= float(low) < float(high)
        ranges = [claim.step_size_range(BETA) for claim in method.claims if claim.regularised]
        if ranges and step_size is not None:
            assert any(float(low) <= step_size <= float(high) * (1 + 1e-12) for low, high in ranges)

    def check_world(self, world: str) -> None:
        """Two steps in a space with an oracle: the first optimistic one only extrapolates."""
        make_space, make_oracle = worlds()[world]
        tables = world.startswith("simplex")
        start = first() if tables else init_network(jax.random.key(12), 2, 4, width=3)
        method, space = self.make(), make_space(game())
        ask = make_oracle(game(), space.log_prob)
        state = method.init(start)
        with jax.disable_jit():  # operations of shapes that all algorithms share: cheaper than 32 programs
            between, _ = method.step(jax.random.key(12), state, ask, space)
            after, info = method.step(jax.random.key(13), between, ask, space)
        assert structure(after) == structure(state)
        assert int(info.queries) > 0
        log_policy = np.asarray(space.log_prob(after.policy))
        assert log_policy.shape == (2, 4)
        assert_normalised(log_policy)
        assert np.abs(log_policy - np.asarray(space.log_prob(start))).max() > 1e-6

    def test_works_unchanged_with_an_exact_oracle_everywhere(self) -> None:
        """On tables and on a network."""
        self.check_world("simplex-exact")
        self.check_world("network-exact")

    def test_works_unchanged_with_sampled_payoffs_everywhere(self) -> None:
        """On tables and on a network."""
        self.check_world("simplex-sampled")
        self.check_world("network-sampled")

    def test_works_unchanged_on_a_data_set_everywhere(self) -> None:
        """On tables and on a network."""
        self.check_world("simplex-offline")
        self.check_world("network-offline")
