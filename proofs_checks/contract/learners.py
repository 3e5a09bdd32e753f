"""What every method that learns from labelled pairs must do, whoever wrote it."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from nlhf import logspace
from nlhf.method import arguments
from nlhf.replay import Replay, buffer
from proofs_checks.contract.worlds import Contract, bandit, compiled, first, structure
from tabular import oracle
from tabular.replay import counts
from tabular.runner import Axes, run
from tabular.spaces.softmax import softmax_space

Array = jax.Array

NUM_STEPS, NUM_DUELS = 4, 3


@functools.cache
def _learning() -> tuple[Callable, Callable, Replay]:
    return softmax_space(5, 0.1), oracle.labelled(NUM_DUELS), buffer(NUM_STEPS * NUM_DUELS)


class LearnerContract(Contract):
    """Checks of a method that learns from labelled pairs; ``contract`` makes a class of them.

    Attributes:
      method: the record.
      settings: arguments of its factory, in the place of their defaults.
    """

    def trace(self, problem: Any = None, changes: dict[str, Any] | None = None, **more: Any) -> Any:
        """A short run on a bandit."""
        make_space, make_oracle, replay = _learning()
        problem = bandit() if problem is None else problem
        method = self.make(float(problem.beta), **{"replay": replay, **(changes or {})})
        given = {"key": jax.random.key(7), "start": first(), "make_oracle": make_oracle, "measures": ()}
        return run(method, problem, num_steps=NUM_STEPS, make_space=make_space, **{**given, **more})

    def final(self, *arguments: Any, **more: Any) -> Array:
        """The policy at its end."""
        return self.trace(*arguments, **more).state.policy

    def test_state_keeps_structure_and_counts_its_comparisons(self) -> None:
        """A scan carries the state, and the memory holds every pair."""
        state = self.make(replay=_learning()[2]).init(first())
        assert state.policy is first()
        trace = self.trace()
        assert type(trace.state) is type(state)
        assert structure(trace.state) == structure(state)
        np.testing.assert_array_equal(trace.queries, NUM_DUELS * np.arange(NUM_STEPS + 1))
        assert float(trace.state.memory.comparisons.weight.sum()) == NUM_STEPS * NUM_DUELS
        assert int(trace.state.memory.appended) == NUM_STEPS * NUM_DUELS

    def test_same_key_same_bits_and_another_key_another_run(self) -> None:
        """Nothing is random but by the key."""
        np.testing.assert_array_equal(self.final(), self.final())
        other = self.final(key=jax.random.key(8))
        assert np.abs(np.asarray(other) - np.asarray(self.final())).max() > 1e-6

    def test_other_hyper_parameters_do_not_recompile(self) -> None:
        """They are leaves."""
        self.final()
        before = compiled()
        numbers = arguments(self.method, float(bandit().beta), **self.settings)
        changed = {key: 0.8 * value for key, value in numbers.items() if isinstance(value, float)}
        changed.pop("beta", None)  # that of the bandit, below
        self.final(bandit()._replace(beta=0.8 * bandit().beta), changes=changed)
        assert compiled() == before

    def test_vmap_over_seeds_equals_a_loop(self) -> None:
        """A batch of runs is the runs."""
        keys = jax.random.split(jax.random.key(9), 3)
        apart = jnp.stack([self.final(key=key) for key in keys])
        np.testing.assert_allclose(self.final(key=keys, axes=(Axes(key=0),)), apart, rtol=0, atol=1e-12)

    def test_counts_remember_what_a_list_remembers(self) -> None:
        """Of pairs, only how often each was seen matters."""
        counted = self.trace(changes={"replay": counts(2, 4)}).state
        np.testing.assert_allclose(counted.policy, self.final(), rtol=0, atol=1e-12)
        assert float(counted.memory.comparisons.weight.sum()) == NUM_STEPS * NUM_DUELS

    def test_log_policies_stay_normalised_and_finite(self) -> None:
        """A reference with mass 1e-8 on one action, and beta = 0.02."""
        log_ref = jnp.log(jnp.array([[1e-8, 0.5, 0.3, 0.2 - 1e-8], [0.97, 0.01, 0.01, 0.01]]))
        hard = bandit()._replace(log_ref=log_ref, beta=jnp.array(0.02, float))
        policy = self.final(hard)
        assert bool(jnp.isfinite(policy).all())
        np.testing.assert_allclose(jax.scipy.special.logsumexp(policy, axis=-1), 0, atol=1e-12)

    def test_excluded_actions_keep_mass_exactly_zero(self) -> None:
        """They are never played again."""
        problem = bandit()._replace(log_ref=logspace.normalise(bandit().log_ref.at[0, 1].set(-jnp.inf)))
        policy = np.asarray(self.final(problem, start=logspace.normalise(first().at[0, 1].set(-jnp.inf))))
        assert policy[0, 1] == -np.inf
        assert np.isfinite(np.delete(policy.ravel(), 1)).all()
