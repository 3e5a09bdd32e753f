"""The generated tables of algorithms: what the committed ledger gives, and true of the algorithms."""

import json
import pathlib

from experiments.check import algorithms_page
from nlhf import ALGORITHMS, METHODS

ROOT = pathlib.Path(algorithms_page.__file__).parents[2]


def stored(folder):
    return json.loads((folder / "ledger.json").read_text(encoding="utf-8"))


def test_the_committed_page_is_what_the_committed_ledger_gives():
    """Stale? Run ``nlhf check --full --out proofs_checks``."""
    text = (ROOT / "experiments/docs/algorithms.md").read_text(encoding="utf-8")
    assert algorithms_page.with_table(text, stored(ROOT / "proofs_checks")) == text


def test_the_page_names_the_claim_that_breaks_where_it_is_another():
    kept = stored(ROOT / "proofs_checks")
    point = {"proved_to": 2.0, "violated_from": 3.0, "grid": [[2.0, 1.0], [3.0, 1.5]]}
    unknown = {**point, "violated_from": None}
    at_its_end = {"proved_to": 2.0, "violated_from": None, "grid": [[2.0, 1.0]]}
    kept["breaking"] = {
        "egpo": {"claim": "egpo.kl", "points": [unknown, point]},
        "omwu": {"claim": "omwu.long_step", "points": [point]},
        "nash_mirror_prox": {"claim": "nash_mirror_prox.kl", "points": [unknown]},
        "nash_md": {"claim": "nash_md.constant.kl_sharp", "points": [at_its_end]},
    }
    lines = algorithms_page.games_table(kept).splitlines()
    cells = {line.split("`")[1]: line.split(" | ")[6].strip() for line in lines[2:]}
    assert cells["egpo"] == "1.5 × the range"
    assert cells["omwu"] == "1.5 × the range of `omwu.long_step`"
    assert cells["nash_mirror_prox"] == "not up to 1.5 × the range"
    assert cells["nash_md"] == cells["mpo"] == ""


def test_the_page_counts_queries_as_the_algorithms_do():
    from bank import ROWS

    for name in ALGORITHMS:
        assert METHODS[name].queries in (ROWS[name].queries, "inner steps")
        assert (METHODS[name].queries == "inner steps") == (name == "nash_prox")
