"""A published table of real preferences, carried with the package as its default game."""

from __future__ import annotations

import csv
import importlib.resources

import numpy as np

SOURCE = "Munos et al. 2023, arXiv:2312.00886, Table 3"


def nash_md_table3() -> tuple[tuple[str, ...], np.ndarray]:
    """Preferences of PaLM 2 between 14 fine-tuned summarisation policies, row preferred to column.

    2,000 samples a pair, 95 % interval at most 0.023; printed there as column over row, transposed here. It
    has two intransitive triples, and a Condorcet winner, MD1 (Nash-MD with mixture 0.125).

    Returns:
      The 14 names and the ``[14, 14]`` matrix.

    Reference: arXiv:2312.00886, Table 3.

    >>> names, preference = nash_md_table3()
    >>> names[3], float(preference[3, 1])
    ('MD1', 0.598)
    """
    text = (
        importlib.resources.files("tabular").joinpath("data/nash_md_table3.csv").read_text(encoding="utf-8")
    )
    header, *rows = csv.reader(text.splitlines())
    return tuple(header[1:]), np.array([[float(entry) for entry in row[1:]] for row in rows])
