"""Stages of a torch module, found in its graph.

A value at which nothing else is still alive is a clean cut: all that follows depends on it alone. The forward pass
is traced with ``torch.fx``, cut there, and each piece becomes a module that shares its parameters with the whole.
Neighbouring cuts are merged until each stage has a kernel of its own, so that a convolution, its normalisation and
its activation stay together. Whether the stages equal the whole is for
:mod:`~benchmark.engines.torch.stages.verification` to say.

Cut a model after its weights are loaded and it is on its device: a buffer that is moved later would be left behind.
"""

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn

from benchmark.engines.torch.stages.fallback import two_methods
from benchmark.engines.torch.stages.stage import HEAD, Piece, from_modules

_STATELESS = ("torch.nn.modules.activation", "torch.nn.modules.pooling", "torch.nn.modules.flatten")
_CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)


def candidates(model: nn.Module, example: Tensor) -> Iterator[list[Piece]]:
    """Yield lists of stages of ``model``, the finest first, to be verified; ``head`` is the last stage of each.

    The children of an ``nn.Sequential``; for a model with ``forward_features`` and ``forward_head`` (timm's
    protocol) the cuts of the first, and the second as head; the same two without cuts; the cuts of ``forward``.

    Args:
        model: with its weights, on its device, in inference mode.
        example: an input of the model, shape (B, 3, S, S), on the same device.
    """
    if isinstance(model, nn.Sequential) and type(model).forward is nn.Sequential.forward:
        children = _children(model)
        if len(children) > 1:
            yield from_modules(model, children)
    if callable(getattr(model, "forward_features", None)) and callable(getattr(model, "forward_head", None)):
        features, head = _trace(model, "forward_features"), _trace(model, "forward_head")
        if features is not None and head is not None:
            yield from_modules(model, [*_cut(features), (HEAD, head)])
        yield from two_methods(model, example)
    graph = _trace(model, "forward")
    cuts = _cut(graph) if graph is not None else []
    if len(cuts) > 1:
        yield from_modules(model, _join_head(cuts, example))


def _children(model: nn.Sequential) -> list[tuple[str, nn.Module]]:
    """Return the children; the last ones without parameters are one with the last that has some.

    None where a module is used twice: then it belongs to no child alone.
    """
    children = list(model._modules.items())
    inside = [module for _, child in children if child is not None for module in child.modules()]
    modules = [id(module) for module in inside if not _carries_nothing(module)]
    if len(set(modules)) < len(modules) or None in model._modules.values():
        return []
    named = [(name, child) for name, child in children if child is not None]
    last = len(named) - 1
    while last > 0 and next(named[last][1].parameters(), None) is None:
        last -= 1
    tail = [child for _, child in named[last:]]
    return [*named[:last], (HEAD, tail[0] if len(tail) == 1 else nn.Sequential(*tail))]


def _carries_nothing(module: nn.Module) -> bool:
    """Return whether a module may serve several stages: it has no weights, no state, no mode and no randomness."""
    kind = type(module)
    return (kind.__module__ in _STATELESS and next(module.parameters(), None) is None) and kind is not nn.RReLU


# --- tracing ------------------------------------------------------------------------------------------------------


class _Tracer(fx.Tracer):  # type: ignore[misc]  # torch is not typed here
    """Enters the root and containers only: every other module is one node."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return not isinstance(m, _CONTAINERS)


class _Method(nn.Module):  # type: ignore[misc]
    """A root whose forward pass is a method of ``model``."""

    def __init__(self, model: nn.Module, method: str) -> None:
        super().__init__()
        self.model = model
        self.method = method

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = getattr(self.model, self.method)(x)
        return result


def _untraceable() -> tuple[Callable[..., Any], ...]:
    """Return the functions that timm says ``torch.fx`` must not look into, where timm is in use."""
    if "timm" not in sys.modules:
        return ()
    from timm.layers import get_notrace_functions

    return tuple(get_notrace_functions())


def _trace(model: nn.Module, method: str) -> fx.GraphModule | None:
    """Return the graph of a method, or ``None`` where it can't be traced or depends on the mode.

    A graph holds one path: what a model decides by ``self.training`` outside its modules (functional dropout)
    would be fixed in it. Such a model has different graphs in training and in inference mode.
    """
    root = _Method(model, method)
    was_training = model.training
    graphs = []
    try:
        for training in (True, False):
            root.train(training)
            graphs.append(_Tracer(autowrap_functions=_untraceable()).trace(root))
    except Exception:  # a model's forward may do anything; what can't be traced is not cut
        return None
    finally:
        root.train(was_training)
    (output,) = [node for node in graphs[1].nodes if node.op == "output"]
    if _described(graphs[0]) != _described(graphs[1]) or not isinstance(output.args[0], fx.Node):
        return None
    return fx.GraphModule(root, graphs[1])


def _described(graph: fx.Graph) -> list[tuple[str, str, str, str]]:
    return [(node.op, str(node.target), repr(node.args), repr(node.kwargs)) for node in graph.nodes]


# --- cutting ------------------------------------------------------------------------------------------------------


@dataclass
class _Segment:
    """Nodes between two cuts; ``output`` is the one value that is alive after them."""

    nodes: list[fx.Node]
    output: fx.Node
    name: str = ""


def _cut(traced: fx.GraphModule) -> list[tuple[str, nn.Module]]:
    """Return named modules that, one after the other, do what ``traced`` does."""
    nodes = [node for node in traced.graph.nodes if node.op != "placeholder"]
    (entry,) = [node for node in traced.graph.nodes if node.op == "placeholder"]
    segments = _merged(traced, _segments(entry, nodes[:-1], nodes[-1]))
    taken: set[str] = set()
    modules = []
    for number, segment in enumerate(segments):
        source = segments[number - 1].output if number else entry
        name = segment.name
        while name in taken or name == HEAD:
            name += "_"
        taken.add(name)
        modules.append((name, _module(traced, segment, source)))
    return modules


def _segments(entry: fx.Node, nodes: Sequence[fx.Node], output: fx.Node) -> list[_Segment]:
    """Split the nodes wherever exactly one value is alive. A parameter is born where it is first used."""
    order = {node: number for number, node in enumerate([*nodes, output])}
    last_use = {node: max((order[user] for user in node.users), default=-1) for node in [entry, *nodes]}
    birth = dict(order)
    for node in nodes:
        if node.op == "get_attr" and node.users:
            birth[node] = min(order[user] for user in node.users)
    segments: list[_Segment] = []
    current: list[fx.Node] = []
    for number, node in enumerate(nodes):
        if node.op != "get_attr":
            current.append(node)
        alive = [
            other
            for other in [entry, *nodes[: number + 1]]
            if (other is entry or birth[other] <= number) and last_use[other] > number
        ]
        if current and len(alive) == 1 and alive[0] in current and _may_be_tensor(alive[0]):
            segments.append(_Segment(current, alive[0]))
            current = []
    if not segments:
        (returned,) = output.all_input_nodes
        return [_Segment(current, returned)]
    segments[-1].nodes += current
    return segments


def _may_be_tensor(node: fx.Node) -> bool:
    """Return whether a value is plausibly a tensor, not a shape or a number taken from one."""
    return not (node.op == "call_function" and node.target is getattr) and node.target not in ("size", "dim")


def _parameters(traced: fx.GraphModule, nodes: Sequence[fx.Node]) -> Iterator[nn.Parameter]:
    """Yield the parameters that nodes use, of modules and by themselves."""
    for node in nodes:
        if node.op == "call_module":
            yield from traced.get_submodule(str(node.target)).parameters()
        for used in node.all_input_nodes:
            if used.op == "get_attr":
                value = _attribute(traced, str(used.target))
                if isinstance(value, nn.Parameter):
                    yield value


def _kernels(traced: fx.GraphModule, nodes: Sequence[fx.Node]) -> list[str]:
    """Return the targets of modules that have a kernel, a parameter of two or more dimensions."""
    targets = [str(node.target) for node in nodes if node.op == "call_module"]
    return [t for t in targets if any(p.ndim > 1 for p in traced.get_submodule(t).parameters())]


def _attribute(root: nn.Module, target: str) -> Any:
    path, _, name = target.rpartition(".")
    return getattr(root.get_submodule(path), name)


def _merged(traced: fx.GraphModule, segments: list[_Segment]) -> list[_Segment]:
    """Join segments until each has a module with a kernel.

    A segment without one joins the segment before it, the first ones join what follows. Segments that share a
    parameter, or call one module twice, become one with all that is between them; but an activation or a pooling
    that serves several stages has nothing to share.
    """
    groups: list[list[_Segment]] = []
    has_kernel: list[bool] = []
    for segment in segments:
        kernel = bool(_kernels(traced, segment.nodes))
        if groups and (not kernel or not has_kernel[-1]):
            groups[-1].append(segment)
            has_kernel[-1] |= kernel
        else:
            groups.append([segment])
            has_kernel.append(kernel)
    owner: dict[int, int] = {}
    joined: list[list[_Segment]] = []
    for group in groups:
        joined.append(list(group))
        shared = {id(p) for s in group for p in _parameters(traced, s.nodes)}
        called = [traced.get_submodule(str(n.target)) for s in group for n in s.nodes if n.op == "call_module"]
        shared |= {id(module) for module in called if not _carries_nothing(module)}
        first = min((owner[key] for key in shared if key in owner), default=len(joined) - 1)
        while len(joined) - 1 > first:
            last = joined.pop()
            joined[-1] += last
        owner = {key: min(place, first) for key, place in owner.items()}
        owner.update({key: owner.get(key, len(joined) - 1) for key in shared})
    return [_Segment([n for s in group for n in s.nodes], group[-1].output, _name(traced, group)) for group in joined]


def _name(traced: fx.GraphModule, group: Sequence[_Segment]) -> str:
    """Return the module that the kernels of a group share, else the first one, without the tracer's prefix."""
    kernels = [target.removeprefix("model.").split(".") for s in group for target in _kernels(traced, s.nodes)]
    if not kernels:
        return "features"
    shared = [parts[0] for parts in zip(*kernels, strict=False) if len(set(parts)) == 1]
    return ".".join(shared if len(shared) > 1 else kernels[0])


def _module(traced: fx.GraphModule, segment: _Segment, source: fx.Node) -> nn.Module:
    """Return a module of the segment's nodes, whose input is the value ``source``."""
    graph = fx.Graph()
    copies = {source: graph.placeholder("x")}
    for node in segment.nodes:
        for used in node.all_input_nodes:
            if used.op == "get_attr" and used not in copies:
                copies[used] = graph.node_copy(used, lambda n: copies[n])
        copies[node] = graph.node_copy(node, lambda n: copies[n])
    graph.output(copies[segment.output])
    return fx.GraphModule(traced, graph)


def _join_head(named: list[tuple[str, nn.Module]], example: Tensor) -> list[tuple[str, nn.Module]]:
    """Give the pooling that stands before the classifier to the head.

    :func:`_cut` leaves what has no kernel with the stage before it. A head that can be replaced must begin at the
    last feature map: so the trailing nodes of the stage before the last that no longer give one are moved.
    """
    name, module = named[-2]
    assert isinstance(module, fx.GraphModule)
    with torch.no_grad():
        x = example
        for _, earlier in named[:-2]:
            x = earlier(x)
        shapes = _Shapes(module)
        shapes.run(x)
    nodes = [node for node in module.graph.nodes if node.op not in ("placeholder", "output", "get_attr")]
    (entry,) = [node for node in module.graph.nodes if node.op == "placeholder"]
    (output,) = [node for node in module.graph.nodes if node.op == "output"]
    parts = _segments(entry, nodes, output)
    keep = len(parts)
    while keep > 1 and not shapes.is_map(parts[keep - 1].output) and _bare(module, parts[keep - 1]):
        keep -= 1
    if keep == len(parts) or not shapes.is_map(parts[keep - 1].output):
        return named
    before = _Segment([n for part in parts[:keep] for n in part.nodes], parts[keep - 1].output)
    after = _Segment([n for part in parts[keep:] for n in part.nodes], parts[-1].output)
    pooling, classifier = _module(module, after, before.output), named[-1][1]
    return [*named[:-2], (name, _module(module, before, entry)), (HEAD, nn.Sequential(pooling, classifier))]


def _bare(module: fx.GraphModule, segment: _Segment) -> bool:
    """Return whether a segment has no parameters."""
    return next(_parameters(module, segment.nodes), None) is None


class _Shapes(fx.Interpreter):  # type: ignore[misc]
    """Runs a graph and remembers which values are feature maps."""

    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__(module)
        self._maps: set[str] = set()

    def run_node(self, n: fx.Node) -> Any:
        value = super().run_node(n)
        if isinstance(value, Tensor) and value.ndim > 2 and value[0].numel() > max(value.shape[1], value.shape[-1]):
            self._maps.add(n.name)
        return value

    def is_map(self, node: fx.Node) -> bool:
        return node.name in self._maps
