"""A hand-made program for any fabric: one matrix product, from DRAM to DRAM, each unit used once."""
import numpy as np
from celosia.rtl.contract.isa import Load, Post, Space, Store, Stream, Unit, Weights
from celosia.rtl.contract.numerics import Channel

PROGRAM, IMAGE, WEIGHTS, PARAMETERS, RESULT = 0x0000, 0x1000, 0x2000, 0x3000, 0x4000
DRAM_BYTES = 0x5000


def tiny_program(fabric, pixels=7, seed=1):
    """DRAM with program and data, number of instructions, and the int8[pixels, C] that belong at RESULT."""
    rng = np.random.default_rng(seed)
    rows, cols = fabric.rows, fabric.cols
    dram = np.zeros(DRAM_BYTES, np.uint8)

    def place(address, data):
        dram[address:address + data.size] = np.ascontiguousarray(data).view(np.uint8).reshape(-1)

    image, weights = rng.integers(-128, 128, (pixels, rows)), rng.integers(-128, 128, (rows, cols))
    bias = rng.integers(-1000, 1000, cols)
    place(IMAGE, image.astype(np.int8))
    words = np.zeros((rows, fabric.wm_word_stride), np.int8)
    words[:, :cols] = weights
    place(WEIGHTS, words)
    records = np.zeros((cols, fabric.pm_word_stride), np.uint8)
    channels = [Channel(bias=int(bias[c]), mult=1 << 30, round_pos=1 << 21, round_neg=1 << 21, shift=22)
                for c in range(cols)]
    for c, channel in enumerate(channels):
        packed = np.frombuffer(channel.pack(), np.uint8)
        records[c, :packed.size] = packed
    place(PARAMETERS, records)
    out = -(-pixels * rows // rows) * rows  # behind the image
    bit = {unit: 1 << unit for unit in Unit}
    program = [
        Load(space=Space.AM, dram=IMAGE, row_bytes=pixels * rows, signal=bit[Unit.STREAM]),
        Load(space=Space.WM, dram=WEIGHTS, row_bytes=words.size, signal=bit[Unit.WEIGHTS]),
        Load(space=Space.PM, dram=PARAMETERS, row_bytes=records.size, signal=bit[Unit.POST]),
        Weights(run=rows, wait=bit[Unit.LOAD], layer=1),
        Stream(x_count=pixels, x_step=rows, wait=bit[Unit.LOAD], layer=1),
        Post(channels=cols, x_count=pixels, out=out, x_step=cols, wait=bit[Unit.LOAD], signal=bit[Unit.STORE],
             layer=1),
        Store(dram=RESULT, row_bytes=pixels * cols, local=out, wait=bit[Unit.POST], layer=1),
    ]
    place(PROGRAM, np.frombuffer(b"".join(item.encode(fabric) for item in program), np.uint8))
    acc = image @ weights
    want = np.stack([channels[c].apply(acc[:, c], zero=0, low=-128, high=127, acc_width=fabric.acc_width)
                     for c in range(cols)], axis=1).astype(np.int8)
    return dram, len(program), want
