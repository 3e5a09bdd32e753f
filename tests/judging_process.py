"""One of two processes that ask a judge about responses that lie on the devices of both.

``python judging_process.py RANK PORT KIND`` prints what it saw as one line of JSON.
"""

import json
import sys

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from nlhf.transformer.judges.protocol import preferences
from nlhf.transformer.judges.service import from_function
from nlhf.transformer.judges.voting import population
from nlhf.transformer.responses import Responses
from nlhf.transformer.tokens.tokenizer import byte_tokenizer

rank, port, kind = int(sys.argv[1]), sys.argv[2], sys.argv[3]
jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_num_cpu_devices", 2)
jax.config.update("jax_cpu_collectives_implementation", "gloo")
jax.distributed.initialize(f"localhost:{port}", 2, rank)

sharding = NamedSharding(Mesh(np.array(jax.devices()), ("data",)), PartitionSpec("data"))
text = np.array([[list(f"{'so ' * k}{b}".encode().ljust(9)) for k in range(3)] for b in range(4)])
asked = 0


def place(array):
    return jax.make_array_from_callback(array.shape, sharding, lambda index: array[index])


def function(pairs):
    """Answers at random, as a language model may: asked in each process, the two would go apart."""
    global asked
    asked += len(pairs)
    if kind == "failing":
        raise ConnectionError("gone")
    return np.random.default_rng().uniform(size=len(pairs))


given = Responses(
    place(np.full((4, 3, 1), 104, np.int32)),
    place(text.astype(np.int32)),
    place(np.zeros((4, 3), np.float32)),
)
decode = byte_tokenizer().decode
if kind == "population":
    judge = population(["diversity", "short_words"], decode)
else:
    judge = from_function(function, decode, retries=0, backoff=0.0)


def outcome(call):
    try:
        return np.asarray(call(judge, given)).tolist()
    except Exception as error:
        return f"{type(error).__name__}: {error}"


direct = outcome(preferences)
print(json.dumps({"direct": direct, "asked": asked, "traced": outcome(jax.jit(preferences))}), flush=True)
