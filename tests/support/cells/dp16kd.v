// DP16KD of the ECP5, as far as Celosia uses it: Yosys has its ports only. Written from Lattice's "ECP5 and ECP5-5G
// Memory Usage Guide" (FPGA-TN-02204): true dual port, both ports of one width, write mode NORMAL (a write leaves the
// output as it is), with or without output registers; it begins with the zeros that CXXRTL gives every memory. What a
// port reads while the other writes the same word is not known; here it is all ones if there was a one in it, so that
// a twin who counts on the old or the new word is found out. Resets, chip selects, initial contents: left out.
module DP16KD(
    input
        DIA17, DIA16, DIA15, DIA14, DIA13, DIA12, DIA11, DIA10, DIA9, DIA8, DIA7, DIA6, DIA5, DIA4, DIA3,
        DIA2, DIA1, DIA0,
    input
        ADA13, ADA12, ADA11, ADA10, ADA9, ADA8, ADA7, ADA6, ADA5, ADA4, ADA3, ADA2, ADA1, ADA0,
    input
        CSA2, CSA1, CSA0,
    input
        DIB17, DIB16, DIB15, DIB14, DIB13, DIB12, DIB11, DIB10, DIB9, DIB8, DIB7, DIB6, DIB5, DIB4, DIB3,
        DIB2, DIB1, DIB0,
    input
        ADB13, ADB12, ADB11, ADB10, ADB9, ADB8, ADB7, ADB6, ADB5, ADB4, ADB3, ADB2, ADB1, ADB0,
    input
        CSB2, CSB1, CSB0,
    input CLKA,
    input CEA,
    input OCEA,
    input WEA,
    input RSTA,
    input CLKB,
    input CEB,
    input OCEB,
    input WEB,
    input RSTB,
    output
        DOA17, DOA16, DOA15, DOA14, DOA13, DOA12, DOA11, DOA10, DOA9, DOA8, DOA7, DOA6, DOA5, DOA4, DOA3,
        DOA2, DOA1, DOA0,
    output
        DOB17, DOB16, DOB15, DOB14, DOB13, DOB12, DOB11, DOB10, DOB9, DOB8, DOB7, DOB6, DOB5, DOB4, DOB3,
        DOB2, DOB1, DOB0
);
    parameter DATA_WIDTH_A = 18;
    parameter DATA_WIDTH_B = 18;
    parameter REGMODE_A = "NOREG";
    parameter REGMODE_B = "NOREG";
    parameter RESETMODE = "SYNC";
    parameter ASYNC_RESET_RELEASE = "SYNC";
    parameter CSDECODE_A = "0b000";
    parameter CSDECODE_B = "0b000";
    parameter WRITEMODE_A = "NORMAL";
    parameter WRITEMODE_B = "NORMAL";
    parameter WID = 0;
    parameter GSR = "ENABLED";
    parameter INIT_DATA = "STATIC";

    // Words of fewer bits use the higher address lines alone; 18 bits are two bytes, which the lowest two write.
    localparam SHIFT = DATA_WIDTH_A == 18 ? 4 : DATA_WIDTH_A == 9 ? 3 : DATA_WIDTH_A == 4 ? 2 : DATA_WIDTH_A == 2 ? 1 : 0;
    reg [17:0] words [0:16383];

    wire [13:0] address_a = {ADA13, ADA12, ADA11, ADA10, ADA9, ADA8, ADA7, ADA6, ADA5, ADA4, ADA3, ADA2, ADA1, ADA0} >> SHIFT;
    wire [13:0] address_b = {ADB13, ADB12, ADB11, ADB10, ADB9, ADB8, ADB7, ADB6, ADB5, ADB4, ADB3, ADB2, ADB1, ADB0} >> SHIFT;
    wire [1:0] bytes_a = DATA_WIDTH_A == 18 ? {ADA1, ADA0} : 2'b11;
    wire [1:0] bytes_b = DATA_WIDTH_B == 18 ? {ADB1, ADB0} : 2'b11;
    wire writes_a = CEA & WEA, writes_b = CEB & WEB;

    reg [17:0] latch_a, latch_b, register_a, register_b;
    always @(posedge CLKA) begin
        if (writes_a) begin
            if (bytes_a[0]) words[address_a][8:0] <= {DIA8, DIA7, DIA6, DIA5, DIA4, DIA3, DIA2, DIA1, DIA0};
            if (bytes_a[1]) words[address_a][17:9] <= {DIA17, DIA16, DIA15, DIA14, DIA13, DIA12, DIA11, DIA10, DIA9};
        end else if (CEA)
            latch_a <= writes_b && address_a == address_b ? {18{|words[address_a]}} : words[address_a];
        if (OCEA) register_a <= latch_a;
    end
    always @(posedge CLKB) begin
        if (writes_b) begin
            if (bytes_b[0]) words[address_b][8:0] <= {DIB8, DIB7, DIB6, DIB5, DIB4, DIB3, DIB2, DIB1, DIB0};
            if (bytes_b[1]) words[address_b][17:9] <= {DIB17, DIB16, DIB15, DIB14, DIB13, DIB12, DIB11, DIB10, DIB9};
        end else if (CEB)
            latch_b <= writes_a && address_a == address_b ? {18{|words[address_b]}} : words[address_b];
        if (OCEB) register_b <= latch_b;
    end
    assign {DOA17, DOA16, DOA15, DOA14, DOA13, DOA12, DOA11, DOA10, DOA9, DOA8, DOA7, DOA6, DOA5, DOA4, DOA3, DOA2, DOA1, DOA0} = REGMODE_A == "OUTREG" ? register_a : latch_a;
    assign {DOB17, DOB16, DOB15, DOB14, DOB13, DOB12, DOB11, DOB10, DOB9, DOB8, DOB7, DOB6, DOB5, DOB4, DOB3, DOB2, DOB1, DOB0} = REGMODE_B == "OUTREG" ? register_b : latch_b;
endmodule
