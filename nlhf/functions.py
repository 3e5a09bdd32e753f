"""Any function as a pytree: the numbers that it closes over are leaves, its code is structure.

``jax.jit`` takes a ``jax.tree_util.Partial`` as an argument, but no plain function. A nested function as
optax writes them, a lambda or a schedule becomes one here: a new number in its closure then compiles
nothing, and ``jax.vmap`` over the function that made it is a batch.
"""

from __future__ import annotations

import functools
import types
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.tree_util import Partial

LEAVES = (float, complex, np.inexact, np.ndarray, jax.Array, Partial)


@jax.tree_util.register_static
class Held:
    """A value that jit takes as structure: a count, a name, a module; two are equal if their values are."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Held) or type(self.value) is not type(other.value):
            return False
        return self.value is other.value or (_hashable(self.value) and self.value == other.value)

    def __hash__(self) -> int:
        return hash(self.value) if _hashable(self.value) else id(self.value)


class Closure:
    """A function without the values that it closes over or that are bound to it.

    Two of a nested function are equal where the code is, whoever made them.

    Attributes:
      function: one of the functions with that code.
      num_bound: arguments in front that are bound.
    """

    def __init__(self, function: Callable, num_bound: int = 0) -> None:
        self.function, self.num_bound = function, num_bound
        self.__name__ = getattr(function, "__name__", type(function).__name__)
        self.__qualname__ = getattr(function, "__qualname__", self.__name__)
        self.__module__ = getattr(function, "__module__", "") or ""
        self.nested = isinstance(function, types.FunctionType) and "<locals>" in function.__qualname__
        self._key = Held((function, num_bound))
        if self.nested:
            defaults = (function.__defaults__, tuple((function.__kwdefaults__ or {}).items()))
            self._key = Held((function.__code__, id(function.__globals__), defaults, num_bound))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Closure) and self._key == other._key

    def __hash__(self) -> int:
        return hash(self._key)

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        """Call the function; closed-over values are given by name, beside its other arguments."""
        function, named = self.function, held(named)
        if self.nested:
            code, was = function.__code__, function
            cells = tuple(types.CellType(named.pop(name)) for name in code.co_freevars)
            function = types.FunctionType(code, was.__globals__, was.__name__, was.__defaults__, cells)
            function.__kwdefaults__ = was.__kwdefaults__
        return function(*held(arguments[: self.num_bound]), *arguments[self.num_bound :], **named)


def as_partial(function: Callable) -> Partial:
    """Return a function as a pytree.

    Floats and arrays that it closes over, also in tuples and dictionaries, are leaves; functions are opened
    likewise; integers, booleans and all else are structure, so that ``range(n)`` works. What a decorator or
    an object with ``__call__`` hides stays hidden: it is structure, and another one compiles again.

    Args:
      function: a ``Partial`` is returned as it is.

    >>> def scale(weight):
    ...     return lambda x: weight * x
    >>> as_partial(scale(2.0)).keywords, as_partial(scale(2.0))(3.0)
    ({'weight': 2.0}, 6.0)
    """
    if isinstance(function, Partial):
        return function
    bound: functools.partial = (
        function if isinstance(function, functools.partial) else functools.partial(function)
    )
    inner, named = bound.func, _opened(bound.keywords)
    if isinstance(inner, types.FunctionType) and "<locals>" in inner.__qualname__:
        try:
            values = [cell.cell_contents for cell in inner.__closure__ or ()]
        except ValueError:  # a name that is not bound yet
            return Partial(function)
        if any(value is inner for value in values):  # it calls itself
            return Partial(function)
        named |= {
            name: _opened(value) for name, value in zip(inner.__code__.co_freevars, values, strict=True)
        }
    elif bound is not function:
        return Partial(function)
    return Partial(Closure(inner, len(bound.args)), *_opened(bound.args), **named)


def held(value: Any) -> Any:
    """Return a closed-over value as the function has it."""
    return jax.tree.map(
        lambda leaf: leaf.value if isinstance(leaf, Held) else leaf,
        value,
        is_leaf=lambda leaf: isinstance(leaf, Held | Partial),
    )


def bound_values(function: Any) -> dict[str, Any]:
    """Return what is bound to a function by name, and to the nested functions that it closes over."""
    inner: dict[str, Any] = {}
    for value in function.keywords.values():
        if isinstance(value, Partial) and isinstance(value.func, Closure):
            inner |= bound_values(value)
    return inner | {name: held(value) for name, value in function.keywords.items()}


def _opened(value: Any) -> Any:
    def open_leaf(leaf: Any) -> Any:
        if isinstance(leaf, LEAVES):
            return leaf
        return as_partial(leaf) if isinstance(leaf, types.FunctionType | functools.partial) else Held(leaf)

    return jax.tree.map(open_leaf, value, is_leaf=lambda leaf: isinstance(leaf, Partial))


def _hashable(value: Any) -> bool:
    try:
        hash(value)
    except TypeError:
        return False
    return True
