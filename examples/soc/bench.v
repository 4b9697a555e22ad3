// Plays the processor of soc.v in a simulator: what driver.c and network.c do, with an input of zeros.
// network.vh and network.hex are what image.py wrote.
`timescale 1ns / 1ns
`include "network.vh"

module bench;
    localparam FABRIC = 32'h4000_0000;
    localparam MAGIC = 0, CONTROL = 16, STATUS = 20, ADDRESS = 24, COUNT = 28, WATCHDOG = 32, FAULT = 36, CYCLES = 48;

    reg clk = 0, rst = 1;
    always #5 clk = ~clk;

    reg [31:0] awaddr = 0, wdata = 0, araddr = 0, value = 0;
    reg awvalid = 0, wvalid = 0, arvalid = 0;
    wire awready, wready, bvalid, arready, rvalid;
    wire [31:0] rdata;
    wire [1:0] bresp, rresp;
    soc #(.WORDS(8192), .IMAGE("network.hex")) soc (
        .clk(clk), .rst(rst),
        .cpu_awaddr(awaddr), .cpu_awvalid(awvalid), .cpu_awready(awready),
        .cpu_wdata(wdata), .cpu_wstrb(4'b1111), .cpu_wvalid(wvalid), .cpu_wready(wready),
        .cpu_bresp(bresp), .cpu_bvalid(bvalid), .cpu_bready(1'b1),
        .cpu_araddr(araddr), .cpu_arvalid(arvalid), .cpu_arready(arready),
        .cpu_rdata(rdata), .cpu_rresp(rresp), .cpu_rvalid(rvalid), .cpu_rready(1'b1)
    );

    // Pins change at falling edges; what is ready before a rising edge is taken there.
    reg address_taken, data_taken;
    task write(input [31:0] address, input [31:0] data);
        begin
            @(negedge clk) awaddr = address;
            wdata = data;
            awvalid = 1;
            wvalid = 1;
            while (awvalid | wvalid) begin
                #4 address_taken = awready;
                data_taken = wready;
                @(negedge clk) awvalid = awvalid & ~address_taken;
                wvalid = wvalid & ~data_taken;
            end
            while (!bvalid) @(negedge clk);
            if (bresp != 0) $display("write of %h: response %0d", address, bresp);
            @(negedge clk);
        end
    endtask

    task read(input [31:0] address);
        begin
            @(negedge clk) araddr = address;
            arvalid = 1;
            while (arvalid) begin
                #4 address_taken = arready;
                @(negedge clk) arvalid = ~address_taken;
            end
            while (!rvalid) @(negedge clk);
            value = rdata;
            if (rresp != 0) $display("read of %h: response %0d", address, rresp);
            @(negedge clk);
        end
    endtask

    task run(input [31:0] address, input [31:0] count);
        begin
            write(FABRIC + ADDRESS, address);
            write(FABRIC + COUNT, count);
            write(FABRIC + WATCHDOG, 1000000);
            write(FABRIC + CONTROL, 1);
            read(FABRIC + STATUS);
            while (value[0]) read(FABRIC + STATUS);
            $write("status %0d", value);
            read(FABRIC + FAULT);
            $write(", fault %0d", value);
            read(FABRIC + CYCLES);
            $display(", %0d cycles", value);
        end
    endtask

    integer i;
    initial begin
        repeat (4) @(negedge clk);
        rst = 0;
        read(FABRIC + MAGIC);
        $display("magic %h", value);
        if (`NETWORK_SETUP_COUNT != 0) run(`NETWORK_SETUP_ADDRESS, `NETWORK_SETUP_COUNT);
        run(`NETWORK_ADDRESS, `NETWORK_COUNT);
        for (i = 0; i < `NETWORK_OUTPUT_STRIDE; i = i + 4) begin
            read(`NETWORK_OUTPUT_ADDRESS + i);
            $display("output %h", value);
        end
        $finish;
    end

    initial #1000000000 begin
        $display("still running after 100,000,000 cycles");
        $finish;
    end
endmodule
