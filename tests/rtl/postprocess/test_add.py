# amaranth: UnusedElaboratable=no
"""ResidualAdder against numerics.Add: corners of every field, all shifts, random records."""
import numpy as np
from celosia.rtl.contract.numerics import Add
from celosia.rtl.postprocess.add import ResidualAdder
from support.pipe import Pipe

HALF = 2**26
TOP = 2**47


def records(rng):
    for mult_q in (-HALF, -1, 0, HALF - 1):
        for mult_other in (-HALF, 1, HALF - 1):
            for constant, shift in ((-TOP, 0), (-TOP, 63), (TOP - 1, 47), (0, 26), (-1, 1)):
                yield Add(mult_q=mult_q, mult_other=mult_other, constant=constant, shift=shift,
                          low=-128, high=127)
    for shift in range(64):
        scale = min(2.0 ** shift, HALF - 1)
        low, high = sorted(int(limit) for limit in rng.integers(-128, 128, 2))
        yield Add(mult_q=int(scale * rng.uniform(-1, 1)), mult_other=int(scale * rng.uniform(-1, 1)),
                  constant=int(min(2.0 ** (shift + 6), TOP - 1) * rng.uniform(-1, 1)), shift=shift,
                  low=-128 if shift % 2 else low, high=127 if shift % 2 else high)


def test_sum_equals_the_contract_at_its_stated_latency():
    dut = ResidualAdder()
    rng = np.random.default_rng(3)
    pipe = Pipe(dut, dut.o_sum)

    async def bench(ctx):
        for add in records(rng):
            q = np.concatenate([[-128, -128, 127, 127, 0, -1], rng.integers(-128, 128, 14)])
            other = np.concatenate([[-128, 127, -128, 127, 0, -1], rng.integers(-128, 128, 14)])
            ctx.set(dut.i_parameters.as_value(), int.from_bytes(add.pack(), "little"))
            for i, total in enumerate(add.apply(q, other)):
                ctx.set(dut.i_q, int(q[i]))
                ctx.set(dut.i_other, int(other[i]))
                pipe.expect(total)
                await pipe.tick(ctx)
            await pipe.tick(ctx, dut.LATENCY)  # the parameters hold until the adder is empty

    pipe.run(bench)
    assert len(set(pipe.expected.values())) > 150, "the stimulus exercises too little"
