"""Figure ``people-vs-models``: which predicts held-out people better, Bradley-Terry or a general model?

Both are fitted to some people and judged by the votes of others. Bradley-Terry is nested in the general
model, whose skew part may go round in circles, and every ridge is chosen inside the training part. Votes of
real people are read from a folder (``Config.data``). Two populations that were made up, one cyclic and one
Bradley-Terry, are judged by the same code in every run, and so are transitive twins of each data set: people
asked about the same pairs, who rank by Bradley-Terry scores and noise.

Expected: on the made-up cyclic people the general model gains a tenth of a nat a vote and 14 points of
accuracy; on no real data does it gain anything. So on the controls without cycles (qa_feedback, HH harmless),
where it loses about a thousandth of a nat; and, against what their cycles suggest, on HANNA and llmfao, where
cross-validation mostly leaves the skew part out. Their cycles are about as many as noise makes: prompts of
HANNA have fewer cyclic triples than transitive twins, the majorities of llmfao over all prompts slightly more
than any of 20 twins, but not such as tell how other people vote.

Hence the policies agree: at equal KL the Nash policy wins within half a point of 50 % against the optimum of
Bradley-Terry's rewards on real data. At equal β the optimum mostly wins, because rewards in logits move it
farther from the reference. What the Nash policy is for shows on the made-up cyclic people at small β: the
answer that beats the optimum 2 to 1 does not beat it.

What limits this: a rater of HANNA is a place in the file and not a person (who filled it differs from story
to story), and its human authors are left out. The votes of llmfao are on few of the pairs that policies draw,
and its win rates are those on these. Texts are seen through cheap features, by which 6 votes in 10 are
predicted. A tie is half a vote in the log-loss and left out of the accuracy. The intervals do not hold that
other training people would give other models; the deals, which exchange them, are drawn beside.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from experiments.figures.people_vs_models import data as people_data
from experiments.figures.people_vs_models.data import Loaded
from experiments.figures.people_vs_models.fit import Prediction, Problem, predict, prepare, refit
from experiments.figures.people_vs_models.policies import PAIRS, Duel, divergence, duel, policies, pooled
from experiments.figures.shared.curves import (
    Announce,
    Brief,
    Interval,
    announced,
    bootstrap_ratio,
    check_seeds,
)
from nlhf.base import check_number, check_whole
from nlhf.errors import InputError
from tabular.people.data_sets import Votes
from tabular.people.vote_cells import places

CYCLE_TWINS = 20  # twins whose cycles are counted; predictions are judged on the first ``seeds`` of them


@dataclasses.dataclass(frozen=True)
class Config:
    """Settings of the figure."""

    seeds: int = 5  # how often the people are dealt into folds, 1 to 100
    # folder with the files of ``people_vs_models.data.SOURCES``; without one, made-up people alone
    data: str = ""
    betas: tuple[float, ...] = (0.02, 0.1, 0.5)  # KL coefficients of the policies, > 0
    resamples: int = 2000  # of the bootstrap, 100 or more
    most_folds: int = 5  # a data set is cut into its own number of folds, or this one if it is smaller, >= 2
    seed: int = 0  # root of all draws, >= 0


def quick(config: Config) -> Config:
    """A smaller version for smoke runs: the people are dealt once, into three folds, and one β."""
    return dataclasses.replace(config, seeds=1, betas=config.betas[:1], resamples=500, most_folds=3)


@dataclasses.dataclass(frozen=True)
class Score:
    """How both models predict the votes of people who were held out."""

    loss_bradley_terry: float  # nats a vote; a tie is half a vote for each
    loss_general: float  # likewise
    loss_gain: Interval  # the former less the latter, above 0 where the general model is better
    loss_gain_by_seed: list[float]  # of each deal
    # share of the votes that are no ties and go to the answer with chance above 1/2
    accuracy_bradley_terry: float
    accuracy_general: float  # likewise
    accuracy_gain: Interval  # the latter less the former
    accuracy_gain_by_seed: list[float]  # of each deal


@dataclasses.dataclass(frozen=True)
class Triples:
    """Cyclic triples of majorities, in the data and in transitive twins of it."""

    triples: int  # strict triples
    cyclic: int  # those that are cycles
    groups: int  # prompts with such a cycle; over all prompts, 0 or 1
    twins: list[float]  # shares of cycles in the twins, of those that have strict triples
    twin_groups: list[int]  # prompts with a cycle in each twin


@dataclasses.dataclass(frozen=True)
class Match:
    """Two policies before people who were held out."""

    beta: float
    one: str  # the policy whose draws are wanted to win
    other: str  # its opponent
    # of draws from the one over draws from the other; a draw of the same answer is half a win
    win_rate: Interval
    same: float  # probability of that
    covered: float  # share of the probability of different draws on whose pair held-out people voted
    kl_one: float  # KL(one ‖ reference), in nats, mean over prompts
    kl_other: float  # likewise


@dataclasses.dataclass(frozen=True)
class Panel:
    """One data set."""

    name: str
    real: bool  # False for people that were made up
    votes: int
    units: int  # how many people, or prompts where people are not named, are dealt to folds
    prompts: int
    tie_share: float  # of the votes
    folds: int  # how many parts are held out in turn
    parameters: tuple[int, int]  # of Bradley-Terry and of the general model, in the first fold
    freedom: tuple[float, float]  # their effective degrees of freedom
    skew_used: float  # share of the fits in which cross-validation gave the general model a skew part
    score: Score
    twin_loss_gain: list[float]  # ``loss_gain`` on transitive twins, where it can come only from noise
    twin_accuracy_gain: list[float]  # likewise
    by_prompt: Triples  # cycles in the majorities of each prompt
    # cycles in the majorities over all prompts; ``None`` where answers belong to a prompt
    overall: Triples | None
    matches: list[Match]


@dataclasses.dataclass(frozen=True, repr=False)
class Result(Brief):
    """Everything the figure and the table are drawn from."""

    config: Config
    panels: list[Panel]  # one a data set; the last two are the made-up populations
    notes: list[str]


@announced
def run(config: Config, progress: Announce) -> Result:
    """Judge both models on every data set there is, and on made-up people.

    Raises:
      InputError: if a setting is out of range, or the folder holds none of the data sets or a broken one.
    """
    check_seeds(config.seeds, 100)
    check_whole("seed", config.seed, low=0)
    check_whole("resamples", config.resamples, low=100)
    check_whole("most_folds", config.most_folds, low=2)
    if not config.betas:
        raise InputError("betas is empty, but a policy needs a KL coefficient; give one or more")
    for beta in config.betas:
        check_number("beta", beta, open_low=True)
    found, notes = people_data.load(config.data) if config.data else ([], [])
    made_up = [people_data.population(cyclic, _rng(config, int(cyclic))) for cyclic in (True, False)]
    sets = [*found, *made_up]
    units = len(sets) * (2 * config.seeds + 1)

    def announce(what: str) -> None:
        progress(what, units)

    return Result(config, [_panel(loaded, config, announce) for loaded in sets], notes)


def _rng(config: Config, *path: int) -> np.random.Generator:
    """Return the source of draws for one purpose, whatever data sets there are."""
    return np.random.default_rng([config.seed, *path])


def _panel(loaded: Loaded, config: Config, announce: Callable[[str], None]) -> Panel:
    votes, folds = loaded.votes, min(loaded.folds, config.most_folds)
    problem = prepare(votes)
    everybody = np.ones(len(votes.label), bool)
    deals = []
    for seed in range(config.seeds):
        announce(f"{votes.name}: people dealt into folds, {seed + 1} of {config.seeds}")
        deals.append(predict(problem, folds, _rng(config, 2, seed), with_freedom=seed == 0))
    twins = _twins(problem, deals[0], config)
    twin_scores = []
    for seed in range(config.seeds):
        announce(f"{votes.name}: a transitive twin, {seed + 1} of {config.seeds}")
        dealt = predict(twins[seed], folds, _rng(config, 3, seed))
        twin_scores.append(_score(twins[seed].votes, [dealt], config))
    announce(f"{votes.name}: policies")
    num_scores = deals[0].scales.shape[1] // 2
    return Panel(
        votes.name,
        loaded.real,
        len(votes.label),
        len(np.unique(votes.unit)),
        votes.num_prompts,
        votes.tie_share,
        folds,
        deals[0].parameters,
        deals[0].freedom,
        float(np.mean([(one.scales[:, num_scores:] > 0).any(1).mean() for one in deals])),
        _score(votes, deals, config),
        [score.loss_gain.value for score in twin_scores],
        [score.accuracy_gain.value for score in twin_scores],
        _triples(problem, twins, everybody, by_prompt=True),
        None if votes.questions is not None else _triples(problem, twins, everybody, by_prompt=False),
        _matches(problem, deals, config),
    )


def _twins(problem: Problem, deal: Prediction, config: Config) -> list[Problem]:
    """Draw people whose Bradley-Terry scores and ties are those of the data."""
    logit = problem.of_votes(refit(problem, deal.scales[0]))
    twin = people_data.fit_twin(logit, problem.votes.label)
    return [
        problem._replace(votes=people_data.draw_twin(problem.votes, logit, twin, _rng(config, 4, index)))
        for index in range(max(CYCLE_TWINS, config.seeds))
    ]


def _triples(problem: Problem, twins: list[Problem], rows: np.ndarray, by_prompt: bool) -> Triples:
    counts = [one.tally(rows) for one in (problem, *twins)]
    found = [people_data.cycles(problem.cells, count.total, count.wins, by_prompt) for count in counts]
    return Triples(
        *found[0], [one.share for one in found[1:] if one.triples], [one.groups for one in found[1:]]
    )


def _score(votes: Votes, deals: list[Prediction], config: Config) -> Score:
    strict = votes.label != 0.5

    def losses(logit: np.ndarray) -> np.ndarray:
        return np.logaddexp(0.0, logit) - votes.label * logit

    def hits(logit: np.ndarray) -> np.ndarray:
        return np.where(strict, 0.5 + (votes.label - 0.5) * np.sign(logit), 0.0)

    loss = np.array([[losses(one.bradley_terry), losses(one.general)] for one in deals])
    hit = np.array([[hits(one.bradley_terry), hits(one.general)] for one in deals])
    share = hit.sum(2) / max(int(strict.sum()), 1)
    return Score(
        float(loss[:, 0].mean()),
        float(loss[:, 1].mean()),
        _interval(votes, (loss[:, 0] - loss[:, 1]).mean(0), np.ones(len(strict)), config),
        [float(one) for one in (loss[:, 0] - loss[:, 1]).mean(1)],
        float(share[:, 0].mean()),
        float(share[:, 1].mean()),
        _interval(votes, (hit[:, 1] - hit[:, 0]).mean(0), strict, config),
        [float(one) for one in share[:, 1] - share[:, 0]],
    )


def _interval(votes: Votes, value: np.ndarray, weight: np.ndarray, config: Config) -> Interval:
    sums = np.bincount(votes.cluster, value), np.bincount(votes.cluster, weight)
    return bootstrap(*sums, config)


def bootstrap(top: np.ndarray, bottom: np.ndarray, config: Config) -> Interval:
    """Return Σ top / Σ bottom with its 95 % interval over resampled clusters."""
    settings: Any = {"seed": [config.seed, 5], "resamples": config.resamples}
    return Interval(*(float(number) for number in bootstrap_ratio(top, bottom, **settings)))


def _matches(problem: Problem, deals: list[Prediction], config: Config) -> list[Match]:
    where = places(problem.cells)
    matches = []
    for beta in config.betas:
        duels: dict[tuple[str, str], list[Duel]] = {pair: [] for pair in PAIRS}
        distance: dict[str, list[float]] = {}
        for table in (table for one in deals for table in one.tables):
            made = policies(problem, where, table, beta)._asdict()
            for name, policy in made.items():
                distance.setdefault(name, []).append(divergence(policy, made["reference"]))
            for one, other in PAIRS:
                duels[one, other].append(duel(problem, where, table.held_out, made[one], made[other]))
        for (one, other), found in duels.items():
            total = pooled(found)
            edge = bootstrap(total.advantage, total.weight, config)
            rate = [0.5 + (1 - total.same) * value for value in (edge.value, edge.low, edge.high)]
            kl = [float(np.mean(distance[name])) for name in (one, other)]
            matches.append(Match(beta, one, other, Interval(*rate), total.same, total.covered, *kl))
    return matches
