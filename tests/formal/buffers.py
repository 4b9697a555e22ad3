# amaranth: UnusedElaboratable=no
"""Stream buffers: each keeps its payload until taken, loses nothing, repeats nothing, delivers in time."""
from amaranth import Cat, Signal
from celosia.rtl.accumulate.result_fifo import ResultFifo
from celosia.rtl.contract.fabric import Fabric
from celosia.rtl.dma.queue import Fifo, Queue
from celosia.rtl.sequencer.fetch import Fetch
from harness import Mutant, Proof
from rules import Bench


def _stream_buffer(bench, dut, *, capacity, latency):
    bench.m.submodules.dut = dut
    bench.free(dut.i.valid, dut.i.payload, dut.o.ready)
    return bench.buffer(
        put=dut.i.valid & dut.i.ready, item=dut.i.payload, offered=dut.o.valid, ready=dut.o.ready,
        out=dut.o.payload, capacity=capacity, latency=latency)


def queue(only):
    bench, dut = Bench(only), Queue(2)
    level = _stream_buffer(bench, dut, capacity=2, latency=Queue.LATENCY)
    bench.rule("is_ready_while_it_has_room", dut.i.ready | (level == 2))
    return bench


def fifo(depth):
    def make(only):
        bench, dut = Bench(only), Fifo(2, depth=depth)
        level = _stream_buffer(bench, dut, capacity=depth, latency=Fifo.LATENCY)
        if depth >= 3:
            bench.rule("is_ready_while_it_has_room", dut.i.ready | (level >= depth - 1))
        return bench
    return make


def result_fifo(only):
    """Claims with credits, as the feeder makes them; column c writes its part 2 + c cycles after it."""
    depth, cols = 3, 2
    bench = Bench(only)
    m = bench.m
    m.submodules.dut = dut = ResultFifo(depth=depth, width=2, cols=cols)
    credits = bench.count(depth, dut.credit, dut.claim, init=depth)
    bench.free(dut.claim, dut.results.ready)
    bench.assume(~dut.claim | (credits != 0))
    sums = bench.any(2 * cols)
    for c, write in enumerate(dut.write):
        age = 2 + c
        m.d.comb += [write.valid.eq(bench.past(dut.claim, age)), write.slot.eq(bench.past(dut.slot, age)),
                     write.data.eq(bench.past(sums[2 * c:2 * c + 2], age))]
    # All a result needs to come out: its last column, the RAM and the output registers.
    bench.buffer(put=dut.claim, item=sums, offered=dut.results.valid, ready=dut.results.ready,
                 out=Cat(dut.results.payload[c] for c in range(cols)), capacity=depth + 2,
                 latency=2 + cols - 1 + ResultFifo.LATENCY_READ)
    bench.rule("gives_back_no_more_credits_than_were_taken", credits <= depth)
    return bench


def fetch(only):
    """Beats become instructions: whole ones, in order, each once, as many as were asked for."""
    bench = Bench(only)
    m = bench.m
    m.submodules.dut = dut = Fetch(fabric=Fabric(rows=1, cols=1, bus_bytes=16))
    command, beat, instruction = dut.command, dut.data, dut.instruction
    bench.free(dut.i_load, dut.i_address, dut.i_count, command.ready, beat.valid, instruction.ready)
    # Four bits of each beat stand for all: Fetch only moves them.
    m.d.comb += beat.payload.eq(bench.any(4))
    taken, leaves = beat.valid & beat.ready, instruction.valid & instruction.ready
    left, second = Signal(32), Signal()
    with m.If(leaves):
        m.d.sync += left.eq(left - 1)
    with m.If(dut.i_load):
        m.d.sync += left.eq(dut.i_count)
    with m.If(taken):
        m.d.sync += second.eq(~second)
    bench.assume(~dut.i_load | (left == 0))
    bench.assume(~beat.valid | (left != 0))  # only beats that were asked for
    low, high = bench.kept(taken & ~second, beat.payload), bench.kept(taken & second, beat.payload)
    bench.steady("keeps_the_instruction_on_offer", instruction.valid, instruction.ready, instruction.payload,
                 dut.o_index)
    bench.steady("keeps_the_command_on_offer", command.valid, command.ready | dut.i_load, command.payload)
    bench.rule("offers_the_two_beats_that_came", ~instruction.valid | (instruction.payload == Cat(low, high)))
    whole = bench.past(taken & second)
    bench.rule("offers_an_instruction_once_it_is_whole", ~whole | instruction.valid)
    bench.rule("repeats_no_instruction", ~(bench.past(leaves) & instruction.valid))
    bench.rule("counts_what_is_left", dut.o_done == (left == 0))
    return bench


QUEUE = "celosia.rtl.dma.queue"
RESULT = "celosia.rtl.accumulate.result_fifo"
FETCH = "celosia.rtl.sequencer.fetch"


def _buffer_mutants(module, changes):
    return tuple(Mutant(module=module, old=old, new=new, rule=rule) for rule, old, new in changes)


PROOFS = (
    Proof(name="queue", block="dma", claim="DMA's two-entry queue", make=queue, engine="pdr", quick=True,
          mutants=_buffer_mutants(QUEUE, (
              ("keeps_what_it_offers", "with m.If(self.o.ready | ~self.o.valid):",
               "with m.If(self.o.ready | ~self.o.valid | self.i.valid):"),
              ("loses_and_repeats_nothing", "m.d.sync += self.o.payload.eq(spare)",
               "m.d.sync += self.o.payload.eq(self.i.payload)"),
              ("offers_only_what_was_put", "spare_valid | self.i.valid), spare_valid.eq(0)]",
               "spare_valid | self.i.valid)]"),
              ("holds_no_more_than_its_size", "self.i.ready.eq(~spare_valid)", "self.i.ready.eq(1)"),
              ("delivers_in_time", "self.o.valid.eq(spare_valid | self.i.valid)",
               "self.o.valid.eq(self.i.valid)"),
              ("is_ready_while_it_has_room", "self.i.ready.eq(~spare_valid)",
               "self.i.ready.eq(~spare_valid & ~self.o.valid)"),
          ))),
    *(Proof(name=f"fifo_{depth}", block="dma", claim=f"DMA's FIFO of {depth}", make=fifo(depth), engine="pdr",
            quick=depth == 3, mutants=_buffer_mutants(QUEUE, () if depth != 3 else (
                ("keeps_what_it_offers", "buffer.r_en.eq(self.o.ready)", "buffer.r_en.eq(1)"),
                ("loses_and_repeats_nothing", "buffer.w_en.eq(self.i.valid)",
                 "buffer.w_en.eq(self.i.valid & (buffer.level != 1))"),
                ("offers_only_what_was_put", "self.o.valid.eq(buffer.r_rdy)", "self.o.valid.eq(1)"),
                ("holds_no_more_than_its_size", "self.i.ready.eq(buffer.w_rdy)", "self.i.ready.eq(1)"),
                ("delivers_in_time", "self.o.valid.eq(buffer.r_rdy)",
                 "self.o.valid.eq(buffer.r_rdy & (buffer.level != 1))"),
                ("is_ready_while_it_has_room", "self.i.ready.eq(buffer.w_rdy)",
                 "self.i.ready.eq(buffer.level == 0)"),
            )))
      for depth in (1, 2, 3, 4)),
    Proof(name="result_fifo", block="accumulators", claim="result FIFO, 3 deep, 2 columns",
          make=result_fifo, engine="pdr",
          mutants=_buffer_mutants(RESULT, (
              ("keeps_what_it_offers", "(~results.valid | results.ready)", "1"),
              ("loses_and_repeats_nothing", "m.d.sync += front.eq(after(front))",
               "m.d.sync += front.eq(front + 1)"),
              ("offers_only_what_was_put", "level + self.write[-1].valid - fetch",
               "level + self.write[-1].valid"),
              ("holds_no_more_than_its_size", "self.credit.eq(fetch)", "self.credit.eq(some)"),
              ("delivers_in_time", "some & (~fetched", "(level > 1) & (~fetched"),
              ("gives_back_no_more_credits_than_were_taken", "self.credit.eq(fetch)",
               "self.credit.eq(fetch | move)"),
          ))),
    Proof(name="fetch", block="sequencer", claim="beats become instructions", make=fetch, engine="pdr",
          mutants=_buffer_mutants(FETCH, (
              ("keeps_the_instruction_on_offer", "self.data.ready.eq(~instruction.valid)",
               "self.data.ready.eq(1)"),
              ("keeps_the_command_on_offer", "with m.If(command.ready):", "with m.If(command.valid):"),
              ("offers_the_two_beats_that_came", "Cat(word[self._beat_bits:], self.data.payload)",
               "Cat(self.data.payload, word[self._beat_bits:])"),
              ("offers_an_instruction_once_it_is_whole", "filled == self._beats", "filled > self._beats"),
              ("repeats_no_instruction", "m.d.sync += filled.eq(0)", "m.d.sync += filled.eq(filled)"),
              ("counts_what_is_left", "left.eq(left - 1)", "left.eq(left - 2)"),
          ))),
)
