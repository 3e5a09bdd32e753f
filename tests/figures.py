"""What every figure's tests ask of it: a result survives JSON, and bad settings are refused."""

import dataclasses

import numpy as np

from experiments.figures.shared.curves import Curve
from experiments.output import records


def survives_json(module, result):
    document = records.loads(records.dumps(records.encode(result)), "memory")
    return records.decode(module.Result, document) == result


def series(method, x, height, slope=0.0):
    """A made-up curve ``height x^slope`` with a band of 20 %."""
    x = np.asarray(x, float)
    middle = height * (x / x[0]) ** slope
    return Curve(method, x.tolist(), middle.tolist(), (0.8 * middle).tolist(), (1.2 * middle).tolist())


def changed(config, **fields):
    return dataclasses.replace(config, **fields)
