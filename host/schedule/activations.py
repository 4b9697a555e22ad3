"""Where a segment's images live: whole on chip, or only some rows at a time (in strips).

Where not all fits, layers that follow each other can run strip by strip: a group computes some rows of its
last output at a time, and of the images between its layers only the rows that these need are kept. Rows that
two strips need are computed twice. What is too large even so has its home in DRAM and passes through strips.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from ...rtl.contract.errors import CapacityError
from ...rtl.contract.fabric import Fabric
from ..lower.plan import Layer
from .layout import Layout
from .memory import Block, peak, place

FRACTIONS = (1.0, 0.9, 0.8, 0.65, 0.5, 0.35, 0.2)
"""Shares of the free memory that strips are sized for, tried in turn until everything can be placed."""
LONGEST_GROUP = 6
"""Layers that may run together strip by strip: each further kernel has more rows computed twice."""
DRAM_BYTES_PER_CYCLE = 2
"""Of the memory that plans are compared for: a 16-bit one at the fabric's clock."""
TRIES = 24
"""Plans that are compared with the best so far before it is taken."""

Rows = tuple[int, int]


@dataclass(frozen=True)
class Group:
    """Layers ``first`` to ``last`` (positions in the segment) that run ``rows`` rows of the last one's output
    at a time.

    ``buffers`` gives, for each image that is not whole, where its rows lie: two places for one that passes
    between chip and DRAM, if there is room, so that transfers run behind the work. ``height``: rows of each.
    """

    first: int
    last: int
    rows: int
    buffers: Mapping[int, tuple[int, ...]]
    height: Mapping[int, int]


@dataclass(frozen=True)
class Images:
    """Placement of a segment.

    ``base``: address of each image that stays whole on chip (by tensor; aliases share one). ``spilled``:
    those with a home in DRAM though no host wants them there, or that are too large to be brought in whole.
    ``groups``: in order, without the layers that touch whole images only. ``used``: bytes of activation
    memory; ``wanted``: bytes that would keep everything whole.
    """

    base: Mapping[int, int]
    spilled: frozenset[int]
    groups: tuple[Group, ...]
    used: int
    wanted: int


def input_rows(layer: Layer, first: int, last: int) -> Rows:
    """Rows (from, to exclusive; may lie outside the image) that output rows first to last-1 read."""
    top = first * layer.stride[0] - layer.padding[0]
    height = (layer.kernel[0] - 1) * layer.dilation[0] + 1
    return top, (last - 1) * layer.stride[0] - layer.padding[0] + height


def strip_layout(layout: Layout, height: int) -> Layout:
    """The layout of some rows of an image."""
    return Layout(height, layout.width, layout.channels, layout.pitch, 0, 0, layout.left, layout.right)


def touched(layer: Layer) -> list[int]:
    """The images a layer reads or writes, each once."""
    found = [layer.input, layer.output]
    if layer.other is not None and layer.other not in found:
        found.append(layer.other)
    return found


def strip_rows(layers: Sequence[Layer], first: int, last: int) -> tuple[list[Rows], dict[int, Rows]]:
    """What is needed for rows first to last-1 of the last layer's output.

    Returns the output rows that each layer computes (inside its image), and the rows of each image that are
    read or written (they may reach outside it).
    """
    image: dict[int, Rows] = {layers[-1].output: (first, last)}
    inside: dict[int, Rows] = dict(image)
    rows: list[Rows] = []
    for layer in reversed(layers):
        low, high = inside[layer.output]
        rows.append((low, high))
        top, bottom = input_rows(layer, low, high)
        needs = [(layer.input, (top, bottom), (max(top, 0), min(bottom, layer.in_shape[0])))]
        if layer.other is not None:
            needs.append((layer.other, (low, high), (low, high)))
        for tensor, reach, kept in needs:
            for known, new in ((image, reach), (inside, kept)):
                old = known.get(tensor, new)
                known[tensor] = min(old[0], new[0]), max(old[1], new[1])
    return rows[::-1], image


def strips(height: int, rows: int) -> Iterator[Rows]:
    """An image of so many rows, some at a time."""
    for first in range(0, height, rows):
        yield first, min(first + rows, height)


class _Planner:
    """Places the images of a segment; makes the largest ones pass in strips until the rest fits."""

    def __init__(self, layers: Sequence[Layer], layouts: Mapping[int, Layout], share: Mapping[int, int],
                 outside: frozenset[int], fabric: Fabric):
        self.layers, self.layouts, self.share, self.fabric = layers, layouts, share, fabric
        self.outside = outside
        self.life: dict[int, tuple[int, int]] = {}
        for step, layer in enumerate(layers):
            for tensor in touched(layer):
                owner = share.get(tensor, tensor)
                self.life[owner] = self.life.get(owner, (step, step))[0], step
        self.size = {owner: layouts[owner].size for owner in self.life}
        # What shares its bytes, is written in parts or is repeated over others has to be whole.
        self.shared = {*share, *share.values()}
        whole = self.shared | {
            layer.other for layer in layers if layer.other_shape not in (None, layer.out_shape)}
        for layer in layers:
            if not self._simple(layer):
                whole |= {*touched(layer)}
        self.streamable = set(self.life) - whole
        self.heights: dict[tuple[int, int, int], dict[int, int]] = {}

    def _simple(self, layer: Layer) -> bool:
        """Whether a layer makes all of its output by itself, row by row."""
        writers = sum(other.output == layer.output for other in self.layers)
        return layer.out_image is None and layer.fill is None and writers == 1

    def plan(self, spare_dram: bool) -> Images:
        """The best plan that is found by sending, one after the other, images through DRAM instead."""
        best, banned = self._possible(frozenset())
        if spare_dram:
            return best
        cost = self._cost(best)
        tried = {banned}
        improved = True
        while improved:
            improved = False
            between = {t for group in best.groups for layer in self.layers[group.first : group.last]
                       for t in (layer.output,) if t in group.buffers and t not in best.spilled}
            for tensor in sorted(between, key=lambda t: self.size[t]):
                choice = banned | {tensor}
                if choice in tried or len(tried) > TRIES:
                    continue
                tried.add(choice)
                other, choice = self._possible(choice)
                if (other_cost := self._cost(other)) < cost:
                    best, banned, cost, improved = other, choice, other_cost, True
                    break
        return best

    def _cost(self, images: Images) -> float:
        """Cycles that strips cost: rows computed twice, and traffic with DRAM."""
        cycles = 0.0
        for group in images.groups:
            layers = self.layers[group.first : group.last + 1]
            made = {layer.output for layer in layers}
            height = layers[-1].out_shape[0]
            for first, last in strips(height, group.rows):
                rows, reach = strip_rows(layers, first, last)
                for layer, (low, high) in zip(layers, rows, strict=True):
                    cycles += self._row_cycles(layer) * (high - low)
                for tensor in group.buffers:
                    if tensor not in made or tensor == layers[-1].output:
                        layout = self.layouts[tensor]
                        moved = (reach[tensor][1] - reach[tensor][0]) * layout.width * layout.channels
                        cycles += moved / DRAM_BYTES_PER_CYCLE
            cycles -= sum(self._row_cycles(layer) * layer.out_shape[0] for layer in layers)
        return cycles

    def _row_cycles(self, layer: Layer) -> float:
        """About how long the array takes for one output row."""
        rows, cols = self.fabric.rows, self.fabric.cols
        _, width, channels = layer.out_shape
        passes = -(-layer.weights[..., 0].size // rows) if layer.mode == "dense" else layer.stride[0] ** 2
        return float(width * passes * -(-channels // cols))

    def _possible(self, banned: frozenset[int]) -> tuple[Images, frozenset[int]]:
        """A placement in which no group keeps the banned images between its layers."""
        while True:
            found = self._attempt(banned)
            if isinstance(found, Images):
                return found, banned
            banned |= found

    def _attempt(self, banned: frozenset[int]) -> Images | set[int]:
        """A placement, or what else must be banned."""
        spilled: set[int] = set()
        fused: dict[int, tuple[int, int]] = {}  # image between layers of a group -> the group's interval
        while True:
            groups = self._intervals(fused)
            images, worst = self._place(groups, spilled, fused)
            if images is not None:
                return images
            first, last = groups[worst] if worst >= 0 else self._fullest(groups, spilled, fused)
            kept = [owner for owner in self.life if owner not in spilled and owner not in fused]
            whole = [owner for owner in kept
                     if self.life[owner][0] <= last and self.life[owner][1] >= first]
            victims = sorted((owner for owner in whole if owner in self.streamable),
                             key=lambda owner: self.size[owner])
            if not victims and worst < 0:  # no order of things fits, wherever they meet
                victims = sorted((owner for owner in kept if owner in self.streamable),
                                 key=lambda owner: self.size[owner])
            if not victims:
                stuck = {owner for owner, interval in fused.items() if interval[0] <= last
                         and interval[1] >= first}
                if not stuck:
                    self._too_large(first, last, whole)
                return stuck
            victim = victims[-1]
            interval = None if victim in banned else self._group_for(victim, fused)
            if interval is None:
                spilled.add(victim)
            else:
                fused[victim] = interval
                for owner, (low, high) in list(fused.items()):
                    if low <= interval[1] and high >= interval[0]:
                        fused[owner] = interval

    def _group_for(self, victim: int, fused: Mapping[int, tuple[int, int]]) -> tuple[int, int] | None:
        """The layers that would run together if an image were not whole; None if they had better not."""
        if victim in self.outside:
            return None
        first, last = self.life[victim]
        for low, high in fused.values():
            if low <= last and high >= first:
                first, last = min(first, low), max(last, high)
        layers = self.layers[first : last + 1]
        made = {layer.output for layer in layers[:-1]}
        later = {tensor for layer in self.layers[last + 1 :] for tensor in touched(layer)} | self.outside
        if len(layers) > LONGEST_GROUP or made & later or not all(
                self._simple(layer) and self.shared.isdisjoint(touched(layer)) for layer in layers):
            return None
        read = {tensor for layer in layers for tensor in (layer.input, layer.other)}
        return (first, last) if made <= read else None

    def _intervals(self, fused: Mapping[int, tuple[int, int]]) -> list[tuple[int, int]]:
        """Every layer in exactly one interval: groups, and layers on their own."""
        intervals, step = [], 0
        while step < len(self.layers):
            found = next((pair for pair in fused.values() if pair[0] == step), (step, step))
            intervals.append(found)
            step = found[1] + 1
        return intervals

    def _place(self, groups: Sequence[tuple[int, int]], spilled: set[int],
               fused: Mapping[int, tuple[int, int]]) -> tuple[Images | None, int]:
        """A placement, or the number of the group that does not fit at all (-1: no order of things does)."""
        number = {step: n for n, (low, high) in enumerate(groups) for step in range(low, high + 1)}
        kept = [owner for owner in self.life if owner not in spilled and owner not in fused]
        blocks = [Block(self.size[owner], number[self.life[owner][0]], number[self.life[owner][1]])
                  for owner in kept]
        for fraction in FRACTIONS:
            buffers: list[tuple[int, int, int]] = []  # group, image, bytes
            heights: dict[int, tuple[int, dict[int, int]]] = {}
            for n, (low, high) in enumerate(groups):
                layers = self.layers[low : high + 1]
                parts = {t for layer in layers for t in touched(layer) if t in spilled or t in fused}
                if not parts:
                    continue
                free = self.fabric.am_bytes - sum(b.size for b in blocks if b.first <= n <= b.last)
                chosen = self._strip_height(layers, parts, spilled, int(free * fraction), free)
                if chosen is None:
                    return None, n
                rows, copies, height = chosen
                heights[n] = rows, height
                buffers += [(n, t, strip_layout(self.layouts[t], height[t]).size)
                            for t in sorted(parts) for _ in range(copies if t in spilled else 1)]
            starts = place([*blocks, *(Block(size, n, n) for n, _, size in buffers)], self.fabric.am_bytes)
            if starts is not None:
                return self._images(groups, kept, blocks, buffers, heights, starts, spilled), -1
            if not buffers:
                break
        return None, -1

    def _strip_height(self, layers: Sequence[Layer], parts: set[int], spilled: set[int], budget: int,
                      free: int) -> tuple[int, int, dict[int, int]] | None:
        """(rows a strip, buffers for what passes to and from DRAM, rows of each image); None if none fits."""
        height = layers[-1].out_shape[0]

        def need(rows: int, copies: int) -> tuple[int, dict[int, int]]:
            tall = self._heights(layers, rows)
            return sum(strip_layout(self.layouts[t], tall[t]).size * (copies if t in spilled else 1)
                       for t in parts), {t: tall[t] for t in parts}

        # All of it at once; else as many rows as fit twice; else whatever fits at all.
        for least, copies, limit in ((height, 1, budget), (1, 2, budget), (1, 1, free)):
            if need(least, copies)[0] > limit:
                continue
            low, high = least, height
            while low < high:
                middle = (low + high + 1) // 2
                low, high = (middle, high) if need(middle, copies)[0] <= limit else (low, middle - 1)
            rows = -(-height // -(-height // low))
            return rows, copies, need(rows, copies)[1]
        return None

    def _heights(self, layers: Sequence[Layer], rows: int) -> dict[int, int]:
        """The most rows of each image that a strip of so many output rows needs."""
        key = layers[0].output, layers[-1].output, rows
        if key not in self.heights:
            tall: dict[int, int] = {}
            for first, last in strips(layers[-1].out_shape[0], rows):
                for tensor, (low, high) in strip_rows(layers, first, last)[1].items():
                    tall[tensor] = max(tall.get(tensor, 0), high - low)
            self.heights[key] = tall
        return self.heights[key]

    def _images(self, groups: Sequence[tuple[int, int]], kept: Sequence[int], blocks: Sequence[Block],
                buffers: Sequence[tuple[int, int, int]], heights: Mapping[int, tuple[int, dict[int, int]]],
                starts: Sequence[int], spilled: set[int]) -> Images:
        base = dict(zip(kept, starts, strict=False))
        base.update({alias: base[owner] for alias, owner in self.share.items()})
        places = starts[len(kept) :]
        found = []
        for n, (rows, height) in heights.items():
            where = {tensor: tuple(start for start, (group, t, _) in zip(places, buffers, strict=True)
                                   if (group, t) == (n, tensor)) for tensor in height}
            found.append(Group(*groups[n], rows, where, height))
        sizes = [*(block.size for block in blocks), *(size for _, _, size in buffers)]
        used = max((start + size for start, size in zip(starts, sizes, strict=True)), default=0)
        wanted = peak([Block(self.size[owner], *self.life[owner]) for owner in self.life])
        return Images(base, frozenset(spilled), tuple(found), used, wanted)

    def _operator(self, layer: Layer) -> tuple[int, ...]:
        """The operator that a layer belongs to: of several that make one tensor only the first names it."""
        return next(other.ops for other in self.layers if other.output == layer.output and other.ops)

    def _fullest(self, groups: Sequence[tuple[int, int]], spilled: set[int],
                 fused: Mapping[int, tuple[int, int]]) -> tuple[int, int]:
        """The group with the most bytes of whole images alive."""
        def alive(group: tuple[int, int]) -> int:
            return sum(self.size[owner] for owner, (low, high) in self.life.items()
                       if owner not in spilled and owner not in fused
                       and low <= group[1] and high >= group[0])

        return max(groups, key=alive)

    def _too_large(self, first: int, last: int, whole: Sequence[int]) -> None:
        layer = self.layers[first]
        need = sum(self.size[owner] for owner in whole)
        need += sum(strip_layout(self.layouts[t], high - low).size
                    for t, (low, high) in strip_rows(self.layers[first : last + 1], 0, 1)[1].items()
                    if self.share.get(t, t) not in whole)
        has = self.fabric.am_bytes
        gaps = "" if need > has else ", but not in the gaps that other images leave"
        raise CapacityError(
            f"layer {layer.name} ({layer.source}): one output row and the rows it needs take {need} bytes of "
            f"activation memory; the fabric {self.fabric.name} has {has}{gaps}. "
            f"Raise am_words to at least {-(-max(need, has + 1) // self.fabric.rows)}",
            ops=layer.ops[1:] or self._operator(layer))


def plan_images(layers: Sequence[Layer], layouts: Mapping[int, Layout], share: Mapping[int, int],
                outside: frozenset[int], fabric: Fabric, *, spare_dram: bool = False) -> Images:
    """Place the images of a segment.

    Parameters
    ----------
    layers : the segment's layers in order
    layouts : of every image touched
    share : alias -> the image whose bytes it shares
    outside : images that come from the host or that it wants: they have a home in DRAM in any case
    spare_dram : whether none should pass through DRAM only because that is faster

    Raises
    ------
    CapacityError
        If one output row of a layer, with the input rows it needs, does not fit beside what must be whole.
    """
    return _Planner(layers, layouts, share, outside, fabric).plan(spare_dram)
