"""A certificate proves, refutes or says that it cannot; wrong methods and wrong bounds are refuted."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flint import arb, ctx

from nlhf import algorithms
from nlhf.errors import InputError
from nlhf.method import default
from proofs_checks.certificates import certify, enclosure, planted
from proofs_checks.certificates import lemmas as certified_lemmas
from proofs_checks.certificates.certify import (
    PROVED,
    REFUTED,
    UNDECIDED,
    above,
    below,
    certify_claim,
    claimed,
)
from proofs_checks.certificates.enclosure import enclose_nash, normalise
from proofs_checks.controls import CONTROLS
from proofs_checks.rows import Effort, decide
from tabular import metrics
from tabular.games import make_game
from tabular.runner import run
from tabular.traces import Measure

CLAIMS = claimed()
# the payoff's sign does not matter to a bound that is loose enough to cover every policy
LOOSE = {"nash_md.constant.kl", "nash_md.decreasing.kl"}


def test_every_claim_of_every_algorithm_is_there():
    made = {claim.name for name in algorithms.ALGORITHMS for claim in default(name, 1.0, 0.1).claims}
    assert made | {claim.name for claim in algorithms.nash_md(None, 1.0).claims} == set(CLAIMS)


@pytest.mark.parametrize("name", CLAIMS)
def test_claims_are_proved_on_drawn_games(name):
    summary = certify_claim(name, seed=7, num_instances=5)
    assert (summary.proved, summary.refuted, summary.undecided) == (5, 0, 0)
    assert 0 < summary.worst <= 1


@pytest.mark.parametrize("name", sorted(set(CLAIMS) - LOOSE))
def test_the_wrong_sign_of_the_payoff_is_refuted(name):
    claim, method = CLAIMS[name]

    def wrong(step_size, beta):
        return CONTROLS["transposed"].apply(method(step_size, beta))

    for seed in range(20):
        found = certify_claim(claim, wrong, seed=seed, num_instances=8)
        if found.refuted:
            break
    assert found.refuted
    assert found.worst > 1
    assert certify.certify_violation(name, found.witness).verdict == PROVED, "the right sign is fine"


@pytest.mark.parametrize("name", CLAIMS)
def test_a_bound_below_what_is_measured_is_refuted(name):
    claim, method = CLAIMS[name]
    worst = certify_claim(name, num_instances=3).worst
    tighter = dataclasses.replace(
        claim, bound=lambda count, constants: 0.99 * worst * claim.bound(count, constants)
    )
    summary = certify_claim(tighter, method, num_instances=3)
    assert summary.refuted > 0
    assert summary.worst == pytest.approx(1 / 0.99)


GAME = {
    "matrix": [[0.0, 0.5, -0.5], [-0.5, 0.0, 0.5], [0.5, -0.5, 0.0]],
    "nash": [0.0, 0.25, -0.5],
    "start": [2.0, 0.0, -1.0],
    "beta": 0.0625,
}


def test_few_bits_are_undecided_not_proved():
    claim, method = CLAIMS["egpo.kl"]
    instance = planted.Instance(**GAME, share=1.0)
    assert certify.certify(claim, method, instance).verdict == PROVED
    low = certify.certify(claim, method, instance, precisions=(4,))
    assert low.verdict == UNDECIDED
    assert low.worst > 1


def test_wide_instances_are_undecided(monkeypatch):
    """The same instance, its equilibrium known to three digits only."""
    claim, method = CLAIMS["egpo.kl"]
    exactly = planted.play

    def vaguely(instance, longest):
        played = exactly(instance, longest)
        return played._replace(log_nash=played.log_nash + np.array([arb(0, 1e-3)] * 3, object))

    monkeypatch.setattr(certify, "play", vaguely)
    vague = certify.certify(claim, method, planted.Instance(**GAME, share=0.01), precisions=(256,))
    assert vague.verdict == UNDECIDED


def test_precision_is_raised_until_it_decides():
    claim, method = CLAIMS["egpo.kl"]
    instance = planted.Instance(**GAME, share=1.0)
    assert certify.certify(claim, method, instance, precisions=(4, 256, 2048)).bits == 256


def test_two_equal_sides_are_undecided():
    """OMWU's first step only extrapolates: both sides are KL(π*‖π_0), which no balls can tell apart."""
    claim, method = CLAIMS["omwu.kl"]
    both = certify.certify(claim, method, planted.Instance(**GAME, share=1.0), precisions=(256, 512))
    assert both.steps[0].verdict == UNDECIDED
    assert both.verdict == UNDECIDED
    assert {step.verdict for step in both.steps[1:]} == {PROVED}


def test_a_bound_that_is_not_a_number_is_undecided():
    claim, method = CLAIMS["egpo.kl"]
    nowhere = dataclasses.replace(claim, bound=lambda count, constants: jnp.log(-constants.beta))
    certificate = certify.certify(nowhere, method, planted.Instance(**GAME, share=1.0), precisions=(256,))
    assert certificate.verdict == UNDECIDED
    assert certificate.worst == np.inf


def test_a_step_far_beyond_the_range_violates_egpo():
    instance = json.loads(json.dumps({**GAME, "step_size": 8.0}))
    certificate = certify.certify_violation("egpo.kl", instance)
    assert certificate.verdict == REFUTED
    broken = [step for step in certificate.steps if step.verdict == REFUTED]
    assert all(step.measured > step.bound for step in broken)
    within = certify.certify_violation("egpo.kl", {**GAME, "step_size": 1.0})
    assert within.verdict == PROVED


def test_a_negative_bound_has_no_finite_ratio():
    """Nash-MD beyond ηβ = 1: the bound's power alternates in sign, and a divergence is not negative."""
    start = [12.0, 0.0, 0.0]
    instance = {**GAME, "beta": 8.0, "start": start, "step_size": 0.25}
    certificate = certify.certify_violation("nash_md.constant.kl", instance)
    assert certificate.verdict == REFUTED
    assert certificate.worst == np.inf


def test_a_violation_needs_no_planted_equilibrium():
    reference = {**GAME, "reference": [0.0, 1.0, -1.0], "step_size": 8.0}
    del reference["nash"]
    assert certify.certify_violation("egpo.kl", reference).verdict == REFUTED
    assert certify.certify_violation("egpo.kl", {**reference, "step_size": 1.0}).verdict == PROVED


@pytest.mark.parametrize("beta", [1e-3, 0.1, 10.0])
def test_the_enclosure_holds_the_planted_equilibrium(beta):
    rng = np.random.default_rng(3)
    upper = np.triu(rng.uniform(-0.5, 0.5, (4, 4)), 1)
    instance = planted.Instance(
        (upper - upper.T).tolist(), None, beta, nash=rng.normal(size=4).tolist(), share=1
    )
    with ctx.workprec(512):
        played = planted.play(instance, lambda beta: beta)
        enclosed = enclose_nash(played.advantage, played.log_ref, played.beta)
        for entry, truth in zip(enclosed, played.log_nash, strict=True):
            assert entry.overlaps(truth)
            assert 0 < float(entry.rad()) < 1e-50
        other = enclose_nash(played.advantage, normalise(played.log_ref * 2), played.beta)
        assert not any(entry.overlaps(truth) for entry, truth in zip(other, played.log_nash, strict=True))


def test_the_enclosure_does_not_lean_on_newton(monkeypatch):
    """From a solution in floats alone the radius must carry the error."""
    monkeypatch.setattr(enclosure, "_newton", lambda logits, *game: logits)
    with ctx.workprec(256):
        played = planted.play(planted.Instance(**GAME, share=1.0), lambda beta: beta)
        enclosed = enclose_nash(played.advantage, played.log_ref, played.beta)
        for entry, truth in zip(enclosed, played.log_nash, strict=True):
            assert entry.contains(truth)
            assert 1e-20 < float(entry.rad()) < 1e-3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"matrix": [[0.0, 0.5], [0.5, 0.0]]}, "skew"),
        ({"matrix": [[0.0, 0.75], [-0.75, 0.0]]}, "reaches 0.75"),
        ({"reference": GAME["nash"]}, "one of nash and reference"),
        ({"nash": None}, "one of nash and reference"),
        ({"beta": 0.0}, "beta is 0"),
        ({"beta": np.nan}, "beta is nan"),
        ({"share": 1.0}, "one of step_size and share"),
        ({"start": [0.0, -np.inf, 0.0]}, "3 finite logits"),
        ({"start": [0.0, 0.0]}, "3 finite logits"),
    ],
)
def test_what_is_no_instance_is_refused(change, message):
    with pytest.raises(InputError, match=message):
        certify.certify_violation("egpo.kl", {**GAME, "step_size": 1.0, **change})


def played_in_floats(instance, longest=lambda beta: beta):
    played = planted.play(instance, longest)
    table = [
        np.array([float(entry) for entry in row])
        for row in (played.log_ref, played.log_nash, played.log_start)
    ]
    game = make_game(np.asarray(instance.matrix) + 0.5, table[0], instance.beta)
    return played, game, jnp.asarray(table[1][None]), jnp.asarray(table[2][None])


@pytest.mark.parametrize(
    ("name", "beta"),
    [(name, 0.25) for name in planted.METRICS]
    + [(name, 0.0) for name in sorted(set(planted.METRICS) - metrics.NEEDS_NASH)],
)
def test_metrics_agree_with_those_of_the_runs(name, beta):
    given = {"nash": GAME["nash"]} if beta else {"reference": GAME["nash"]}
    instance = planted.Instance(GAME["matrix"], GAME["start"], beta, **given, step_size=1.0)
    played, game, log_nash, start = played_in_floats(instance)
    ball = planted.METRICS[name](played.log_start, played)
    assert float(ball) == pytest.approx(float(metrics.measure(name, game, start, log_nash)), rel=1e-12)


@pytest.mark.parametrize("iterate", ["last", "half", "average"])
def test_iterates_are_those_of_a_run(iterate):
    name = "nash_mirror_prox.average" if iterate == "average" else "egpo.kl"
    claim = dataclasses.replace(CLAIMS[name][0], iterate=iterate)
    instance = planted.Instance(**GAME, step_size=0.75)
    _, game, log_nash, start = played_in_floats(instance)
    method = CLAIMS[name][1]
    measure = Measure(claim.metric, iterate)
    trace = run(method(0.75, 0.0625), game, num_steps=5, start=start, log_nash=log_nash, measures=(measure,))
    certificate = certify.certify(claim, method, instance)
    balls = [float(step.measured) for step in certificate.steps]
    np.testing.assert_allclose(balls, trace.of(claim.metric, iterate)[1:], rtol=1e-11)


def test_draws_cover_what_they_promise():
    rng = Effort().rng("draws")
    drawn = [planted.draw(rng, index) for index in range(80)]
    assert {len(instance.matrix) for instance in drawn} == {2, 3, 4, 5}
    assert {instance.share for instance in drawn} >= {1.0, 0.5, 0.1}
    assert min(instance.beta for instance in drawn) == pytest.approx(1e-3)
    assert max(instance.beta for instance in drawn) == pytest.approx(10)
    assert any(instance.start is None for instance in drawn)
    for instance in drawn:
        matrix = np.asarray(instance.matrix)
        np.testing.assert_array_equal(matrix, -matrix.T)
        assert np.abs(matrix).max() <= 0.5
    assert json.loads(json.dumps(drawn[0]._asdict())) == drawn[0]._asdict()


def test_ends_of_a_ball_are_rounded_outwards():
    with ctx.workprec(256):
        third = arb(1) / 3  # the double nearest to it is below, that nearest to its double above
        for value in (third, 2 * third):
            assert arb(above(value)) > value > arb(below(value))
    assert above(arb(1)) == below(arb(1)) == 1
    assert above(arb.nan()) == above(arb.pos_inf()) == np.inf
    assert below(arb.nan()) == -np.inf


@pytest.mark.parametrize("check", certified_lemmas.CHECKS, ids=lambda check: check.name)
def test_lemmas_are_certain_and_their_controls_fail(check):
    row = decide(check, check.judge(Effort(quick=True)))
    assert row.as_expected, (row.outcome.worst, row.outcome.control_worst)
    assert row.outcome.limit == 1
    again = check.judge(Effort(quick=True))
    assert again == row.outcome


def test_lemma_witnesses_are_json():
    outcome = certified_lemmas.CHECKS[0].judge(Effort(quick=True))
    assert json.loads(json.dumps(outcome.witness))["beta"] > 0


def test_tracing_happens_once(monkeypatch):
    claim, method = CLAIMS["egpo.kl"]
    instance = planted.Instance(**GAME, share=1.0)
    certify.certify(claim, method, instance)
    monkeypatch.setattr(jax, "make_jaxpr", None)
    assert certify.certify(claim, method, instance).verdict == PROVED
