"""Every kind of bad file is refused with one line that names the place."""

import gzip
import io
import os
import pickle
import tracemalloc

import numpy as np
import pytest
from preference_files import (
    EARLIER,
    GRAPH,
    LABELS,
    MATRIX,
    NAMED_CSV,
    NAMES,
    PRESENT,
    WINNERS,
    write,
)

import tabular.readers.lines
from nlhf.errors import InputError
from tabular.preferences import load_preferences, load_reference

BAD = {
    # square tables
    "not a probability": (
        "g.csv",
        ",a,b\na,0.5,x\nb,0.1,0.5\n",
        r"g\.csv:2: the entry in row 'a', column 'b' is 'x'",
    ),
    "decimal comma": ("g.csv", '"0,5"\t"0,9"\n"0,1"\t"0,5"\n', ":2: .*'0,1'"),
    "above one": (
        "g.csv",
        "a,b\n0.5,1.5\n",
        ":2: .*row 'a', column 'b' is 1.5, but .* lies in .*divide counts by totals",
    ),
    "count in a matrix": ("g.csv", "0.5,3\n1,0.5\n", ":1: .*row '0', column '1' is 3.0, .*divide counts"),
    "nan": (
        "g.csv",
        "a,b\n0.5,0.5\nnan,0.5\n",
        ":3: .*row 'b', column 'a' is nan, .*use 0.5 for a pair without",
    ),
    "underscore": ("g.csv", "0.5,0_1\n1,0.5\n", "g.csv"),
    "short row": ("g.csv", "a,b,c\n0.5,0.5\n", ":2: found 2 numbers, but there are 3 columns; give"),
    "one cell in a row": ("g.csv", "a,b\n0.5\n", ":2: found 1 number, but there are 2 columns; give"),
    "extra row": ("g.csv", "0.5,0.5\n0.5,0.5\n0.5,0.5\n", ":3: one row more than the 2 columns"),
    "numeric header": ("g.csv", "0,1\n0.5,0.5\n0.5,0.5\n", ":3: .*begin it with an empty cell"),
    "cut table": ("g.csv", ",a,b\na,0.5,0.5\n", "found 1 rows of numbers for 2 columns; is the file cut off"),
    "duplicate column": ("g.csv", ",a,b,a\n", ":1: the name 'a' stands at positions 1 and 3"),
    "row names differ": ("g.csv", ",a,b\nb,0.5,0.5\na,0.5,0.5\n", ":2: the row is called 'b', but .*'a'"),
    "empty name": ("g.csv", ",a,,c\n", ":1: a name is empty"),
    "control character": ("g.csv", ",a,b\x00\n", r":1: the name 'b\\x00' holds a control"),
    "bidi override": (
        "g.csv",
        ",a,b\u202ec\n",
        r":1: the name 'b\\u202ec' holds a control .*U\+202E; remove",
    ),
    "byte order mark inside": ("g.csv", ",a,b\ufeffc\n", r":1: the name .*U\+FEFF"),
    "line separator": ("g.csv", ",a,b\u2028c\n", r":1: the name .*U\+2028"),
    "paragraph separator": ("g.csv", ",a,b\u2029c\n", r":1: the name .*U\+2029"),
    "long name": (
        "g.csv",
        ",a," + "b" * 1001 + "\n",
        ":1: the name .* has 1001 characters, .* 1000; shorten",
    ),
    "one cell": ("g.csv", "garbage\n", ":1: found one cell 'garbage'"),
    "one number": ("g.csv", "0.5\n", ":1: found 1 action, but a game needs at least 2"),
    "open quote": ("g.csv", ',"a,b\n', ":1: not a row of cells"),
    "lone carriage returns": ("g.csv", "a,b\r0.5,0.5\r", ":1: a carriage return"),
    # comparisons
    "self pair": ("v.csv", "winner,loser\na,b\na,a \n", ":3: 'a' is compared with itself"),
    "negative count": ("v.csv", "winner,loser,count\na,b,-1\n", ":2: count is -1.0"),
    "nan count": ("v.csv", "winner,loser,count\na,b,nan\n", ":2: count is nan, but .* finite"),
    "infinite count": ("v.csv", "winner,loser,count\na,b,inf\n", ":2: count is inf"),
    "text count": ("v.csv", "winner,loser,count\na,b,three\n", ":2: count is 'three'"),
    "empty loser": ("v.csv", "winner,loser\na,\n", ":2: a name is empty"),
    "short line": ("v.csv", "winner,loser\na,b\nc\n", ":3: found 1 cells, but the header has 2"),
    "column twice": ("v.csv", "winner,loser,winner\na,b,c\n", ":1: the column 'winner' stands twice"),
    "no observation": ("v.csv", "winner,loser,count\na,b,0\n", "v.csv: every count is 0, .*give counts"),
    "no observation in labels": (
        "v.jsonl",
        '{"first":"a","second":"b","prefer_first":1,"count":0}',
        "v.jsonl: every count is 0",
    ),
    "no weight": ("g.wmd", "2,1\n1,a\n2,b\n1,2,0\n", "g.wmd: every count is 0"),
    "nan label": (
        "v.csv",
        "first,second,prefer_first\na,b,nan\n",
        ":2: prefer_first is nan, .*leave the row",
    ),
    "many columns": (
        "v.csv",
        "winner,loser," + ",".join(f"c{i}" for i in range(130_000)) + ",c129999\n",
        ":1: the column 'c129999' stands twice",
    ),
    "many keys": (
        "v.jsonl",
        "{" + ",".join(f'"k{i}":0' for i in [*range(80_000), 79_999]) + "}",
        ":1: the field 'k79999' stands twice",
    ),
    "header only": ("v.csv", "winner,loser\n", "holds no comparison"),
    "half a header": ("v.csv", "first,second,vote\na,b,1\n", ":1: has the columns .* but comparisons"),
    "label above one": ("v.csv", "first,second,prefer_first\na,b,2\n", ":2: prefer_first is 2.0"),
    "label text": ("v.csv", "first,second,prefer_first\na,b,yes\n", ":2: prefer_first is 'yes'"),
    # JSONL
    "not JSON": ("v.jsonl", '{"winner":"a","loser":"b"}\n{winner: a}\n', ":2: not JSON"),
    "cut line": ("v.jsonl", '{"winner":"a","loser":"b"}\n{"winner":"a","lo', ":2: not JSON .*may be cut off"),
    "JSON NaN": ("v.jsonl", '{"winner":"a","loser":"b","count":NaN}', ":1: NaN is not a value of JSON"),
    "JSON infinity": ("v.jsonl", '{"winner":"a","loser":"b","x":[-Infinity]}', ":1: -Infinity is not"),
    "key twice": (
        "v.jsonl",
        '{"winner":"a","winner":"c","loser":"b"}',
        ":1: the field 'winner' stands twice",
    ),
    "missing field": ("v.jsonl", '{"winner":"a"}', r":1: the fields are \['winner'\]"),
    "layout changes": ("v.jsonl", '{"winner":"a","loser":"b"}\n' + LABELS, ":2: .*needs winner,loser$"),
    "null name": ("v.jsonl", '{"winner":"a","loser":null}', ":1: the name None is not text"),
    "number for a name": ("v.jsonl", '{"winner":1,"loser":"b"}', ":1: the name 1 is not text"),
    "lone surrogate": ("v.jsonl", r'{"winner":"\ud800","loser":"b"}', ":1: the name .* control character"),
    "array": ("v.jsonl", '["a","b"]', ":1: holds .* each line is one JSON object"),
    "deep": ("v.jsonl", "[" * 100_000, ":1: not JSON"),
    "boolean count": ("v.jsonl", '{"winner":"a","loser":"b","count":true}', ":1: count is True"),
    "huge integer": ("v.jsonl", '{"winner":"a","loser":"b","count":1' + "0" * 400 + "}", ":1: count is 1000"),
    "longer integer": ("v.jsonl", '{"winner":"a","loser":"b","count":' + "9" * 5000 + "}", ":1: not JSON"),
    "null label": (
        "v.jsonl",
        '{"first":"a","second":"b","prefer_first":null}',
        ":1: prefer_first is None, not a number",
    ),
    # PrefLib
    "tie in soc": ("v.soc", PRESENT, r":11: '\{2, 3\}' is a tie, but \.soc files hold none; name it \.toc"),
    "incomplete toc": ("v.toc", PRESENT.replace("1: 1,{2, 3}", "1: 1,2"), ":11: 2 of 3 .*name it .toi"),
    "twice in a ranking": ("v.toi", PRESENT.replace("{2, 3}", "{2, 1}"), ":11: alternative 1 stands twice"),
    "unknown alternative": ("v.toi", PRESENT.replace("{2, 3}", "4"), ":11: '4' is not the number of"),
    "zero alternative": ("v.toi", PRESENT.replace("{2, 3}", "0"), ":11: '0' is not the number of"),
    "nested braces": ("v.toi", PRESENT.replace("{2, 3}", "{2,{3}}"), ":11: .* is not a ranking"),
    "open brace": ("v.toi", PRESENT.replace("{2, 3}", "{2,3"), ":11: .* is not a ranking"),
    "text after brace": ("v.toi", PRESENT.replace("{2, 3}", "{2}3"), ":11: .* is not a ranking"),
    "empty class": ("v.toi", PRESENT.replace("{2, 3}", "{}"), ":11: '' is not the number"),
    "no colon": ("v.toi", PRESENT.replace("2: 3", "2 3"), ":10: the number of voters is"),
    "negative voters": ("v.toi", PRESENT.replace("2: 3", "-2: 3"), ":10: the number of voters is -2.0"),
    "cut votes": ("v.toc", PRESENT.replace("1: 1,{2, 3}\n", ""), "by its head 3 .* but the lines make 2"),
    "cut votes, earlier": ("v.toc", EARLIER.replace("1,1,{2,3}\n", ""), "by its head 3 .* make 2"),
    "no votes": ("v.toc", PRESENT[: PRESENT.index("2: 3")], "no ranking orders a pair"),
    "name missing": ("v.toc", PRESENT.replace("NAME 2", "NOM 2"), "'# ALTERNATIVE NAME 2: ...' is missing"),
    "name twice": ("v.toc", PRESENT.replace("scissors", "rock"), "'rock' stands at positions 1 and 3"),
    "number twice": ("v.toc", PRESENT.replace("NAME 3", "NAME 2"), ":9: alternative 2 is named twice"),
    "no number": (
        "v.toc",
        PRESENT.replace("NUMBER ALTERNATIVES", "N"),
        "'# NUMBER ALTERNATIVES: ...' is mis",
    ),
    "billions": ("v.toc", PRESENT.replace("VES: 3", "VES: 3000000000"), "more than 5000 actions"),
    "bad metadata": ("v.toc", "# hello\n", ":1: '# hello' is not a metadata line"),
    "not PrefLib": ("v.toc", "hello, world\n", ":1: 'hello, world' begins neither"),
    "earlier, cut head": ("v.toc", "3\n1,rock\n", "ends before the name of alternative 2"),
    "earlier, names out of order": ("v.toc", "2\n2,rock\n1,paper\n", ":2: expected '1,name'"),
    "self edge": ("g.wmd", GRAPH.replace("3,1,2", "3,3,2"), ":8: an edge from 3 to itself"),
    "edge twice": ("g.wmd", GRAPH.replace("3,1,2", "1,2,2"), ":8: the edge 1,2 stands twice"),
    "negative weight": ("g.wmd", GRAPH.replace("3,1,2", "3,1,-2"), ":8: the weight is -2.0"),
    "edge cut": ("g.wmd", GRAPH.replace("3,1,2", "3,1"), ":8: expected 'source,destination,weight'"),
    "edges missing": ("g.wmd", GRAPH.replace("3,1,2\n", ""), "by its head 3 edges .* make 2"),
    # files
    "unknown kind": (
        "g.pkl",
        pickle.dumps(MATRIX),
        r"the kind '\.pkl' is not known; known are \.csv .* \.npz",
    ),
    "no kind": ("game", NAMED_CSV, "is not known; known are"),
    "compressed array": ("g.npy.gz", b"x", "is not known"),
    "empty": ("g.csv", "", "g.csv: is empty"),
    "blank": ("g.csv", "\n \n\r\n", "holds only blank lines"),
    "blank run": ("g.csv.gz", "\n" * 1_100_000, ":1048577: more than 1048576 characters of blank lines"),
    "blank run inside": ("g.csv", "a,b\n" + (" " * 2**17 + "\n") * 9, ":9: more than 1048576 .*remove them"),
    "latin-1": ("g.csv", "a,b\n0.5,0.5\ncaf\xe9".encode("latin-1"), r":3: byte 15 \(0xe9\) is not UTF-8"),
    "utf-16": ("g.csv", NAMED_CSV.encode("utf-16"), r":1: byte 0 \(0xff\) is not UTF-8"),
    "long line": ("g.csv", "0.5," * 300_000, ":1: the line has more than 1048576 bytes"),
    "too many columns": ("g.csv", ",".join(f"n{i}" for i in range(5001)) + "\n", ":1: found more than 5000"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_files_are_refused_with_their_place(tmp_path, case):
    name, content, message = BAD[case]
    path = write(tmp_path, name, content)
    with pytest.raises(InputError, match=message) as caught:
        load_preferences(path)
    assert str(caught.value).startswith(str(path))
    assert len(str(caught.value).splitlines()) == 1
    assert len(str(caught.value)) < len(str(path)) + 300


def test_unknown_names_are_refused_where_names_are_given(tmp_path):
    path = write(tmp_path, "v.csv", WINNERS)
    with pytest.raises(InputError, match=r"v\.csv:4: the name 'c' is not among the 2 names given"):
        load_preferences(path, names=["a", "b"])


def test_paths_that_are_no_files(tmp_path):
    for path, message in (
        (tmp_path / "absent.csv", "no such file"),
        (tmp_path, "is a folder"),
        ("", "^'': the name of the file is empty; give"),
        ("a\0b.csv", "cannot be looked up"),
        ("x" * 5000, "cannot be looked up"),
        (7, "7 is not a path"),
    ):
        with pytest.raises(InputError, match=message):
            load_preferences(path)
    os.mkfifo(tmp_path / "pipe.csv")
    with pytest.raises(InputError, match="is not a regular file"):
        load_preferences(tmp_path / "pipe.csv")
    (tmp_path / "loop.csv").symlink_to(tmp_path / "loop.csv")
    with pytest.raises(InputError, match="cannot be looked up"):
        load_preferences(tmp_path / "loop.csv")
    write(tmp_path, "game.csv", NAMED_CSV)
    (tmp_path / "link.csv").symlink_to("game.csv")
    assert load_preferences(str(tmp_path / "link.csv")).names == NAMES


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0.5,-0.5\n", r"'b' is -0.5, but it lies in \(0, 1\]; give"),
        ("0.5\n", "holds 1 probabilities, but the game has 2 actions; give one each"),
        ("0.5\n0.5\n0.5\n", ":3: more numbers than the 2 actions of the game; give one each"),
    ],
)
def test_references_are_refused_with_a_mend(tmp_path, text, message):
    with pytest.raises(InputError, match=message):
        load_reference(write(tmp_path, "r.csv", text), ["a", "b"])


def test_reference_arrays_are_refused_with_a_mend(tmp_path):
    np.save(tmp_path / "r.npy", np.eye(2))
    with pytest.raises(InputError, match=r"but a reference is a vector; save \[2\]"):
        load_reference(tmp_path / "r.npy", ["a", "b"])
    np.savez(tmp_path / "r.npz", reference=np.full(2, 0.5), names=["a", "b", "c"])
    with pytest.raises(InputError, match="has 3 names for 2 probabilities; save one each"):
        load_reference(tmp_path / "r.npz", ["a", "b"])


def test_damaged_gzip(tmp_path):
    whole = gzip.compress(WINNERS.encode() * 1)
    for data in (b"not gzip", whole[:-12], whole[:-4] + b"\0\0\0\0", whole[:14] + b"\xff\xff" + whole[16:]):
        path = tmp_path / "v.csv.gz"
        path.write_bytes(data)
        with pytest.raises(InputError, match=r"cannot be read|UTF-8|has the columns|found"):
            load_preferences(path)


def test_paths_are_escaped_in_every_message(tmp_path):
    odd = tmp_path / "two\nlines"
    odd.mkdir()
    np.savez(odd / "x.npz", x=MATRIX)
    np.savez(odd / "P.npz", P=MATRIX[:2])
    np.save(odd / "m.npy", MATRIX[:2])
    paths = [odd, odd / "absent.csv", odd / "x.npz", odd / "P.npz", odd / "m.npy"]
    texts = (
        "",
        "\n",
        "\xff",
        "a,b\r0.5",
        NAMED_CSV.replace("1\n", "0\n"),
        "garbage",
        "winner,loser\n",
        "winner\n",
    )
    for number, text in enumerate(texts):
        paths.append(write(odd, f"{number}.csv", text.encode("latin-1")))
    paths += [
        write(odd, "g.csv.gz", "").with_suffix(".bin"),
        write(odd, "g.pkl", "x"),
        write(odd, "g.toi", "x"),
    ]
    for path in paths:
        for load in (load_preferences, lambda path: load_reference(path, ["a", "b"])):
            with pytest.raises(InputError) as caught:
                load(path)
            assert len(str(caught.value).splitlines()) == 1
            assert r"two\nlines" in str(caught.value)
    with pytest.raises(InputError, match=r"two\\nlines"):
        load_preferences(write(odd, "n.csv", NAMED_CSV), names=["a", "b"])


def test_joined_emoji_are_names(tmp_path):
    family = "\U0001f468\u200d\U0001f469"
    assert load_preferences(write(tmp_path, "v.csv", f"winner,loser\na,{family}\n")).names == ("a", family)


class Counting(io.FileIO):
    """A file that counts the bytes asked of it."""

    bytes_read = 0

    def readinto(self, buffer):
        size = super().readinto(buffer)
        self.bytes_read += size
        return size


@pytest.fixture
def opened(monkeypatch):
    """The files that the readers open, each counting what was read of it."""
    files = []

    def counting_open(path):
        files.append(Counting(path))
        return io.BufferedReader(files[-1])

    monkeypatch.setattr(tabular.readers.lines, "open_bytes", counting_open)
    return files


@pytest.mark.parametrize("kind", [".csv", ".tsv", ".jsonl", ".soc", ".soi", ".toc", ".toi", ".wmd"])
def test_only_a_prefix_of_garbage_is_read(tmp_path, opened, kind):
    path = write(tmp_path, "garbage" + kind, b"colourless green ideas, sleep furiously\n" * 50_000)
    with pytest.raises(InputError, match=r":[12]: "):
        load_preferences(path)
    assert 0 < opened[0].bytes_read <= 2**17
    assert opened[0].closed


def test_only_a_prefix_of_an_endless_line_is_read(tmp_path, opened):
    path = write(tmp_path, "endless.csv", b"0.5,")
    os.truncate(path, 2**26)  # a hole in the file: no disk is used
    with pytest.raises(InputError, match=":1: the line has more than 1048576 bytes"):
        load_preferences(path)
    assert 0 < opened[0].bytes_read <= 2**21
    assert opened[0].closed


def test_a_new_name_on_every_line_is_stopped(tmp_path):
    text = "winner,loser\n" + "".join(f"a{i},b{i}\n" for i in range(10_000))
    with pytest.raises(InputError, match=r"v\.csv:2502: found more than 5000 actions"):
        load_preferences(write(tmp_path, "v.csv", text))


@pytest.mark.slow
def test_ten_million_lines_take_bounded_memory(tmp_path):
    garbage, late = tmp_path / "garbage.csv", tmp_path / "late.csv"
    with garbage.open("wb") as file:
        for _ in range(100):
            file.write(b"garbage\n" * 100_000)
    with late.open("wb") as file:
        file.write(b"winner,loser\n")
        for _ in range(10):
            file.write(b"a,b\nb,c\n" * 10_000)
        file.write(b"a,b,c\n")
    tracemalloc.start()
    try:
        for path, message in ((garbage, ":1: found one cell"), (late, ":200002: found 3 cells")):
            with pytest.raises(InputError, match=message):
                load_preferences(path)
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
    finally:
        tracemalloc.stop()
