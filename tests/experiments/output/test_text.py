import pytest

from experiments.output.text import shorten, table, width


@pytest.mark.parametrize(
    "text",
    [
        "rock",
        "x" * 40,
        "\u77f3" * 20,
        "x" + "\u77f3" * 20,
        "e\u0301" * 40,
        "\u0301" * 50,
        "x" * 9 + "\u0301" * 9,
    ],
)
@pytest.mark.parametrize("maximum", [3, 12, 32])
def test_shorten_keeps_the_longest_start_that_fits(text, maximum):
    short = shorten(text, maximum)
    if width(text) <= maximum:
        assert short == text
        return
    start = short.removesuffix("...")
    fitting = [size for size in range(len(text) + 1) if width(text[:size]) <= maximum - 3]
    assert start == text[: max(fitting)]


def test_long_cells_cost_one_pass():
    name = "x" * 1_000_000  # an hour, if every letter cut costs the width of the rest
    assert table(["name"], [[shorten(name, 12)]], "<").endswith("x" * 9 + "...")
