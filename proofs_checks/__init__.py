"""The referee: does a measured run obey the theorem that an algorithm claims?"""

from proofs_checks.check import Verdict
from proofs_checks.check import Witness
from proofs_checks.check import assert_claim
from proofs_checks.check import check

__all__ = ["Verdict", "Witness", "assert_claim", "check"]
