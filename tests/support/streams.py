"""Random legal programs of Weights and Stream instructions, in both modes, for tests of feeder and array."""
import numpy as np
import numpy.typing as npt
from celosia.rtl.contract.fabric import FIR_GROUPS, RING_LEAST, Fabric
from celosia.rtl.contract.isa import Stream, Weights
from celosia.rtl.contract.machine import Machine

Memory = npt.NDArray[np.integer]


def random_memories(rng: np.random.Generator, fabric: Fabric) -> tuple[Memory, Memory]:
    """Activation and weight memory with many corners: int8[R * am_words], int16[wm_words, C]."""
    half = 1 << fabric.weight_bits - 1
    am = rng.integers(-128, 128, fabric.am_bytes).astype(np.int8)
    wm = rng.integers(-half, half, (fabric.wm_words, fabric.cols)).astype(np.int16)
    am[rng.random(am.shape) < 0.1] = -128
    for corner in (-half, 1 - half, half - 1):
        wm[rng.random(wm.shape) < 0.05] = corner
    return am, wm


def random_walk(rng: np.random.Generator, fabric: Fabric, *, base: int, tiles: int, ragged: int) -> Weights:
    rows = fabric.rows
    run = int(rng.choice([1, 2, rows, *rng.integers(1, 3 * rows + 2, 3)]))
    runs_x = int(rng.integers(1, 5))
    unit = 1 if ragged else rows
    jump_x, jump_y = (int(n) * unit for n in rng.integers(0, 4, 2))
    return Weights(
        base=base, tiles=tiles, run=run, runs_x=runs_x, jump_x=jump_x, jump_y=jump_y, ragged=ragged,
        start=int(rng.integers(0, 2 * rows)), start_run=int(rng.integers(0, run)),
        start_x=int(rng.integers(0, runs_x)))


def random_visits(rng: np.random.Generator, fabric: Fabric, *, tiles: int, most: int) -> Stream:
    """A Stream in matrix mode; ``most`` sums if they are to go on from earlier ones, 0 if they need not."""
    u, v = (int(rng.choice([1, 1, 2, 3])) for _ in range(2))
    most = most or fabric.acc_depth * (2 if tiles * u * v == 1 else 1)
    x = int(rng.choice([1, *rng.integers(1, min(most, 9) + 1, 2)]))
    y = int(rng.integers(1, min(most // x, 6) + 1))
    steps = dict(zip(("x_step", "y_step", "u_step", "v_step"),
                     rng.integers(0, 2 * fabric.rows + 2, 4).tolist(), strict=True))
    return Stream(base=int(rng.integers(0, fabric.am_bytes // 2)), tiles=tiles, x_count=x, y_count=y,
                  u_count=u, v_count=v, emit=int(rng.random() < 0.7 or x * y > fabric.acc_depth), **steps)


def random_fir(rng: np.random.Generator, fabric: Fabric, *, tiles: int, most: int, reach: int) -> Stream:
    """A Stream in FIR mode, inside the memory if the last offset is at most ``reach``; ``most`` as above."""
    groups = int(rng.integers(1, min(FIR_GROUPS, fabric.rows) + 1)) if fabric.line_depth else 1
    taps = int(rng.integers(1, fabric.rows // groups + 1))
    longest = min(fabric.line_depth, 20) if groups > 1 else 12
    ring = int(rng.choice([RING_LEAST, longest, *rng.integers(RING_LEAST, longest + 1, 2)]))
    line = ring + taps if groups > 1 else int(rng.integers(1, longest + 1))
    stride_x, stride_y = (int(n) for n in rng.integers(1, 4, 2))
    kept = fabric.acc_depth if tiles > 1 else 2 * fabric.acc_depth
    emit = int(rng.random() < 0.7)
    most = min(most or kept, fabric.fifo_depth if emit else fabric.acc_depth)
    x = int(rng.integers(1, min(most, (line - 1) // stride_x + 1) + 1))
    y = int(rng.integers(1, min(most // x, 4) + 1))
    base = int(rng.integers(0, 2 * fabric.rows))
    room = max(fabric.am_bytes - 1 - reach - base, 0)
    lines = (y - 1) * stride_y + groups + taps // line
    x_step = int(rng.integers(0, min(room // line, 2 * fabric.rows) + 1))
    y_step = int(rng.integers(0, (room - (line - 1) * x_step) // lines + 1))
    return Stream(base=base, tiles=tiles, x_count=x, y_count=y, x_step=x_step, y_step=y_step, emit=emit,
                  fir=1, line=line, taps=taps, groups=groups, stride_x=stride_x, stride_y=stride_y,
                  outputs=x * y)


def random_program(
    rng: np.random.Generator, fabric: Fabric, *, tiles: int, fir: float = 0.5
) -> tuple[Memory, Memory, list[Weights], list[Stream]]:
    """Activation memory, weight memory, instructions; a Stream is in FIR mode with probability ``fir``.

    Rows that would read outside the memory get zero weights.
    """
    rows = fabric.rows
    am, wm = random_memories(rng, fabric)
    weights: list[Weights] = []
    offsets: list[list[int]] = []
    while len(offsets) < tiles:
        n = int(rng.integers(1, min(5, tiles - len(offsets)) + 1))
        weights.append(random_walk(rng, fabric, base=len(offsets) * rows, tiles=n,
                                   ragged=int(rng.integers(2))))
        offsets += weights[-1].walk(rows)
    streams: list[Stream] = []
    used, kept = 0, 0
    while used < tiles:
        n = int(rng.integers(1, min(4, tiles - used) + 1))
        taken = range(used, used + n)
        if rng.random() < fir:
            reach = max(max(offsets[tile]) for tile in taken)
            stream = random_fir(rng, fabric, tiles=n, most=kept, reach=reach)
            last = (stream.base + ((stream.y_count - 1) * stream.stride_y + stream.groups
                                   + stream.taps // stream.line) * stream.y_step
                    + (stream.line - 1) * stream.x_step)
            for tile in taken:
                wm[tile * rows + stream.taps * stream.groups:(tile + 1) * rows] = 0
        else:
            stream = random_visits(rng, fabric, tiles=n, most=kept)
            last = stream.base + sum((count - 1) * step for count, step in (
                (stream.x_count, stream.x_step), (stream.y_count, stream.y_step),
                (stream.u_count, stream.u_step), (stream.v_count, stream.v_step)))
        for tile in taken:
            for r in range(rows):
                # In FIR mode every row reads at the offsets of all columns.
                if last + (max(offsets[tile]) if stream.fir else offsets[tile][r]) >= fabric.am_bytes:
                    wm[tile * rows + r] = 0
        streams.append(
            Stream(**{**vars(stream), "clear": int(not kept), "maximum": int(rng.random() < 0.3)}))
        kept = 0 if stream.emit else kept or stream.pixels
        used += n
    return am, wm, weights, streams


def executed(
    fabric: Fabric, am: Memory, wm: Memory, weights: list[Weights], streams: list[Stream]
) -> Machine:
    """The machine after the instructions; raises ProgramError if they are not legal."""
    machine = Machine(fabric, np.zeros(0, np.uint8))
    machine.am[:], machine.wm[:] = am, wm
    for instruction in (*weights, *streams):
        instruction.execute(machine)
    return machine
