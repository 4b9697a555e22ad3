// A board that echoes bytes, plus one, at `CYCLES a bit. 0xF0 keeps its "fabric" busy for 1000 cycles, after which
// it says 0xF1; 0xF2 is not echoed, but breaks a rule of the SDRAM.
module celosia_board (
  input clk, input fabric_clk, input rst, input uart_rx, output reg uart_tx,
  output sdram_cke, output sdram_cs_n, output sdram_ras_n, output sdram_cas_n, output sdram_we_n,
  output [1:0] sdram_ba, output [12:0] sdram_a, output [1:0] sdram_dqm, output [15:0] sdram_dq_o,
  output sdram_dq_oe, input [15:0] sdram_dq_i);

  reg [7:0] queue [0:255];
  reg [7:0] head, tail, rx_left, tx_left;
  reg [15:0] rx_count, tx_count;
  reg [9:0] rx_shift, tx_shift;
  reg breaks, start, told;
  reg [15:0] busy_count;

  wire \fabric.registers.control__busy ;
  wire \fabric.registers.axil__awvalid ;
  wire \fabric.registers.axil__wvalid ;
  wire \fabric.registers.axil__arvalid ;
  wire \fabric.registers.axil__bvalid ;
  wire \fabric.registers.axil__rvalid ;
  assign \fabric.registers.control__busy  = busy_count != 0;
  assign \fabric.registers.axil__awvalid  = start;
  assign \fabric.registers.axil__wvalid  = 0;
  assign \fabric.registers.axil__arvalid  = 0;
  assign \fabric.registers.axil__bvalid  = 0;
  assign \fabric.registers.axil__rvalid  = 0;

  always @(posedge fabric_clk)
    if (rst) busy_count <= 0;
    else if (start) busy_count <= 1000;
    else if (busy_count != 0) busy_count <= busy_count - 1;

  assign sdram_cke = 1;
  assign sdram_cs_n = ~breaks;
  assign {sdram_ras_n, sdram_cas_n, sdram_we_n} = 3'b101;  // READ
  assign {sdram_ba, sdram_a, sdram_dqm, sdram_dq_o, sdram_dq_oe} = 0;

  always @(posedge clk) begin
    start <= 0;
    if (rx_left == 0) begin
      if (!uart_rx) begin
        rx_left <= 10;
        rx_count <= `CYCLES / 2 - 1;
      end
    end else if (rx_count != 0) rx_count <= rx_count - 1;
    else begin
      rx_shift <= {uart_rx, rx_shift[9:1]};
      rx_count <= `CYCLES - 1;
      rx_left <= rx_left - 1;
      if (rx_left == 1) begin
        // The stop bit is on the wire: the byte is one place higher than at the end.
        if (rx_shift[9:2] == 8'hF2) breaks <= 1;
        else if (rx_shift[9:2] == 8'hF0) start <= 1;
        else begin
          queue[tail] <= rx_shift[9:2] + 1;
          tail <= tail + 1;
        end
      end
    end

    if (start) told <= 1;
    if (told && !start && busy_count == 1) begin
      told <= 0;
      queue[tail] <= 8'hF1;
      tail <= tail + 1;
    end

    if (tx_left == 0) begin
      if (head != tail) begin
        uart_tx <= 0;
        tx_shift <= {2'b11, queue[head]};
        head <= head + 1;
        tx_left <= 10;
        tx_count <= `CYCLES - 1;
      end
    end else if (tx_count != 0) tx_count <= tx_count - 1;
    else begin
      uart_tx <= tx_shift[0];
      tx_shift <= {1'b1, tx_shift[9:1]};
      tx_count <= `CYCLES - 1;
      tx_left <= tx_left - 1;
    end

    if (rst) begin
      {head, tail, rx_left, tx_left, breaks, start, told} <= 0;
      uart_tx <= 1;
    end
  end
endmodule
