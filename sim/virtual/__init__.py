"""A board without the board: its gateware as native code, models of its memory's chip and of its wire."""
