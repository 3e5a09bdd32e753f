"""The bank: its equilibria are right, its corners are in it, and it is the same for the same key."""

import jax
import numpy as np
import pytest

from proofs_checks import claims, instances
from proofs_checks.rows import Effort
from tabular.nash import relative_residual


@pytest.fixture(scope="module")
def bank():
    return instances.build(jax.random.key(0), 480, (2, 3, 5))


def test_every_equilibrium_is_solved(bank):
    game = bank.game
    residual = jax.vmap(relative_residual)(
        game.advantage[:, 0] + 0.5, game.log_ref[:, 0], game.beta, bank.log_nash[:, 0]
    )
    assert float(residual.max()) < 1e-14


def test_advantages_are_skew_and_padding_is_out_of_the_game(bank):
    advantage = np.asarray(bank.game.advantage[:, 0])
    np.testing.assert_array_equal(advantage, -advantage.swapaxes(1, 2))
    assert np.abs(advantage).max() <= 0.5
    outside = np.arange(5)[None] >= np.asarray(bank.size)[:, None]
    for table in (bank.game.log_ref, bank.log_nash, bank.start):
        assert (np.isneginf(table[:, 0]) == outside).all()
        np.testing.assert_allclose(np.exp(table[:, 0]).sum(-1), 1, atol=1e-12)
    assert (advantage[outside] == 0).all()


def test_the_corners_are_in_it(bank):
    beta = np.asarray(bank.game.beta)
    assert (beta.min(), beta.max()) == pytest.approx(instances.BETAS)
    log_beta = np.sort(np.log(beta))
    assert np.diff(log_beta).max() < 0.1, "betas leave no gap"
    reference = np.asarray(bank.game.log_ref[:, 0])[np.asarray(bank.kind) != instances.KINDS.index("planted")]
    mass = np.exp(np.where(np.isneginf(reference), 0, reference)).min(-1)
    assert mass.min() < 2e-8
    combinations = {
        (int(s), int(k), int(r)) for s, k, r in zip(bank.size, bank.kind, bank.reference, strict=True)
    }
    assert len(combinations) == 3 * len(instances.KINDS) * len(instances.REFERENCES)
    assert set(np.asarray(bank.share)) == set(instances.SHARES)
    both = {(int(k), float(s)) for k, s in zip(bank.kind, bank.share, strict=True)}
    assert len(both) == len(instances.KINDS) * len(instances.SHARES)


@pytest.mark.parametrize("effort", [Effort(quick=True), Effort()])
def test_every_size_and_kind_meets_the_longest_step(effort):
    # in the banks that the claims are judged on; no policy is needed for it
    count, sizes = claims.banks(effort)[0]
    plan = instances.plan(count, sizes)
    longest = plan.share == 1.0
    for column, values in ((plan.size, sizes), (plan.kind, range(len(instances.KINDS)))):
        assert set(column[longest]) == set(values)
    pairs = {(int(s), float(share)) for s, share in zip(plan.size, plan.share, strict=True)}
    assert len(pairs) == len(sizes) * len(instances.SHARES)
    if not effort.quick:
        at_end = {(int(s), int(k)) for s, k in zip(plan.size[longest], plan.kind[longest], strict=True)}
        assert len(at_end) == len(sizes) * len(instances.KINDS)


def test_same_key_same_bank(bank):
    # the sizes of the fixture: one compilation
    one, two, other = bank, *(instances.build(jax.random.key(k), 480, (2, 3, 5)) for k in (0, 1))
    for here, there in zip(jax.tree.leaves(one), jax.tree.leaves(two), strict=True):
        np.testing.assert_array_equal(here, there)
    assert np.abs(np.asarray(one.game.advantage) - np.asarray(other.game.advantage)).max() > 0.1


def test_an_instance_is_described_in_full_where_it_is_small(bank):
    words = instances.describe(bank, 7)
    size = words["actions"]
    assert np.shape(words["advantage"]) == (size, size)
    assert np.shape(words["log_nash"]) == (size,)
    assert "advantage" not in instances.describe(bank, 7, most=1)


def test_cyclic_games_are_cyclic(bank):
    cyclic = np.asarray(bank.kind) == instances.KINDS.index("rock_paper_scissors")
    row = int(np.flatnonzero(cyclic & (np.asarray(bank.size) == 5))[0])
    advantage = np.asarray(bank.game.advantage[row, 0])
    np.testing.assert_allclose(advantage.sum(1), 0)
    assert (np.abs(advantage[~np.eye(5, dtype=bool)]) == 0.5).all()


def test_a_subset_keeps_the_batch_axis(bank):
    assert instances.subset(bank, 3).log_nash.shape == (1, 1, 5)
