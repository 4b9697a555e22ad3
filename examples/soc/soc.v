// A small system around the fabric of `celosia verilog --fabric tiny`: the processor's AXI4-Lite port reaches the
// memory from 0 on and the fabric's registers from 0x4000_0000 on; the fabric's AXI4 port reaches the same memory.
//
// The processor has at most one read and one write under way, and gives address and data of a write together.
// Lint: outputs of the fabric that always have one value are left open, the memory looks at the address bits that
// it has, and two modules share this file.
/* verilator lint_off PINCONNECTEMPTY */
/* verilator lint_off UNUSEDSIGNAL */
/* verilator lint_off DECLFILENAME */
module soc #(
    parameter WORDS = 65536,  // of the memory, a power of two
    parameter IMAGE = ""      // file for $readmemh: a word a line
) (
    input         clk, rst,
    input  [31:0] cpu_awaddr, cpu_wdata, cpu_araddr,
    input  [3:0]  cpu_wstrb,
    input         cpu_awvalid, cpu_wvalid, cpu_bready, cpu_arvalid, cpu_rready,
    output        cpu_awready, cpu_wready, cpu_bvalid, cpu_arready, cpu_rvalid,
    output [31:0] cpu_rdata,
    output [1:0]  cpu_bresp, cpu_rresp
);
    // The processor's side: one bit of the address chooses.
    wire write_fabric = cpu_awaddr[30], read_fabric = cpu_araddr[30];
    wire fabric_awready, fabric_wready, fabric_bvalid, fabric_arready, fabric_rvalid;
    wire [1:0] fabric_bresp, fabric_rresp;
    wire [31:0] fabric_rdata;
    wire memory_write = cpu_awvalid & cpu_wvalid & ~write_fabric & ~memory_bvalid;
    wire memory_read = cpu_arvalid & ~read_fabric & ~memory_rvalid;
    reg memory_bvalid, memory_rvalid;
    wire [31:0] memory_rdata;

    assign cpu_awready = write_fabric ? fabric_awready : memory_write;
    assign cpu_wready = write_fabric ? fabric_wready : memory_write;
    assign cpu_bvalid = fabric_bvalid | memory_bvalid;
    assign cpu_bresp = fabric_bvalid ? fabric_bresp : 2'b00;
    assign cpu_arready = read_fabric ? fabric_arready : memory_read;
    assign cpu_rvalid = fabric_rvalid | memory_rvalid;
    assign cpu_rresp = fabric_rvalid ? fabric_rresp : 2'b00;
    assign cpu_rdata = fabric_rvalid ? fabric_rdata : memory_rdata;

    always @(posedge clk) begin
        memory_bvalid <= ~rst & (memory_write | memory_bvalid & ~cpu_bready);
        memory_rvalid <= ~rst & (memory_read | memory_rvalid & ~cpu_rready);
    end

    // The fabric's side.
    wire [31:0] araddr, awaddr, wdata, rdata;
    wire [7:0] arlen;
    wire [3:0] wstrb;
    wire [1:0] bresp, rresp;
    wire arvalid, arready, awvalid, awready, wlast, wvalid, wready, bvalid, bready, rlast, rvalid, rready;

    celosia_fabric fabric (
        .clk(clk), .rst(rst),
        .s_axil_awaddr(cpu_awaddr[7:0]), .s_axil_awprot(3'b000), .s_axil_awvalid(cpu_awvalid & write_fabric),
        .s_axil_awready(fabric_awready),
        .s_axil_wdata(cpu_wdata), .s_axil_wstrb(cpu_wstrb), .s_axil_wvalid(cpu_wvalid & write_fabric),
        .s_axil_wready(fabric_wready),
        .s_axil_bresp(fabric_bresp), .s_axil_bvalid(fabric_bvalid), .s_axil_bready(cpu_bready),
        .s_axil_araddr(cpu_araddr[7:0]), .s_axil_arprot(3'b000), .s_axil_arvalid(cpu_arvalid & read_fabric),
        .s_axil_arready(fabric_arready),
        .s_axil_rdata(fabric_rdata), .s_axil_rresp(fabric_rresp), .s_axil_rvalid(fabric_rvalid),
        .s_axil_rready(cpu_rready),
        .m_axi_arid(), .m_axi_araddr(araddr), .m_axi_arlen(arlen), .m_axi_arsize(), .m_axi_arburst(),
        .m_axi_arcache(), .m_axi_arprot(), .m_axi_arvalid(arvalid), .m_axi_arready(arready),
        .m_axi_rid(1'b0), .m_axi_rdata(rdata), .m_axi_rresp(rresp), .m_axi_rlast(rlast), .m_axi_rvalid(rvalid),
        .m_axi_rready(rready),
        .m_axi_awid(), .m_axi_awaddr(awaddr), .m_axi_awlen(), .m_axi_awsize(), .m_axi_awburst(),
        .m_axi_awcache(), .m_axi_awprot(), .m_axi_awvalid(awvalid), .m_axi_awready(awready),
        .m_axi_wdata(wdata), .m_axi_wstrb(wstrb), .m_axi_wlast(wlast), .m_axi_wvalid(wvalid),
        .m_axi_wready(wready),
        .m_axi_bid(1'b0), .m_axi_bresp(bresp), .m_axi_bvalid(bvalid), .m_axi_bready(bready)
    );

    memory #(.WORDS(WORDS), .IMAGE(IMAGE)) memory (
        .clk(clk), .rst(rst),
        .write(memory_write), .write_address(cpu_awaddr), .write_data(cpu_wdata), .write_strobe(cpu_wstrb),
        .read(memory_read), .read_address(cpu_araddr), .read_data(memory_rdata),
        .araddr(araddr), .arlen(arlen), .arvalid(arvalid), .arready(arready),
        .rdata(rdata), .rresp(rresp), .rlast(rlast), .rvalid(rvalid), .rready(rready),
        .awaddr(awaddr), .awvalid(awvalid), .awready(awready),
        .wdata(wdata), .wstrb(wstrb), .wlast(wlast), .wvalid(wvalid), .wready(wready),
        .bresp(bresp), .bvalid(bvalid), .bready(bready)
    );
endmodule

// A memory with an AXI4 port as plain as the fabric needs it (INCR bursts of whole words, one at a time each way),
// and a second port for the processor.
module memory #(
    parameter WORDS = 65536,
    parameter IMAGE = ""
) (
    input             clk, rst,
    input             write, read,
    input      [31:0] write_address, write_data, read_address,
    input      [3:0]  write_strobe,
    output reg [31:0] read_data,
    input      [31:0] araddr, awaddr, wdata,
    input      [7:0]  arlen,
    input      [3:0]  wstrb,
    input             arvalid, rready, awvalid, wlast, wvalid, bready,
    output            arready, awready, wready,
    output reg [31:0] rdata,
    output reg [1:0]  rresp, bresp,
    output reg        rlast, rvalid, bvalid
);
    localparam BITS = $clog2(WORDS);
    reg [31:0] words [0:WORDS - 1];
    initial if (IMAGE != "") $readmemh(IMAGE, words);

    // Reads: a burst is under way (reading) until its last word has been fetched.
    reg reading, outside;
    reg [BITS - 1:0] from;
    reg [7:0] left;
    assign arready = ~reading;
    always @(posedge clk) begin
        if (rvalid & rready)
            rvalid <= 1'b0;
        if (reading & (~rvalid | rready)) begin
            rdata <= words[from];
            rresp <= outside ? 2'b11 : 2'b00;
            rlast <= left == 0;
            rvalid <= 1'b1;
            from <= from + 1'b1;
            left <= left - 1'b1;
            reading <= left != 0;
        end
        if (arvalid & arready) begin
            reading <= 1'b1;
            outside <= |araddr[31:BITS + 2];
            from <= araddr[BITS + 1:2];
            left <= arlen;
        end
        if (rst) begin
            reading <= 1'b0;
            rvalid <= 1'b0;
        end
    end

    // Writes: from AW until the response is taken.
    reg writing;
    reg [BITS - 1:0] to;
    assign awready = ~writing & ~bvalid;
    assign wready = writing;
    always @(posedge clk) begin
        if (bvalid & bready)
            bvalid <= 1'b0;
        if (wvalid & wready) begin
            to <= to + 1'b1;
            bvalid <= wlast;
            writing <= ~wlast;
        end
        if (awvalid & awready) begin
            writing <= 1'b1;
            bresp <= |awaddr[31:BITS + 2] ? 2'b11 : 2'b00;
            to <= awaddr[BITS + 1:2];
        end
        if (rst) begin
            writing <= 1'b0;
            bvalid <= 1'b0;
        end
    end

    integer i;
    always @(posedge clk) begin
        for (i = 0; i < 4; i = i + 1) begin
            if (wvalid & wready & wstrb[i] & ~bresp[1])
                words[to][8 * i +: 8] <= wdata[8 * i +: 8];
            if (write & write_strobe[i])
                words[write_address[BITS + 1:2]][8 * i +: 8] <= write_data[8 * i +: 8];
        end
        if (read)
            read_data <= words[read_address[BITS + 1:2]];
    end
endmodule
