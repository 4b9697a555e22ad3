# amaranth: UnusedElaboratable=no
"""The rules of AXI, from the AMBA AXI and ACE protocol specification (Arm IHI 0022).

``manager`` states what a manager owes its bus and assumes what a subordinate owes; ``lite_subordinate`` the
other way round for AXI4-Lite. Only what these ports use: one identifier, INCR, full beats. The clauses are
numbered as in issue E of 2013, the last one in which parts A and B describe AXI4 and AXI4-Lite alone.

======  ===================================  ============================================================
clause  title                                rule
======  ===================================  ============================================================
A3.1.2  Reset                                VALID of a source is low during reset
A3.2.1  Handshake process                    VALID stays high, and what goes with it the same, until READY
A3.2.2  Channel signaling requirements       WLAST comes with the last beat of a burst and with no other
A3.3.1  Dependencies between channel         no VALID waits for a READY; W may come before AW is taken; B only
        handshake signals                    behind the last W and the AW of its burst, R only behind its AR
A3.4.1  Address structure                    1 to 256 beats, none across 4 KB, no wider than the bus, of type
                                             INCR, not ended early
A4.4    Memory types                         the reserved AxCACHE (bits 3:2 set without bit 1) are not used
A5.3.1  Read ordering                        the beats of one identifier come in the order of their addresses
A5.4    Removal of write interleaving        W keeps the order of AW
        support
B1.1.1  Signal list                          AXI4-Lite: no EXOKAY
======  ===================================  ============================================================
"""
from amaranth import Signal
from amaranth.utils import exact_log2
from rules import Bench

PAGE_BITS = 12
INCR = 0b01
EXOKAY = 0b01


def manager(bench: Bench, axi, *, data_bytes: int, max_burst: int, outstanding: int) -> dict[str, object]:
    """Rules for a manager at ``axi``; the other side becomes any subordinate that keeps to the rules itself.

    Returns what the subordinate counts, of this cycle: ``reads`` and ``writes`` are bursts that were offered
    and are not answered, ``unsent`` those that were offered and whose last beat was not taken;
    ``read_offered`` and ``write_offered`` say that one is new.
    """
    bench.free(axi.arready, axi.awready, axi.wready, axi.bvalid, axi.bresp, axi.rvalid, axi.rdata, axi.rresp,
               axi.rlast)
    bench.m.d.comb += [axi.bid.eq(0), axi.rid.eq(0)]
    control = ("addr", "len", "size", "burst", "id", "cache", "prot")
    for way in "rw":
        valid, ready = getattr(axi, f"a{way}valid"), getattr(axi, f"a{way}ready")
        address, beats, size, burst, cache = (
            getattr(axi, f"a{way}{name}") for name in ("addr", "len", "size", "burst", "cache"))
        bench.steady(f"a{way}_stays_until_ready", valid, ready,
                     *(getattr(axi, f"a{way}{name}") for name in control))
        end = address[:PAGE_BITS] + (beats + 1) * data_bytes
        bench.rule(f"a{way}_stays_within_4_kb", ~valid | (end <= 1 << PAGE_BITS))
        bench.rule(f"a{way}_is_no_longer_than_allowed", ~valid | (beats < max_burst))
        bench.rule(f"a{way}_is_incr_of_full_beats", ~valid | (
            (burst == INCR) & (size == exact_log2(data_bytes)) & (cache[1] | (cache[2:] == 0))))
    bench.steady("w_stays_until_ready", axi.wvalid, axi.wready, axi.wdata, axi.wstrb, axi.wlast)

    # Writes: W keeps the order of AW, may lead it, and B comes for what is complete on both.
    offered = axi.awvalid & ~bench.past(axi.awvalid & ~axi.awready)
    sent = axi.wvalid & axi.wready
    level, turn, beats = bench.follow(put=offered, item=axi.awlen, take=sent & axi.wlast,
                                      capacity=outstanding)
    beat = Signal(8)
    with bench.m.If(sent):
        bench.m.d.sync += beat.eq(beat + 1)
        with bench.m.If(axi.wlast):
            bench.m.d.sync += beat.eq(0)
    bench.rule("wlast_comes_with_the_last_beat", ~(turn & axi.wvalid) | (axi.wlast == (beat == beats)))
    bench.rule("w_comes_for_an_address_only", ~axi.wvalid | (level != 0))
    answered = axi.bvalid & axi.bready
    addressed = bench.count(outstanding, axi.awvalid & axi.awready, answered)
    complete = bench.count(outstanding, sent & axi.wlast, answered)
    bench.assume(~axi.bvalid | ((addressed != 0) & (complete != 0)))
    writes = bench.count(outstanding, offered, answered)
    bench.rule("writes_under_way_are_limited", writes <= outstanding)

    # Reads: the subordinate gives each burst its beats, in the order of AR.
    offered_read = axi.arvalid & ~bench.past(axi.arvalid & ~axi.arready)
    owed = [Signal(9, name=f"owed_{n}") for n in range(outstanding)]
    depth = bench.count(outstanding, axi.arvalid & axi.arready,
                        axi.rvalid & axi.rready & axi.rlast)
    taken = axi.rvalid & axi.rready
    after = depth - (taken & axi.rlast)
    with bench.m.If(taken):
        bench.m.d.sync += owed[0].eq(owed[0] - 1)
        with bench.m.If(axi.rlast):
            bench.m.d.sync += [now.eq(later) for now, later in zip(owed, [*owed[1:], 0], strict=True)]
    with bench.m.If(axi.arvalid & axi.arready):
        for n in range(outstanding):
            with bench.m.If(after == n):
                bench.m.d.sync += owed[n].eq(axi.arlen + 1)
    bench.assume(~axi.rvalid | ((depth != 0) & (axi.rlast == (owed[0] == 1))))
    reads = bench.count(outstanding, offered_read, taken & axi.rlast)
    bench.rule("reads_under_way_are_limited", reads <= outstanding)
    for channel in "br":
        waits = bench.past(getattr(axi, f"{channel}valid") & ~getattr(axi, f"{channel}ready"))
        same = getattr(axi, f"{channel}resp") == bench.past(getattr(axi, f"{channel}resp"))
        if channel == "r":
            same = same & (axi.rdata == bench.past(axi.rdata))
        bench.assume(~waits | (getattr(axi, f"{channel}valid") & same))
    return {"reads": reads + offered_read, "writes": writes + offered, "unsent": level + offered,
            "read_offered": offered_read, "write_offered": offered}


def lite_subordinate(bench: Bench, axil, *, latency: int) -> None:
    """Rules for a subordinate at ``axil``; the other side becomes any manager that keeps to the rules.

    ``latency``: cycles within which it answers, once it has all it needs and the answer before is taken.
    """
    for channel, payload in (("aw", ("addr",)), ("w", ("data", "strb")), ("ar", ("addr",))):
        valid, ready = getattr(axil, f"{channel}valid"), getattr(axil, f"{channel}ready")
        values = [getattr(axil, channel + name) for name in payload]
        bench.free(valid, *values)
        waits = bench.past(valid & ~ready)
        for value in values:
            bench.assume(~waits | (valid & (value == bench.past(value))))
    bench.free(axil.bready, axil.rready)
    bench.steady("b_stays_until_ready", axil.bvalid, axil.bready, axil.bresp)
    bench.steady("r_stays_until_ready", axil.rvalid, axil.rready, axil.rresp, axil.rdata)
    bench.rule("b_is_never_exokay", ~axil.bvalid | (axil.bresp != EXOKAY))
    bench.rule("r_is_never_exokay", ~axil.rvalid | (axil.rresp != EXOKAY))

    answered = axil.bvalid & axil.bready
    addresses = bench.count(2, axil.awvalid & axil.awready, answered)
    words = bench.count(2, axil.wvalid & axil.wready, answered)
    bench.rule("b_comes_behind_its_address", ~axil.bvalid | (addresses != 0))
    bench.rule("b_comes_behind_its_data", ~axil.bvalid | (words != 0))
    bench.rule("takes_no_more_than_two_writes", (addresses <= 2) & (words <= 2))
    unanswered = bench.waiting(latency, (addresses != 0) & (words != 0) & ~axil.bvalid)
    bench.rule("b_comes_in_time", unanswered < latency)
    reads = bench.count(2, axil.arvalid & axil.arready, axil.rvalid & axil.rready)
    bench.rule("r_comes_behind_its_address", ~axil.rvalid | (reads != 0))
    bench.rule("takes_one_read_at_a_time", reads <= 1)
    unread = bench.waiting(latency, (reads != 0) & ~axil.rvalid)
    bench.rule("r_comes_in_time", unread < latency)
    # If all that was taken is answered, or can be, the next is taken, whether or not the manager is ready.
    for channel, free in (("aw", ~axil.bvalid & (addresses <= words)),
                          ("w", ~axil.bvalid & (words <= addresses)), ("ar", ~axil.rvalid)):
        valid, ready = getattr(axil, f"{channel}valid"), getattr(axil, f"{channel}ready")
        refused = bench.waiting(latency, valid & ~ready & free)
        bench.rule(f"{channel}_is_taken_in_time", refused < latency)
