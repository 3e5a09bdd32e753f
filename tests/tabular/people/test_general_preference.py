import numpy as np
import pytest
from scipy import sparse
from scipy.optimize import minimize

from nlhf.errors import InputError
from tabular.people import general_preference as models
from tabular.people.vote_cells import Counts, cells_of, count, locate


def dense(blocks):
    return [block.toarray() if sparse.issparse(block) else block for block in blocks]


def drawn(seed=0, prompts=3, answers=4, votes=400):
    rng = np.random.default_rng(seed)
    prompt = rng.integers(prompts, size=votes)
    first = rng.integers(answers, size=votes)
    second = (first + rng.integers(1, answers, size=votes)) % answers
    label = rng.choice([0.0, 0.5, 1.0], size=votes)
    return prompt, first, second, label


def problem(votes):
    prompt, first, second, label = votes
    cells = cells_of(prompt, first, second)
    blocks = models.table_blocks(cells)
    return (
        cells,
        (*blocks.score, *blocks.skew),
        count(*locate(cells, prompt, first, second), label, len(cells[0])),
    )


def votes_of_styles(turn, votes, seed):
    """Rock, paper and scissors, each in two variants; without the turn all six are alike."""
    rng = np.random.default_rng(seed)
    prompt = np.zeros(votes, int)
    first = rng.integers(6, size=votes)
    second = (first + rng.integers(1, 6, size=votes)) % 6
    ahead = (first - second) % 3
    logit = turn * np.select([ahead == 1, ahead == 2], [1.0, -1.0], 0.0)
    return prompt, first, second, 1.0 * (rng.random(votes) < 1 / (1 + np.exp(-logit)))


def test_a_fit_is_the_minimum_that_another_solver_finds():
    _cells, blocks, counts = problem(drawn())
    scales = (1.0, 0.5, 0.7, 0.3)
    fitted = models.fit(blocks, scales, counts)
    columns = np.hstack(dense(blocks))
    precision = np.concatenate(
        [np.full(block.shape[1], scale**-2) for block, scale in zip(blocks, scales, strict=True)]
    )

    def objective(theta):  # in plain coefficients, and by numerical gradients
        chance = 1 / (1 + np.exp(-columns @ theta))
        likelihood = counts.wins @ np.log(chance) + (counts.total - counts.wins) @ np.log(1 - chance)
        return -likelihood + 0.5 * precision @ theta**2

    found = minimize(objective, np.zeros(columns.shape[1]), method="BFGS", options={"gtol": 1e-6})
    np.testing.assert_allclose(np.concatenate(fitted.coefficients), found.x, atol=2e-4)
    np.testing.assert_allclose(fitted.logit, columns @ found.x, atol=5e-4)


def test_bradley_terry_is_the_general_model_without_skew_blocks():
    _, blocks, counts = problem(drawn())
    nested = models.fit(blocks, (1.0, 0.5, 0.0, 0.0), counts)
    alone = models.fit(blocks[:2], (1.0, 0.5), counts)
    np.testing.assert_array_equal(nested.logit, alone.logit)
    assert nested.coefficients[2:] == (None, None)


def test_only_the_general_model_goes_round():
    cells, blocks, counts = problem(votes_of_styles(2.0, 3000, 1))
    place, forward = locate(cells, np.zeros(3, int), np.array([0, 1, 2]), np.array([1, 2, 0]))
    sides = np.where(forward, 1, -1)
    ladder = models.fit(blocks, (10.0, 0.0, 0.0, 0.0), counts).logit[place] * sides
    round_trip = models.fit(blocks, (1.0, 0.0, 1.0, 0.0), counts).logit[place] * sides
    assert abs(ladder.sum()) < 1e-9
    # paper beats rock: 0 over 1, 1 over 2 and 2 over 0 all lose by about 2 logits, 6 in all
    assert round_trip.sum() == pytest.approx(-6, abs=0.6)


def test_the_order_of_a_pair_does_not_matter():
    prompt, first, second, label = drawn()
    _, _blocks, counts = problem((prompt, first, second, label))
    _, _, turned = problem((prompt, second, first, 1 - label))
    np.testing.assert_array_equal(counts.wins, turned.wins)


def test_shared_blocks_carry_over_to_a_pair_nobody_voted_on():
    # answer 0 beats 1 under prompt 0, both occur under prompt 1, but there only with 2
    prompt = np.repeat([0, 1, 1], 20)
    first, second = np.repeat([0, 0, 1], 20), np.repeat([1, 2, 2], 20)
    label = np.concatenate([np.ones(20), np.full(40, 0.5)])
    cells, blocks, counts = problem((prompt, first, second, label))
    place, _ = locate(cells, np.array([1]), np.array([0]), np.array([1]))
    assert counts.total[place[0]] == 0
    assert models.fit(blocks, (0.0, 0.0, 1.0, 0.0), counts).logit[place[0]] > 1
    assert models.fit(blocks, (0.0, 0.0, 0.0, 1.0), counts).logit[place[0]] == 0


def test_feature_blocks_are_a_linear_and_a_skew_form():
    rng = np.random.default_rng(2)
    features = rng.normal(size=(5, 3))
    cells = cells_of(np.zeros(4, int), np.arange(4), np.arange(1, 5))
    blocks = models.feature_blocks(cells, features)
    weight = rng.normal(size=(3, 3))
    skew = weight - weight.T
    expected = np.array([features[a] @ skew @ features[b] for _, a, b in zip(*cells, strict=True)])
    np.testing.assert_allclose(blocks.skew[0] @ skew[np.triu_indices(3, 1)], expected, atol=1e-12)
    np.testing.assert_array_equal(blocks.score[0], features[cells.first] - features[cells.second])
    # with a constant feature in front, the first row of the skew form is Bradley-Terry's weights, negated
    constant = models.feature_blocks(cells, np.hstack([np.ones((5, 1)), features])).skew[0]
    np.testing.assert_allclose(constant[:, :3], -blocks.score[0], atol=1e-12)


def test_freedom_is_the_number_of_directions_that_votes_can_tell():
    _cells, blocks, counts = problem(drawn(votes=4000))
    wide = models.fit(blocks[:1], (1e3,), counts)
    # four scores, of which only differences count
    assert models.degrees_of_freedom(blocks[:1], wide, counts) == pytest.approx(3, abs=1e-3)
    assert models.num_parameters(blocks, models.fit(blocks, (1, 1, 1, 1), counts), counts) == 4 + 12 + 6 + 18
    narrow = models.fit(blocks, (1e-4, 0, 0, 1e-4), counts)
    assert models.degrees_of_freedom(blocks, narrow, counts) < 1e-3
    everything = models.fit(blocks, (1, 1, 1, 1e3), counts)  # a parameter a cell: three prompts, six pairs
    assert models.degrees_of_freedom(blocks, everything, counts) == pytest.approx(18, abs=0.01)
    assert models.degrees_of_freedom(blocks, models.fit(blocks, (0, 0, 0, 0), counts), counts) == 0


def test_freedom_of_a_proportion():
    prompt, first, second = np.zeros(100, int), np.zeros(100, int), np.ones(100, int)
    _, blocks, counts = problem((prompt, first, second, np.repeat([0.0, 1.0], 50)))
    fitted = models.fit(blocks[2:3], (0.4,), counts)
    # one parameter at 1/2: curvature 100 / 4, prior precision 1 / 0.16
    assert models.degrees_of_freedom(blocks[2:3], fitted, counts) == pytest.approx(25 / (25 + 1 / 0.16))


@pytest.mark.parametrize(("turn", "seed"), [(1.5, 0), (1.5, 1), (0.0, 0), (0.0, 1)])
def test_the_general_model_wins_where_people_go_round_and_only_there(turn, seed):
    votes = votes_of_styles(turn, 1500, seed)
    cells, blocks, counts = problem(votes)
    place, forward = locate(cells, *votes[:3])
    fold = np.arange(1500) % 3
    parts = [
        count(place[fold == k], forward[fold == k], votes[3][fold == k], len(cells[0])) for k in range(3)
    ]
    folds = Counts(np.stack([part.total for part in parts]), np.stack([part.wins for part in parts]))
    grid = (0.0, 0.03, 0.1, 0.3, 1.0)
    base = models.select(blocks, (1.0, 0, 0, 0), (0,), grid, folds)
    chosen = models.select(blocks, base, (2,), grid, folds)
    _, _, fresh = problem(votes_of_styles(turn, 20000, seed + 100))
    losses = [
        models.log_loss(models.fit(blocks, scales, counts).logit, fresh) / 20000 for scales in (base, chosen)
    ]
    if turn:
        assert chosen[2] >= 0.3
        assert losses[0] - losses[1] > 0.05
    else:
        assert losses[0] - losses[1] < 1e-4


def test_without_votes_the_prior_stands():
    _, blocks, counts = problem(drawn())
    nothing = Counts(np.zeros_like(counts.total), np.zeros_like(counts.wins))
    fitted = models.fit(blocks, (1, 1, 1, 1), nothing)
    assert not fitted.logit.any()
    assert models.log_loss(fitted.logit, counts) == pytest.approx(np.log(2) * counts.total.sum())


def test_bad_settings_are_refused():
    cells, blocks, counts = problem(drawn())
    for scales in ((1.0,), (1.0, -1.0, 0, 0), (np.nan, 0, 0, 0)):
        with pytest.raises(InputError, match="the scales are"):
            models.fit(blocks, scales, counts)
    with pytest.raises(InputError, match="K >= 2"):
        models.select(blocks, (1, 0, 0, 0), (0,), (0.1,), Counts(counts.total[None], counts.wins[None]))
    twice = Counts(np.stack([counts.total] * 2), np.stack([counts.wins] * 2))
    with pytest.raises(InputError, match="0 scales"):
        models.select(blocks, (1, 0, 0, 0), (0,), (), twice)
    for features in (np.ones((4, 1)), np.full((4, 2), np.nan), np.ones(4)):
        with pytest.raises(InputError, match="the features have the shape"):
            models.feature_blocks(cells, features)
