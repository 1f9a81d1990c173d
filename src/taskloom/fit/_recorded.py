"""A function over many networks that is recorded once and then runs as a plain list of tensor operations."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor
from torch.func import vmap
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

__all__ = ["OverMembers"]


class OverMembers:
    """``torch.func.vmap`` of a function over the member axis of all its tensors.

    A step of small networks spends most of its time in the dispatch of ``vmap`` and ``grad``. Their result is a fixed
    list of tensor operations for fixed shapes: the first call of a shape records it, and from then on only these
    operations run - the same ones on the same numbers, each of them once (a forward pass that two transforms of the
    function share is computed twice in eager mode).

    Args:
        function: pure; takes the standing arguments and then the passing ones, and returns a tensor or a tuple of
            tensors. Tensors that it closes over must not change.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function
        self._standing: tuple[Any, ...] = ()
        self._shapes: list[torch.Size | None] = []
        self._key: Any = None
        self._recording: _Recording
        self._views: list[Tensor] = []
        self.n_operations = 0  # of the last recording, before simplification: what a recording costs

    def __call__(self, standing: tuple[Any, ...], *passing: Tensor | None) -> Any:
        """Apply the function.

        Args:
            standing: contiguous tensors that are mostly the same objects call after call, in any nesting of
                dictionaries; what they hold may change. What is only a view of them is computed once.
            passing: further tensors; None where there is nothing.
        """
        passing = tuple(None if tensor is None else tensor.contiguous() for tensor in passing)
        shapes = [None if tensor is None else tensor.shape for tensor in passing]
        same = len(standing) == len(self._standing) and all(map(operator.is_, standing, self._standing))
        if not same or shapes != self._shapes:
            leaves, structure = pytree.tree_flatten(standing)
            key = (structure, [leaf.shape for leaf in leaves], shapes)
            self._standing, self._shapes = standing, shapes
            if self._key != key:
                self._key = key
                return self._record(leaves, structure, passing)
            self._views = self._recording.prepare(leaves)
        with torch.no_grad():
            results = self._recording.run(self._views, passing)
        return tuple(results) if self._recording.several else results[0]

    def _record(self, leaves: list[Tensor], structure: Any, passing: tuple[Tensor | None, ...]) -> Any:
        """Run the function and keep what it did."""
        # every input gets memory of its own, so that the recorder can tell them apart
        standing = [leaf.detach().clone() for leaf in leaves]
        given = [None if tensor is None else tensor.detach().clone() for tensor in passing]
        dims = (*[0] * len(self._standing), *(None if tensor is None else 0 for tensor in given))
        recorder = _Recorder()
        with recorder:
            result = vmap(self._function, in_dims=dims, randomness="error")(
                *pytree.tree_unflatten(standing, structure), *given
            )
        several = not isinstance(result, Tensor)
        self.n_operations = recorder.n_operations
        self._recording = recorder.recording(standing, given, list(result) if several else [result], several=several)
        self._views = self._recording.prepare(leaves)
        return result


class _Recording(NamedTuple):
    """A recorded function in two parts.

    Attributes:
        prepare: standing tensors -> what ``run`` needs of them: themselves and views of them.
        run: (what prepare gave, passing tensors) -> results.
        several: whether the function returned a tuple.
    """

    prepare: Callable[[Sequence[Tensor]], list[Tensor]]
    run: Callable[[Sequence[Tensor], Sequence[Tensor | None]], list[Tensor]]
    several: bool


class _Call:
    """One operation: its function, arguments in which tensors are replaced by names, and the names of its results."""

    __slots__ = ("arguments", "changes", "function", "keywords", "reads", "results", "tensors")

    def __init__(
        self,
        function: Any,
        arguments: tuple[Any, ...],
        keywords: dict[str, Any],
        reads: tuple[int, ...],
        results: Any,
        changes: tuple[int, ...],
    ) -> None:
        self.function, self.arguments, self.keywords = function, arguments, keywords
        self.reads, self.results, self.changes = reads, results, changes
        self.tensors = tuple(one.number for one in pytree.tree_leaves(results) if isinstance(one, _Value))


class _Value:
    """The place of a tensor in a recording."""

    __slots__ = ("number",)

    def __init__(self, number: int) -> None:
        self.number = number

    def __repr__(self) -> str:
        return f"t{self.number}"


class _Recorder(TorchDispatchMode):
    """Lists the operations below all function transforms, on plain tensors.

    Three things are left out of the program: what only matters to autograd, what does not depend on an input (it is
    computed now, once), and what was computed before from the same tensors.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._tensors: list[Tensor] = []  # kept alive, so that no two of them share an id
        self._numbers: dict[int, int] = {}
        self._calls: list[_Call] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        read: list[int] = []

        def name(leaf: Any) -> Any:
            if not isinstance(leaf, Tensor):
                return leaf
            read.append(self._number(leaf))
            return _Value(read[-1])

        arguments, keywords = pytree.tree_map(name, (args, kwargs))
        changed = tuple(
            self._number(value)
            for value, declared in zip(args, func._schema.arguments, strict=False)
            if declared.is_write and isinstance(value, Tensor)
        )
        results = func(*args, **kwargs)
        numbers = pytree.tree_map(
            lambda leaf: _Value(self._number(leaf)) if isinstance(leaf, Tensor) else leaf, results
        )
        self._calls.append(_Call(func, arguments, keywords, tuple(read), numbers, changed))
        return results

    @property
    def n_operations(self) -> int:
        """How many operations were listed."""
        return len(self._calls)

    def _number(self, tensor: Tensor) -> int:
        found = self._numbers.get(id(tensor))
        if found is None:
            found = self._numbers[id(tensor)] = len(self._tensors)
            self._tensors.append(tensor)
        return found

    # -- from the list of operations to a program -----------------------------------------------------------------

    def recording(
        self, standing: list[Tensor], passing: list[Tensor | None], results: list[Tensor], *, several: bool
    ) -> _Recording:
        """The operations that the results need, as a function of the inputs."""
        owned = [self._number(tensor) for tensor in standing]
        passed = [None if tensor is None else self._number(tensor) for tensor in passing]
        wanted = [self._number(tensor) for tensor in results]
        calls, alias = self._simplified({*owned, *(number for number in passed if number is not None)})
        wanted = [alias[number] for number in wanted]
        calls = self._needed(calls, wanted)
        views, rest = _views_of(owned, calls)
        handed = [*owned, *(number for call in views for number in call.tensors)]
        prepare = _compiled([owned], views, handed, self._tensors)
        run = _compiled([handed, passed], rest, wanted, self._tensors, binding=_binding)
        return _Recording(prepare, run, several)

    def _storage(self, number: int) -> int:
        return int(self._tensors[number].untyped_storage()._cdata)

    def _simplified(self, inputs: set[int]) -> tuple[list[_Call], list[int]]:
        """The calls without detours, constants and repetitions; and which tensor stands for each tensor."""
        # a tensor written to does not stay what it was computed as: it is neither a constant nor comparable
        written = {self._storage(number) for call in self._calls for number in call.changes}
        alias = list(range(len(self._tensors)))
        varies = set(inputs)
        seen: dict[Any, tuple[int, ...]] = {self._place(number): (number,) for number in inputs}
        calls = []
        for call in self._calls:
            if not any(self._storage(number) in written for number in (*call.reads, *call.tensors)):
                depends = call.function not in _IGNORE_VALUES and varies.intersection(alias[n] for n in call.reads)
                if not depends and _is_determined(call):
                    continue
                known = next((seen[key] for key in self._keys(call, alias) if key in seen), None)
                if known is not None:
                    for mine, theirs in zip(call.tensors, known, strict=True):
                        alias[mine] = alias[theirs]
                    continue
                seen.update(dict.fromkeys(self._keys(call, alias), call.tensors))
                seen.update({self._place(number): (number,) for number in call.tensors})
            varies.update(call.tensors)
            calls.append(_renamed(call, alias))
        return calls, alias

    def _keys(self, call: _Call, alias: list[int]) -> Iterator[Any]:
        """What two calls have in common if one can stand for the other."""
        if _is_determined(call):
            leaves, structure = pytree.tree_flatten((call.arguments, call.keywords))
            parts = (
                (_Value, alias[leaf.number]) if isinstance(leaf, _Value) else (type(leaf), leaf) for leaf in leaves
            )
            yield (call.function, structure, tuple(parts))
        if len(call.tensors) == 1:
            if call.function.is_view or call.function is torch.ops.aten._unsafe_view.default:
                yield self._place(call.tensors[0])
            elif call.function in _PRODUCTS and call.arguments[1:] == (1,):
                yield self._place(call.reads[0])  # the factor of the bias in a batched linear layer

    def _place(self, number: int) -> Any:
        """Where in memory a tensor lies and how it is read; the stride of an axis of length 1 says nothing."""
        tensor = self._tensors[number]
        strides = tuple(stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True) if size != 1)
        return (self._storage(number), tensor.storage_offset(), tuple(tensor.shape), strides, tensor.dtype)

    def _needed(self, calls: list[_Call], wanted: list[int]) -> list[_Call]:
        """The calls that something wanted depends on; a write is needed by what shares its memory."""
        needed = set(wanted)
        memory = {self._storage(number) for number in wanted}
        kept = []
        for call in reversed(calls):
            writes_needed = any(self._storage(number) in memory for number in call.changes)
            if writes_needed or needed.intersection(call.tensors):
                kept.append(call)
                needed.update(call.reads)
                memory.update(self._storage(number) for number in call.reads)
        return kept[::-1]


_PRODUCTS = frozenset({torch.ops.aten.mul.Tensor, torch.ops.aten.mul.Scalar})
# Results that do not depend on the values in their arguments.
_IGNORE_VALUES = frozenset(
    {
        torch.ops.aten.ones_like.default,
        torch.ops.aten.zeros_like.default,
        torch.ops.aten.full_like.default,
        torch.ops.aten.new_ones.default,
        torch.ops.aten.new_zeros.default,
        torch.ops.aten.new_full.default,
    }
)


def _is_determined(call: _Call) -> bool:
    return torch.Tag.nondeterministic_seeded not in call.function.tags


def _renamed(call: _Call, alias: list[int]) -> _Call:
    def rename(leaf: Any) -> Any:
        return _Value(alias[leaf.number]) if isinstance(leaf, _Value) else leaf

    arguments, keywords = pytree.tree_map(rename, (call.arguments, call.keywords))
    return _Call(
        call.function, arguments, keywords, tuple(alias[number] for number in call.reads), call.results, call.changes
    )


def _views_of(standing: list[int], calls: list[_Call]) -> tuple[list[_Call], list[_Call]]:
    """The calls that only look at standing tensors in another way, and the others."""
    known = set(standing)
    views, rest = [], []
    for call in calls:
        if call.function.is_view and known.issuperset(call.reads):
            known.update(call.tensors)
            views.append(call)
        else:
            rest.append(call)
    return views, rest


# Operations whose binding ``torch.<name>`` takes the same arguments, with half of the overhead of an operator object.
_BOUND = frozenset(
    "abs add bitwise_and bmm cat clamp clone div eq exp expm1 ge gt le log log1p logical_and logical_not lt mean mm mul"
    " ne neg permute pow relu rsqrt select sigmoid sqrt square squeeze stack sub sum tanh transpose unbind unsqueeze"
    " where".split()
)
# Operations that tensors have as a method with the same arguments. What stands for a tensor may be laid out in another
# way, so that only some of its views are views of that one.
_METHODS = {"expand": Tensor.expand, "view": Tensor.reshape}


def _binding(function: Any) -> Callable[..., Any]:
    name = function._schema.name.removeprefix("aten::")
    if name in _BOUND:
        return cast(Callable[..., Any], getattr(torch, name))
    return cast(Callable[..., Any], _METHODS.get(name, function))


def _targets(results: Any) -> str:
    """Names for what a call returns; some operations return None for what was not asked of them."""
    if isinstance(results, (list, tuple)):
        return f"({''.join(f'{_targets(one)}, ' for one in results)})"
    return "_" if results is None else repr(results)


def _compiled(
    inputs: Sequence[Sequence[int | None]],
    calls: list[_Call],
    wanted: list[int],
    tensors: list[Tensor],
    *,
    binding: Callable[[Any], Callable[..., Any]] = lambda function: function,
) -> Callable[..., Any]:
    """Python code that makes the calls one after the other and forgets each tensor after its last use.

    Args:
        inputs: the tensors in each of the function's parameters; None is ignored.
        calls: what to do.
        wanted: the tensors to return.
        tensors: where tensors that come from outside are found.
        binding: what to call for an operation.
    """
    given = {number for numbers in inputs for number in numbers if number is not None}
    made = {number for call in calls for number in call.tensors}
    last = {number: place for place, call in enumerate(calls) for number in (*call.tensors, *call.reads)}
    outside: dict[str, Any] = {
        f"t{number}": tensors[number]
        for number in {*(number for call in calls for number in call.reads), *wanted} - made - given
    }

    def text(value: Any) -> str:
        if value is None or isinstance(value, (bool, int, str, _Value)):
            return repr(value)
        if isinstance(value, (list, tuple)):
            inner = "".join(f"{text(one)}, " for one in value)
            return f"[{inner}]" if isinstance(value, list) else f"({inner})"
        name = f"c{len(outside)}"
        outside[name] = value
        return name

    names: dict[Any, str] = {}
    lines = [
        "".join("_, " if number is None else f"t{number}, " for number in numbers) + f"= given[{place}]"
        for place, numbers in enumerate(inputs)
        if numbers
    ]
    for place, call in enumerate(calls):
        if call.function not in names:
            names[call.function] = text(binding(call.function))
        arguments = [text(one) for one in call.arguments]
        arguments += [f"{key}={text(one)}" for key, one in call.keywords.items()]
        line = f"{names[call.function]}({', '.join(arguments)})"
        if call.tensors:
            line = f"{_targets(call.results)} = {line}"
        over = [n for n in dict.fromkeys((*call.tensors, *call.reads)) if last[n] == place]
        lines.append(
            line + "".join(f"; t{number} = None" for number in over if number in made and number not in wanted)
        )
    lines.append(f"return [{', '.join(f't{number}' for number in wanted)}]")
    source = "def program(*given):\n    " + "\n    ".join(lines)
    exec(compile(source, "<recorded>", "exec"), outside)
    program: Callable[..., Any] = outside["program"]
    return program
