# amaranth: UnusedElaboratable=no
"""The control port: the register block as an AXI4-Lite subordinate, and what a write to it does."""
from amaranth import Mux
from amaranth.hdl import ResetInserter
from axi import lite_subordinate
from celosia.rtl.contract.fabric import Fabric
from celosia.rtl.contract.registers import Reg
from celosia.rtl.link.registers import Registers
from harness import Mutant, Proof
from rules import Bench


def registers(only):
    bench = Bench(only)
    m = bench.m
    dut = Registers(fabric=Fabric(rows=1, cols=1))
    reset = bench.any(1)
    m.submodules.dut = ResetInserter(reset)(dut)
    axil, control = dut.axil, dut.control
    bench.assume(~reset)  # the rules of the bus are stated between resets; see registers_reset
    lite_subordinate(bench, axil, latency=2)
    # One register against a model: it changes with a write that has its address, byte by byte.
    address = bench.kept(axil.awvalid & axil.awready, axil.awaddr)
    word = bench.kept(axil.wvalid & axil.wready, axil.wdata)
    strobe = bench.kept(axil.wvalid & axil.wready, axil.wstrb)
    done = axil.bvalid & ~bench.past(axil.bvalid & ~axil.bready)
    target = control.program_address
    mask = [Mux(strobe[i // 8], 1, 0) for i in range(32)]
    mine = done & (address >> 2 == Reg.PROGRAM_ADDRESS >> 2)
    expected = [Mux(mask[i], word[i], bench.past(target)[i]) for i in range(32)]
    same = 1
    for i in range(32):
        same = same & (target[i] == Mux(mine, expected[i], bench.past(target)[i]))
    bench.rule("a_write_changes_its_register_byte_by_byte", same)
    bench.rule("a_start_needs_a_write_to_control", ~control.start | (
        done & (address >> 2 == Reg.CONTROL >> 2) & strobe[0]))
    index = bench.kept(axil.arvalid & axil.arready, axil.araddr)
    fresh = axil.rvalid & ~bench.past(axil.rvalid)
    bench.rule("a_read_gives_its_register", ~(fresh & (index >> 2 == Reg.PROGRAM_ADDRESS >> 2)) | (
        axil.rdata == bench.past(target)))
    return bench


def registers_reset(only):
    bench = Bench(only)
    dut = Registers(fabric=Fabric(rows=1, cols=1))
    reset = bench.any(1)
    bench.m.submodules.dut = ResetInserter(reset)(dut)
    axil = dut.axil
    bench.free(axil.awvalid, axil.awaddr, axil.wvalid, axil.wdata, axil.wstrb, axil.bready, axil.arvalid,
               axil.araddr, axil.rready)
    bench.rule("is_silent_in_reset", ~bench.past(reset) | ~(axil.bvalid | axil.rvalid))
    return bench


REGISTERS = "celosia.rtl.link.registers"


def _mutants(*changes):
    return tuple(Mutant(module=REGISTERS, old=old, new=new, rule=rule) for rule, old, new in changes)


PROOFS = (
    Proof(name="registers", block="registers", claim="AXI4-Lite subordinate", make=registers, engine="pdr",
          mutants=_mutants(
              ("b_stays_until_ready", "with m.If(axil.bvalid & axil.bready):", "with m.If(axil.bvalid):"),
              ("r_stays_until_ready", "with m.If(axil.rvalid & axil.rready):", "with m.If(axil.rvalid):"),
              ("b_is_never_exokay", "m.d.sync += axil.bresp.eq(RESP_SLVERR)", "m.d.sync += axil.bresp.eq(1)"),
              ("r_is_never_exokay", "axil.rresp.eq(RESP_SLVERR)", "axil.rresp.eq(1)"),
              ("b_comes_behind_its_address", "with m.If(address_held & data_held & ~axil.bvalid):",
               "with m.If(data_held & ~axil.bvalid):"),
              ("b_comes_behind_its_data", "with m.If(address_held & data_held & ~axil.bvalid):",
               "with m.If(address_held & ~axil.bvalid):"),
              ("takes_no_more_than_two_writes", "axil.awready.eq(~address_held)", "axil.awready.eq(1)"),
              ("b_comes_in_time", "with m.If(address_held & data_held & ~axil.bvalid):",
               "with m.If(address_held & data_held & ~axil.bvalid & axil.bready):"),
              ("r_comes_behind_its_address", "m.d.sync += [wanted.eq(0), axil.rvalid.eq(1)",
               "m.d.sync += [wanted.eq(axil.rready), axil.rvalid.eq(1)"),
              ("takes_one_read_at_a_time", "axil.arready.eq(~wanted & ~axil.rvalid)",
               "axil.arready.eq(~wanted)"),
              ("r_comes_in_time", "with m.If(wanted):", "with m.If(wanted & ~axil.awvalid):"),
              ("aw_is_taken_in_time", "m.d.sync += [address_held.eq(0), data_held.eq(0), axil.bvalid.eq(1)",
               "m.d.sync += [data_held.eq(0), axil.bvalid.eq(1)"),
              ("w_is_taken_in_time", "m.d.sync += [address_held.eq(0), data_held.eq(0), axil.bvalid.eq(1)",
               "m.d.sync += [address_held.eq(0), axil.bvalid.eq(1)"),
              ("ar_is_taken_in_time", "axil.arready.eq(~wanted & ~axil.rvalid)",
               "axil.arready.eq(~wanted & ~axil.rvalid & axil.rready)"),
              ("a_read_gives_its_register", "index.eq(axil.araddr[2:])", "index.eq(axil.araddr[3:])"),
              ("a_write_changes_its_register_byte_by_byte", "with m.If(strobe[i // 8]):",
               "with m.If(strobe[i // 16]):"),
              ("a_start_needs_a_write_to_control", "m.d.sync += pulse.eq(strobe[0] & (data & bit).any())",
               "m.d.sync += pulse.eq((data & bit).any())"),
          )),
    Proof(name="registers_reset", block="registers", claim="AXI4-Lite subordinate in reset",
          make=registers_reset, engine="pdr",
          mutants=(Mutant(
              module="celosia.rtl.link.axi", rule="is_silent_in_reset",
              old='"bvalid": In(1), "bready": Out(1),\n            "araddr"',
              new='"bvalid": In(1, init=1), "bready": Out(1),\n            "araddr"'),)),
)
