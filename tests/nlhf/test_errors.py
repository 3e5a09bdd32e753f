import pytest

from nlhf.errors import InputError, RangeWarning


def test_input_error_is_a_value_error_with_the_message_it_was_given():
    with pytest.raises(ValueError, match="beta is 0; give beta > 0") as caught:
        raise InputError("beta is 0; give beta > 0")
    assert type(caught.value) is InputError


def test_range_warning_is_a_user_warning_and_an_error_in_this_suite():
    assert issubclass(RangeWarning, UserWarning)
    with pytest.raises(RangeWarning, match="outside"):
        __import__("warnings").warn("outside", RangeWarning, stacklevel=1)
