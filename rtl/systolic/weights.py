"""Tells each row of the array which of the weight words that pass it is its own."""
from amaranth import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out


class WeightSteering(wiring.Component):
    """Follows the weight words down the array and marks, in each row, the one to keep.

    Words enter at row 0 and move down one row a cycle; this block moves their marks along with them. A row
    keeps the word with the start mark and passes the later ones down, the first of them with the start
    mark. So the words of a tile come row 0 first, with gaps of any length between them, and row r's word
    takes r cycles to reach it. No back-pressure. Three rows, two tiles v and w without gaps::

        cycle      t     t+1   t+2   t+3   t+4   t+5   t+6   t+7
        word       v0    v1    v2    w0    w1    w2    --    --
        i_start    1     0     0     1     0     0     0     0
        o_keep     001   000   010   001   100   010   000   100     (row 0 on the right)

    Row r keeps its word 2r cycles after row 0 did; the next tile follows in every row R cycles later.

    Parameters
    ----------
    rows : int

    Members
    -------
    i_valid : ``In(1)``
        A word enters row 0.
    i_start : ``In(1)``
        It is row 0's: a new tile begins. Ignored without i_valid.
    o_keep : ``Out(rows)``
        Bit r: the word that is at row r in this cycle belongs to it. Bit 0 comes straight from the inputs.
    """

    def __init__(self, *, rows: int):
        super().__init__({"i_valid": In(1), "i_start": In(1), "o_keep": Out(rows)})

    def elaborate(self, platform):
        m = Module()
        rows = len(self.o_keep)
        valid = Signal(rows)  # bit r: a word is at row r
        start = Signal(rows)  # bit r: that word is the first of the tile that row r sees
        kept = Signal(rows)   # bit r: row r has its word, the next to pass is the first for row r + 1
        passed = Signal(rows)
        m.d.comb += [
            valid[0].eq(self.i_valid),
            start[0].eq(self.i_start),
            self.o_keep.eq(valid & start),
            passed.eq(valid & ~start),
        ]
        # Edge t -> t+1: the words that are not kept move down one row.
        m.d.sync += [
            valid[1:].eq(passed[:-1]),
            start[1:].eq(kept[:-1]),
            kept.eq((kept | self.o_keep) & ~passed),
        ]
        return m
