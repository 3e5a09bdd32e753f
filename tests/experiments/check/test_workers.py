"""Two lanes of work: everything is judged once, searches beside the rows, and failures surface."""

import threading
from types import SimpleNamespace

import pytest

from experiments.check.workers import Lanes


def entry(section, name):
    return SimpleNamespace(section=section, name=name)


ENTRIES = [entry("rows", "a"), entry("tightness", "b"), entry("rows", "c"), entry("breaking", "d")]


def test_every_entry_is_judged_once_and_announced_once():
    announced = []
    lanes = Lanes(ENTRIES, lambda one: {"name": one.name})
    results = list(lanes.results(lambda one: announced.append(one.name)))
    assert sorted(value["name"] for _, value in results) == ["a", "b", "c", "d"]
    assert all(one.name == value["name"] for one, value in results)
    assert sorted(announced) == ["a", "b", "c", "d"]


def test_searches_run_beside_the_rows():
    here, met = threading.get_ident(), threading.Barrier(2, timeout=10)
    threads = {}

    def measure(one):
        threads[one.name] = threading.get_ident()
        if one.name in ("a", "b"):
            met.wait()  # passes only if both are being judged at one time
        return {}

    list(Lanes(ENTRIES, measure).results(lambda one: None))
    assert threads["a"] == threads["c"] == here
    assert threads["b"] == threads["d"] != here


@pytest.mark.parametrize("broken", ["a", "b", "c", "d"])
def test_a_failure_in_either_lane_is_raised(broken):
    def measure(one):
        if one.name == broken:
            raise ArithmeticError(one.name)
        return {}

    lanes = Lanes(ENTRIES, measure)
    with pytest.raises(ArithmeticError, match=broken):
        list(lanes.results(lambda one: None))
    lanes.finish()
    assert not lanes._thread.is_alive()


def test_after_finish_no_search_is_started():
    judged, begun, go = [], threading.Event(), threading.Event()

    def measure(one):
        judged.append(one.name)
        if one.name == "b":
            begun.set()
            assert go.wait(10)
        return {}

    lanes = Lanes(ENTRIES[1:], measure)
    results = lanes.results(lambda one: None)
    next(results)  # row c; b is in work by then, or will be
    assert begun.wait(10)
    lanes._stop.set()
    go.set()
    lanes.finish()
    assert judged.count("d") == 0


def test_rows_alone_start_no_thread():
    lanes = Lanes(ENTRIES[:1], lambda one: {})
    assert len(list(lanes.results(lambda one: None))) == 1
    lanes.abandon(130)  # returns: nothing is alive
    assert not lanes._thread.is_alive()
