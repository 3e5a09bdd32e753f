"""Every check of the development notes about learning from feedback has a row in the ledger."""

import re

import pytest

from proofs_checks import ledger

# id of a check of the notes -> rows that judge it
ROWS = {
    "XPO-1": ("xpo.implicit_value",),
    "XPO-2": ("xpo.implicit_value_tree",),
    "XPO-3a": ("xpo.implicit_value_stochastic",),
    "XPO-3b": ("xpo.implicit_value_martingale",),
    "XPO-4": ("bandit.gap", "xpo.regret_decomposition"),
    "XPO-5": ("xpo.coverability",),
    "XPO-6": ("xpo.exploration_coefficient",),
    "XPO-7": ("dpo.separation_constants",),
    "XPO-8a": ("dpo.hitting_time_exponent", "dpo.survival", "dpo.simulation", "dpo.frozen_share"),
    "XPO-8b": ("xpo.regret_exponent", "xpo.regret_free_of_beta"),
    "XPO-8c": ("xpo.flipped_sign",),
    "XPO-9": ("xpo.bonus_stationary",),
    "XPO-10": ("xpo.regret_bound", "xpo.small_class_exponent"),
    "XPO-11": ("xpo.ablation", "xpo.ablation_parts"),
    "XPO-12": ("xpo.first_pick",),
    "XPO-13": ("xpo.bonus_forward_kl",),
    "XPO-14": ("xpo.general_value",),
    "XPO-15": ("xpo.sigmoid_lemma", "xpo.hellinger_lemma"),
    "XPO-16": ("xpo.reference_saturation",),
    "SAMP-1": ("dpo.uniform_sampler", "dpo.uniform_sampler_linear", "dpo.sampler_update"),
    "SAMP-2": ("dpo.reward_mixture_sampler", "dpo.policy_mixture_sampler"),
    "VPO-1": ("vpo.online_form", "vpo.offline_form"),
    "VPO-2": ("vpo.value_gradient",),
    "VPO-3": ("vpo.uncalibrated_is_unbounded",),
    "VPO-4": ("vpo.offline_solvers_agree", "vpo.offline_is_convex"),
    "VPO-5": ("vpo.no_first_push",),
    "VPO-6": ("vpo.never_compared_is_unbounded", "vpo.bounded_class"),
    "VPO-7a": ("vpo.regret_exponent", "vpo.sampler_not_bonus"),
    "VPO-7b": ("vpo.wall", "vpo.wall_law"),
    "VPO-8": ("vpo.offline_rate", "vpo.offline_better"),
    "VPO-9": ("vpo.uncalibrated_is_vacuous",),
    "CPL-1": ("cpl.advantage_identity",),
    "CPL-2": ("cpl.any_policy_is_optimal",),
    "CPL-3": ("cpl.segment_identity", "cpl.segment_identity.stochastic"),
    "CPL-4a": ("cpl.identifiability",),
    "CPL-4b": ("cpl.consistency",),
    "CPL-5": ("cpl.flat_directions",),
    "CPL-6": ("cpl.conservative.shift", "cpl.conservative.unseen"),
    "CPL-7": ("cpl.rate",),
    "CPL-8": ("cpl.partial_return.myopic", "cpl.partial_return.loses"),
    "KNOX-1": ("regret_model.end_state",),
    "KNOX-2": ("regret_model.end_state.stochastic",),
    "KNOX-3a": ("regret_model.optimal_set",),
    "KNOX-3b": ("regret_model.only_the_order",),
    "KNOX-3c": ("regret_model.logistic_identifies_advantage",),
    "KNOX-4a": ("regret_model.partial_return.constant",),
    "KNOX-4b": ("regret_model.partial_return.risk",),
    "KNOX-4c": ("regret_model.partial_return.discount",),
    "FAST-1": ("bandit.gap_is_variance", "bandit.gap_is_integral"),
    "FAST-2": ("bandit.fast_rate",),
    "RTO-1": ("rto.dense_reward",),
    "P3O-1": ("p3o.pairwise_gradient", "p3o.shift"),
    "REFUEL-1": ("refuel.natural_gradient",),
    "MAXMIN-1": ("maxmin.worst_group",),
    "ZORANK-1": ("zo_rank.direction",),
}
NAMES = {check.name for check in ledger.collect()}


@pytest.mark.parametrize("line", ROWS)
def test_each_row_named_here_exists(line):
    assert set(ROWS[line]) <= NAMES


def test_every_check_of_the_notes_is_named_here(shared):
    text = (shared / "theory" / "verify_rlhf.py").read_text(encoding="utf-8")
    checks = set(re.findall(r'^@check\("([A-Z0-9]+-\d+[a-z]?)"', text, flags=re.MULTILINE))
    assert len(checks) == 55
    assert checks == set(ROWS)
