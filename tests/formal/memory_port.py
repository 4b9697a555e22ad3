# amaranth: UnusedElaboratable=no
"""The memory port: bursts of a command, the read and the write engine, and the DMA as an AXI4 manager."""
from amaranth import Mux, Signal
from amaranth.hdl import ResetInserter
from axi import manager
from celosia.rtl.contract.fabric import Fabric
from celosia.rtl.dma.burst import BurstSplitter, burst_beats
from celosia.rtl.dma.dma import DMA
from celosia.rtl.dma.read_engine import ReadEngine
from celosia.rtl.dma.rows import RowCommands
from celosia.rtl.dma.write_engine import WriteEngine
from celosia.rtl.link.axi import AXI4
from harness import Mutant, Proof
from rules import Bench

SMALL = Fabric(rows=2, cols=2, am_words=8, wm_words=4, pm_words=6, acc_depth=4, fifo_depth=4, line_depth=0,
               tables=0, bus_bytes=4, max_burst=2, outstanding=2, queue_depth=1, profile_layers=0)
LONG = SMALL.but(bus_bytes=16, max_burst=256)
"""The longest bursts that AXI allows: one of them fills 4 KB exactly."""
BEAT_BITS = 2


def bursts(only):
    """The bursts of one command after the other: exactly its beats, in order, none across a block."""
    bench = Bench(only)
    m, fabric = bench.m, SMALL.but(max_burst=4)
    m.submodules.dut = dut = BurstSplitter(fabric=fabric, bytes_bits=6)
    command, burst = dut.command, dut.burst
    bench.free(command.valid, command.payload, burst.ready)
    taken, moved = command.valid & command.ready, burst.valid & burst.ready
    # What is left of the command at hand, in beats.
    address, left, marked = Signal(32 - BEAT_BITS), Signal(8), Signal()
    with m.If(moved):
        m.d.sync += [address.eq(address + burst.p.len + 1), left.eq(left - burst.p.len - 1)]
    with m.If(taken):
        m.d.sync += [
            address.eq(command.p.address >> BEAT_BITS), marked.eq(command.p.last),
            left.eq((command.p.bytes + 3) >> BEAT_BITS)]
    bench.steady("keeps_what_it_offers", burst.valid, burst.ready, burst.payload)
    bench.rule("goes_on_where_it_stopped",
               ~burst.valid | ((burst.p.address >> BEAT_BITS) == address))
    bench.rule("starts_at_a_beat", ~burst.valid | (burst.p.address[:BEAT_BITS] == 0))
    bench.rule("never_exceeds_its_command", ~burst.valid | (burst.p.len < left))
    bench.rule("ends_with_its_command", ~taken | (left == Mux(moved, burst.p.len + 1, 0)))
    bench.rule("has_a_burst_while_beats_are_left", burst.valid == (left != 0))
    block = burst_beats(fabric)
    bench.rule("stays_within_its_block",
               ~burst.valid | ((burst.p.address >> BEAT_BITS)[:2] + burst.p.len < block))
    bench.rule("marks_the_last_burst", ~burst.valid | (
        burst.p.last == (marked & (left == burst.p.len + 1))))
    return bench


def rows(only):
    """The commands of a region: a row each, stride apart, the last one marked, no row too many."""
    bench = Bench(only)
    m = bench.m
    m.submodules.dut = dut = RowCommands()
    region, command = dut.region, dut.command
    bench.free(region.valid, region.payload, command.ready)
    bench.assume(region.p.rows != 0)
    taken, moved = region.valid & region.ready, command.valid & command.ready
    address, left = Signal(32), Signal.like(region.p.rows)
    stride = bench.kept(taken, region.p.stride)
    with m.If(moved):
        m.d.sync += [address.eq(address + stride), left.eq(left - 1)]
    with m.If(taken):
        m.d.sync += [address.eq(region.p.address), left.eq(region.p.rows)]
    bench.steady("keeps_what_it_offers", command.valid, command.ready, command.payload)
    bench.rule("has_a_command_for_each_row", command.valid == (left != 0))
    bench.rule("is_at_its_row", ~command.valid | (command.p.address == address))
    bench.rule("is_as_long_as_its_row",
               ~command.valid | (command.p.bytes == bench.kept(taken, region.p.row_bytes)))
    bench.rule("marks_the_last_row", ~command.valid | (command.p.last == (left == 1)))
    bench.rule("takes_no_region_before_its_end", ~taken | (left == 0) | ((left == 1) & moved))
    return bench


def _engine_bus(bench, fabric, *, read=None, write=None):
    """An AXI4 bus around one engine; the half that it lacks is silent."""
    m = bench.m
    axi = AXI4(data_bytes=fabric.bus_bytes).create()
    constants = {"size": (fabric.bus_bytes - 1).bit_length(), "burst": 1, "cache": 3}
    for way, engine in (("r", read), ("w", write)):
        if engine is None:
            continue
        channel = getattr(engine, f"a{way}")
        m.d.comb += [getattr(axi, f"a{way}valid").eq(channel.valid),
                     channel.ready.eq(getattr(axi, f"a{way}ready")),
                     getattr(axi, f"a{way}addr").eq(channel.p.address),
                     getattr(axi, f"a{way}len").eq(channel.p.len),
                     *(getattr(axi, f"a{way}{name}").eq(value) for name, value in constants.items())]
    if read is not None:
        m.d.comb += [read.r.valid.eq(axi.rvalid), axi.rready.eq(read.r.ready), read.r.p.data.eq(axi.rdata),
                     read.r.p.resp.eq(axi.rresp), read.r.p.last.eq(axi.rlast)]
    if write is not None:
        m.d.comb += [axi.wvalid.eq(write.w.valid), write.w.ready.eq(axi.wready),
                     axi.wdata.eq(write.w.p.data), axi.wstrb.eq(write.w.p.strobe),
                     axi.wlast.eq(write.w.p.last), write.b.valid.eq(axi.bvalid),
                     axi.bready.eq(write.b.ready), write.b.p.resp.eq(axi.bresp)]
    seen = manager(bench, axi, data_bytes=fabric.bus_bytes, max_burst=fabric.max_burst,
                   outstanding=fabric.outstanding)
    return axi, seen


def _abort(bench, dut):
    """Abort comes at any time and then stays."""
    bench.free(dut.abort)
    bench.assume(~bench.past(dut.abort) | dut.abort)


def write_engine(only, fabric=SMALL, progress=False):
    bench = Bench(only)
    bench.m.submodules.dut = dut = WriteEngine(fabric=fabric)
    command, data = dut.command, dut.data
    bench.free(command.valid, command.payload, data.valid, data.payload)
    _abort(bench, dut)
    axi, seen = _engine_bus(bench, fabric, write=dut)

    answered = axi.bvalid & axi.bready
    if progress:
        pending = command.valid & ~command.ready & (seen["writes"] == 0) & ~dut.abort
        bench.rule("aw_waits_for_no_ready", bench.waiting(3, pending & ~axi.awvalid) < 3)
        bench.rule("w_waits_for_no_ready",
                   bench.waiting(3, (seen["unsent"] != 0) & data.valid & ~axi.wvalid) < 3)
    bench.rule("takes_every_response", axi.bready)
    bench.rule("is_quiet_when_nothing_is_owed", dut.quiet == (seen["writes"] == 0))
    bench.rule("starts_nothing_after_an_abort", ~(bench.past(dut.abort) & seen["write_offered"]))
    new = axi.wvalid & ~bench.past(axi.wvalid & ~axi.wready)
    bench.rule("writes_no_byte_after_an_abort", ~(new & bench.past(dut.abort)) | (axi.wstrb == 0))
    took = bench.past(data.valid & data.ready & ~dut.abort)
    bench.rule("sends_each_beat_it_took", ~took | (
        new & (axi.wdata == bench.past(data.p.data)) & (axi.wstrb == bench.past(data.p.strobe))))
    bench.rule("sends_only_beats_it_took", ~new | took | bench.past(dut.abort))
    level, turn, address = bench.follow(put=seen["write_offered"], item=axi.awaddr, take=answered,
                                        capacity=fabric.outstanding)
    failed = bench.past(answered & (axi.bresp != 0))
    bench.rule("reports_a_bad_response_only", dut.fault.valid == failed)
    bench.rule("reports_the_address_of_the_burst",
               ~(dut.fault.valid & bench.past(turn)) | (dut.fault.address == bench.past(address)))
    marked = command.valid & command.ready & command.p.last & (command.p.bytes != 0)
    owed = bench.count(4, marked, dut.done)
    bench.rule("is_done_behind_a_response", ~dut.done | bench.past(answered))
    bench.rule("is_done_once_for_each_command", ~dut.done | (owed != 0))
    nothing = (seen["writes"] == 0) & command.ready & ~dut.done
    fresh = bench.past(command.valid & command.ready)
    bench.rule("is_done_for_every_command", ~nothing | fresh | (owed == 0) | dut.abort)
    return bench


def read_engine(only, fabric=SMALL, progress=False, shared=False):
    bench = Bench(only)
    bench.m.submodules.dut = dut = ReadEngine(fabric=fabric)
    for command in (dut.load_command, dut.fetch_command):
        bench.free(command.valid, command.payload)
    bench.free(dut.load_data.ready, dut.fetch_data.ready)
    _abort(bench, dut)
    axi, seen = _engine_bus(bench, fabric, read=dut)
    beat = axi.rvalid & axi.rready

    if progress:
        pending = dut.load_command.valid & ~dut.load_command.ready & (seen["reads"] == 0) & ~dut.abort
        bench.rule("ar_waits_for_no_ready", bench.waiting(3, pending & ~axi.arvalid) < 3)
    bench.steady("keeps_the_load_beat", dut.load_data.valid, dut.load_data.ready, dut.load_data.payload)
    bench.steady("keeps_the_fetch_beat", dut.fetch_data.valid, dut.fetch_data.ready, dut.fetch_data.payload)
    bench.rule("is_quiet_when_nothing_is_owed", dut.quiet == (seen["reads"] == 0))
    bench.rule("starts_nothing_after_an_abort", ~(bench.past(dut.abort) & seen["read_offered"]))
    bench.rule("reports_a_bad_response_only", dut.fault.valid == bench.past(beat & (axi.rresp != 0)))
    level, turn, address = bench.follow(put=seen["read_offered"], item=axi.araddr,
                                        take=beat & axi.rlast, capacity=fabric.outstanding)
    bench.rule("reports_the_address_of_the_burst",
               ~(dut.fault.valid & bench.past(turn)) | (dut.fault.address == bench.past(address)))
    # A stalled LOAD or fetch must not stop the other. To tell whose a burst is, fetch alone has bit 31 set.
    if shared:
        for command, base in ((dut.load_command, 0), (dut.fetch_command, 8)):
            bench.assume((command.p.address[28:] == base) & (command.p.bytes[16:] == 0))
        bench.rule("a_fetch_beat_is_always_taken", ~(turn & address[31] & axi.rvalid) | axi.rready)
    taken = bench.waiting(3, axi.rvalid & ~axi.rready & dut.abort)
    bench.rule("drains_after_an_abort", taken < 2)
    # Every beat that came goes to one of the readers: none is lost and none invented.
    inside = bench.count(12, beat & ~dut.abort,
                         (dut.load_data.valid & dut.load_data.ready)
                         + (dut.fetch_data.valid & dut.fetch_data.ready))
    gone = bench.waiting(3, (inside != 0) & ~dut.load_data.valid & ~dut.fetch_data.valid)
    bench.rule("loses_no_beat", gone < 3)
    bench.rule("invents_no_beat", ~(dut.load_data.valid | dut.fetch_data.valid) | (inside != 0))
    return bench


def dma(only):
    """The whole DMA with any instructions, legal or not: AXI's rules at its port, and a reset when quiet."""
    bench = Bench(only)
    m, fabric = bench.m, SMALL
    dut = DMA(fabric=fabric, am_read_latency=2, am_write_latency=2)
    reset = bench.any(1)
    m.submodules.dut = ResetInserter(reset)(dut)
    for unit in (dut.load, dut.store):
        bench.free(unit.instruction.valid, unit.instruction.payload)
    for access in (dut.am_load, dut.am_store):
        bench.free(access.request.ready, access.data)
    bench.free(dut.fetch_command.valid, dut.fetch_command.payload, dut.fetch_data.ready)
    bench.free(dut.abort)
    bench.assume(~bench.past(dut.abort & ~reset) | dut.abort | reset)
    seen = manager(bench, dut.axi, data_bytes=fabric.bus_bytes, max_burst=fabric.max_burst,
                   outstanding=fabric.outstanding)
    # The sequencer's promise: a reset comes when all is quiet, some cycles after the abort.
    bench.assume(~reset | (dut.quiet & bench.past(dut.abort)))
    bench.rule("quiet_means_that_no_burst_is_owed",
               ~(dut.quiet & bench.past(dut.abort)) | ((seen["reads"] == 0) & (seen["writes"] == 0)))
    bench.rule("is_silent_behind_a_reset",
               ~bench.past(reset) | ~(dut.axi.arvalid | dut.axi.awvalid | dut.axi.wvalid))
    return bench


BURST, READ, WRITE, ROWS, DMA_, QUEUE = (
    f"celosia.rtl.dma.{name}" for name in ("burst", "read_engine", "write_engine", "rows", "dma", "queue"))


def _mutants(module, *changes):
    return tuple(Mutant(module=module, old=old, new=new, rule=rule) for rule, old, new in changes)


PROOFS = (
    Proof(name="bursts", block="dma", claim="the bursts of a command: its beats and no others", make=bursts,
          engine="pdr",
          mutants=_mutants(
              BURST,
              ("keeps_what_it_offers", "with m.If(burst.ready & active):", "with m.If(active):"),
              ("goes_on_where_it_stopped", "block.eq(block + 1)", "block.eq(block)"),
              ("starts_at_a_beat", "Cat(Const(0, beat_bits), first, block)",
               "Cat(Const(1, beat_bits), first, block)"),
              ("never_exceeds_its_command", "command.p.bytes - 1)[beat_bits:]",
               "command.p.bytes)[beat_bits:]"),
              ("ends_with_its_command", "command.ready.eq(~active)",
               "command.ready.eq(~active | burst.ready)"),
              ("has_a_burst_while_beats_are_left", "single.eq(blocks_left == 0)",
               "single.eq(blocks_left[0] == 0)"),
              ("stays_within_its_block", "first.eq(0), blocks_left", "blocks_left"),
              ("marks_the_last_burst", "burst.p.last.eq(single & marked)", "burst.p.last.eq(marked)"),
          )),
    Proof(name="rows", block="dma", claim="a command for each row of a region", make=rows, engine="pdr",
          mutants=_mutants(
        ROWS,
        ("keeps_what_it_offers", "with m.If(command.ready & active):", "with m.If(active):"),
        ("has_a_command_for_each_row", "now.rows.eq(now.rows - 1)]\n        with m.If(region.ready):",
         "now.rows.eq(now.rows - 2)]\n        with m.If(region.ready):"),
        ("is_at_its_row", "now.address.eq(now.address + now.stride)",
         "now.address.eq(now.address + now.row_bytes)"),
        ("is_as_long_as_its_row", "command.p.bytes.eq(now.row_bytes)", "command.p.bytes.eq(now.stride)"),
        ("marks_the_last_row", "command.p.last.eq(now.rows == 1)", "command.p.last.eq(now.rows[0])"),
        ("takes_no_region_before_its_end", "region.ready.eq(~active | (command.ready & command.p.last))",
         "region.ready.eq(~active | command.ready)"),
    )),
    Proof(name="write_engine", block="dma", claim="AXI4 writes: AW, W, B", make=write_engine, engine="pdr",
          mutants=_mutants(
        WRITE,
        ("aw_stays_until_ready", "& (self.aw.ready | ~self.aw.valid) & ~self.abort", "& ~self.abort"),
        ("w_stays_until_ready", "free.eq(self.w.ready | ~self.w.valid)", "free.eq(1)"),
        ("wlast_comes_with_the_last_beat", "self.w.p.last.eq(to_send.o.ready)",
         "self.w.p.last.eq(sent == 1)"),
        ("w_comes_for_an_address_only", "send.eq(free & to_send.o.valid &", "send.eq(free &"),
        ("writes_under_way_are_limited", "to_send.i.ready & to_answer.i.ready & (open_bursts != outstanding)",
         "to_send.i.ready"),
        ("takes_every_response", "self.b.ready.eq(1)", "self.b.ready.eq(~self.done)"),
        ("aw_is_no_longer_than_allowed", "self.aw.p.len.eq(burst.p.len)",
         "self.aw.p.len.eq(burst.p.len + 1)"),
        ("is_quiet_when_nothing_is_owed", "self.quiet.eq(open_bursts == 0)",
         "self.quiet.eq(~to_send.o.valid)"),
        ("starts_nothing_after_an_abort", "self.aw.valid) & ~self.abort)", "self.aw.valid))"),
        ("writes_no_byte_after_an_abort", "Mux(self.abort, 0, self.data.p.strobe)", "self.data.p.strobe"),
        ("sends_each_beat_it_took", "self.data.ready.eq(free & to_send.o.valid)", "self.data.ready.eq(free)"),
        ("sends_only_beats_it_took", "& (self.data.valid | self.abort)", ""),
        ("reports_a_bad_response_only", "(self.b.p.resp != RESP_OKAY)", "(self.b.p.resp == 2)"),
        ("reports_the_address_of_the_burst", "self.fault.address.eq(to_answer.o.p.address)",
         "self.fault.address.eq(self.aw.p.address)"),
        ("is_done_behind_a_response", "self.done.eq(answered & to_answer.o.p.last)",
         "self.done.eq(to_answer.o.valid & to_answer.o.p.last)"),
        ("is_done_once_for_each_command", "self.done.eq(answered & to_answer.o.p.last)",
         "self.done.eq(answered)"),
        ("is_done_for_every_command", "self.done.eq(answered & to_answer.o.p.last)",
         "self.done.eq(answered & to_answer.o.p.last & ~self.fault.valid)"),
    )),
    Proof(name="read_engine", block="dma", claim="AXI4 reads: AR, R; two readers", make=read_engine,
          engine="pdr",
          mutants=_mutants(
              READ,
              ("ar_stays_until_ready", "& (self.ar.ready | ~self.ar.valid) & ~self.abort", "& ~self.abort"),
              ("reads_under_way_are_limited", "owners.i.ready & (open_bursts != fabric.outstanding)", "1"),
              ("ar_is_no_longer_than_allowed", "self.ar.p.len.eq(Mux(choose_fetch, fetch.burst.p.len, "
               "load.burst.p.len))", "self.ar.p.len.eq(fetch.burst.p.len + load.burst.p.len)"),
              ("loses_no_beat", "load_queue.i.ready | owners.o.p.fetch",
               "owners.o.valid | owners.o.p.fetch"),
              ("is_quiet_when_nothing_is_owed", "self.quiet.eq(open_bursts == 0)",
               "self.quiet.eq(~owners.o.valid)"),
              ("starts_nothing_after_an_abort", "self.ar.valid) & ~self.abort)", "self.ar.valid))"),
              ("reports_a_bad_response_only", "(self.r.p.resp != RESP_OKAY)", "(self.r.p.resp == 2)"),
              ("reports_the_address_of_the_burst", "self.fault.address.eq(owners.o.p.address)",
               "self.fault.address.eq(self.ar.p.address)"),
              ("drains_after_an_abort", "owners.o.p.fetch | self.abort)", "owners.o.p.fetch)"),
              ("invents_no_beat", "load_queue.i.valid.eq(taken & ~owners.o.p.fetch & ~self.abort)",
               "load_queue.i.valid.eq(taken & ~self.abort)"),
          ) + _mutants(
              QUEUE,
              ("keeps_the_load_beat", "with m.If(self.o.ready | ~self.o.valid):",
               "with m.If(self.o.ready | ~self.o.valid | self.i.valid):"),
              ("keeps_the_fetch_beat", "buffer.r_en.eq(self.o.ready)", "buffer.r_en.eq(1)"))),
    Proof(name="write_engine_ready", block="dma", claim="neither AW nor W waits for a READY", engine="pdr",
          make=lambda only: write_engine(only or ("aw_waits_for_no_ready", "w_waits_for_no_ready"),
                                         progress=True),
          mutants=_mutants(
              WRITE,
              ("aw_waits_for_no_ready", "& (self.aw.ready | ~self.aw.valid) & ~self.abort",
               "& self.aw.ready & ~self.abort"),
              ("w_waits_for_no_ready", "free.eq(self.w.ready | ~self.w.valid)", "free.eq(self.w.ready)"))),
    Proof(name="read_engine_ready", block="dma", claim="AR waits for no READY", engine="pdr",
          make=lambda only: read_engine(only or "ar_waits_for_no_ready", progress=True), mutants=_mutants(
              READ, ("ar_waits_for_no_ready", "& (self.ar.ready | ~self.ar.valid) & ~self.abort",
                     "& self.ar.ready & ~self.abort"))),
    Proof(name="read_engine_shared", block="dma", claim="a LOAD that stalls holds up no beat of a fetch",
          engine="bmc",
          make=lambda only: read_engine(only or "a_fetch_beat_is_always_taken", shared=True), depth=18,
          mutants=_mutants(READ,
              ("a_fetch_beat_is_always_taken",
               "self.r.ready.eq(owners.o.valid & (load_queue.i.ready | owners.o.p.fetch",
               "self.r.ready.eq(owners.o.valid & (load_queue.i.ready "
               "| (owners.o.p.fetch & self.fetch_data.ready)"))),
    Proof(name="write_4_kb", block="dma", claim="no write burst of 256 beats of 16 bytes crosses 4 KB",
          make=lambda only: write_engine(only or "aw_stays_within_4_kb", LONG), engine="pdr",
          mutants=_mutants(
              BURST, ("aw_stays_within_4_kb", "active.eq(command.valid & (command.p.bytes != 0))",
                      "active.eq(command.valid)"))),
    Proof(name="read_4_kb", block="dma", claim="no read burst of 256 beats of 16 bytes crosses 4 KB",
          make=lambda only: read_engine(only or "ar_stays_within_4_kb", LONG), engine="pdr", mutants=_mutants(
              BURST, ("ar_stays_within_4_kb", "first.eq(0), blocks_left", "blocks_left"))),
    Proof(name="dma", block="dma", claim="the DMA's memory port", make=dma, engine="bmc", depth=14,
          mutants=_mutants(
        DMA_,
        ("quiet_means_that_no_burst_is_owed", "self.quiet.eq(read.quiet & write.quiet)",
         "self.quiet.eq(read.quiet)"),
        ("is_silent_behind_a_reset", "valid\").eq(channel.valid)", "valid\").eq(channel.valid | self.quiet)"),
        ("aw_is_incr_of_full_beats", "getattr(axi, f\"a{way}burst\").eq(BURST_INCR)",
         "getattr(axi, f\"a{way}burst\").eq(way == \"r\")"),
        ("ar_is_incr_of_full_beats", "getattr(axi, f\"a{way}burst\").eq(BURST_INCR)",
         "getattr(axi, f\"a{way}burst\").eq(way == \"w\")"),
    )),
)
