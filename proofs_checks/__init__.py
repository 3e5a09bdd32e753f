"""The referee: does a measured run obey the theorem that an algorithm claims?

For a claim of one's own: ``check`` and ``assert_claim``, with ``assumptions`` (what they refuse) and
``worst`` (the bank and the search, ``assert_claim(claim, make, "bank", search=True)``). For the ledger:

- ``rows`` (what a check is), ``instances`` (the bank), ``bound`` (measured against promised), ``controls``
  (mistakes), ``rates`` (fits);
- ``claims`` (those of the algorithms), ``lemmas/`` (the links of their proofs), ``identities/`` (equalities),
  ``dynamics/`` (noise, fitted rates, separations), ``unchecked`` (what numbers cannot decide);
- ``ascent`` (search for worst instances), ``tightness`` and ``breaking`` by it; ``certificates/`` (balls);
- ``ledger`` and ``report`` (all of it as JSON and as a page).
"""

from nlhf.faces import face

__getattr__, __dir__, __all__ = face(
    __name__, dict.fromkeys(("Verdict", "Witness", "assert_claim", "check"), "proofs_checks.verdicts")
)
