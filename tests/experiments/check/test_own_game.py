"""`nlhf check --game`: a claim on a game of one's own, and what is refused."""

import json
import types

import jax.numpy as jnp
import pytest

import proofs_checks


@pytest.fixture
def no_runs(monkeypatch):
    """Verdicts without runs: what is judged, not how."""
    asked = []

    def judge(claim, method, game, key, **sizes):
        asked.append((claim.name, dict(method.step.keywords)))
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
        (("--algorithm", "mpo"), ["mpo makes no claims"]),
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
