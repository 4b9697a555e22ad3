# amaranth: UnusedElaboratable=no
"""The array's control, with a cheap stand-in for the multiplier: whose weight meets whose pixel, and when."""
from amaranth import Cat, Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from celosia.rtl.accumulate.accumulators import Accumulators
from celosia.rtl.contract.fabric import Fabric
from celosia.rtl.primitives import stationary
from celosia.rtl.systolic.array import SystolicArray
from celosia.rtl.systolic.skew import Skew
from celosia.rtl.systolic.weights import WeightSteering
from harness import Mutant, Proof
from rules import Bench

SMALL = Fabric(rows=2, cols=2, am_words=8, wm_words=4, pm_words=6, acc_depth=4, fifo_depth=4, acc_width=20,
               line_depth=0, tables=0, bus_bytes=4, weight_bits=8)


class Tagger(wiring.Component):
    """In place of Multiplier: the "product" says which activation met which weight, 4 bits of each."""

    LATENCY = 1

    def __init__(self, *, a_width=8, b_width=8):
        super().__init__({"i_a": In(signed(a_width)), "i_b": In(signed(b_width)),
                          "o_product": Out(signed(a_width + b_width))})

    def elaborate(self, platform):
        m = Module()
        m.d.sync += self.o_product.eq(tagged(self.i_a, self.i_b))
        return m


def tagged(act, weight):
    return Cat(act[:4], weight[:4])


def skew(only):
    """What comes out of the skew, put straight again by the opposite delays, is the vector that went in."""
    lanes = 4
    bench = Bench(only)
    bench.m.submodules.dut = dut = Skew(shape=2, lanes=lanes)
    bench.free(dut.i)
    straight = [bench.past(dut.o[lane], lanes - 1 - lane) for lane in range(lanes)]
    whole = bench.past(Cat(dut.i[lane] for lane in range(lanes)), lanes - 1)
    bench.rule("lanes_stay_together", Cat(*straight) == whole)
    for lane in range(lanes):
        bench.rule(f"lane_{lane}_is_late_by_{lane}", dut.o[lane] == bench.past(dut.i[lane], lane))
    return bench


def steering(only):
    """Each row keeps the word that is its own, with gaps of any length between the words."""
    rows = 3
    bench = Bench(only)
    m = bench.m
    m.submodules.dut = dut = WeightSteering(rows=rows)
    bench.free(dut.i_valid, dut.i_start)
    row = Signal(range(rows + 1), init=rows)  # which row's word may come next
    with m.If(dut.i_valid):
        m.d.sync += row.eq(Mux(dut.i_start, 1, row + 1))
    bench.assume(~dut.i_valid | (dut.i_start == (row == rows)))
    now = Mux(dut.i_start, 0, row)
    for r in range(rows):
        mine = bench.past(dut.i_valid & (now == r), r)
        bench.rule(f"row_{r}_keeps_its_word_only", dut.o_keep[r] == mine)
    return bench


def _feed(bench, dut, fabric):
    """Drives the array as ArrayFeed allows; returns (pixel valid, the weights of the pixel's tile)."""
    m, feed, rows, cols = bench.m, dut.feed, fabric.rows, fabric.cols
    bench.free(feed.act, feed.tags, feed.swap, feed.mode, feed.weight, feed.weight_valid, feed.weight_start)
    loaded = Signal(range(rows + 1))  # words of the next tile that have come
    since = Signal(range(rows + 1))   # cycles since its first word, up to R
    complete = loaded == rows
    first = feed.weight_valid & feed.weight_start
    bench.assume(~feed.weight_valid | (feed.weight_start == ((loaded == 0) | (complete & feed.swap))))
    bench.assume(~feed.weight_valid | ~complete | feed.swap)
    bench.assume(~feed.swap | (complete & (since == rows)))
    waiting = [[Signal(4, name=f"waiting_{r}_{c}") for c in range(cols)] for r in range(rows)]
    active = [[Signal(4, name=f"active_{r}_{c}") for c in range(cols)] for r in range(rows)]
    with m.If(feed.swap):
        m.d.sync += loaded.eq(0)
        m.d.sync += [active[r][c].eq(waiting[r][c]) for r in range(rows) for c in range(cols)]
    with m.If(since != rows):
        m.d.sync += since.eq(since + 1)
    with m.If(feed.weight_valid):
        m.d.sync += loaded.eq(Mux(first, 1, loaded + 1))
        for r in range(rows):
            with m.If(Mux(first, 0, loaded) == r):
                m.d.sync += [waiting[r][c].eq(feed.weight[c]) for c in range(cols)]
    with m.If(first):
        m.d.sync += since.eq(1)
    return active


def matrix(only, rows=2, cols=2):
    """Matrix mode: a pixel's sum is of its own activations, each with its own tile's weight."""
    stationary.Multiplier = Tagger
    fabric = SMALL.but(rows=rows, cols=cols, wm_words=2 * rows, pm_words=2 * (cols + 1))
    bench = Bench(only)
    bench.m.submodules.dut = dut = SystolicArray(fabric=fabric)
    active = _feed(bench, dut, fabric)
    bench.assume(~dut.feed.mode.fir)
    for c in range(cols):
        want = sum(_product(dut.feed.act[r], active[r][c]) for r in range(rows))
        began = bench.past(bench.kept(dut.feed.swap, 1), dut.LATENCY_PSUM + c)
        model = bench.past(want.as_unsigned(), dut.LATENCY_PSUM + c)
        bench.rule(f"column_{c}_is_the_sum_of_its_pixel",
                   ~began | (dut.sums.psum[c].as_unsigned()[:model.shape().width] == model))
    bench.rule("tags_come_with_column_0",
               dut.sums.tags.as_value() == bench.past(dut.feed.tags.as_value(), dut.LATENCY_PSUM))
    return bench


def _product(act, weight):
    return Cat(act[:4], weight)


def fir(only, groups=1):
    """FIR mode: row r of column c multiplies pixel t + r of lane c, or its copy a ring before.

    With matrix tiles before and after it, so that the change of the selection runs over both.
    """
    stationary.Multiplier = Tagger
    rows, cols = 2, 2
    ring = 3
    fabric = SMALL if groups == 1 else SMALL.but(line_depth=4)
    bench = Bench(only)
    m = bench.m
    m.submodules.dut = dut = SystolicArray(fabric=fabric)
    active = _feed(bench, dut, fabric)
    feed = dut.feed
    taps = rows // groups
    bench.assume(~feed.mode.fir | (
        (feed.mode.taps == taps) & (feed.mode.groups == groups) & (feed.mode.ring == ring)))
    is_fir = bench.kept(feed.swap, feed.mode.fir)
    # Cycles since the swap, this pixel's included; a sum is whole if its pixels are of one tile.
    age = Signal(range(9))
    with m.If(feed.swap):
        m.d.sync += age.eq(1)
    with m.Elif((age != 0) & (age != 8)):
        m.d.sync += age.eq(age + 1)
    look = rows - 1
    for c in range(cols):
        # At cycle t + look everything that the sum of t takes has come; weights are those of t's tile.
        terms = []
        for r in range(rows):
            group = r // taps
            back = look - r + (groups - 1 - group) * ring
            pixel = bench.past(feed.act[c][:4], back)
            terms.append(Cat(pixel, active[r][c]))
        want = sum(terms)
        whole = is_fir & (age >= rows + (groups - 1) * ring) & (age != 0)
        late = dut.LATENCY_PSUM + c - look
        model, counts = bench.past(want, late), bench.past(whole, late)
        bench.rule(f"column_{c}_is_the_sum_of_its_stream",
                   ~counts | (dut.sums.psum[c].as_unsigned()[:model.shape().width] == model))
    return bench


def accumulated(only):
    """A finished result has the sums of one pixel in all columns, though they came one by one."""
    fabric = SMALL
    bench = Bench(only)
    m = bench.m
    m.submodules.dut = dut = Accumulators(fabric=fabric)
    sums, tags = dut.sums, dut.sums.tags
    bench.free(tags, dut.results.ready)
    value = bench.any(3 * fabric.cols)
    for c in range(fabric.cols):
        m.d.comb += sums.psum[c].eq(bench.past(value[3 * c:3 * c + 3], c))
    # Each pixel is finished at once here; what is kept over several tiles is the tests' part.
    bench.assume(~tags.valid | (tags.first & tags.last))
    credits = bench.count(fabric.fifo_depth, dut.credit, tags.valid & tags.last, init=fabric.fifo_depth)
    bench.assume(~tags.valid | (credits != 0))
    bench.buffer(put=tags.valid, item=value, offered=dut.results.valid, ready=dut.results.ready,
                 out=Cat(dut.results.payload[c].as_unsigned()[:3] for c in range(fabric.cols)),
                 capacity=fabric.fifo_depth + 2, latency=dut.LATENCY_RESULT)
    return bench


SKEW, STEER, ARRAY, PE, COLUMN = (f"celosia.rtl.{name}" for name in (
    "systolic.skew", "systolic.weights", "systolic.array", "systolic.pe", "accumulate.column"))


def _mutants(module, *changes):
    return tuple(Mutant(module=module, old=old, new=new, rule=rule) for rule, old, new in changes)


PROOFS = (
    Proof(name="skew", block="array", claim="skew and de-skew keep lanes aligned", make=skew, engine="pdr",
          quick=True,
          mutants=_mutants(
              SKEW, ("lanes_stay_together", "delayed(m, entered, lane,", "delayed(m, entered, lane & 2,"),
              *((f"lane_{lane}_is_late_by_{lane}", "delayed(m, entered, lane,",
                 f"delayed(m, entered, lane + (lane == {lane}),") for lane in range(4)))),
    Proof(name="steering", block="array", claim="each row keeps its own weight word", make=steering,
          engine="pdr",
          quick=True, mutants=_mutants(
              STEER, ("row_0_keeps_its_word_only", "valid[0].eq(self.i_valid)", "valid[0].eq(1)"),
              ("row_1_keeps_its_word_only", "start[1:].eq(kept[:-1])", "start[1:].eq(start[:-1])"),
              ("row_2_keeps_its_word_only", "(kept | self.o_keep) & ~passed", "self.o_keep & ~passed"))),
    Proof(name="matrix_mode", block="array", claim="array 2x2: each pixel meets its own tile's weights",
          make=matrix,
          engine="bmc", depth=12, mutants=_mutants(
              ARRAY,
              ("column_0_is_the_sum_of_its_pixel", "swap.eq(Cat(feed.swap, swap_late))",
               "swap.eq(Cat(feed.swap, swap))"),
              ("tags_come_with_column_0", "feed.tags, self.LATENCY_PSUM,",
               "feed.tags, self.LATENCY_PSUM - 1,"),
              ) + _mutants(
              PE,
              ("column_1_is_the_sum_of_its_pixel", "self.o_swap.eq(self.i_swap)",
               "self.o_swap.eq(self.i_keep)"),
              )),
    Proof(name="fir_mode", block="array", claim="array 2x2: one kernel row of two taps", make=fir,
          engine="bmc", depth=14,
          mutants=_mutants(
              ARRAY,
              ("column_0_is_the_sum_of_its_stream", "with m.If(swap[r]):", "with m.If(swap[0]):"),
              ("column_1_is_the_sum_of_its_stream", "streams = [[act_skew.o[c]] for",
               "streams = [[act_skew.o[0]] for"),
          )),
    Proof(name="fir_mode_rings", block="array", claim="array 2x2: two kernel rows a ring of 3 apart",
          make=lambda only: fir(only, 2), engine="bmc", depth=17, mutants=_mutants(
              ARRAY,
              ("column_0_is_the_sum_of_its_stream", "Mux(now.fir, now.groups - group, 0)",
               "Mux(now.fir, 1 + group, 0)"),
              ) + _mutants(
              "celosia.rtl.systolic.ring",
              ("column_1_is_the_sum_of_its_stream", "memory.i_b_address.eq(place[c + 2])",
               "memory.i_b_address.eq(place[2])"),
          )),
    Proof(name="accumulators", block="accumulators", claim="de-skew: a result's columns are of one pixel",
          make=accumulated,
          engine="bmc", depth=18, mutants=_mutants(
              COLUMN,
              ("loses_and_repeats_nothing", "self.finish.slot.eq(tags_s3.slot)",
               "self.finish.slot.eq(tags_s2.slot)"),
          )),
)
