"""Every line of the development notes' table of claims has a row in the ledger."""

import re

import pytest

from proofs_checks import ledger

# line of the notes' last table -> rows that judge it
ROWS = {
    "REF-1": ("game.newton_residual",),
    "REF-2": ("game.newton_certificate",),
    "REF-3": ("game.gap_closed_form", "game.gap_is_maximum"),
    "REF-4": ("game.nash_margin",),
    "REF-5": ("game.strong_monotonicity",),
    "REF-6": ("game.sandwich_lower", "game.sandwich_upper", "game.certificate"),
    "REF-7": ("game.kl_to_reference", "certificate.kl_to_reference"),
    "FP-1": ("game.kl_to_fifty_digits", "game.kl_floor"),
    "FP-2": ("game.naive_kl_is_nonnegative",),
    "NMD-1": ("nash_md.one_step",),
    "NMD-1s": ("nash_md.one_step_sharp",),
    "NMD-2": ("nash_md.mixture",),
    "NMD-3": ("nash_md.mirror_step",),
    "NMD-4": ("nash_md.decreasing.kl", "nash_md.decreasing_step"),
    "NMD-4s": ("nash_md.decreasing.kl_sharp",),
    "NMD-5": ("nash_md.constant.kl", "nash_md.bias"),
    "NMD-6": ("nash_md.constant_step_fixed_point", "nash_md.constant_step_limit"),
    "NMD-7": ("nash_md.bias_exponent",),
    "IPO-1": ("loss.online_ipo_gradient",),
    "IPO-2": ("loss.online_ipo_is_self_play",),
    "IPO-3": ("loss.online_ipo_is_preconditioned_mirror_descent",),
    "IPO-4": ("loss.online_ipo_stationary_at_nash",),
    "IPO-5": ("loss.ipo_md_gradient",),
    "IPO-6": ("loss.ipo_md_gradient_without_baseline",),
    "IPO-7": ("ipo_md.fixed_point", "loss.ipo_md_stationary"),
    "IPO-8": ("loss.uniform_pairs_gradient",),
    "IPO-9": ("online_mirror_descent.is_gradient_descent",),
    "IPO-10": ("online_mirror_descent.is_gradient_descent_by_two",),
    "IPO-11": ("loss.ipo_expanded",),
    "PG-1": ("nash_md.policy_gradient",),
    "PG-2": ("nash_md.mixture_divergence",),
    "PG-3": ("nash_md.mixture_divergence_differentiated",),
    "PG-4": ("loss.baseline_reduces_variance", "loss.baseline_keeps_mean"),
    "EX-1": ("example.three_types",),
    "EX-2": ("example.elo",),
    "EX-3": ("example.dice",),
    "EX-4": ("bradley_terry.fit_matches_win_rates", "example.three_types_reward"),
    "EX-5": ("bradley_terry.fit_ignores_sampling",),
    "EX-6": ("bradley_terry.nash_monotone", "bradley_terry.nash_is_reward_policy"),
    "EX-7": ("additive.nash_is_reward_policy",),
    "EX-8": ("bradley_terry.small_scores",),
    "EX-9": ("loss.online_dpo_stationary",),
    "EX-10": ("loss.online_dpo_finds_nash", "loss.online_dpo_rock_paper_scissors"),
    "MP-1": ("nash_mirror_prox.is_egpo",),
    "MP-2": ("online_mirror_descent.is_magnetic",),
    "MP-3": ("nash_mirror_prox.kl", "nash_mirror_prox.half_kl", "nash_mirror_prox.half_step_doubling"),
    "MP-3e": ("nash_mirror_prox.half_exploitability", "nash_mirror_prox.half_step_exploitability"),
    "MP-3f": ("nash_mirror_prox.exploitability", "nash_mirror_prox.full_step_exploitability"),
    "MP-3s": ("nash_mirror_prox.span", "nash_mirror_prox.span_step_kl"),
    "MP-3h": ("nash_mirror_prox.kl",),
    "MP-4": ("nash_mirror_prox.one_step", "certificate.extragradient_contraction"),
    "MP-5": ("nash_mirror_prox.stability_edge",),
    "MP-6": ("nash_mirror_prox.asymptotic_factor",),
    "EG-1": ("egpo.kl", "egpo.half_kl"),
    "EG-1e": ("egpo.half_exploitability",),
    "EG-1f": ("egpo.exploitability",),
    "EG-1s": ("egpo.span",),
    "EG-2": ("egpo.kl",),
    "EG-3": ("egpo.kl", "egpo.one_step"),
    "OMWU-1": ("omwu.kl", "omwu.half_kl", "omwu.lyapunov"),
    "OMWU-2": ("omwu.long_step",),
    "OMWU-3": ("omwu.last_iterate_factor",),
    "MMD-1": ("online_mirror_descent.kl", "online_mirror_descent.one_step"),
    "MMD-2": ("online_mirror_descent.flow",),
    "MMD-3": ("online_mirror_descent.best_response_span",),
    "MMD-4": ("online_mirror_descent.stability_edge", "online_mirror_descent.cycles"),
    "NOISE-1": ("egpo.noise.floor", "egpo.noise.step_exponent", "egpo.noise.beta_exponent"),
    "ORIG-1": ("online_mirror_descent.horizon_average", "online_mirror_descent.average"),
    "ORIG-2": ("omwu.average",),
    "ORIG-3": ("nash_mirror_prox.average", "nash_mirror_prox.average_alone"),
    "ORIG-4": ("game.regularisation_bias",),
    "ORIG-5": ("game.per_action",),
    "ORIG-6": ("game.exact_nash",),
    "ORIG-7": ("game.odd_support",),
    "ORIG-8": ("online_mirror_descent.drift",),
    "ORIG-9": ("nash_mirror_prox.original_game",),
    "PROX-1": ("proximal_point.distance",),
    "PROX-2": ("proximal_point.average",),
    "PROX-3": ("nash_prox.outer_step", "nash_prox.kl"),
    "SIM-1": ("egpo.simulation", "nash_md.simulation"),
    "SIM-2": ("online_mirror_descent.simulation",),
    "SPG-1": ("online_ipo.gradient_factor", "online_ipo.stability_edge"),
}
NAMES = {check.name for check in ledger.collect()}


@pytest.mark.parametrize("line", ROWS)
def test_each_row_named_here_exists(line):
    assert set(ROWS[line]) <= NAMES


def test_every_line_of_the_notes_is_named_here(shared):
    text = (shared / "theory" / "nlhf.md").read_text(encoding="utf-8")
    table = text[text.index("claim    | kind") :]
    lines = re.findall(r"^([A-Z]+-\d+[a-z]?) *\|", table, flags=re.MULTILINE)
    assert len(lines) > 80
    assert set(lines) == set(ROWS)
