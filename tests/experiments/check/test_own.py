"""`nlhf check` outside of the ledger: a game of one's own, an algorithm of one's own, and what is refused."""

import json
import sys
import types

import jax.numpy as jnp
import pytest

import proofs_checks


@pytest.fixture
def no_runs(monkeypatch):
    """Verdicts without runs: what is judged, not how."""
    asked = []

    def judge(claim, method, game, key, **sizes):
        method = method(0.1) if callable(method) else method
        asked.append((claim.name, game if isinstance(game, str) else dict(method.step.keywords)))
        witness = types.SimpleNamespace(
            step=1, measured=0.5, bound=1.0, step_size=0.1, start=jnp.zeros((1, 3))
        )
        holds = claim.name != getattr(judge, "fails", None)
        return types.SimpleNamespace(claim=claim, holds=holds, worst=0.5, runs=4, witness=witness)

    monkeypatch.setattr(proofs_checks, "check", judge)
    return types.SimpleNamespace(asked=asked, judge=judge)


def test_a_game_of_ones_own(nlhf, no_runs, game):
    done = nlhf("check", "--game", game)
    assert done.code == 0
    names = [name for name, _ in no_runs.asked]
    assert {"egpo.kl", "omwu.kl", "nash_md.decreasing.kl", "nash_prox.kl"} <= set(names)
    assert not any(name.endswith(".average") for name in names)  # they are about beta = 0
    assert "left out" in done.err
    assert len(done.out.splitlines()) == 2 + len(names)
    no_runs.asked.clear()
    assert nlhf("check", "--game", game, "--beta", "0").code == 0
    assert [name for name, _ in no_runs.asked] == [
        "online_mirror_descent.average",
        "nash_mirror_prox.average",
        "omwu.average",
    ]


def test_a_real_claim_on_ones_own_game(nlhf, game):
    done = nlhf("check", "--game", game, "--claim", "nash_md.decreasing.kl", "--beta", "0.3", "--json")
    assert done.code == 0
    (verdict,) = json.loads(done.out)["verdicts"]
    assert verdict["holds"]
    assert verdict["runs"] == 4
    assert 0 < verdict["measured"] < verdict["bound"]


def test_a_claim_that_fails_on_ones_own_game(nlhf, no_runs, game):
    no_runs.judge.fails = "egpo.kl"
    done = nlhf("check", "--game", game, "--algorithm", "egpo", "--json")
    assert done.code == 1
    assert done.err.splitlines()[-1] == "nlhf: error: 1 of 5 claims fail on this game: egpo.kl"
    found = json.loads(done.out)
    assert [verdict["holds"] for verdict in found["verdicts"]] == [False, True, True, True, True]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--algorithm", "egpo", "--beta", "0"), ["beta = 0", "assumes", "beta > 0", "raise beta"]),
        (("--claim", "egpo.kl", "--beta", "0"), ["beta = 0", "egpo.kl assumes", "raise beta"]),
        (("--claim", "omwu.average"), ["beta = 0.1", "omwu.average assumes", "beta = 0"]),
        (("--algorithm", "egpo", "--step-size", "5"), ["step size is 5", "egpo.kl assumes", "[0, 1.66667]"]),
        (("--algorithm", "nash_md", "--beta", "0"), ["beta is 0", "beta > 0"]),
        (("--claim", "egpo.lk"), ["'egpo.lk' is not a claim", "egpo.kl"]),
        (("--claim", "nash_md.constant.kl"), ["--step-size"]),
        (("--algorithm", "game"), ["'game' is not an algorithm"]),
        (("--step-size", "1"), ["--step-size is 1", "--algorithm"]),
        (("--out", "a"), ["--out", "writes nothing"]),
        (("--beta", "-1"), ["--beta is -1"]),
    ],
)
def test_a_game_outside_the_assumptions_is_refused(refused, no_runs, game, words, says):
    refused("check", "--game", game, *words, says=says)
    assert no_runs.asked == []


def test_a_reference_without_full_support_is_refused(refused, no_runs, game, tmp_path):
    (tmp_path / "reference.csv").write_text("0.5\n0.5\n0\n")
    refused("check", "--game", game, "--reference", tmp_path / "reference.csv", says=["scissors", "is 0"])


def test_an_algorithm_without_claims_says_so(nlhf, no_runs, game):
    done = nlhf("check", "--game", game, "--algorithm", "mpo")
    assert done.code == 0
    assert done.out == "mpo makes no claims, so there is nothing to judge\n"
    assert no_runs.asked == []


OWN = """
from jax.tree_util import Partial

from nlhf import Algorithm, Claim, egpo
from nlhf.algorithms.egpo import EGPOState
from nlhf.base import Info
from nlhf.targets import explicit


def bound(step, known):
    return (1 - known.step_size * known.beta) ** step * known.kl_start


PROMISED = Claim("mine.kl", "kl_to_nash", bound, step_size_range=lambda beta: (0 * beta, 1 / (beta + 0.5)))


def house(step_size, beta):
    return egpo(step_size, beta)._replace(claims=(PROMISED,))


def _start(policy):
    return EGPOState(policy, policy)


def _step(key, state, oracle, space, *, step_size, beta):
    short, full = (Partial(explicit, step_size=scale * step_size, beta=beta) for scale in (0.5, 1.0))
    half = space.project(state.policy, short, oracle.payoff(key, state.policy))
    return EGPOState(space.project(state.policy, full, oracle.payoff(key, half)), half), Info(2)


def wrong(step_size, beta):
    return Algorithm(Partial(_start), Partial(_step, step_size=step_size, beta=beta), (PROMISED,))


def claimless(step_size, beta):
    return egpo(step_size, beta)._replace(claims=())


def unnormalised(step_size, beta):
    made = egpo(step_size, beta)

    def step(*arguments):
        state, info = made.step(*arguments)
        return state._replace(policy=state.policy + 1.0), info

    return Algorithm(made.init, Partial(step), ())
"""


@pytest.fixture
def mine(tmp_path, monkeypatch):
    (tmp_path / "of_mine.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "of_mine", raising=False)


def test_an_algorithm_of_ones_own_on_the_bank(nlhf, mine, no_runs, refused, game):
    done = nlhf("check", "--algorithm", "of_mine:house")
    assert done.code == 0
    assert no_runs.asked == [("mine.kl", "bank")]
    assert done.out.splitlines()[2].split()[:2] == ["mine.kl", "holds"]
    no_runs.asked.clear()
    assert nlhf("check", "--algorithm", "of_mine:house", "--game", game).code == 0
    assert no_runs.asked == [("mine.kl", {"step_size": pytest.approx(1 / 0.6), "beta": 0.1})]
    no_runs.asked.clear()
    done = nlhf("check", "--algorithm", "of_mine:claimless")
    assert (done.code, done.out) == (0, "of_mine:claimless makes no claims, so there is nothing to judge\n")
    refused("check", "--algorithm", "of_mine:hose", says=["'hose' is not a function of of_mine", "house"])
    refused("check", "--algorithm", "of_mine:house", "--claim", "mine.lk", says=["mine.lk", "mine.kl"])
    refused("check", "--algorithm", "of_mine:house", "--beta", "1", says=["--beta is 1", "--game FILE"])
    refused("check", "--algorithm", "of_mine:unnormalised", says=["total probability 2.71828"])
    assert no_runs.asked == []


def test_a_false_claim_of_ones_own_algorithm_is_refuted(nlhf, mine):
    done = nlhf("check", "--algorithm", "of_mine:wrong", "--quick", "--json")
    assert done.code == 1
    assert done.err.splitlines()[-1] == "nlhf: error: 1 of 1 claims of this algorithm fail: mine.kl"
    (verdict,) = json.loads(done.out)["verdicts"]
    assert verdict["worst"] > 1.5
    assert verdict["runs"] == 160
