"""A face loads a name from its home when it is asked for, and lists all of them before."""

import math
import sys
import xml

import pytest

from nlhf.faces import face


def test_names_load_from_their_homes():
    load, listed, names = face("xml", {"pi": "math", "tau_by_another_name": "math:tau", "dom": "xml.dom"})
    assert listed() == names == ["pi", "tau_by_another_name", "dom"]
    assert load("pi") == math.pi
    assert load("tau_by_another_name") == math.tau
    assert load("dom") is sys.modules["xml.dom"] is xml.dom


def test_another_name_is_refused_with_the_known_ones():
    load, _, _ = face("some.package", {"pi": "math"})
    with pytest.raises(AttributeError, match=r"module 'some.package' has no attribute 'tau'; it has pi"):
        load("tau")
