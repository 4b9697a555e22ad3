// Small manager with the ports of a fabric: moves bursts as its registers say, rightly or wrongly, and times them.
module celosia_fabric #(parameter W = `BUS_BITS, parameter S = W / 8) (
  input clk, input rst,
  input [7:0] s_axil_awaddr, input [2:0] s_axil_awprot, input s_axil_awvalid, output s_axil_awready,
  input [31:0] s_axil_wdata, input [3:0] s_axil_wstrb, input s_axil_wvalid, output s_axil_wready,
  output reg [1:0] s_axil_bresp, output reg s_axil_bvalid, input s_axil_bready,
  input [7:0] s_axil_araddr, input [2:0] s_axil_arprot, input s_axil_arvalid, output s_axil_arready,
  output reg [31:0] s_axil_rdata, output reg [1:0] s_axil_rresp, output reg s_axil_rvalid, input s_axil_rready,
  output m_axi_awid, output [31:0] m_axi_awaddr, output [7:0] m_axi_awlen, output [2:0] m_axi_awsize,
  output [1:0] m_axi_awburst, output [3:0] m_axi_awcache, output [2:0] m_axi_awprot, output m_axi_awvalid,
  input m_axi_awready, output [W-1:0] m_axi_wdata, output [S-1:0] m_axi_wstrb, output m_axi_wlast,
  output m_axi_wvalid, input m_axi_wready, input m_axi_bid, input [1:0] m_axi_bresp, input m_axi_bvalid,
  output m_axi_bready, output m_axi_arid, output [31:0] m_axi_araddr, output [7:0] m_axi_arlen,
  output [2:0] m_axi_arsize, output [1:0] m_axi_arburst, output [3:0] m_axi_arcache, output [2:0] m_axi_arprot,
  output m_axi_arvalid, input m_axi_arready, input m_axi_rid, input [W-1:0] m_axi_rdata, input [1:0] m_axi_rresp,
  input m_axi_rlast, input m_axi_rvalid, output m_axi_rready);

  // 0 start (bit 0 reads, bit 1 writes, bit 2 both at once), 1 status, 2/3 read and write address, 4 beats - 1,
  // 5 size, 6 type, 7 bursts, 8 flaws (1 early WLAST, 2 no WLAST, 4 AR moves while it waits, 8 AWVALID falls;
  // 16 takes answers every second cycle only, which is no flaw),
  // 9 strobes of the last beat
  reg [31:0] file [0:63];
  reg [31:0] now, ar_at, r_at, w_at, b_at, end_at;
  reg [W-1:0] buffer [0:255];
  reg [31:0] ar_left, r_left, aw_left, w_left, b_left, r_address, w_address;
  reg [7:0] r_index, w_index, w_beat;
  reg [1:0] responses;
  reg wobble, ids_wrong, lasts_wrong, r_waits, b_waits, fell;
  reg [7:0] r_beat;
  wire busy = |r_left | |b_left | |aw_left;
  wire go_writes = file[0][2] | r_left == 0;
  wire [31:0] step = (file[4] + 1) * S;

  assign m_axi_arvalid = |ar_left, m_axi_araddr = r_address + (file[8][2] & wobble ? S : 0);
  assign m_axi_awvalid = |aw_left & go_writes & ~(file[8][3] & wobble), m_axi_awaddr = w_address;
  assign m_axi_arlen = file[4], m_axi_awlen = file[4], m_axi_arsize = file[5], m_axi_awsize = file[5];
  assign m_axi_arburst = file[6], m_axi_awburst = file[6], m_axi_arid = 1, m_axi_awid = 1;
  assign m_axi_arcache = 3, m_axi_awcache = 3, m_axi_arprot = 0, m_axi_awprot = 0;
  assign m_axi_wvalid = |w_left & go_writes, m_axi_wdata = file[0][2] ? {S{w_index}} : buffer[w_index];
  wire at_end = w_beat == file[4][7:0];
  assign m_axi_wlast = file[8][0] ? w_beat == 0 : at_end & ~file[8][1];
  assign m_axi_wstrb = at_end ? file[9][S-1:0] : {S{1'b1}};
  assign m_axi_rready = m_axi_rvalid & ~(file[8][4] & wobble);  // a combinational answer must do
  assign m_axi_bready = ~(file[8][4] & wobble);

  assign s_axil_awready = s_axil_awvalid & s_axil_wvalid & ~s_axil_bvalid, s_axil_wready = s_axil_awready;
  assign s_axil_arready = ~s_axil_rvalid & s_axil_araddr != 8'hf0;

  always @(posedge clk) begin
    now <= now + 1;
    wobble <= ~wobble;
    r_waits <= m_axi_rvalid & ~m_axi_rready;
    b_waits <= m_axi_bvalid & ~m_axi_bready;
    fell <= fell | r_waits & ~m_axi_rvalid | b_waits & ~m_axi_bvalid;
    if (s_axil_bready) s_axil_bvalid <= 0;
    if (s_axil_awready) begin
      file[s_axil_awaddr[7:2]] <= s_axil_wdata;
      s_axil_bvalid <= 1;
      s_axil_bresp <= s_axil_awaddr == 8'hf4 ? 2 : 0;
      if (s_axil_awaddr == 0) begin
        ar_left <= s_axil_wdata[0] ? file[7] : 0;
        r_left <= s_axil_wdata[0] ? file[7] * (file[4] + 1) : 0;
        aw_left <= s_axil_wdata[1] ? file[7] : 0;
        w_left <= s_axil_wdata[1] ? file[7] * (file[4] + 1) : 0;
        b_left <= s_axil_wdata[1] ? file[7] : 0;
        r_address <= file[2]; w_address <= file[3];
        r_index <= 0; w_index <= 0; w_beat <= 0; r_beat <= 0; responses <= 0; now <= 0;
        ar_at <= 0; r_at <= 0; w_at <= 0; b_at <= 0; end_at <= 0; ids_wrong <= 0; lasts_wrong <= 0;
      end
    end
    if (s_axil_rready) s_axil_rvalid <= 0;
    if (s_axil_arready & s_axil_arvalid) begin
      s_axil_rvalid <= 1;
      s_axil_rresp <= s_axil_araddr == 8'hf4 ? 2 : 0;
      case (s_axil_araddr[7:2])
        1: s_axil_rdata <= {25'b0, fell, lasts_wrong, ids_wrong, responses, 1'b0, busy};
        16: s_axil_rdata <= r_at - ar_at;
        17: s_axil_rdata <= b_at - w_at;
        18: s_axil_rdata <= end_at;
        default: s_axil_rdata <= file[s_axil_araddr[7:2]];
      endcase
    end
    if (m_axi_arvalid & m_axi_arready) begin
      ar_left <= ar_left - 1; r_address <= r_address + step;
      if (ar_at == 0) ar_at <= now;
    end
    if (m_axi_rvalid & m_axi_rready) begin
      buffer[r_index] <= m_axi_rdata; r_index <= r_index + 1; r_left <= r_left - 1; responses <= responses | m_axi_rresp;
      r_beat <= r_beat == file[4][7:0] ? 0 : r_beat + 1;
      ids_wrong <= ids_wrong | m_axi_rid != 1;
      lasts_wrong <= lasts_wrong | m_axi_rlast != (r_beat == file[4][7:0]);
      if (r_at == 0) r_at <= now;
      end_at <= now;
    end
    if (m_axi_awvalid & m_axi_awready) begin aw_left <= aw_left - 1; w_address <= w_address + step; end
    if (m_axi_wvalid & m_axi_wready) begin
      w_left <= w_left - 1; w_index <= w_index + 1; w_beat <= at_end ? 0 : w_beat + 1;
      if (at_end & w_at == 0) w_at <= now;
    end
    if (m_axi_bvalid & m_axi_bready) begin
      b_left <= b_left - 1; responses <= responses | m_axi_bresp; ids_wrong <= ids_wrong | m_axi_bid != 1;
      if (b_at == 0) b_at <= now;
      end_at <= now;
    end
    if (rst) begin
      ar_left <= 0; r_left <= 0; aw_left <= 0; w_left <= 0; b_left <= 0; s_axil_bvalid <= 0; s_axil_rvalid <= 0;
      now <= 0; wobble <= 0; fell <= 0; r_waits <= 0; b_waits <= 0; r_beat <= 0; w_beat <= 0;
    end
  end
endmodule
