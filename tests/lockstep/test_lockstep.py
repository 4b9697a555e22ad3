# amaranth: UnusedElaboratable=no
"""RTL against emulator: random legal programs, compared behind every instruction."""
import os
from dataclasses import replace

import numpy as np
import pytest
from amaranth import Mux
from celosia.host.emit.tokens import Memory
from celosia.rtl.contract import isa, numerics
from celosia.rtl.contract.errors import ProgramError
from celosia.rtl.contract.machine import Machine
from celosia.rtl.postprocess import requantise
from celosia.sim.native import build
from celosia.sim.native.model import Memory as Behaviour
from support.isa_coverage import HOLES, Coverage, every_point
from support.lockstep import Difference, ObservedModel, in_lockstep, overlapped
from support.programs import Generator, RandomProgram

INSTRUCTIONS = 150
PROGRAMS = {"3x5": 24, "1x1": 10}
BEHAVIOURS = (Behaviour(read_latency=1, write_latency=1), Behaviour(stall=0.3, seed=3),
              Behaviour(read_latency=33, write_latency=5, outstanding=1))


def run(library, fabric, program, serial, seed, behaviour=None):
    """One program on fresh memories; returns its instructions and how many were compared."""
    code = program.serial() if serial else program.overlapped(np.random.default_rng(seed))
    machine = Machine(fabric, program.placed(code))
    model = ObservedModel(library, fabric, machine.dram.copy(), behaviour)
    try:
        compared = (in_lockstep(model, code, machine, program.beside) if serial
                    else overlapped(model, code, machine))
    finally:
        model.close()
    return code, compared


def test_memories_are_equal_behind_every_instruction(fabric, built):
    """Over both fabrics and ways more than 10,000 instructions, of which most are compared one by one.

    The larger fabric's programs have every point of the instruction set.
    """
    library, coverage, compared = built(fabric), Coverage(), 0
    programs = PROGRAMS[fabric.name]
    for seed in range(programs):
        # Some have the counts that take long: enough for every point.
        extreme = 0.04 if seed in (1, 8, 11) else 0.0
        program = Generator(fabric, seed, INSTRUCTIONS, extreme).program()
        for serial in (True, False):
            print(f"{fabric.name}, seed {seed}, {'serial' if serial else 'overlapped'}")
            code, count = run(library, fabric, program, serial, seed, BEHAVIOURS[seed % len(BEHAVIOURS)])
            coverage.add(code, fabric)
            compared += count
    print(f"{compared} comparisons\n{coverage.table()}")
    assert coverage.instructions >= 2 * programs * INSTRUCTIONS
    assert compared > coverage.instructions / 2
    assert fabric.tables == 0 or not coverage.missing()


def test_a_program_is_legal_in_both_orders_and_has_no_token_left(fabric):
    """What runs is decoded from memory, and the emulator would refuse it otherwise."""
    for seed in range(5):
        program = Generator(fabric, seed, 60, extreme=0.0).program()
        for code in (program.serial(), program.overlapped(np.random.default_rng(seed), extra=0.5)):
            machine = Machine(fabric, program.placed(code))
            for index in range(len(code)):
                place = slice(32 * index, 32 * index + 32)
                machine.step(isa.Instruction.decode(machine.dram[place].tobytes(), fabric))
            machine.finish()


# A broken copy of the emulator: the difference must be found, in the right memory, at an instruction that can
# have made it.


def changed(kind, **fields):
    """``execute`` of an instruction with other fields."""
    original = kind.execute

    def execute(self, machine):
        original(replace(self, **{name: change(self) for name, change in fields.items()}), machine)

    return kind, "execute", execute


def without_rounding_below_zero(self, biased, *, zero, low, high):
    scaled = ((biased * np.int64(self.mult)) >> np.int64(numerics.PRODUCT_DROP)) + self.round_pos
    return np.clip((scaled >> np.int64(self.shift)) + zero, low, high)


MUTANTS = {
    "fill": (lambda: changed(isa.Fill, value=lambda i: i.value ^ 1), "AM", "Fill"),
    "load_activations": (lambda: changed(isa.Load, local=lambda i: i.local - (i.space == 0 and i.local == 1)),
                         "AM", "Load"),
    "weight_zero": (lambda: changed(isa.Load, offset=lambda i: max(i.offset, -127)), "WM", "Load"),
    "table": (lambda: changed(isa.Load, word=lambda i: 0 if i.space == 3 else i.word), "TABLE of lane 0",
              "Load"),
    "parameters": (lambda: changed(isa.Load, word=lambda i: i.word - (i.space == 2 and i.word > 0)), "PM",
                   "Load"),
    "store": (lambda: changed(isa.Store, row_bytes=lambda i: max(1, i.row_bytes - 1)), "DRAM", "Store"),
    "maximum": (lambda: changed(isa.Stream, maximum=lambda i: 0), "ACC|AM", "Stream|Post|Fill|Load|Store"),
    "taps": (lambda: changed(isa.Weights, start_run=lambda i: 0), "ACC|AM", "Stream|Post|Fill|Load|Store"),
    "table_number": (lambda: changed(isa.Post, table=lambda i: min(i.table, 1)), "AM", "Post"),
    "operand": (lambda: changed(isa.Post, add=lambda i: 0), "AM", "Post"),
    "limits": (lambda: changed(isa.Post, low=lambda i: max(i.low, -127)), "AM", "Post"),
    "rounding": (lambda: (numerics.Channel, "apply_biased", without_rounding_below_zero), "AM", "Post"),
    "ties": (lambda: (numerics, "to_even", lambda total, whole, shift: 0 * whole), "AM", "Post"),
    "product": (lambda: (numerics.Product, "apply", lambda self, q, other: (q + self.offset_q)
                         * (other + self.offset_other)), "AM", "Post"),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_a_broken_emulator_is_found_and_the_difference_named(odd, built, monkeypatch, name):
    make, memories, kinds = MUTANTS[name]
    found = {}
    for seed in range(100, 112):
        program = Generator(odd, seed, 80, extreme=0.0).program()
        with monkeypatch.context() as patch:
            patch.setattr(*make())
            for serial in (True, False):
                if serial in found:
                    continue
                try:
                    run(built(odd), odd, program, serial, seed)
                except Difference as difference:
                    found[serial] = difference
                    kind = type(program.places[difference.instruction].item.instruction).__name__
                    # Overlapped, a byte too many is only seen by what reads it, or at the end.
                    if serial:
                        assert difference.memory in memories.split("|"), str(difference)
                        assert difference.address
                        assert kind in kinds.split("|"), str(difference)
                except ProgramError:  # the broken one may not find what it wants
                    continue
        if len(found) == 2:
            print(*found.values(), sep="\n")
            return
    raise AssertionError(f"only found when run {found}")


def test_a_missing_token_is_found(odd, built):
    """The programs have hazards: without tokens some go wrong, or take results that are not there yet."""
    wrong = 0
    for seed in range(10):
        program = Generator(odd, seed, 80, extreme=0.0).program()
        code = [place.item.instruction for place in program.places]
        machine = Machine(odd, program.placed(code))
        model = ObservedModel(built(odd), odd, machine.dram.copy())
        try:
            overlapped(model, code, machine)
        except Difference as difference:
            assert difference.memory
            wrong += 1
        finally:
            model.close()
    assert wrong >= 8


def test_a_post_that_overtakes_its_own_stream_is_found(odd, built):
    """Its first results are written while the last pixels are read, in place or not: no program may do this.

    So the generator keeps what a Post writes away from what its own Streams read.
    """
    generator = Generator(odd, 1, 20)
    generator.load_words(isa.Space.WM, whole=True)
    generator.load_activations(whole=True)
    record = numerics.Channel(bias=0, mult=1 << 30, round_pos=0, round_neg=0, shift=22).pack()
    place = generator.constant(np.frombuffer(record, np.uint8))
    generator.words(isa.Space.PM, Memory.PM, place, 3, 1, odd.pm_word_stride)
    generator.add(isa.Weights(run=odd.rows), group=0)
    generator.add(isa.Stream(x_count=300, x_step=1), group=0)
    generator.add(isa.Post(params=3, x_count=300, out=100, x_step=1), group=0, beside=True)
    program = RandomProgram(odd, tuple(generator.places), generator.start)
    with pytest.raises(Difference) as caught:
        run(built(odd), odd, program, True, 0)
    assert (caught.value.instruction, caught.value.memory) == (len(program.places) - 1, "AM")


soak = pytest.mark.skipif(os.environ.get("CELOSIA_SOAK") != "1", reason="takes minutes: make soak")


@soak
def test_broken_hardware_is_found_and_the_difference_named(odd, tmp_path, monkeypatch):
    """A requantiser that forgets its lower limit."""
    monkeypatch.setattr(requantise, "clamp", lambda value, low, high: Mux(value > high, high, value)[:8])
    library = build.library_of_verilog(build._elaborate(odd, tmp_path), observed=True)
    with pytest.raises(Difference) as caught:
        for seed in range(20):
            program = Generator(odd, seed, 80, extreme=0.0).program()
            run(library, odd, program, True, seed)
    kind = program.places[caught.value.instruction].item.instruction
    assert isinstance(kind, isa.Post) and caught.value.memory == "AM", str(caught.value)
    print(caught.value)


@soak
def test_random_fabrics_and_all_of_the_instruction_set():
    from support.soak import soak as run_soak

    coverage = run_soak(seconds=float(os.environ.get("CELOSIA_SOAK_SECONDS", "1800")), seed=0)
    assert not coverage.missing() and not set(HOLES) - set(every_point())
