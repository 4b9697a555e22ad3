"""From a lowered network to instructions: segments, memories, tiles, and the order of everything."""

from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from ...rtl.contract.errors import CapacityError
from ...rtl.contract.fabric import LAYER_BITS, Fabric
from ...rtl.contract.isa import (
    PIXEL_COUNT_BITS,
    ROW_BYTES_BITS,
    Fill,
    Load,
    Post,
    Space,
    Store,
    Stream,
    Weights,
)
from ..emit.program import DramTensor
from ..emit.tokens import Access, Item, Memory
from ..lower.plan import Alias, HostStep, Layer, Plan
from .activations import Images, input_rows, plan_images, strip_layout, touched
from .layout import Layout, layout_for
from .memory import Block, place
from .residency import Residency, plan_residency
from .weights import ColumnTile, column_tiles, walk_start

LATENCY_BUBBLE = 64
"""About how many cycles pass from the last pixel of a layer to the first that may depend on it: the last tile
of a layer is kept small, so that this is hidden behind it."""
INPUT_CHUNKS = 4
INPUT_CHUNK_BYTES = 512
"""An input image is loaded in up to so many parts of at least so many bytes: work can start early."""

Shape = tuple[int, int, int]
Bytes = npt.NDArray[np.uint8]


@dataclass
class Segment:
    """Layers that run on the fabric without the host in between."""

    layers: list[Layer]
    tags: list[int]
    share: dict[int, int]
    inputs: list[int] = field(default_factory=list)
    outputs: list[int] = field(default_factory=list)
    items: list[Item] = field(default_factory=list)
    images: Images | None = None


@dataclass
class Scheduled:
    """What emission needs: segments and host steps in order, and what goes to DRAM as it is."""

    plan: Plan
    fabric: Fabric
    parts: list[Segment | HostStep]
    setup: list[Item]
    constants: list[tuple[int, Bytes]]
    tensors: dict[int, DramTensor]
    dram_used: int
    weights: Residency
    params: Residency


@dataclass(frozen=True)
class View:
    """(Part of) an image on chip: pixel (y, x) of the whole is at origin + y*pitch + x*channels."""

    origin: int
    layout: Layout

    def at(self, y: int, x: int) -> int:
        return self.origin + y * self.layout.pitch + x * self.layout.channels


def schedule(plan: Plan, fabric: Fabric) -> Scheduled:
    """Lay out a network for a fabric.

    Raises
    ------
    CapacityError
        If one tile or row of some layer does not fit a memory.
    """
    return _Scheduler(plan, fabric).run()


class _Scheduler:
    def __init__(self, plan: Plan, fabric: Fabric):
        self.plan, self.fabric = plan, fabric
        self.shapes: dict[int, Shape] = {}
        for step in plan.steps:
            if isinstance(step, Layer):
                self.shapes[step.input] = step.in_shape
                self.shapes[step.output] = step.out_shape
                if step.other is not None:
                    self.shapes[step.other] = step.out_shape
        self.parts = list(self._split())
        self.layouts: dict[int, Layout] = {}
        self.tiles: dict[int, list[ColumnTile]] = {}  # by tag
        self.weight_block: dict[tuple[int, int], int] = {}  # (tag, column tile) -> block
        self.param_block: dict[tuple[int, int], int] = {}
        self.constants: list[tuple[int, Bytes]] = []
        self.dram = 0

    def run(self) -> Scheduled:
        segments = [part for part in self.parts if isinstance(part, Segment)]
        for segment in segments:
            self._choose_layouts(segment)
        self._place_constants(segments)
        for segment in segments:
            segment.images = plan_images(segment.layers, self.layouts, segment.share, self.fabric)
        self._place_tensors(segments)
        setup = list(self._setup())
        for segment in segments:
            self._emit_segment(segment)
        return Scheduled(
            self.plan,
            self.fabric,
            list(self.parts),
            setup,
            self.constants,
            self.tensors,
            self.dram,
            self.weights,
            self.params,
        )

    # -- segments
    # ---------------------------------------------------------------------------------------------

    def _split(self) -> Iterator[Segment | HostStep]:
        """Maximal runs of layers; a reshape stays in one only if it can share its input's bytes there."""
        segment = Segment([], [], {})
        tag = 0
        for step in self.plan.steps:
            if isinstance(step, Layer):
                segment.layers.append(step)
                segment.tags.append(min(tag, (1 << LAYER_BITS) - 1))
                tag += 1
            elif isinstance(step, Alias) and self._shares(step, segment):
                segment.share[step.output] = segment.share.get(step.input, step.input)
            else:
                if segment.layers:
                    yield segment
                segment = Segment([], [], {})
                yield (
                    step
                    if isinstance(step, HostStep)
                    else HostStep(step.op, "moves no data, only renames it")
                )
        if segment.layers:
            yield segment

    def _shares(self, alias: Alias, segment: Segment) -> bool:
        graph = self.plan.graph
        made_here = (
            any(layer.output == alias.input for layer in segment.layers) or alias.input in segment.share
        )
        if not made_here or alias.input in graph.outputs or alias.output in graph.outputs:
            return False
        readers = [
            step
            for step in self.plan.steps
            if isinstance(step, Layer) and alias.output in (step.input, step.other)
        ]
        inside = {op for layer in readers for op in layer.ops}
        if len(graph.uses(alias.input)) != 1 or not readers or not set(graph.uses(alias.output)) <= inside:
            return False
        if any(layer.other == alias.output for layer in readers):
            return False
        layout = layout_for(self.shapes[alias.output], readers, self.fabric.rows)
        return layout.dense and layout.start == 0

    def _choose_layouts(self, segment: Segment) -> None:
        for layer in segment.layers:
            for tensor in touched(layer):
                readers = [reader for reader in segment.layers if reader.input == tensor]
                self.layouts[tensor] = layout_for(self.shapes[tensor], readers, self.fabric.rows)
        produced = {layer.output for layer in segment.layers} | set(segment.share)
        used_later = self._used_outside(segment)
        segment.inputs = sorted({tensor for layer in segment.layers for tensor in touched(layer)} - produced)
        segment.outputs = sorted({layer.output for layer in segment.layers} & used_later)

    def _used_outside(self, segment: Segment) -> set[int]:
        inside = {op for layer in segment.layers for op in layer.ops}
        graph = self.plan.graph
        used = set(graph.outputs)
        for index, op in enumerate(graph.ops):
            if index not in inside:
                used |= {tensor for tensor in op.inputs if tensor is not None}
        return used - set(segment.share.values())

    # -- constants
    # --------------------------------------------------------------------------------------------

    def _reserve(self, size: int) -> int:
        """The next piece of DRAM, aligned so that bursts start well."""
        start = self.dram
        self.dram = -(-(start + size) // 64) * 64
        return start

    def _place_constants(self, segments: list[Segment]) -> None:
        fabric = self.fabric
        words: list[npt.NDArray[np.int8]] = []
        records: list[Bytes] = []
        known: dict[bytes, int] = {}
        for segment in segments:
            for layer, tag in zip(segment.layers, segment.tags, strict=True):
                self.tiles[tag] = column_tiles(layer, self.layouts[layer.input].pitch, fabric)
                for number, tile in enumerate(self.tiles[tag]):
                    if tile.walk.run >= 1 << 16 or tile.tiles >= 1 << 14 or tile.walk.runs_x >= 1 << 8:
                        raise CapacityError(
                            f"layer {layer.name} ({layer.source}): a kernel row of {tile.walk.run} "
                            f"bytes in {tile.tiles} tiles is beyond the instruction's fields"
                        )
                    key = tile.words.tobytes()
                    if key not in known:
                        known[key] = len(words)
                        words.append(tile.words)
                    self.weight_block[tag, number] = known[key]
                    self.param_block[tag, number] = len(records)
                    records.append(tile.records)
        sizes = [len(block) for block in words]
        self.weights = plan_residency(
            sizes, fabric.wm_words, ring_least=2 * fabric.rows, ring_wanted=2 * max(sizes, default=0)
        )
        sizes = [len(block) for block in records]
        self.params = plan_residency(
            sizes, fabric.pm_words, ring_least=2 * (fabric.cols + 1), ring_wanted=8 * (fabric.cols + 1)
        )
        self.weight_dram = self._store_blocks(words, self.weights, fabric.wm_word_stride)
        self.param_dram = self._store_blocks(records, self.params, fabric.pm_word_stride)
        self.weight_words, self.param_records = words, records

    def _store_blocks(
        self, blocks: list[npt.NDArray[np.int8]] | list[Bytes], residency: Residency, stride: int
    ) -> list[int]:
        """Put blocks into DRAM, resident ones first, in the order of their places; returns addresses."""
        order = sorted(
            range(len(blocks)), key=lambda i: (residency.place[i] is None, residency.place[i] or 0)
        )
        total = sum(len(block) for block in blocks)
        image = np.zeros((total, stride), np.uint8)
        start = self._reserve(image.size)
        addresses = [0] * len(blocks)
        row = 0
        for index in order:
            block = blocks[index]
            image[row : row + len(block), : block.shape[1]] = block.view(np.uint8)
            addresses[index] = start + row * stride
            row += len(block)
        if image.size:
            self.constants.append((start, image.reshape(-1)))
        return addresses

    def _setup(self) -> Iterator[Item]:
        """Loads of everything resident: contiguous in DRAM and on chip, in pieces that the fields hold."""
        fabric = self.fabric
        for space, residency, addresses, stride in (
            (Space.WM, self.weights, self.weight_dram, fabric.wm_word_stride),
            (Space.PM, self.params, self.param_dram, fabric.pm_word_stride),
        ):
            if not residency.used:
                continue
            first = next(i for i, where in enumerate(residency.place) if where == 0)
            most = ((1 << ROW_BYTES_BITS) - 1) // stride
            for start in range(0, residency.used, most):
                yield self._load_words(
                    space,
                    addresses[first] + start * stride,
                    start,
                    min(most, residency.used - start),
                    stride,
                    0,
                )

    def _load_words(self, space: Space, dram: int, local: int, words: int, stride: int, tag: int) -> Item:
        memory = Memory.WM if space == Space.WM else Memory.PM
        return Item(
            Load(layer=tag, space=space, dram=dram, row_bytes=words * stride, word=local),
            (
                Access(memory, local, local + words, True),
                Access(Memory.DRAM, dram, dram + words * stride, False),
            ),
        )

    # -- tensors in DRAM
    # --------------------------------------------------------------------------------------

    def _place_tensors(self, segments: list[Segment]) -> None:
        """DRAM homes for what crosses a segment's edge or is spilled; memory is reused over the steps."""
        life: dict[int, tuple[int, int]] = {}
        for step, part in enumerate(self.parts):
            if isinstance(part, Segment):
                assert part.images is not None
                for tensor in {*part.inputs, *part.outputs, *part.images.spilled}:
                    first, last = life.get(tensor, (step, step))
                    life[tensor] = (first, max(last, step))
        order = sorted(life)
        stride = {}
        for tensor in order:
            _, width, channels = self.shapes[tensor]
            stride[tensor] = -(-width * channels // self.fabric.bus_bytes) * self.fabric.bus_bytes
        blocks = [Block(-(-self.shapes[t][0] * stride[t] // 64) * 64, *life[t]) for t in order]
        starts = place(blocks, 1 << 32, align=64)
        assert starts is not None
        size = max((start + block.size for start, block in zip(starts, blocks, strict=True)), default=0)
        base = self._reserve(size)
        self.tensors = {
            tensor: DramTensor(
                tensor,
                base + start,
                self.shapes[tensor][0],
                self.shapes[tensor][1] * self.shapes[tensor][2],
                stride[tensor],
            )
            for tensor, start in zip(order, starts, strict=True)
        }

    # -- instructions
    # -----------------------------------------------------------------------------------------

    def _emit_segment(self, segment: Segment) -> None:
        images = segment.images
        assert images is not None
        items = segment.items
        arrived: set[int] = set()
        for step, (layer, tag) in enumerate(zip(segment.layers, segment.tags, strict=True)):
            views = {
                tensor: View(images.base[tensor] + self.layouts[tensor].start, self.layouts[tensor])
                for tensor in touched(layer)
                if tensor not in images.spilled
            }
            for tensor in (layer.input, layer.other):
                if tensor in segment.inputs and tensor in views and tensor not in arrived:
                    arrived.add(tensor)
                    items += self._border(segment, tensor, views[tensor], tag)
                    size = self.layouts[tensor].height * self.tensors[tensor].row_bytes
                    chunks = max(1, min(INPUT_CHUNKS, size // INPUT_CHUNK_BYTES))
                    items += self._load_image(
                        tensor, views[tensor], 0, self.layouts[tensor].height, tag, chunks
                    )
            if layer.output in views:
                items += self._border(segment, layer.output, views[layer.output], tag)
            if step not in images.strips:
                items += self._layer(layer, tag, 0, layer.out_shape[0], views)
            else:
                items += self._strips(segment, step, views)
            if layer.output in segment.outputs and layer.output in views:
                items += self._store_image(layer.output, views[layer.output], 0, layer.out_shape[0], tag)

    def _border(self, segment: Segment, tensor: int, view: View, tag: int) -> Iterator[Item]:
        """Fill the halo of a whole image with what its readers take for zero."""
        layout = view.layout
        value = next((layer.pad_value for layer in segment.layers if layer.input == tensor), 0)
        return self._halo(view, -layout.top, layout.height + layout.bottom, layout.height, value, tag)

    def _strips(self, segment: Segment, step: int, views: dict[int, View]) -> Iterator[Item]:
        """A layer with spilled images, some rows at a time; two sets of buffers let transfers run behind."""
        assert segment.images is not None
        layer, tag, strips = segment.layers[step], segment.tags[step], segment.images.strips[step]
        for number, first in enumerate(range(0, layer.out_shape[0], strips.rows)):
            last = min(first + strips.rows, layer.out_shape[0])
            here = dict(views)
            for tensor, bases in strips.bases.items():
                layout = strip_layout(layer, tensor, self.layouts[tensor], strips.rows)
                low, high = input_rows(layer, first, last) if tensor == layer.input else (first, last)
                view = View(bases[number % len(bases)] + layout.start - low * layout.pitch, layout)
                here[tensor] = view
                if tensor == layer.input:
                    yield from self._halo(
                        view, low, high, self.layouts[tensor].height, layer.pad_value, tag
                    )
                if tensor != layer.output:
                    yield from self._load_image(
                        tensor, view, max(low, 0), min(high, self.layouts[tensor].height), tag, 1
                    )
            yield from self._layer(layer, tag, first, last, here)
            if layer.output in strips.bases:
                yield from self._store_image(layer.output, here[layer.output], first, last, tag)

    def _layer(
        self, layer: Layer, tag: int, first: int, last: int, views: Mapping[int, View]
    ) -> Iterator[Item]:
        """Output rows first to last-1: WEIGHTS, STREAM, POST for each tile of pixels and columns."""
        tiles = self.tiles[tag]
        window = layer.kernel[0] * layer.kernel[1] if layer.mode == "window" else 1
        passes = max(tile.tiles for tile in tiles) * window
        groups = -(-max(tile.count for tile in tiles) // self.fabric.lanes)
        pace = groups * (2 if layer.add else 1)  # an add takes the memory port twice
        pixels = list(pixel_tiles(first, last, layer.out_shape[1], passes, pace, self.fabric))
        blocks = list(enumerate(tiles))
        streamed = any(self.weights.place[self.weight_block[tag, number]] is None for number, _ in blocks)
        # Weights that pass through the ring are used for all pixels while they are there.
        pairs = (
            [(block, area) for block in blocks for area in pixels]
            if streamed
            else [(block, area) for area in pixels for block in blocks]
        )
        loaded: tuple[int, int] = (-1, -1)
        param_place: dict[int, int] = {}
        for (number, tile), area in pairs:
            if number not in param_place or self.params.place[self.param_block[tag, number]] is None:
                block = self.param_block[tag, number]
                where = self.params.place[block]
                if where is None and not (streamed and number in param_place):
                    where = self.params.take(len(tile.records))
                    yield self._load_words(
                        Space.PM,
                        self.param_dram[block],
                        where,
                        len(tile.records),
                        self.fabric.pm_word_stride,
                        tag,
                    )
                param_place[number] = where if where is not None else param_place[number]
            loaded = yield from self._weights_and_stream(
                layer, tag, number, tile, area, views[layer.input], loaded
            )
            yield self._post(layer, tag, tile, param_place[number], area, views)

    def _weights_and_stream(
        self,
        layer: Layer,
        tag: int,
        number: int,
        tile: ColumnTile,
        area: tuple[int, int, int, int],
        view: View,
        loaded: tuple[int, int],
    ) -> Generator[Item, None, tuple[int, int]]:
        """The tiles of one column tile over one area, in as many pieces as the ring takes.

        ``loaded`` is the block that came through the ring last and its place there; the new one is returned.
        """
        rows = self.fabric.rows
        block = self.weight_block[tag, number]
        where = self.weights.place[block]
        if where is not None:
            yield self._weights(tag, tile, where, 0, tile.tiles)
            yield self._stream(layer, tag, tile, area, view, 0, tile.tiles)
            return loaded
        most = max(1, (self.weights.capacity - self.weights.ring_start) // 2 // rows)
        for start in range(0, tile.tiles, most):
            count = min(most, tile.tiles - start)
            if tile.tiles <= most and loaded[0] == block:
                place_ = loaded[1]
            else:
                place_ = self.weights.take(count * rows)
                stride = self.fabric.wm_word_stride
                dram = self.weight_dram[block] + start * rows * stride
                piece = ((1 << ROW_BYTES_BITS) - 1) // stride
                for word in range(0, count * rows, piece):
                    yield self._load_words(
                        Space.WM,
                        dram + word * stride,
                        place_ + word,
                        min(piece, count * rows - word),
                        stride,
                        tag,
                    )
                loaded = (block, place_)
            yield self._weights(tag, tile, place_, start, count)
            yield self._stream(layer, tag, tile, area, view, start, count)
        return loaded

    def _weights(self, tag: int, tile: ColumnTile, base: int, first: int, count: int) -> Item:
        start, done, x = walk_start(tile.walk, first, self.fabric.rows)
        walk = tile.walk
        return Item(
            Weights(
                layer=tag,
                base=base,
                tiles=count,
                run=walk.run,
                runs_x=walk.runs_x,
                jump_x=walk.jump_x,
                jump_y=walk.jump_y,
                ragged=walk.ragged,
                start=start,
                start_run=done,
                start_x=x,
            ),
            (Access(Memory.WM, base, base + count * self.fabric.rows, False),),
        )

    def _stream(
        self,
        layer: Layer,
        tag: int,
        tile: ColumnTile,
        area: tuple[int, int, int, int],
        view: View,
        first: int,
        count: int,
    ) -> Item:
        y, height, x, width = area
        top, bottom = input_rows(layer, y, y + height)
        left = x * layer.stride[1] - layer.padding[2]
        right = (
            (x + width - 1) * layer.stride[1]
            - layer.padding[2]
            + (layer.kernel[1] - 1) * layer.dilation[1]
            + 1
        )
        layout = view.layout
        window = layer.mode == "window"
        return Item(
            Stream(
                layer=tag,
                base=view.at(top, left) + tile.channel,
                tiles=count,
                x_count=width,
                y_count=height,
                x_step=layer.stride[1] * layout.channels,
                y_step=layer.stride[0] * layout.pitch,
                u_count=layer.kernel[1] if window else 1,
                v_count=layer.kernel[0] if window else 1,
                u_step=layer.dilation[1] * layout.channels if window else 0,
                v_step=layer.dilation[0] * layout.pitch if window else 0,
                clear=first == 0,
                emit=first + count == tile.tiles,
            ),
            (Access(Memory.AM, view.at(top, left), view.at(bottom - 1, right), False),),
        )

    def _post(
        self,
        layer: Layer,
        tag: int,
        tile: ColumnTile,
        params: int,
        area: tuple[int, int, int, int],
        views: Mapping[int, View],
    ) -> Item:
        y, height, x, width = area
        out = views[layer.output]
        other = views[layer.other] if layer.other is not None else None

        def touches(view: View, write: bool) -> Access:
            return Access(Memory.AM, view.at(y, x), view.at(y + height - 1, x + width), write)

        accesses = [touches(out, True), Access(Memory.PM, params, params + len(tile.records), False)]
        if other is not None:
            accesses.append(touches(other, False))
        return Item(
            Post(
                layer=tag,
                params=params,
                channels=tile.count,
                x_count=width,
                y_count=height,
                out=out.at(y, x) + tile.first,
                x_step=out.layout.channels,
                y_step=out.layout.pitch,
                zero=layer.zero,
                low=layer.low,
                high=layer.high,
                add=other is not None,
                other=other.at(y, x) + tile.first if other else 0,
                other_x_step=other.layout.channels if other else 0,
                other_y_step=other.layout.pitch if other else 0,
            ),
            tuple(accesses),
        )

    # -- images
    # -----------------------------------------------------------------------------------------------

    def _fill(
        self, start: int, rows: int, row_bytes: int, pitch: int, value: int, tag: int
    ) -> Iterator[Item]:
        most = (1 << ROW_BYTES_BITS) - 1
        for part in range(0, row_bytes if rows == 1 else 1, most):
            size = min(most, row_bytes - part)
            for row in range(0, rows, (1 << PIXEL_COUNT_BITS) - 1):
                count = min((1 << PIXEL_COUNT_BITS) - 1, rows - row)
                low = start + part + row * pitch
                yield Item(
                    Fill(
                        layer=tag,
                        value=value,
                        rows=count,
                        row_bytes=size,
                        local=low,
                        pitch=pitch if count > 1 else 0,
                    ),
                    (Access(Memory.AM, low, low + (count - 1) * pitch + size, True),),
                )

    def _halo(
        self, view: View, low: int, high: int, height: int, value: int, tag: int
    ) -> Iterator[Item]:
        """Fill what of rows low to high-1 lies outside an image: rows above and below, columns beside."""
        layout = view.layout
        row = layout.width * layout.channels
        edge = layout.left * layout.channels
        inner_low, inner_high = max(low, 0), min(high, height)
        above = view.at(inner_low, 0) - (view.at(low, 0) - edge)
        if above > 0:
            yield from self._fill(view.at(low, 0) - edge, 1, above, 0, value, tag)
        if inner_high - inner_low > 1 and layout.left + layout.right:
            yield from self._fill(
                view.at(inner_low, 0) + row,
                inner_high - inner_low - 1,
                layout.pitch - row,
                layout.pitch,
                value,
                tag,
            )
        end = view.at(inner_high - 1, 0) + row
        tail = view.at(high - 1, layout.width + layout.right) - end
        if tail > 0:
            yield from self._fill(end, 1, tail, 0, value, tag)

    def _moves(
        self, tensor: int, view: View, first: int, last: int
    ) -> Iterator[tuple[dict[str, int], Access, Access]]:
        """Row blocks that an instruction holds: fields that Load and Store share, both sides (as read)."""
        home = self.tensors[tensor]
        if home.row_bytes >= 1 << ROW_BYTES_BITS:
            raise CapacityError(
                f"tensor {self.plan.graph.tensors[tensor].name}: a row of {home.row_bytes} bytes is "
                f"beyond the {1 << ROW_BYTES_BITS} that one instruction moves"
            )
        most = (1 << PIXEL_COUNT_BITS) - 1
        for row in range(first, last, most):
            count = min(most, last - row)
            dram, local = home.address + row * home.stride, view.at(row, 0)
            pitch = view.layout.pitch if count > 1 else 0
            fields = {"dram": dram, "dram_stride": home.stride, "rows": count, "row_bytes": home.row_bytes,
                      "local": local, "pitch": pitch}
            yield (
                fields,
                Access(Memory.DRAM, dram, dram + count * home.stride, False),
                Access(Memory.AM, local, local + (count - 1) * pitch + home.row_bytes, False),
            )

    def _load_image(
        self, tensor: int, view: View, first: int, last: int, tag: int, chunks: int
    ) -> Iterator[Item]:
        step = max(1, -(-(last - first) // chunks))
        for start in range(first, last, step):
            for fields, outer, inner in self._moves(tensor, view, start, min(start + step, last)):
                yield Item(Load(layer=tag, space=Space.AM, **fields), (outer, replace(inner, write=True)))

    def _store_image(self, tensor: int, view: View, first: int, last: int, tag: int) -> Iterator[Item]:
        for fields, outer, inner in self._moves(tensor, view, first, last):
            yield Item(Store(layer=tag, **fields), (inner, replace(outer, write=True)))


def pixel_tiles(
    first: int, last: int, width: int, passes: int, pace: int, fabric: Fabric
) -> Iterator[tuple[int, int, int, int]]:
    """Cut output rows first to last-1 into areas (y, height, x, width) that the accumulators hold.

    With a single pass nothing stays in the accumulators and an area is only bounded by the counters. The
    last area is small: what follows may depend on it, and waits the shorter. What follows may also depend on
    the area before the last, so that this is small enough for post-processing to be done with it when the
    last has been streamed; and so on towards the front.

    Parameters
    ----------
    passes : times each pixel is streamed
    pace : cycles that post-processing takes for a pixel
    """
    limit = fabric.acc_depth if passes > 1 else (1 << PIXEL_COUNT_BITS) - 1
    if width > limit:
        for y in range(first, last):
            for x in range(0, width, limit):
                yield y, 1, x, min(limit, width - x)
        return
    most = min(limit // width, (1 << PIXEL_COUNT_BITS) - 1)
    left = last - first
    height = -(-max(fabric.rows, -(-LATENCY_BUBBLE // passes)) // width)
    if 2 * height > left or height > most:
        height = most  # too few rows to keep anything small
    heights: list[int] = []
    while left:
        heights.append(min(height, left))
        left -= heights[-1]
        slack = passes * height * width - LATENCY_BUBBLE
        height = max(height, min(most, slack // (width * (pace - 1)) if pace > 1 else most))
    y = first
    for height in reversed(heights):
        yield y, height, 0, width
        y += height
