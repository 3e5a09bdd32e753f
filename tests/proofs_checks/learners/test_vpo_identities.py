"""VPO in rewards and in policies."""

import numpy as np
import pytest

from proofs_checks.learners import vpo_identities
from proofs_checks.learners.labels import draw
from proofs_checks.rows import Effort, decide

QUICK = Effort(quick=True)
FITTED = ("vpo.offline_solvers_agree", "vpo.calibration_keeps_unseen")  # compile a fit in the simplex


def param(check):
    marks = [pytest.mark.slow] if check.name in FITTED else []
    return pytest.param(check, marks=marks, id=check.name)


@pytest.mark.parametrize("check", [param(check) for check in vpo_identities.CHECKS])
def test_rows(check):
    row = decide(check, check.judge(QUICK))
    assert row.as_expected, row.outcome


def test_names_are_unique():
    names = [check.name for check in vpo_identities.CHECKS]
    assert len(set(names)) == len(names)
    assert set(FITTED) <= set(names)


def test_hessian_is_the_second_derivative():
    data = draw(QUICK, "test.hessian", 1)
    size, step = data.reward.size, 1e-4
    eye = np.eye(size)

    def objective(flat):
        reward = flat.reshape(data.reward.shape)
        return data.likelihood(reward)[0] + 2.5 * data.reward_value(reward)[0]

    start = data.reward.ravel()
    measured = np.array(
        [
            [
                sum(a * b * objective(start + step * (a * e + b * f)) for a in (1, -1) for b in (1, -1))
                for f in eye
            ]
            for e in eye
        ]
    ) / (4 * step**2)
    exact = vpo_identities.hessian(data, data.reward, np.array([2.5]), eye)[0]
    np.testing.assert_allclose(measured, exact, atol=1e-5)


def test_reward_space_solver_is_stationary():
    data = draw(QUICK, "test.solver", 2, 10)
    for index in range(2):
        fitted = vpo_identities.reward_space(data, index)
        one = type(data)(*(column[index : index + 1] for column in data))
        reward = one.beta[:, None, None] * (fitted[None] - one.log_ref)
        push = one.optimism[:, None, None] * one.prob[:, :, None] * (np.exp(fitted) - np.exp(one.log_cal))
        np.testing.assert_allclose(one.pull(reward), push, atol=1e-8)
