# amaranth: UnusedElaboratable=no
"""What the property sets are written with: rules, free inputs, and a witness that follows one item."""
from amaranth import ClockDomain, Module, Mux, Shape, Signal, Value
from amaranth.asserts import AnyConst, AnySeq
from amaranth.hdl import Assert, Assume, Elaboratable


class Rule(Elaboratable):
    """One condition that must hold in every cycle, under a name of its own in the hierarchy."""

    def __init__(self):
        self.holds = Signal()

    def elaborate(self, platform):
        m = Module()
        m.d.comb += Assert(self.holds)
        return m


class Bench(Elaboratable):
    """The module of a proof: no reset but what the proof makes itself, all registers start as declared.

    ``m`` may be built upon by the property sets; ``only`` leaves out every other rule. ``names`` are the
    rules that are asserted.
    """

    def __init__(self, only: "str | tuple[str, ...] | None" = None):
        self.m = Module()
        self.m.domains.sync = self.domain = ClockDomain(reset_less=True)
        self._only = (only,) if isinstance(only, str) else only
        self.names: list[str] = []

    def elaborate(self, platform):
        return self.m

    def rule(self, name: str, holds) -> None:
        """``holds`` is true in every cycle."""
        if name in self.names:
            raise ValueError(f"there are two rules named {name}")
        if self._only is None or name in self._only:
            self.names.append(name)
            self.m.submodules[f"rule_{name}"] = rule = Rule()
            self.m.d.comb += rule.holds.eq(holds)

    def assume(self, holds) -> None:
        """The surroundings keep ``holds`` true in every cycle."""
        self.m.d.comb += Assume(holds)

    def free(self, *targets) -> None:
        """Each target has any value in any cycle."""
        for target in targets:
            value = Value.cast(target)
            self.m.d.comb += value.eq(AnySeq(len(value)))

    def any(self, shape):
        """A signal that has any value in any cycle."""
        signal = Signal(shape)
        self.free(signal)
        return signal

    def constant(self, shape):
        """A signal that has any value, the same in all cycles."""
        signal = Signal(shape)
        self.m.d.comb += Value.cast(signal).eq(AnyConst(Shape.cast(shape).width))
        return signal

    def past(self, value, cycles: int = 1, init: int = 0):
        """``value`` so many cycles ago; ``init`` before there was one."""
        for _ in range(cycles):
            value = Value.cast(value)
            held = Signal(value.shape(), init=init)
            self.m.d.sync += held.eq(value)
            value = held
        return value

    def kept(self, when, value, init: int = 0):
        """``value`` of the last cycle before this one in which ``when`` was true."""
        value = Value.cast(value)
        held = Signal(value.shape(), init=init)
        with self.m.If(when):
            self.m.d.sync += held.eq(value)
        return held

    def count(self, limit: int, up, down=0, init: int = 0):
        """A counter from ``init``; wide enough that ``limit`` + some more does not wrap."""
        counter = Signal(range(2 * limit + 4), init=init)
        self.m.d.sync += counter.eq(counter + up - down)
        return counter

    def steady(self, name: str, valid, ready, *payload) -> None:
        """What is offered stays on offer, unchanged, until it is taken."""
        waits = self.past(valid & ~ready)
        same = [now == self.past(now) for now in (Value.cast(item) for item in payload)]
        holds = valid
        for item in same:
            holds = holds & item
        self.rule(name, ~waits | holds)

    def waiting(self, limit: int, condition):
        """For how many cycles before this one ``condition`` has been true without a break; stops at limit."""
        cycles = Signal(range(limit + 2))
        with self.m.If(~condition):
            self.m.d.sync += cycles.eq(0)
        with self.m.Elif(cycles <= limit):
            self.m.d.sync += cycles.eq(cycles + 1)
        return cycles

    def follow(self, *, put, item, take, capacity: int):
        """Follow one item, any one, from where it is put to where it is taken, through anything in order.

        Returns (level, its_turn, value): how many are inside; the followed one is the next to be taken; its
        value. Both are of this cycle, before its put and take.
        """
        m, item = self.m, Value.cast(item)
        mark, followed = self.any(1), Signal()
        level = self.count(capacity, put, take)
        ahead, inside = Signal.like(level), Signal()
        value = Signal(item.shape())
        with m.If(inside & take):
            m.d.sync += ahead.eq(ahead - 1)
            with m.If(ahead == 0):
                m.d.sync += inside.eq(0)
        with m.If(put & mark & ~followed):
            m.d.sync += [followed.eq(1), inside.eq(1), ahead.eq(level - take), value.eq(item)]
        return level, inside & (ahead == 0), value

    def buffer(self, *, put, item, offered, ready, out, capacity: int, latency: int, prefix: str = ""):
        """The rules of a stream buffer; returns its level."""
        level, turn, value = self.follow(put=put, item=item, take=offered & ready, capacity=capacity)
        self.steady(f"{prefix}keeps_what_it_offers", offered, ready, out)
        self.rule(f"{prefix}loses_and_repeats_nothing", ~(turn & offered) | (Value.cast(out) == value))
        self.rule(f"{prefix}offers_only_what_was_put", ~offered | (level != 0))
        self.rule(f"{prefix}holds_no_more_than_its_size", level <= capacity)
        starved = self.waiting(latency, (level != 0) & ~offered)
        self.rule(f"{prefix}delivers_in_time", starved < latency)
        return level


__all__ = ["Bench", "Mux", "Rule"]
