"""Each node, or group of nodes between DequantizeLinear and QuantizeLinear, as an operator of the graph."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx

from ...graph.ir import Array, Graph, Kind, Tensor
from .build import BYTES, FILE, FLAT, IMAGE, Builder, Scale, Stored
from .groups import ELEMENTWISE, RESHAPES, Cone, Fused, find_cone, find_fused, read_scale, sink
from .model import Model, attributes
from .submodel import Layout, Port, lie, submodel, turned, weights_layout

Node = onnx.NodeProto


@dataclass(frozen=True)
class Place:
    """How input, weights and result of an operator with weights lie; ``weights_axis``: of the output
    channels, as the graph has the weights."""

    x: str
    weights: Layout | None
    weights_axis: int
    result: str


@dataclass(frozen=True)
class Bias:
    """What is added to sums: float32, or int32 in units of the sum or of its own scale. ``name``: the value
    of the file that it is, "" if there is none such."""

    data: Array
    scale: Scale | None = None
    name: str = ""

    def of_sums(self, x: Scale, w: Scale) -> "Bias | None":
        """In whole units of a sum, input scale times weight scale; None if that takes more than 32 bits."""
        steps = np.broadcast_to(x.scale.astype(np.float64) * w.scale, self.data.shape)
        if self.scale is not None and not self.scale.zero.any() and np.allclose(
                np.broadcast_to(self.scale.scale, steps.shape), steps, rtol=1e-5, atol=0):
            return self
        real = self.data if self.scale is None else (self.data - self.scale.zero) * self.scale.scale
        whole = np.rint(real.astype(np.float64) / steps)
        return None if (np.abs(whole) >= 2**31).any() else Bias(whole.astype(np.int32))


def stored_operand(group: Fused, place: int) -> Stored:
    """An operand that was seen to be there."""
    operand = group.operands[place]
    assert operand is not None, group.core.op_type
    return operand


def convert(model: Model, *, exact: bool) -> Graph:
    """The graph of a model; ``exact`` as that of ``load_onnx``."""
    return _Converter(sink(model), exact).convert()


class _Converter:
    def __init__(self, model: Model, exact: bool):
        self.model = model
        self.exact = exact
        self.build = Builder(model)

    def convert(self) -> Graph:
        model, build = self.model, self.build
        for name in model.inputs:
            value = model.values[name]
            build.homes[name, FILE] = build.add_tensor(Tensor(name, value.shape, value.dtype))
        groups: dict[int, Cone | Fused] = {}
        inner: set[int] = set()
        for place, node in enumerate(model.nodes):
            group = find_cone(model, node) or find_fused(model, node)
            if group is not None:
                groups[place] = group
                inner |= {
                    model.maker[n.output[0]] for n in group.nodes if n.op_type != "DequantizeLinear"
                } - {place}
        for place, node in enumerate(model.nodes):
            if place in inner or all(name in model.constants for name in node.output if name):
                continue
            group = groups.get(place)
            if isinstance(group, Cone):
                self.cone(group)
            elif isinstance(group, Fused):
                self.fused(group)
            else:
                self.node(node)
        for name in model.outputs:
            if name in model.constants:
                build.home(name)
        return build.graph()

    # Groups

    def cone(self, cone: Cone) -> None:
        result = cone.nodes[-1].output[0]
        layout = self.build.lies(cone.operand.value)
        self.build.quantised(cone.operand.value, layout[0] if layout else FILE, cone.operand.scale)
        self.build.host_group(cone.nodes, cone.source, [result], scale=cone.scale, elementwise=True)

    def fused(self, group: Fused) -> None:
        handler = FUSED.get(group.core.op_type)
        if handler is None or not handler(self, group):
            for operand in group.operands:
                if operand is not None and operand.scale.single and operand.value not in self.model.constants:
                    self.build.quantised(operand.value, FILE, operand.scale)
            self.build.host_group(group.nodes, group.source, [group.result], scale=group.scale)

    def limits(self, group: Fused, dtype: str) -> dict[str, Any]:
        least, most = int(np.iinfo(dtype).min), int(np.iinfo(dtype).max)
        return {"low": group.stored(group.low, least, most), "high": group.stored(group.high, least, most)}

    def weighted(self, kind: Kind, source: str, nodes: Sequence[Node], result: str, x: Stored, w: Stored,
                 scale: Scale, place: Place, bias: Bias | None, attrs: dict[str, Any]) -> None:
        """An operator with constant weights."""
        build, model = self.build, self.model
        stored = model.constants[w.value]
        operands: list[int | None] = [
            build.quantised(x.value, place.x, x.scale),
            build.constant(w.value, lie(stored, place.weights), w.scale.quant(place.weights_axis)), None]
        ports = [build.port(x.value, place.x), Port(w.value, stored.dtype.name, stored.shape, place.weights)]
        if bias is not None:
            operands[2] = build.constant(bias.name or f"{result} (bias)", bias.data,
                                         None if bias.scale is None else bias.scale.quant(0))
            ports.append(Port(bias.name or "unused/bias", bias.data.dtype.name, bias.data.shape))
        ort = submodel(model, nodes, ports, [build.port(result, place.result)])
        build.op(kind, source, operands, [build.result(result, place.result, scale)], {**attrs, "ort": ort})

    # QDQ

    def fused_weighted(self, group: Fused, kind: Kind, place: Place, order: str,
                       attrs: dict[str, Any]) -> bool:
        """A float operator with constant weights. ``order``: when the bias is added ("first" or "last")."""
        x, w = stored_operand(group, 0), stored_operand(group, 1)
        known, bias = self.bias(group, self.model.values[group.result].shape[
            -1 if kind == Kind.FULLY_CONNECTED else 1])
        if not known:
            return False
        if self.exact:
            attrs = {**attrs, **self.float_attrs(group, None if bias is None else order)}
        else:
            attrs = {**attrs, **self.limits(group, self.model.values[group.result].dtype)}
            if bias is not None and (bias := bias.of_sums(x.scale, w.scale)) is None:
                return False
        self.weighted(kind, group.source, group.nodes, group.result, x, w, group.scale, place, bias, attrs)
        return True

    def float_attrs(self, group: Fused, bias: str | None) -> dict[str, Any]:
        """What passes/bracket wants to know of a float operator."""
        limits = np.iinfo(self.model.values[group.result].dtype)
        return {"low": int(limits.min), "high": int(limits.max), "float": {
            "operator": group.core.op_type, "transposed": bool(attributes(group.core).get("transB", 0)),
            "bias": bias, "activation": group.activation}}

    def bias(self, group: Fused, channels: int) -> tuple[bool, Bias | None]:
        """The constant that a float operator adds to its sums; (False, None) for one of another form."""
        constants = self.model.constants
        third = group.core.input[2] if len(group.core.input) > 2 else ""
        name = group.bias or third
        if not name:
            return True, None
        values = constants[name]
        if (group.bias and third) or values.dtype != np.float32 or values.size not in (1, channels):
            return False, None
        held = group.operands[2] if third else None
        if held is not None and constants[held.value].dtype == np.int32 and values.size == channels and \
                held.scale.scale.size in (1, channels):
            data = constants[held.value]
            return True, Bias(data.reshape(-1), held.scale, held.value if data.ndim == 1 else "")
        return True, Bias(np.broadcast_to(values.reshape(-1), (channels,)))

    def weights_of(self, group: Fused, axes: Sequence[int]) -> bool:
        """Whether operands 0 and 1 are a computed tensor and constant weights of bytes."""
        model = self.model
        x, w = group.operands[:2]
        return (
            x is not None
            and w is not None
            and x.scale.single
            and x.value not in model.constants
            and w.value in model.constants
            and (w.scale.single or w.scale.axis in axes)
            and {model.values[x.value].dtype, model.values[w.value].dtype} <= set(BYTES)
        )

    def conv(self, group: Fused) -> bool:
        if not self.weights_of(group, (0,)):
            return False
        x, w = stored_operand(group, 0), stored_operand(group, 1)
        shape = self.convolution(group.core, x.value, w.value, group.result)
        return shape is not None and self.fused_weighted(group, shape[0], shape[1], "last", shape[2])

    def convolution(self, node: Node, x: str, w: str, y: str) -> tuple[Kind, Place, dict[str, Any]] | None:
        """Kind, layouts and geometry; None for what the graph has no operator for."""
        given = attributes(node)
        xs, ws, ys = (self.model.values[name].shape for name in (x, w, y))
        if len(xs) not in (3, 4) or xs[0] != 1:
            return None
        group, rank = int(given.get("group", 1)), len(xs) - 2
        depthwise = group == xs[1] and ws[1] == 1 and group > 1
        stride, dilation = (tuple(given.get(name, [1] * rank)) for name in ("strides", "dilations"))
        padding = _padding(given, rank, xs[2:], ys[2:], ws[2:], stride, dilation)
        one = (1,) * (2 - rank)
        place = Place(IMAGE, weights_layout(ws, depthwise=depthwise), 3 if depthwise else 0, IMAGE)
        return (Kind.DEPTHWISE_CONV if depthwise else Kind.CONV), place, {
            "stride": (*one, *stride), "dilation": (*one, *dilation), "padding": padding}

    def gemm(self, group: Fused) -> bool:
        given = attributes(group.core)
        across = bool(given.get("transB", 0))
        third = len(group.core.input) > 2 and bool(group.core.input[2])
        if (
            not self.weights_of(group, (0 if across else 1,))
            or given.get("transA", 0)
            or given.get("alpha", 1.0) != 1.0
            or (third and given.get("beta", 1.0) != 1.0)
        ):
            return False
        return self.product(group, across)

    def product(self, group: Fused, across: bool) -> bool:
        """x times constant weights [K, N], or [N, K] if ``across``."""
        x, w = stored_operand(group, 0), stored_operand(group, 1)
        place = self.matrix(x.value, w.value, across, integers=not self.exact)
        order = "first" if group.core.op_type == "Gemm" and not group.bias else "last"
        return self.fused_weighted(group, Kind.FULLY_CONNECTED, place, order, {})

    def matrix(self, x: str, w: str, across: bool, *, integers: bool) -> Place:
        """How input and weights of a fully connected layer lie. The weights follow a flattened image, if the
        order of the sum does not matter."""
        rows, columns = self.model.values[w].shape
        if integers and FLAT in self.build.lies(x) and FILE not in self.build.lies(x):
            c, high, wide = self.build.flattened[x]
            layout = Layout((rows, c, high, wide), (0, 2, 3, 1), (rows, columns)) if across else \
                Layout((c, high, wide, columns), (3, 1, 2, 0), (columns, rows))
            return Place(FLAT, layout, 0, FILE)
        return Place(FILE, None if across else turned(rows, columns), 0, FILE)

    def matmul(self, group: Fused) -> bool:
        values, (a, b) = self.model.values, group.operands
        if a is None or b is None:
            return False
        if b.value in self.model.constants:
            return (len(values[b.value].shape) == 2 and len(values[a.value].shape) >= 2
                    and self.weights_of(group, (1,)) and self.product(group, False))
        if group.bias or not self.multiplies(a, b):
            return False
        attrs = self.float_attrs(group, None) if self.exact else \
            self.limits(group, values[group.result].dtype)
        self.build_product(group.source, group.nodes, group.result, a, b, group.scale, attrs)
        return True

    def multiplies(self, a: Stored, b: Stored) -> bool:
        """Whether two stored values are matrices of bytes, both computed, in as many batches."""
        values, constants = self.model.values, self.model.constants
        left, right = values[a.value].shape, values[b.value].shape
        return (a.scale.single and b.scale.single and not {a.value, b.value} & set(constants)
                and 2 <= len(left) == len(right) <= 4 and left[:-2] == right[:-2]
                and {values[each.value].dtype for each in (a, b)} <= set(BYTES))

    def build_product(self, source: str, nodes: Sequence[Node], result: str, a: Stored, b: Stored,
                      scale: Scale, attrs: dict[str, Any]) -> None:
        """A product of two computed matrices."""
        build = self.build
        operands = [build.quantised(each.value, FILE, each.scale) for each in (a, b)]
        ort = submodel(self.model, nodes, [build.port(a.value), build.port(b.value)], [build.port(result)])
        build.op(Kind.MATMUL, source, operands, [build.result(result, FILE, scale)], {**attrs, "ort": ort})

    def pair(self, group: Fused) -> bool:
        """Sums and products of two stored values."""
        values, (a, b) = self.model.values, group.operands
        if a is None or b is None or not (a.scale.single and b.scale.single) or \
                not {values[operand.value].dtype for operand in (a, b)} <= set(BYTES):
            return False
        kind = {"Add": Kind.ADD, "Sub": Kind.SUB, "Mul": Kind.MUL}[group.core.op_type]
        self.elementwise_pair(kind, group.source, group.nodes, group.result, a, b, group.scale,
                              self.limits(group, values[group.result].dtype))
        return True

    def elementwise_pair(self, kind: Kind, source: str, nodes: Sequence[Node], result: str, a: Stored,
                         b: Stored, scale: Scale, attrs: dict[str, Any]) -> None:
        build, values = self.build, self.model.values
        imaged = any(IMAGE in build.lies(each.value) for each in (a, b)) and all(
            len(values[name].shape) == 4 for name in (a.value, b.value, result))
        layout = IMAGE if imaged else FILE
        # The operator's own model has no layouts: it is asked for single values.
        ports = {name: Port(name, values[name].dtype, values[name].shape)
                 for name in (a.value, b.value, result)}
        operands = [build.quantised(each.value, layout, each.scale) for each in (a, b)]
        if a.value == b.value:  # squares and doubles are functions of one byte
            operands, kind, attrs = operands[:1], Kind.HOST, {"elementwise": True}
        ort = submodel(self.model, nodes, [ports[name] for name in dict.fromkeys((a.value, b.value))],
                       [ports[result]])
        build.op(kind, source, operands, [build.result(result, layout, scale)], {**attrs, "ort": ort})

    def max_pool(self, group: Fused) -> bool:
        """The greatest stored value is that of the greatest real one."""
        x = group.operands[0]
        return x is not None and self.unchanged(group) and self.pool(
            group.core, group.nodes, x.value, group.result, x.scale,
            self.limits(group, self.model.values[group.result].dtype))

    def unchanged(self, group: Fused) -> bool:
        """Whether the result has the first operand's own scale, so that stored values stay what they are."""
        values, x = self.model.values, group.operands[0]
        return (x is not None and x.value not in self.model.constants and x.scale.same(group.scale)
                and values[x.value].dtype == values[group.result].dtype)

    def pool(self, node: Node, nodes: Sequence[Node], x: str, y: str, scale: Scale | None,
             limits: dict[str, Any]) -> bool:
        values, build, given = self.model.values, self.build, attributes(node)
        xs, ys = values[x].shape, values[y].shape
        rank = len(xs) - 2
        if rank not in (1, 2) or xs[0] != 1 or len(node.output) != 1 or given.get("storage_order", 0) or \
                any(step != 1 for step in given.get("dilations", [])):
            return False
        window, stride = tuple(given["kernel_shape"]), tuple(given.get("strides", [1] * rank))
        padding = _padding(given, rank, xs[2:], ys[2:], window, stride, (1,) * rank)
        one = (1,) * (2 - rank)
        if any(side >= reach for side, reach in zip(padding, np.repeat((*one, *window), 2), strict=True)):
            return False
        source = build.home(x, IMAGE) if scale is None else build.quantised(x, IMAGE, scale)
        if (kept := build.scale_of(source)) is None:
            return False
        ort = submodel(self.model, nodes, [build.port(x, IMAGE)], [build.port(y, IMAGE)])
        build.op(Kind.MAX_POOL, node.op_type, [source], [build.result(y, IMAGE, kept)], {
            "window": (*one, *window), "stride": (*one, *stride), "padding": padding, **limits, "ort": ort})
        return True

    def reshaped(self, group: Fused) -> bool:
        x = group.operands[0]
        if x is None or not self.unchanged(group) or group.activation is not None:
            return False
        self.reshape(x.value, group.result, x.scale)
        return True

    def reshape(self, x: str, y: str, scale: Scale | None) -> None:
        """No work, if the values lie in the file's order, or in that of an image that is only flattened."""
        build, (before, after) = self.build, (self.model.values[name].shape for name in (x, y))
        flattens = len(before) == 4 and len(after) == 2 and after[0] == before[0]
        flat = flattens and FILE not in build.lies(x) and IMAGE in build.lies(x)
        if flat:
            build.flattened[y] = (before[1], before[2], before[3])
        source, target = (IMAGE, FLAT) if flat else (FILE, FILE)
        index = build.home(x, source) if scale is None else build.quantised(x, source, scale)
        build.op(Kind.RESHAPE, "Reshape", [index], [build.result(y, target, build.scale_of(index))], {})

    def concat(self, group: Fused) -> bool:
        """Operands of other scales than the result's are requantised before."""
        parts = [operand for operand in group.operands if operand is not None and operand.scale.single
                 and operand.value not in self.model.constants]
        return (len(parts) == len(group.operands) and group.activation is None
                and self.join(group.core, parts, group.result, group.scale))

    def join(self, node: Node, parts: Sequence[Stored], result: str, scale: Scale) -> bool:
        values, build = self.model.values, self.build
        out = values[result]
        if not {values[part.value].dtype for part in parts} <= set(BYTES):
            return False
        axis = int(attributes(node)["axis"]) % len(out.shape)
        imaged = len(out.shape) == 4 and any(IMAGE in build.lies(part.value) for part in parts)
        layout, axis = (IMAGE, (0, 3, 1, 2)[axis]) if imaged else (FILE, axis)
        inputs = []
        for number, part in enumerate(parts):
            index = build.quantised(part.value, layout, part.scale)
            if not part.scale.same(scale) or values[part.value].dtype != out.dtype:
                index = self.requantised(part, index, scale, out.dtype, f"{result} (part {number})")
            inputs.append(index)
        ports = [Port(f"part{i}", out.dtype, values[part.value].shape) for i, part in enumerate(parts)]
        joined = onnx.helper.make_node("Concat", [port.value for port in ports], ["joined"], axis=axis)
        ort = submodel(self.model, [joined], ports, [Port("joined", out.dtype, out.shape)])
        build.op(Kind.HOST, "Concat", inputs, [build.result(result, layout, scale)], {
            "options": {"axis": axis}, "ort": ort})
        return True

    def requantised(self, part: Stored, index: int, scale: Scale, dtype: str, called: str) -> int:
        """A stored value in another scale."""
        build, make = self.build, onnx.helper.make_node
        was, shape = self.model.values[part.value].dtype, build.tensors[index].shape
        held = {"scale": part.scale.scale[0], "zero": part.scale.zero.astype(was)[0],
                "new_scale": scale.scale[0], "new_zero": scale.zero.astype(dtype)[0]}
        nodes = [make("Constant", [], [name], value=onnx.numpy_helper.from_array(np.asarray(value)))
                 for name, value in held.items()]
        nodes += [make("DequantizeLinear", ["before", "scale", "zero"], ["real"]),
                  make("QuantizeLinear", ["real", "new_scale", "new_zero"], ["after"])]
        ort = submodel(self.model, nodes, [Port("before", was, shape)], [Port("after", dtype, shape)])
        out = build.add_tensor(Tensor(called, shape, dtype, scale.quant()))
        build.op(Kind.HOST, "QuantizeLinear", [index], [out], {"ort": ort, "elementwise": True})
        return out

    # Operators on stored values

    def node(self, node: Node) -> None:
        handler = NODES.get(node.op_type)
        if handler is not None and handler(self, node):
            return
        constants = self.model.constants
        results = [name for name in node.output if name]
        computed = {name for name in node.input if name and name not in constants}
        alone = len(computed) == len(results) == 1 and node.op_type in ELEMENTWISE and all(
            constants[name].size == 1 for name in node.input if name in constants)
        self.build.host_group([node], node.op_type, results, scale=quantised_scale(self.model, node),
                              elementwise=alone)

    def operand(self, node: Node, place: int, axis: int | None = None, *,
                constant: bool = False) -> Stored | None:
        """A quantised operand, value and scale at ``place`` and behind it: computed and with one scale, or
        ``constant`` with one for each element of ``axis`` at most; None for any other."""
        names = [*node.input, "", ""]
        scale = read_scale(self.model, names[place + 1], names[place + 2], axis)
        value, constants = names[place], self.model.constants
        if scale is None or (value in constants) != constant or (not constant and not scale.single) or \
                self.model.values[value].dtype not in BYTES:
            return None
        return Stored(value, scale)

    def whole(self, node: Node) -> dict[str, int]:
        """The limits of a result's type."""
        limits = np.iinfo(self.model.values[node.output[0]].dtype)
        return {"low": int(limits.min), "high": int(limits.max)}

    def qlinear_conv(self, node: Node) -> bool:
        x, w = self.operand(node, 0), self.operand(node, 3, 0, constant=True)
        scale, (known, bias) = quantised_scale(self.model, node), self.integer_bias(node, 8, None)
        if x is None or w is None or scale is None or not known:
            return False
        shape = self.convolution(node, x.value, w.value, node.output[0])
        if shape is None:
            return False
        kind, place, attrs = shape
        self.weighted(kind, node.op_type, [node], node.output[0], x, w, scale, place, bias,
                      {**attrs, **self.whole(node)})
        return True

    def integer_bias(self, node: Node, place: int, channels: int | None) -> tuple[bool, Bias | None]:
        """A constant int32 operand, spread to ``channels``; (False, None) for one that is computed."""
        name = node.input[place] if len(node.input) > place else ""
        if not name:
            return True, None
        data = self.model.constants.get(name)
        if data is None or data.dtype != np.int32 or (channels and data.size not in (1, channels)):
            return False, None
        if channels is None or data.shape == (channels,):
            return True, Bias(data, name=name)
        return True, Bias(np.broadcast_to(data.reshape(-1), (channels,)))

    def qlinear_matmul(self, node: Node) -> bool:
        values, result = self.model.values, node.output[0]
        a, scale = self.operand(node, 0), quantised_scale(self.model, node)
        if a is None or scale is None or len(values[a.value].shape) < 2:
            return False
        w = self.operand(node, 3, 1, constant=True)
        if w is not None and len(values[w.value].shape) == 2:
            place = self.matrix(a.value, w.value, False, integers=True)
            self.weighted(Kind.FULLY_CONNECTED, node.op_type, [node], result, a, w, scale, place, None,
                          self.whole(node))
            return True
        b = self.operand(node, 3)
        if b is None or not self.multiplies(a, b):
            return False
        self.build_product(node.op_type, [node], result, a, b, scale, self.whole(node))
        return True

    def qgemm(self, node: Node) -> bool:
        given, result = attributes(node), node.output[0]
        across = bool(given.get("transB", 0))
        a, w = self.operand(node, 0), self.operand(node, 3, 0 if across else 1, constant=True)
        scale = quantised_scale(self.model, node)
        known, bias = self.integer_bias(node, 6, self.model.values[result].shape[-1])
        if a is None or w is None or scale is None or not known or given.get("transA", 0) or \
                given.get("alpha", 1.0) != 1.0:
            return False
        place = self.matrix(a.value, w.value, across, integers=True)
        self.weighted(Kind.FULLY_CONNECTED, node.op_type, [node], result, a, w, scale, place, bias,
                      self.whole(node))
        return True

    def qlinear_pair(self, node: Node) -> bool:
        operands = [self.operand(node, place) or self.operand(node, place, constant=True) for place in (0, 3)]
        scale, (a, b) = quantised_scale(self.model, node), operands
        if a is None or b is None or scale is None or not (a.scale.single and b.scale.single) or \
                {a.value, b.value} <= set(self.model.constants):
            return False
        kind = Kind.ADD if node.op_type == "QLinearAdd" else Kind.MUL
        self.elementwise_pair(kind, node.op_type, [node], node.output[0], a, b, scale, self.whole(node))
        return True

    def qlinear_unary(self, node: Node) -> bool:
        x, scale = self.operand(node, 0), quantised_scale(self.model, node)
        if x is None or scale is None:
            return False
        self.build.quantised(x.value, self.build.lies(x.value)[0], x.scale)
        self.build.host_group([node], node.op_type, [node.output[0]], scale=scale, elementwise=True)
        return True

    def qlinear_concat(self, node: Node) -> bool:
        scale, places = quantised_scale(self.model, node), range(2, len(node.input), 3)
        parts = [part for place in places if (part := self.operand(node, place)) is not None]
        return scale is not None and len(parts) == len(places) and self.join(
            node, parts, node.output[0], scale)

    def plain_reshape(self, node: Node) -> bool:
        x = node.input[0]
        if x in self.model.constants or any(
            name not in self.model.constants for name in node.input[1:] if name
        ):
            return False
        self.reshape(x, node.output[0], None)
        return True

    def transpose(self, node: Node) -> bool:
        """From NHWC to NCHW and back: only another way to look at the same tensor."""
        build, (x, y) = self.build, (node.input[0], node.output[0])
        order = list(attributes(node).get("perm", []))
        if y in self.model.outputs or x in self.model.constants:
            return False
        if order == [0, 3, 1, 2]:
            build.homes[y, IMAGE] = build.home(x)
        elif order == [0, 2, 3, 1] and IMAGE in build.lies(x):
            build.homes[y, FILE] = build.homes[x, IMAGE]
        else:
            return False
        return True

    def plain_pool(self, node: Node) -> bool:
        x, y = node.input[0], node.output[0]
        if self.model.values[x].dtype not in BYTES or x in self.model.constants:
            return False
        limits = np.iinfo(self.model.values[y].dtype)
        lies = self.build.lies(x)
        if not lies or self.build.tensors[self.build.homes[x, lies[0]]].quant is None:
            return False
        return self.pool(node, [node], x, y, None, {"low": int(limits.min), "high": int(limits.max)})


def quantised_scale(model: Model, node: Node) -> Scale | None:
    """The scale that a node's result has, where the node says it."""
    where = {
        "QuantizeLinear": (1, 2),
        "QLinearAveragePool": (3, 4),
        "QLinearGlobalAveragePool": (3, 4),
        "QLinearSoftmax": (3, 4),
        "QLinearReduceMean": (3, 4),
        "QLinearConv": (6, 7),
        "QLinearMatMul": (6, 7),
        "QLinearAdd": (6, 7),
        "QLinearMul": (6, 7),
        "QGemm": (7, 8),
        "QLinearConcat": (0, 1),
        "QLinearSigmoid": (3, 4),
        "QLinearLeakyRelu": (3, 4),
        "QLinearWhere": (7, 8),
    }.get(node.op_type)
    if where is None or len(node.input) <= where[0] or not node.input[where[0]]:
        return None
    zero = node.input[where[1]] if len(node.input) > where[1] else ""
    scale = read_scale(model, node.input[where[0]], zero)
    return (
        scale if scale is not None and scale.single and model.values[node.output[0]].dtype in BYTES else None
    )


def _padding(
    given: dict[str, Any],
    rank: int,
    size: Sequence[int],
    out: Sequence[int],
    window: Sequence[int],
    stride: Sequence[int],
    dilation: Sequence[int],
) -> tuple[int, int, int, int]:
    """(top, bottom, left, right). The output's size counts: what it leaves of the input is no padding."""
    mode = given.get("auto_pad", "NOTSET")
    pads = list(given.get("pads", [0] * 2 * rank)) if mode == "NOTSET" else [0] * 2 * rank
    sides: list[int] = []
    for axis in range(rank):
        reach = (window[axis] - 1) * dilation[axis] + 1
        total = (out[axis] - 1) * stride[axis] + reach - size[axis]
        if mode in ("SAME_UPPER", "SAME_LOWER"):
            less, more = max(total, 0) // 2, max(total, 0) - max(total, 0) // 2
            sides += [less, more] if mode == "SAME_UPPER" else [more, less]
        else:
            sides += [pads[axis], max(total - pads[axis], 0)]
    return (0, 0, sides[0], sides[1]) if rank == 1 else (sides[0], sides[1], sides[2], sides[3])


FUSED: dict[str, Callable[[_Converter, Fused], bool]] = {
    "Add": _Converter.pair,
    "Concat": _Converter.concat,
    "Conv": _Converter.conv,
    "Gemm": _Converter.gemm,
    "MatMul": _Converter.matmul,
    "MaxPool": _Converter.max_pool,
    "Mul": _Converter.pair,
    "Sub": _Converter.pair,
    **dict.fromkeys(RESHAPES, _Converter.reshaped),
}
"""Float operators between DequantizeLinear and QuantizeLinear that may have a kind of their own; False leaves
them to the host."""

NODES: dict[str, Callable[[_Converter, Node], bool]] = {
    "MaxPool": _Converter.plain_pool,
    "QGemm": _Converter.qgemm,
    "QLinearAdd": _Converter.qlinear_pair,
    "QLinearConcat": _Converter.qlinear_concat,
    "QLinearConv": _Converter.qlinear_conv,
    "QLinearLeakyRelu": _Converter.qlinear_unary,
    "QLinearMatMul": _Converter.qlinear_matmul,
    "QLinearMul": _Converter.qlinear_pair,
    "QLinearSigmoid": _Converter.qlinear_unary,
    "Transpose": _Converter.transpose,
    **dict.fromkeys(RESHAPES, _Converter.plain_reshape),
}
