"""The same program in ball arithmetic: evaluate what JAX traced with enclosures in place of floats.

An algorithm is written once, for floats. Its trace (a jaxpr) is a list of primitives, and each of them has a
counterpart on balls ``[midpoint ± radius]`` that certainly contain the exact result; a result in balls is a
statement about the algorithm in real numbers, free of rounding. Whole numbers, booleans and random keys are
concrete and stay with JAX. A comparison of balls that overlap has no answer: it yields *undecided*
(``None``), which a selection turns into the hull of both its cases, and everything else refuses.

Literals are the doubles that Python made of them: a constant such as ``0.5**0.5`` in the code stands for its
rounded value, here as in the run.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flint import arb
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal

# flint's precision is one for the process, and searches certify what they find in a thread of their own
PRECISION = threading.RLock()

Balls = np.ndarray  # of dtype object, entries arb
Rule = Callable[..., Any]


class UndecidedError(ArithmeticError):
    """Two balls overlap where the program must know which is larger; more bits may separate them."""


class UnknownPrimitiveError(NotImplementedError):
    """The program uses a primitive that has no counterpart on balls."""


def balls(values: Any) -> Balls:
    """Return an array of balls of radius zero: the given doubles (or whole numbers), exactly.

    Args:
      values: array or nested lists of numbers; balls pass unchanged.
    """
    array = np.asarray(values)
    if array.dtype != object:
        array = array.astype(float) if not np.issubdtype(array.dtype, np.integer) else array.astype(object)
    return _array(_to_ball(array))


def trace(function: Callable, *examples: Any) -> Callable:
    """Trace a function once and return it as a function on balls.

    Args:
      function: pytrees of arrays -> pytree of arrays, made of the primitives in ``RULES``.
      *examples: arguments of the right shapes and types; their values are not used.

    Returns:
      ``program(*arguments)``: in the arguments' pytrees floats are (or become) balls; so in the result.
      It raises ``UndecidedError`` or ``UnknownPrimitiveError``.
    """
    closed, shapes = jax.make_jaxpr(function, return_shape=True)(*examples)
    structure = jax.tree.structure(shapes)
    expected: Any = jax.tree.structure(examples)

    def program(*arguments: Any) -> Any:
        leaves, given = jax.tree.flatten(arguments)
        if given != expected:
            raise TypeError(f"the program takes {expected}, not {given}")
        return jax.tree.unflatten(structure, evaluate(closed, leaves))

    return program


def evaluate(closed: ClosedJaxpr, arguments: Sequence[Any]) -> list[Any]:
    """Evaluate a closed jaxpr: floats as balls, everything else as JAX does.

    Args:
      closed: the program.
      arguments: one value an input, balls or doubles where the program has floats.

    Raises:
      UndecidedError: if an undecided comparison reaches anything but a selection, or the result.
      UnknownPrimitiveError: if a primitive has no rule.
    """
    inputs = zip(closed.jaxpr.invars, arguments, strict=True)
    results = _run(closed.jaxpr, closed.consts, [_admit(variable.aval, value) for variable, value in inputs])
    if any(_is_undecided(result) for result in results):
        raise UndecidedError("a comparison in the result is undecided; raise the precision")
    return results


def _run(jaxpr: Jaxpr, consts: Sequence[Any], arguments: Sequence[Any]) -> list[Any]:
    environment: dict[Any, Any] = {}

    def read(variable: Any) -> Any:
        if _is_literal(variable):
            return _admit(variable.aval, variable.val)
        return environment[variable]

    for variable, value in zip(jaxpr.constvars, consts, strict=True):
        environment[variable] = _admit(variable.aval, value)
    environment.update(zip(jaxpr.invars, arguments, strict=True))
    for equation in jaxpr.eqns:
        values = [read(variable) for variable in equation.invars]
        results = _apply(equation, values)
        for variable, result in zip(equation.outvars, results, strict=True):
            environment[variable] = result
    return [read(variable) for variable in jaxpr.outvars]


def _apply(equation: Any, values: list[Any]) -> Sequence[Any]:
    name, params = equation.primitive.name, equation.params
    if name in CONTROL:
        return CONTROL[name](*values, **params)
    floats = any(_is_float(variable.aval) for variable in (*equation.invars, *equation.outvars))
    undecided = any(_is_undecided(value) for value in values)
    if floats or undecided:
        if undecided and name not in KLEENE:
            raise UndecidedError(f"{name!r} needs a comparison that is undecided; raise the precision")
        if name not in RULES:
            raise UnknownPrimitiveError(f"the primitive {name!r} has no rule on balls; add one to RULES")
        return [_array(RULES[name](*values, **params))]
    result = equation.primitive.bind(*(jnp.asarray(value) for value in values), **params)
    return result if equation.primitive.multiple_results else [result]


def _is_literal(variable: Any) -> bool:
    return isinstance(variable, Literal)


def _is_float(aval: Any) -> bool:
    return jnp.issubdtype(aval.dtype, jnp.floating)


def _is_undecided(value: Any) -> bool:
    # balls fill their arrays with arb, so that the first entry tells; booleans hold None only if undecided
    if not (isinstance(value, np.ndarray) and value.dtype == object and value.size):
        return False
    return not isinstance(value.flat[0], arb)


def _admit(aval: Any, value: Any) -> Any:
    return balls(value) if _is_float(aval) else value


def _array(value: Any) -> np.ndarray:
    """Wrap what numpy has unwrapped: a result without axes."""
    return value if isinstance(value, np.ndarray) else np.asarray(value, dtype=object)


def _each(function: Callable, arity: int) -> Callable:
    """Apply a function of balls entry by entry; the settings of the primitive are about rounding."""
    vectorised = np.frompyfunc(function, arity, 1)
    return lambda *values, **params: vectorised(*values)


_to_ball = np.frompyfunc(lambda entry: entry if isinstance(entry, arb) else arb(entry), 1, 1)


def _decide(yes: bool, no: bool) -> bool | None:
    return True if yes else False if no else None


# arb compares as "certainly": neither x < y nor x >= y holds where the balls overlap
COMPARE: dict[str, Callable] = {
    "eq": lambda x, y: _decide(x == y, x != y),
    "ne": lambda x, y: _decide(x != y, x == y),
    "lt": lambda x, y: _decide(x < y, x >= y),
    "le": lambda x, y: _decide(x <= y, x > y),
    "gt": lambda x, y: _decide(x > y, x <= y),
    "ge": lambda x, y: _decide(x >= y, x < y),
}


def _and(x: Any, y: Any) -> bool | None:
    return False if x is False or y is False else None if x is None or y is None else True


def _not(x: Any) -> bool | None:
    return None if x is None else not x


def _logic(function: Callable, arity: int) -> Rule:
    """Apply a function to True, False and None; where all is decided, booleans come out."""
    each = np.frompyfunc(function, arity, 1)

    def rule(*values: Any, **params: Any) -> np.ndarray:
        result = _array(each(*(np.asarray(value).astype(object) for value in values)))
        return result if any(entry is None for entry in result.flat) else result.astype(bool)

    return rule


def _select(which: Any, *cases: Balls, **params: Any) -> Balls:
    """Take the case that ``which`` names; where it is undecided, the hull of the two."""
    index = np.asarray(which).astype(object)
    shape = np.broadcast_shapes(index.shape, *(case.shape for case in cases))
    index = np.broadcast_to(index, shape)
    wide = [np.broadcast_to(case, shape) for case in cases]
    result = np.empty(shape, object)
    for place in np.ndindex(shape):
        chosen = index[place]
        entries = [case[place] for case in wide]
        result[place] = entries[0].union(entries[1]) if chosen is None else entries[int(chosen)]
    return result


def _convert(value: Any, *, new_dtype: Any, **params: Any) -> Balls:
    if not jnp.issubdtype(new_dtype, jnp.floating):
        raise UnknownPrimitiveError(f"a ball cannot become {new_dtype}; only floats are enclosed")
    return balls(np.asarray(value).astype(int) if np.asarray(value).dtype == bool else value)


def _reduce(function: Callable, empty: Any) -> Rule:
    def rule(value: Balls, *, axes: tuple[int, ...], **params: Any) -> Any:
        value = np.moveaxis(value, axes, range(len(axes)))
        result = np.full(value.shape[len(axes) :], empty, object)
        for place in np.ndindex(value.shape[: len(axes)]):
            result = _array(function(result, value[place]))
        return result

    return rule


_maximum = np.frompyfunc(lambda x, y: x.max(y), 2, 1)
_minimum = np.frompyfunc(lambda x, y: x.min(y), 2, 1)


def _dot(left: Balls, right: Balls, *, dimension_numbers: Any, **params: Any) -> Any:
    (left_sum, right_sum), (left_batch, right_batch) = dimension_numbers
    letters = iter(range(left.ndim + right.ndim))
    first = [next(letters) for _ in range(left.ndim)]
    second = [next(letters) for _ in range(right.ndim)]
    for l_axis, r_axis in (
        *zip(left_sum, right_sum, strict=True),
        *zip(left_batch, right_batch, strict=True),
    ):
        second[r_axis] = first[l_axis]
    batch = [first[axis] for axis in left_batch]
    kept = [first[a] for a in range(left.ndim) if a not in (*left_sum, *left_batch)]
    kept += [second[a] for a in range(right.ndim) if a not in (*right_sum, *right_batch)]
    return np.einsum(left, first, right, second, batch + kept)


def _broadcast(value: Any, *, shape: tuple, broadcast_dimensions: tuple, **params: Any) -> Any:
    value = np.asarray(value)
    axes = [1] * len(shape)
    for axis, length in zip(broadcast_dimensions, value.shape, strict=True):
        axes[axis] = length
    return np.broadcast_to(value.reshape(axes), shape)


def _slice(value: Any, *, start_indices: tuple, limit_indices: tuple, strides: Any, **params: Any) -> Any:
    steps = strides or (1,) * value.ndim
    return value[tuple(slice(*ends) for ends in zip(start_indices, limit_indices, steps, strict=True))]


def _power(base: Any, exponent: Any) -> arb:
    # a whole exponent keeps its sign rule: a ball around zero has whole powers, but no logarithm
    if isinstance(exponent, arb):
        whole = exponent.unique_fmpz() if exponent.is_exact() else None
        return base**exponent if whole is None else base**whole
    return base ** int(exponent)


KLEENE = frozenset({"select_n", "and", "or", "not", "broadcast_in_dim", "reshape", "squeeze", "copy"})
RULES: dict[str, Rule] = {
    "add": _each(lambda x, y: x + y, 2),
    "add_any": _each(lambda x, y: x + y, 2),
    "sub": _each(lambda x, y: x - y, 2),
    "mul": _each(lambda x, y: x * y, 2),
    "div": _each(lambda x, y: x / y, 2),
    "neg": _each(lambda x: -x, 1),
    "abs": _each(abs, 1),
    "exp": _each(lambda x: x.exp(), 1),
    "exp2": _each(lambda x: arb(2) ** x, 1),
    "expm1": _each(lambda x: x.expm1(), 1),
    "log": _each(lambda x: x.log(), 1),
    "log1p": _each(lambda x: x.log1p(), 1),
    "logistic": _each(lambda x: 1 / (1 + (-x).exp()), 1),
    "tanh": _each(lambda x: x.tanh(), 1),
    "asinh": _each(lambda x: x.asinh(), 1),
    "sqrt": _each(lambda x: x.sqrt(), 1),
    "rsqrt": _each(lambda x: x.rsqrt(), 1),
    "square": _each(lambda x: x * x, 1),
    "max": lambda x, y: _maximum(x, y),
    "min": lambda x, y: _minimum(x, y),
    "pow": _each(_power, 2),
    "integer_pow": lambda x, *, y, **params: np.frompyfunc(lambda entry: entry**y, 1, 1)(x),
    "is_finite": _logic(lambda x: _decide(x.is_finite(), x == arb.pos_inf() or x == arb.neg_inf()), 1),
    **{name: _logic(function, 2) for name, function in COMPARE.items()},
    "and": _logic(_and, 2),
    "or": _logic(lambda x, y: _not(_and(_not(x), _not(y))), 2),
    "not": _logic(_not, 1),
    "select_n": _select,
    "convert_element_type": _convert,
    "stop_gradient": lambda x, **params: x,
    "copy": lambda x, **params: x,
    "reduce_sum": _reduce(np.add, arb(0)),
    "reduce_max": _reduce(_maximum, arb.neg_inf()),
    "reduce_min": _reduce(_minimum, arb.pos_inf()),
    "dot_general": _dot,
    "broadcast_in_dim": _broadcast,
    "reshape": lambda x, *, new_sizes, **params: np.reshape(x, new_sizes),
    "squeeze": lambda x, *, dimensions, **params: np.squeeze(x, tuple(dimensions)),
    "expand_dims": lambda x, *, dimensions, **params: np.expand_dims(x, tuple(dimensions)),
    "transpose": lambda x, *, permutation, **params: np.transpose(x, permutation),
    "slice": _slice,
    "stack": lambda *xs, axis, **params: np.stack(xs, axis),
    "concatenate": lambda *xs, dimension, **params: np.concatenate(xs, dimension),
}


def _call(*values: Any, **params: Any) -> list[Any]:
    inner = next(params[name] for name in ("jaxpr", "call_jaxpr", "fun_jaxpr") if name in params)
    return _run(inner.jaxpr, inner.consts, values)


def _concrete(value: Any) -> Any:
    if _is_undecided(value):
        raise UndecidedError("a loop or branch depends on an undecided comparison; raise the precision")
    return np.asarray(value).item()


def _while(
    *values: Any, cond_jaxpr: Any, cond_nconsts: int, body_jaxpr: Any, body_nconsts: int, **params: Any
) -> list[Any]:
    cond_consts, rest = values[:cond_nconsts], values[cond_nconsts:]
    body_consts, carry = rest[:body_nconsts], list(rest[body_nconsts:])
    while _concrete(_run(cond_jaxpr.jaxpr, cond_jaxpr.consts, (*cond_consts, *carry))[0]):
        carry = _run(body_jaxpr.jaxpr, body_jaxpr.consts, (*body_consts, *carry))
    return carry


def _scan(*values: Any, jaxpr: Any, length: int, reverse: bool, **params: Any) -> list[Any]:
    if "ft_in" in params:  # from jax 0.12 on the three groups of inputs are a tree
        groups = [list(group) for group in params["ft_in"].update(values).unpack()]
        num_consts, num_carry = len(groups[0]), len(groups[1])
    else:
        num_consts, num_carry = params["num_consts"], params["num_carry"]
    consts, carry = values[:num_consts], list(values[num_consts : num_consts + num_carry])
    # random keys that an exact oracle never looks at are not worth slicing
    used = {variable for equation in jaxpr.eqns for variable in equation.invars if not _is_literal(variable)}
    columns = zip(values[num_consts + num_carry :], jaxpr.jaxpr.invars[num_consts + num_carry :], strict=True)
    inputs = [
        column if variable in used or variable in jaxpr.jaxpr.outvars else [None] * length
        for column, variable in columns
    ]
    rows = []
    for index in reversed(range(length)) if reverse else range(length):
        results = _run(jaxpr.jaxpr, jaxpr.consts, (*consts, *carry, *(column[index] for column in inputs)))
        carry = results[:num_carry]
        rows.append(results[num_carry:])
    rows = rows[::-1] if reverse else rows
    stacked = (np.stack([np.asarray(entry) for entry in column]) for column in zip(*rows, strict=True))
    return [*carry, *stacked]


def _cond(index: Any, *values: Any, branches: Any, **params: Any) -> list[Any]:
    branch = branches[int(_concrete(index))]
    return _run(branch.jaxpr, branch.consts, values)


CONTROL: dict[str, Callable[..., Sequence[Any]]] = {
    **dict.fromkeys(("jit", "pjit", "closed_call", "custom_jvp_call", "custom_vjp_call"), _call),
    "while": _while,
    "scan": _scan,
    "cond": _cond,
}
