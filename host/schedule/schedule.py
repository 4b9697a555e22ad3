"""From a lowered network to instructions: segments, memories, tiles, and the order of everything."""

import math
from collections.abc import Iterator, Mapping, Sequence
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
    Stream,
    Weights,
)
from ...rtl.contract.isa import Store as StoreRows
from ..emit.program import ComputedWeights, DramTensor
from ..emit.tokens import Access, Item, Memory, Window
from ..lower.order import reads, waits_for_host
from ..lower.plan import WHOLE, Alias, HostStep, Layer, Plan, Shape
from .activations import Group, Images, input_rows, plan_images, strip_layout, strip_rows, strips, touched
from .areas import areas_of
from .constants import Constants, Store, biases_change
from .fir import Grid, fir_grids, fir_of, line_of
from .layout import Layout, layout_for
from .memory import Block, place
from .partition import Partition, divide, least_words, with_own_memory
from .prefetch import CYCLES_AHEAD_PER_BYTE, ROM_CYCLES_AHEAD_PER_BYTE, prefetch
from .weights import ColumnTile, column_tiles, walk_start

INPUT_AHEAD = 3
"""Areas of pixels whose input rows are loaded before the first of them is streamed."""
IN_PLACE_SHARE = 0.75
"""Of the activation memory: a larger image is not written in place, because it has to pass in strips."""
SPLIT_TILES = 2
"""The last so many tiles of a layer's first pass wait for their own channels only, not with the rest."""

Bytes = npt.NDArray[np.uint8]


@dataclass
class Segment:
    """Layers that run on the fabric without the host in between; ``tags`` number those of the network."""

    layers: list[Layer]
    tags: list[int]
    share: dict[int, int]
    summed: set[int] = field(default_factory=set)  # of those that share, sums over one of their operands
    inputs: list[int] = field(default_factory=list)
    outputs: list[int] = field(default_factory=list)
    items: list[Item] = field(default_factory=list)
    layouts: dict[int, Layout] = field(default_factory=dict)
    images: Images | None = None
    weights: list[ComputedWeights] = field(default_factory=list)


@dataclass
class Scheduled:
    """What emission needs: segments and host steps in order, and what goes to DRAM as it is.

    ``dram_used`` and ``rom_used``: the first free addresses behind it, the latter where constants lie apart.
    """

    plan: Plan
    fabric: Fabric
    parts: list[Segment | HostStep]
    setup: list[Item]
    blobs: list[tuple[int, Bytes]]
    tensors: dict[int, DramTensor]
    dram_used: int
    rom_used: int
    constants: Constants
    maps: list[npt.NDArray[np.int32]]
    partition: Partition | None


@dataclass(frozen=True)
class View:
    """(Part of) an image on chip: pixel (y, x) of the whole is at origin + y*pitch + x*channels."""

    origin: int
    layout: Layout

    def at(self, y: int, x: int) -> int:
        return self.origin + y * self.layout.pitch + x * self.layout.channels

    def window(self, channel: int, count: int) -> Window | None:
        """So many channels of every pixel."""
        channels = self.layout.channels
        if not self.layout.regular or count >= channels:
            return None
        return Window(channels, (self.origin + channel) % channels, count)


Views = Mapping[int, View]


def schedule(plan: Plan, fabric: Fabric, *, am_words: int | None = None,
             adds_in_place: bool = False) -> Scheduled:
    """Lay out a network for a fabric.

    Parameters
    ----------
    am_words : of a fabric whose memory serves for everything, the most that images may take
    adds_in_place : whether sums are written over one of their operands, which takes less memory

    Raises
    ------
    CapacityError
        If one tile or row of some layer does not fit a memory; ``ops`` are those to leave to the host.
    """
    return _Scheduler(plan, fabric, am_words, adds_in_place).run()


class _Scheduler:
    def __init__(self, plan: Plan, fabric: Fabric, am_words: int | None, adds_in_place: bool):
        self.plan, self.built, self.adds_in_place = plan, fabric, adds_in_place
        self.fabric = fabric
        if fabric.shared_words:
            most = fabric.shared_words - least_words(fabric)
            self.fabric = with_own_memory(fabric, most if am_words is None else min(am_words, most))
        self.shapes: dict[int, Shape] = {}
        for step in plan.steps:
            if isinstance(step, Layer):
                self.shapes[step.input] = step.in_shape
                self.shapes[step.output] = step.image
                if step.other is not None:
                    self.shapes[step.other] = step.other_shape or step.out_shape
        self.parts = self._segments()
        self.layouts: dict[int, Layout] = {}  # of the segment at hand: another may lay an image out otherwise
        self.tiles: dict[int, list[ColumnTile]] = {}  # by tag
        # The first free addresses; of constants, where they lie apart (what can be written may be small).
        self.dram = 0
        self.rom = fabric.rom_base or (fabric.am_bytes if fabric.shared_words else 0)

    def run(self) -> Scheduled:
        segments = [part for part in self.parts if isinstance(part, Segment)]
        begun: set[int] = set()
        for segment in segments:
            self.layouts = segment.layouts
            self._choose_layouts(segment, begun)
            begun |= {layer.output for layer in segment.layers}
            for layer, tag in zip(segment.layers, segment.tags, strict=True):
                self.tiles[tag] = column_tiles(layer, self.layouts[layer.input].pitch, self.built)
            outside = frozenset((*segment.inputs, *segment.outputs))
            segment.images = plan_images(segment.layers, self.layouts, segment.share, outside, self.fabric,
                                         spare_dram=self.built is not self.fabric)
        self.constants = Constants(self.fabric, [
            (tag, layer, self.tiles[tag], self._rounds(segment, step)) for segment in segments
            for step, (layer, tag) in enumerate(zip(segment.layers, segment.tags, strict=True))])
        homes = self._homes()
        partition = self._partition(segments, homes) if self.built.shared_words else None
        if partition is None:
            self.constants.plan(self.fabric.wm_words, self.fabric.pm_words)
        else:
            self.constants.plan(partition.wm_words, partition.pm_words)
        blobs = []
        for store in self.constants.stores:
            # What the host computes for each run has to lie where it, too, can write at any time.
            for changing in (False, True) if self.rom else (None,):
                size = store.homes(changing)
                start = self._reserve(size, constant=not changing)
                if size:
                    blobs.append((start, store.image(start, changing)))
        self._place_tensors(homes)
        setup = list(self.constants.setup())
        self.maps: dict[bytes, int] = {}
        maps: list[npt.NDArray[np.int32]] = []
        for segment in segments:
            self.layouts = segment.layouts
            self._emit_segment(segment)
            segment.weights = [each for layer, tag in zip(segment.layers, segment.tags, strict=True)
                               for each in self._computed(layer, tag, maps)]
        return Scheduled(self.plan, self.built, list(self.parts), setup, blobs, self.tensors, self.dram,
                         self.rom, self.constants, maps, partition)

    def _partition(self, segments: Sequence[Segment], homes: "_Homes") -> Partition:
        """How the one memory is divided among what was planned."""
        fabric = self.built
        used = max((s.images.used for s in segments if s.images is not None), default=0)
        moved = homes.size + sum(-(-store.homes(True) // 64) * 64 for store in self.constants.stores)
        largest = max(homes.starts, key=lambda t: math.prod(self.shapes[t]), default=-1)
        culprit = next((layer.ops for segment in segments for layer in segment.layers
                        if largest in touched(layer) and layer.ops), ())
        partition = divide(fabric, -(-used // fabric.rows), moved, self.constants, culprit)
        self.dram = partition.ports
        return partition

    # -- segments --------------------------------------------------------------------------------------

    def _segments(self) -> list[Segment | HostStep]:
        """The steps in segments; a reshape is the host's if a later segment reads what it renames."""
        apart: set[int] = set()
        while True:
            parts = list(self._split(apart))
            inside = [{t for layer in part.layers for t in touched(layer)} if isinstance(part, Segment)
                      else set[int]() for part in parts]
            left = {t for n, part in enumerate(parts) if isinstance(part, Segment) for t in part.share
                    if any(t in tensors for tensors in inside[n + 1:])}
            if not left:
                return parts
            apart |= left

    def _split(self, apart: set[int]) -> Iterator[Segment | HostStep]:
        """Runs of layers that the host need not interrupt: for an operator of its own, to pack weights that
        were computed in the same run, or to rename a tensor of it that cannot share its bytes there.

        A reshape stays in a run only if it can share its input's bytes and none of its outputs is ``apart``.
        """
        segment = Segment([], [], {})
        renamed: list[HostStep] = []  # once the segment is done
        made: set[int] = set()  # by the segment and these
        outside: set[int] = set()  # by these

        def end() -> Iterator[Segment | HostStep]:
            nonlocal segment
            if segment.layers:
                yield segment
            yield from renamed
            segment = Segment([], [], {})
            for known in (renamed, made, outside):
                known.clear()

        tag = 0
        for step in self.plan.steps:
            if isinstance(step, Layer):
                if outside & reads(self.plan.graph, step) or waits_for_host(step, made):
                    yield from end()
                segment.layers.append(step)
                segment.tags.append(tag)
                made.add(step.output)
                tag += 1
            elif isinstance(step, Alias) and step.output not in apart and self._shares(step, segment):
                segment.share[step.output] = segment.share.get(step.input, step.input)
                made.add(step.output)
            elif isinstance(step, Alias):
                rename = HostStep(step.op, "moves no data, only renames it")
                if step.input in made:
                    renamed.append(rename)
                    made.add(step.output)
                    outside.add(step.output)
                else:
                    yield rename
            else:
                yield from end()
                yield step
        yield from end()

    def _shares(self, alias: Alias, segment: Segment) -> bool:
        graph = self.plan.graph
        made_here = any(layer.output == alias.input for layer in segment.layers) or (
            alias.input in segment.share)
        if not made_here or alias.input in graph.outputs or alias.output in graph.outputs:
            return False
        readers = [step for step in self.plan.steps
                   if isinstance(step, Layer) and alias.output in (step.input, step.other)]
        inside = {op for layer in readers for op in layer.ops}
        if len(graph.uses(alias.input)) != 1 or not readers or not set(graph.uses(alias.output)) <= inside:
            return False
        if any(layer.other == alias.output for layer in readers):
            return False
        layout = layout_for(self.shapes[alias.output], readers, self.fabric.rows)
        return layout.dense and layout.start == 0

    def _choose_layouts(self, segment: Segment, begun: set[int]) -> None:
        """Layouts, inputs and outputs; ``begun``: the outputs of segments before this one."""
        for layer in segment.layers:
            for tensor in touched(layer):
                readers = [reader for reader in segment.layers if reader.input == tensor]
                self.layouts[tensor] = layout_for(self.shapes[tensor], readers, self.fabric.rows)
        produced = {layer.output for layer in segment.layers} | set(segment.share)
        used_later = self._used_outside(segment)
        images = {tensor for layer in segment.layers for tensor in touched(layer)}
        segment.inputs = sorted(images - produced | images & begun)
        segment.outputs = sorted({layer.output for layer in segment.layers} & used_later)
        for layer in segment.layers:
            if self._in_place(layer, segment):
                self.layouts[layer.output] = self.layouts[layer.input]
                segment.share[layer.output] = segment.share.get(layer.input, layer.input)
        if self.adds_in_place:
            for step, layer in enumerate(segment.layers):
                if layer.other is not None and self._adds_over(layer, step, segment):
                    readers = [reader for reader in segment.layers
                               if reader.input in (layer.other, layer.output)]
                    self.layouts[layer.output] = self.layouts[layer.other] = layout_for(
                        layer.image, readers, self.fabric.rows)
                    segment.share[layer.output] = layer.other
                    segment.summed.add(layer.output)

    def _in_place(self, layer: Layer, segment: Segment) -> bool:
        """Whether a depthwise layer can write its output over its input.

        A FIR pass reads each byte once, and long before the output at its place is made. So it must be the
        only pass over its channels, nothing else may want the input, and nothing may read the halo, which
        stays as it is.
        """
        fir = fir_of(layer, self.fabric)
        inside, outside = self.layouts[layer.input], self.layouts[layer.output]
        if fir is None or fir.passes > 1 or layer.in_shape != layer.image or layer.stride != (1, 1):
            return False
        if len(list(fir_grids(layer, fir, 0, layer.out_shape[0], self.fabric))) > 1:
            return False
        touching = [other for other in segment.layers if layer.input in touched(other)]
        readers = [other for other in segment.layers if other.input == layer.output]
        return (
            len(touching) == 2 and layer.input not in (*segment.inputs, *segment.outputs, layer.other)
            and layer.out_part == WHOLE and layer.out_image is None and outside.size - outside.start
            == layer.out_shape[0] * layer.out_shape[1] * layer.out_shape[2]
            and all(reader.kernel == (1, 1) for reader in readers)
            and inside.size <= IN_PLACE_SHARE * self.fabric.am_bytes
            and not set(segment.share.values()) & {layer.input, layer.output}
            and not {layer.input, layer.output} & set(segment.share)
        )

    def _adds_over(self, layer: Layer, step: int, segment: Segment) -> bool:
        """Whether a layer can write the sum with its other operand over that.

        A Post reads each byte of it just before it writes the sum there. So nothing may want the operand
        later, and both must lie alike; the halo is filled anew between their readers.
        """
        assert layer.other is not None
        pair = {layer.other, layer.output}
        later = {tensor for other in segment.layers[step + 1 :] for tensor in touched(other)}
        made = [other.output for other in segment.layers]
        return (
            layer.add is not None and layer.other not in (layer.input, *later)
            and (layer.other_shape or layer.out_shape) == layer.out_shape == layer.image
            and layer.out_part == WHOLE and layer.out_image is None and layer.fill is None
            and made.count(layer.output) == 1 and layer.other in made[:step]
            and pair.isdisjoint((*segment.inputs, *segment.outputs, *segment.share, *segment.share.values()))
            and self.layouts[layer.output].size <= IN_PLACE_SHARE * self.fabric.am_bytes
        )

    def _used_outside(self, segment: Segment) -> set[int]:
        inside = {op for layer in segment.layers for op in layer.ops}
        graph = self.plan.graph
        used = set(graph.outputs)
        for index, op in enumerate(graph.ops):
            if index not in inside:
                used |= {tensor for tensor in op.inputs if tensor is not None}
        return used - set(segment.share.values())

    def _rounds(self, segment: Segment, step: int) -> int:
        """How often a layer's weights are used from the start: once for each strip."""
        assert segment.images is not None
        group = next((g for g in segment.images.groups if g.first <= step <= g.last), None)
        return 1 if group is None else -(-segment.layers[group.last].out_shape[0] // group.rows)

    def _computed(self, layer: Layer, tag: int,
                  maps: list[npt.NDArray[np.int32]]) -> Iterator[ComputedWeights]:
        """What the host has to pack for a layer; new maps are added to ``maps``."""
        if layer.computed is None:
            return
        weights, params = self.constants.weights, self.constants.params
        flipped = self.plan.graph.tensors[layer.computed.tensor].dtype == "uint8"
        for number, tile in enumerate(self.tiles[tag]):
            assert tile.places is not None
            first = int(tile.places[tile.places > 0].min(initial=np.iinfo(np.int32).max)) - 1
            places = np.where(tile.places > 0, tile.places - np.int32(first), np.int32(0))
            key = repr(places.shape).encode() + places.tobytes()
            if key not in self.maps:
                self.maps[key] = len(maps)
                maps.append(places)
            yield ComputedWeights(
                layer.computed.tensor, first, flipped, self.maps[key],
                weights.address[self.constants.weight_block[tag, number]], weights.stride, layer.weight_zero,
                params.address[self.constants.param_block[tag, number]], params.stride,
                layer.pad_value if biases_change(layer) else 0)

    # -- tensors in DRAM -------------------------------------------------------------------------------

    def _reserve(self, size: int, *, constant: bool = False) -> int:
        """The next piece of memory, aligned so that bursts start well; constants lie in the ROM, if any."""
        start = self.rom if constant and self.rom else self.dram
        end = -(-(start + size) // 64) * 64
        if constant and self.rom:
            self.rom = end
        else:
            self.dram = end
        return start

    def _homes(self) -> "_Homes":
        """Homes for what crosses a segment's edge or is spilled; memory is reused over the steps."""
        life: dict[int, tuple[int, int]] = {}
        for step, part in enumerate(self.parts):
            if isinstance(part, Segment):
                assert part.images is not None
                for tensor in {*part.inputs, *part.outputs, *part.images.spilled}:
                    first, last = life.get(tensor, (step, step))
                    life[tensor] = (first, max(last, step))
        order = sorted(life)
        bus = self.fabric.bus_bytes
        stride = {t: -(-self.shapes[t][1] * self.shapes[t][2] // bus) * bus for t in order}
        blocks = [Block(-(-self.shapes[t][0] * stride[t] // 64) * 64, *life[t]) for t in order]
        starts = place(blocks, 1 << 32, align=64)
        assert starts is not None
        size = max((start + block.size for start, block in zip(starts, blocks, strict=True)), default=0)
        return _Homes(dict(zip(order, starts, strict=True)), stride, size)

    def _place_tensors(self, homes: "_Homes") -> None:
        """Give the homes their addresses."""
        base = self._reserve(homes.size)
        self.tensors = {}
        for tensor, start in homes.starts.items():
            height, width, channels = self.shapes[tensor]
            flipped = self.plan.graph.tensors[tensor].dtype == "uint8"
            self.tensors[tensor] = DramTensor(
                tensor, base + start, height, width * channels, homes.stride[tensor], flipped)

    # -- instructions ----------------------------------------------------------------------------------

    def _emit_segment(self, segment: Segment) -> None:
        images = segment.images
        assert images is not None
        groups = {group.first: group for group in images.groups}
        whole = {tensor: View(base + self.layouts[tensor].start, self.layouts[tensor])
                 for tensor, base in images.base.items()}
        self.items: list[Item] = []
        self.table_slot: dict[int, int] = {}  # block -> slot, of those that are loaded when needed
        self.rows_loaded: dict[int, int] = {}  # of input images that are brought in whole
        self.begun: set[int] = set()
        self.writers = {tensor: sum(layer.output == tensor for layer in segment.layers) for tensor in whole}
        step = 0
        while step < len(segment.layers):
            group = groups.get(step, Group(step, step, 0, {}, {}))
            steps = range(group.first, group.last + 1)
            for i in steps:
                layer, tag = segment.layers[i], segment.tags[i]
                for tensor in touched(layer):
                    own = tensor not in segment.share or tensor in segment.summed
                    if tensor in whole and tensor not in self.begun and own:
                        self._begin(segment, tensor, whole[tensor], tag)
                    if tensor in segment.inputs and tensor in whole and (
                            tensor != layer.input or layer.output in group.buffers or len(steps) > 1):
                        self._arrive(segment, tensor, whole[tensor], self.layouts[tensor].height, tag)
                if layer.fill is not None:
                    self._clear(layer, whole[layer.output], tag)
            if group.buffers:
                self._strips(segment, group, whole)
            else:
                layer = segment.layers[step]
                self._layer(segment, layer, segment.tags[step], 0, layer.out_shape[0], whole)
            for i in steps:
                tensor = segment.layers[i].output
                if tensor in whole:
                    self.writers[tensor] -= 1
                    if tensor in segment.outputs and not self.writers[tensor]:
                        self.items += self._store_image(
                            tensor, whole[tensor], 0, self.layouts[tensor].height, segment.tags[i])
            step = group.last + 1
        ahead = ROM_CYCLES_AHEAD_PER_BYTE if self.rom else CYCLES_AHEAD_PER_BYTE
        segment.items = prefetch([_counted(item) for item in self.items], ahead, rows=self.fabric.rows)

    def _begin(self, segment: Segment, tensor: int, view: View, tag: int) -> None:
        """Fill the halo of a whole image with what its readers take for zero."""
        self.begun.add(tensor)
        layout = view.layout
        self.items += self._halo(view, -layout.top, layout.height + layout.bottom, layout.height,
                                 self._pad_value(segment, tensor), tag)

    def _pad_value(self, segment: Segment, tensor: int) -> int:
        return next((layer.pad_value for layer in segment.layers if layer.input == tensor), 0)

    def _arrive(self, segment: Segment, tensor: int, view: View, rows: int, tag: int) -> None:
        """Bring an input image in, up to so many of its rows."""
        if tensor not in segment.inputs:
            return
        done = self.rows_loaded.get(tensor, 0)
        rows = min(rows, view.layout.height)
        if rows > done:
            self.items += self._load_image(tensor, view, done, rows, tag)
            self.rows_loaded[tensor] = rows

    def _clear(self, layer: Layer, view: View, tag: int) -> None:
        """Fill a whole image before a layer writes its part."""
        assert layer.fill is not None
        height, width, channels = layer.image
        self.items += self._fill(view.at(0, 0), height, width * channels, view.layout.pitch, layer.fill, tag)

    def _strips(self, segment: Segment, group: Group, whole: Views) -> None:
        """Layers with images that are not whole, some rows at a time."""
        layers = segment.layers[group.first : group.last + 1]
        tags = segment.tags[group.first : group.last + 1]
        made = {layer.output for layer in layers}
        inside = made - {layers[-1].output}
        # What comes from DRAM into one of two buffers is asked for a strip ahead.
        ahead = [t for t, bases in group.buffers.items() if t not in made and len(bases) > 1]
        here = [t for t in group.buffers if t not in ahead]
        edged: dict[int, int] = {}  # buffer -> rows whose side halo is there
        todo = [(rows, *strip_rows(layers, *rows)) for rows in strips(layers[-1].out_shape[0], group.rows)]

        def views_of(number: int) -> dict[int, View]:
            views = dict(whole)
            for tensor, bases in group.buffers.items():
                layout = strip_layout(self.layouts[tensor], group.height[tensor])
                low, _ = todo[number][2][tensor]
                base = bases[number % len(bases)] + layout.start
                views[tensor] = View(base - low * layout.pitch, layout)
            return views

        def prepare(number: int, tensors: Sequence[int]) -> None:
            views = views_of(number)
            for tensor in tensors:
                low, high = todo[number][2][tensor]
                height = self.layouts[tensor].height
                base = group.buffers[tensor][number % len(group.buffers[tensor])]
                if low < 0 or high > height or high - low > edged.get(base, 0):
                    edged[base] = high - low
                    self.items += self._halo(views[tensor], low, high, height,
                                             self._pad_value(segment, tensor), tags[0])
                if tensor not in made:
                    self.items += self._load_image(
                        tensor, views[tensor], max(low, 0), min(high, height), tags[0])

        prepare(0, ahead)
        for number, ((first, last), rows, _) in enumerate(todo):
            prepare(number, here)
            if number + 1 < len(todo):
                prepare(number + 1, ahead)
            views = views_of(number)
            for layer, tag, (low, high) in zip(layers, tags, rows, strict=True):
                self._layer(segment, layer, tag, low, high, views)
            for tensor in group.buffers:
                if tensor in made - inside:
                    self.items += self._store_image(tensor, views[tensor], first, last, tags[-1])

    def _layer(self, segment: Segment, layer: Layer, tag: int, first: int, last: int, views: Views) -> None:
        """Output rows first to last-1: WEIGHTS, STREAM, POST for each area of pixels and column tile."""
        tiles = self.tiles[tag]
        constants = self.constants
        assert segment.images is not None
        arriving = layer.input in segment.inputs and layer.input in segment.images.base
        areas = areas_of(layer, tiles, first, last, arriving, self.built)
        streamed = any(constants.weights.residency.place[constants.weight_block[tag, number]] is None
                       for number in range(len(tiles)))
        blocks = list(enumerate(tiles))
        # Weights that pass through the ring are used for all pixels while they are there.
        pairs = ([(block, area) for block in blocks for area in areas] if streamed
                 else [(block, area) for area in areas for block in blocks])
        table = self._table(tag)
        loaded = _Loaded()
        for n, ((number, tile), area) in enumerate(pairs):
            if arriving:
                ahead = areas[min(areas.index(area) + INPUT_AHEAD - 1, len(areas) - 1)]
                self._arrive(segment, layer.input, views[layer.input], self._rows_read(layer, ahead)[1], tag)
            params = self._params(tag, number, loaded)
            self._weights_and_stream(layer, tag, number, tile, area, views[layer.input], loaded, n == 0)
            self.items.append(self._post(layer, tag, tile, params, table, area, views))

    def _rows_read(self, layer: Layer, area: Grid) -> tuple[int, int]:
        return input_rows(layer, area.y, area.y + (area.height - 1) * area.step_y + 1)

    def _table(self, tag: int) -> int:
        """The number that a Post names its layer's table by; loaded here if it does not stay."""
        tables = self.constants.tables
        block = self.constants.table_block.get(tag)
        if block is None:
            return 0
        where = tables.residency.place[block]
        if where is None:
            where = self.table_slot.get(block)
        if where is None:
            where = tables.residency.take(1)
            self.table_slot = {b: slot for b, slot in self.table_slot.items() if slot != where}
            self.table_slot[block] = where
            self.items += tables.load(block, 0, 1, where, tag)
        return 1 + where

    def _params(self, tag: int, number: int, loaded: "_Loaded") -> int:
        """Where the records of a column tile lie; loaded here if they do not stay."""
        blocks = self.constants.param_block
        wanted = [blocks[tag, n] for n in range(number, len(self.tiles[tag]))]
        return self._bring(self.constants.params, wanted, loaded.params, tag)

    def _bring(self, store: Store, wanted: Sequence[int], there: dict[int, int], tag: int) -> int:
        """Where the first of the blocks that are wanted, in this order, lies.

        If it neither stays nor came before, it is loaded, together with those behind it that are next to it
        in DRAM, as many as take an eighth of the ring: one instruction and long bursts.
        """
        first = wanted[0]
        where = store.residency.place[first]
        if where is not None:
            return where
        if first not in there:
            most = (store.residency.capacity - store.residency.ring_start) // 8
            run, words = [first], len(store.blocks[first].data)
            for block in wanted[1:]:
                size = len(store.blocks[block].data)
                if words + size > most or not store.follows(run[-1], block):
                    break
                run.append(block)
                words += size
            where = store.residency.take(words)
            self.items += store.load(first, 0, words, where, tag)
            there.clear()
            for block in run:
                there[block] = where
                where += len(store.blocks[block].data)
        return there[first]

    def _weights_and_stream(self, layer: Layer, tag: int, number: int, tile: ColumnTile, area: Grid,
                            view: View, loaded: "_Loaded", split: bool) -> None:
        """The tiles of one column tile over one area, in as many pieces as the ring takes."""
        rows = self.fabric.rows
        weights = self.constants.weights
        block = self.constants.weight_block[tag, number]
        ring = weights.residency.capacity - weights.residency.ring_start
        most = max(1, ring // 2 // rows)
        if weights.residency.place[block] is not None or tile.tiles <= most:
            blocks = self.constants.weight_block
            wanted = [blocks[tag, n] for n in range(number, len(self.tiles[tag]))]
            where = self._bring(weights, wanted, loaded.weights, tag)
            self.items.append(self._weights(tag, tile, where, 0, tile.tiles))
            pieces = _pieces(layer, tile) if split else [(0, tile.tiles)]
            self.items += (self._stream(layer, tag, tile, area, view, *piece) for piece in pieces)
            return
        for start in range(0, tile.tiles, most):
            count = min(most, tile.tiles - start)
            where = weights.residency.take(count * rows)
            self.items += weights.load(block, start * rows, count * rows, where, tag)
            self.items.append(self._weights(tag, tile, where, start, count))
            self.items.append(self._stream(layer, tag, tile, area, view, start, count))

    def _weights(self, tag: int, tile: ColumnTile, base: int, first: int, count: int) -> Item:
        start, done, x = walk_start(tile.walk, first, self.fabric.rows)
        walk = tile.walk
        return Item(
            Weights(layer=tag, base=base, tiles=count, run=walk.run, runs_x=walk.runs_x, jump_x=walk.jump_x,
                    jump_y=walk.jump_y, ragged=walk.ragged, start=start, start_run=done, start_x=x),
            (Access(Memory.WM, base, base + count * self.fabric.rows, False),))

    def _stream(self, layer: Layer, tag: int, tile: ColumnTile, area: Grid, view: View, first: int,
                count: int) -> Item:
        layout = view.layout
        channels = layout.channels
        (stride_y, stride_x), (dilation_y, dilation_x) = layer.stride, layer.dilation
        top, bottom = self._rows_read(layer, area)
        left = area.x * stride_x - layer.padding[2]
        right = (left + (area.width - 1) * area.step_x * stride_x + (layer.kernel[1] - 1) * dilation_x + 1)
        what = {"x_step": stride_x * channels, "y_step": stride_y * layout.pitch}
        low, reads = tile.channel, tile.reads
        if tile.fir is not None:
            what = {"fir": 1, "line": line_of(layer, tile.fir, layout, area.width), "taps": tile.fir.taps,
                    "groups": tile.fir.groups, "outputs": area.height * area.width,
                    "stride_x": 1 if dilation_x > 1 else stride_x,
                    "stride_y": 1 if dilation_y > 1 else stride_y,
                    "x_step": dilation_x * channels, "y_step": dilation_y * layout.pitch}
        elif layer.mode == "window":
            what |= {"u_count": layer.kernel[1], "v_count": layer.kernel[0], "maximum": layer.maximum,
                     "u_step": dilation_x * channels, "v_step": dilation_y * layout.pitch}
        elif layer.mode == "dense" and layer.kernel == (1, 1):
            low += first * self.fabric.rows
            reads = min(reads - first * self.fabric.rows, count * self.fabric.rows)
        return Item(
            Stream(layer=tag, base=view.at(top, left) + tile.channel, tiles=count, x_count=area.width,
                   y_count=area.height, clear=first == 0, emit=first + count == tile.tiles, **what),
            (Access(Memory.AM, view.at(top, left), view.at(bottom - 1, right), False,
                    view.window(low, reads)),))

    def _post(self, layer: Layer, tag: int, tile: ColumnTile, params: int, table: int, area: Grid,
              views: Views) -> Item:
        part = layer.out_part

        def fields(view: View, step_y: int, step_x: int) -> tuple[int, int]:
            return step_x * view.layout.channels, step_y * view.layout.pitch

        def touches(view: View, y: int, x: int, rows: int, columns: int, channel: int, write: bool) -> Access:
            return Access(Memory.AM, view.at(y, x), view.at(y + rows - 1, x + columns), write,
                          view.window(channel, tile.count))

        out, channel = views[layer.output], part.channel + tile.first
        there = area.turned() if part.turned else area
        y, x = part.y + there.y * part.step_y, part.x + there.x * part.step_x
        step_y, step_x = there.step_y * part.step_y, there.step_x * part.step_x
        out_x, out_y = fields(out, step_y, step_x)[:: -1 if part.turned else 1]
        rows, columns = (there.height - 1) * step_y + 1, (there.width - 1) * step_x + 1
        accesses = [
            touches(out, y, x, rows, columns, channel, True),
            Access(Memory.PM, params, params + len(tile.records), False)]
        more: dict[str, int] = {}
        if layer.other is not None:
            other = views[layer.other]
            if (layer.other_shape or layer.out_shape)[:2] == (1, 1) != layer.out_shape[:2]:
                more = {"other": other.at(0, 0) + tile.first}
                accesses.append(touches(other, 0, 0, 1, 1, tile.first, False))
            else:
                other_x, other_y = fields(other, area.step_y, area.step_x)
                more = {"other": other.at(area.y, area.x) + tile.first, "other_x_step": other_x,
                        "other_y_step": other_y}
                accesses.append(touches(other, area.y, area.x, (area.height - 1) * area.step_y + 1,
                                        (area.width - 1) * area.step_x + 1, tile.first, False))
        if table:
            accesses.append(Access(Memory.TABLE, table - 1, table, False))
        return Item(
            Post(layer=tag, params=params, channels=tile.count, x_count=area.width, y_count=area.height,
                 out=out.at(y, x) + channel, x_step=out_x, y_step=out_y, zero=layer.zero, low=layer.low,
                 high=layer.high, add=layer.add is not None, multiply=layer.multiply is not None,
                 table=table, **more),
            tuple(accesses))

    # -- images ----------------------------------------------------------------------------------------

    def _fill(self, start: int, rows: int, row_bytes: int, pitch: int, value: int,
              tag: int) -> Iterator[Item]:
        most = (1 << ROW_BYTES_BITS) - 1
        for part in range(0, row_bytes if rows == 1 else 1, most):
            size = min(most, row_bytes - part)
            for row in range(0, rows, (1 << PIXEL_COUNT_BITS) - 1):
                count = min((1 << PIXEL_COUNT_BITS) - 1, rows - row)
                low = start + part + row * pitch
                yield Item(
                    Fill(layer=tag, value=value, rows=count, row_bytes=size, local=low,
                         pitch=pitch if count > 1 else 0),
                    (Access(Memory.AM, low, low + (count - 1) * pitch + size, True),))

    def _halo(self, view: View, low: int, high: int, height: int, value: int, tag: int) -> Iterator[Item]:
        """Fill what of rows low to high-1 lies outside an image: rows above and below, columns beside."""
        layout = view.layout
        row = layout.width * layout.channels
        edge = layout.left * layout.channels
        inner_low, inner_high = max(low, 0), min(high, height)
        above = view.at(inner_low, 0) - (view.at(low, 0) - edge)
        if above > 0:
            yield from self._fill(view.at(low, 0) - edge, 1, above, 0, value, tag)
        if inner_high - inner_low > 1 and layout.left + layout.right:
            yield from self._fill(view.at(inner_low, 0) + row, inner_high - inner_low - 1,
                                  layout.pitch - row, layout.pitch, value, tag)
        end = view.at(inner_high - 1, 0) + row
        tail = view.at(high - 1, layout.width + layout.right) - end
        if tail > 0:
            yield from self._fill(end, 1, tail, 0, value, tag)

    def _moves(self, tensor: int, view: View, first: int,
               last: int) -> Iterator[tuple[dict[str, int], Access, Access]]:
        """Row blocks that an instruction holds: fields that Load and Store share, both sides (as read)."""
        home = self.tensors[tensor]
        if home.row_bytes >= 1 << ROW_BYTES_BITS:
            raise CapacityError(
                f"tensor {self.plan.graph.tensors[tensor].name}: a row of {home.row_bytes} bytes is "
                f"beyond the {1 << ROW_BYTES_BITS} that one instruction moves")
        most = (1 << PIXEL_COUNT_BITS) - 1
        for row in range(first, last, most):
            count = min(most, last - row)
            dram, local = home.address + row * home.stride, view.at(row, 0)
            pitch = view.layout.pitch if count > 1 else 0
            fields = {"dram": dram, "dram_stride": home.stride, "rows": count, "row_bytes": home.row_bytes,
                      "local": local, "pitch": pitch}
            yield (fields, Access(Memory.DRAM, dram, dram + count * home.stride, False),
                   Access(Memory.AM, local, local + (count - 1) * pitch + home.row_bytes, False))

    def _load_image(self, tensor: int, view: View, first: int, last: int, tag: int) -> Iterator[Item]:
        for fields, outer, inner in self._moves(tensor, view, first, last):
            yield Item(Load(layer=tag, space=Space.AM, **fields), (outer, replace(inner, write=True)))

    def _store_image(self, tensor: int, view: View, first: int, last: int, tag: int) -> Iterator[Item]:
        for fields, outer, inner in self._moves(tensor, view, first, last):
            yield Item(StoreRows(layer=tag, **fields), (inner, replace(outer, write=True)))


@dataclass(frozen=True)
class _Homes:
    """Images in DRAM: where each starts, relative to the first, the stride of its rows, and all their bytes.
    """

    starts: dict[int, int]
    stride: dict[int, int]
    size: int


@dataclass
class _Loaded:
    """What came through the rings last: places of blocks."""

    weights: dict[int, int] = field(default_factory=dict)
    params: dict[int, int] = field(default_factory=dict)


def _counted(item: Item) -> Item:
    """With a layer number that the instruction's field holds: the last one counts for all from there on."""
    most = (1 << LAYER_BITS) - 1
    if item.instruction.layer <= most:
        return item
    return replace(item, instruction=replace(item.instruction, layer=most))


def _pieces(layer: Layer, tile: ColumnTile) -> Sequence[tuple[int, int]]:
    """The tiles of a layer's first pass as (first, count), one Stream each.

    A kernel of one pixel reads other channels with each tile. The last channels of its input may just be on
    their way: only the tiles that need them wait for them.
    """
    if layer.mode != "dense" or layer.kernel != (1, 1) or tile.tiles < 2:
        return [(0, tile.tiles)]
    alone = min(SPLIT_TILES, tile.tiles - 1)
    front = tile.tiles - alone
    return [(0, front), *((front + i, 1) for i in range(alone))]
