"""One small file of each kind of preferences, and how to write it."""

import gzip

import numpy as np

MATRIX = np.array([[0.5, 0.25, 1.0], [0.75, 0.5, 0.125], [0.0, 0.875, 0.5]])
NAMES = ("rock", "paper", "scissors")
NAMED_CSV = ",rock,paper,scissors\nrock,0.5,0.25,1\npaper,0.75,0.5,0.125\nscissors,0,0.875,0.5\n"
# Two voters 3 > 1 > 2, one voter 1 > {2, 3}, as PrefLib writes it now and as it did.
PRESENT = """# FILE NAME: 00000-00000001.toc
# TITLE: A: title with a colon
# DATA TYPE: toc
# NUMBER ALTERNATIVES: 3
# NUMBER VOTERS: 3
# NUMBER UNIQUE ORDERS: 2
# ALTERNATIVE NAME 1: rock
# ALTERNATIVE NAME 2: paper, thin
# ALTERNATIVE NAME 3: scissors
2: 3, 1, 2
1: 1,{2, 3}
"""
EARLIER = "3\n1,rock\n2,paper, thin\n3,scissors\n3,3,2\n2,3,1,2\n1,1,{2,3}\n"
GRAPH = """# NUMBER ALTERNATIVES: 3
# NUMBER EDGES: 3
# ALTERNATIVE NAME 1: rock
# ALTERNATIVE NAME 2: paper
# ALTERNATIVE NAME 3: scissors
1,2,3.0
2, 1, 1.5
3,1,2
"""
EARLIER_GRAPH = "3,3\n1,rock\n2,paper\n3,scissors\n1,2,3.0\n2,1,1.5\n3,1,2\n"
WINNERS = "winner,loser,count\na,b,3\nb,a,1\nc,a,2\n"
LABELS = '{"first": "a", "second": "b", "prefer_first": 0.75, "count": 4}\n' + (
    '{"first": "c", "second": "a", "prefer_first": true, "count": 2, "prompt": "Why?"}\n'
)


def write(folder, name, content):
    path = folder / name
    data = content if isinstance(content, bytes) else content.encode()
    path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return path
