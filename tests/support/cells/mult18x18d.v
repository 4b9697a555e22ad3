// MULT18X18D of the ECP5, as far as Celosia uses it: Yosys has its ports only. Written from Lattice's "ECP5 and
// ECP5-5G sysDSP Usage Guide" (FPGA-TN-02205): an input register for each operand, a pipeline register between the
// partial products and their sum, an output register; each has clock, enable and reset of its choice, or is not
// there (CLK "NONE"). The reset is synchronous. Shift chains, bypass and operand C are left out.
module MULT18X18D(
    input
        A17, A16, A15, A14, A13, A12, A11, A10, A9, A8, A7, A6, A5, A4, A3, A2, A1, A0, B17, B16, B15, B14,
        B13, B12, B11, B10, B9, B8, B7, B6, B5, B4, B3, B2, B1, B0, C17, C16, C15, C14, C13, C12, C11, C10,
        C9, C8, C7, C6, C5, C4, C3, C2, C1, C0, SIGNEDA, SIGNEDB, SOURCEA, SOURCEB, CLK3, CLK2, CLK1, CLK0,
        CE3, CE2, CE1, CE0, RST3, RST2, RST1, RST0, SRIA17, SRIA16, SRIA15, SRIA14, SRIA13, SRIA12, SRIA11,
        SRIA10, SRIA9, SRIA8, SRIA7, SRIA6, SRIA5, SRIA4, SRIA3, SRIA2, SRIA1, SRIA0, SRIB17, SRIB16, SRIB15,
        SRIB14, SRIB13, SRIB12, SRIB11, SRIB10, SRIB9, SRIB8, SRIB7, SRIB6, SRIB5, SRIB4, SRIB3, SRIB2,
        SRIB1, SRIB0,
    output
        SROA17, SROA16, SROA15, SROA14, SROA13, SROA12, SROA11, SROA10, SROA9, SROA8, SROA7, SROA6, SROA5,
        SROA4, SROA3, SROA2, SROA1, SROA0, SROB17, SROB16, SROB15, SROB14, SROB13, SROB12, SROB11, SROB10,
        SROB9, SROB8, SROB7, SROB6, SROB5, SROB4, SROB3, SROB2, SROB1, SROB0, ROA17, ROA16, ROA15, ROA14,
        ROA13, ROA12, ROA11, ROA10, ROA9, ROA8, ROA7, ROA6, ROA5, ROA4, ROA3, ROA2, ROA1, ROA0, ROB17, ROB16,
        ROB15, ROB14, ROB13, ROB12, ROB11, ROB10, ROB9, ROB8, ROB7, ROB6, ROB5, ROB4, ROB3, ROB2, ROB1, ROB0,
        ROC17, ROC16, ROC15, ROC14, ROC13, ROC12, ROC11, ROC10, ROC9, ROC8, ROC7, ROC6, ROC5, ROC4, ROC3,
        ROC2, ROC1, ROC0, P35, P34, P33, P32, P31, P30, P29, P28, P27, P26, P25, P24, P23, P22, P21, P20,
        P19, P18, P17, P16, P15, P14, P13, P12, P11, P10, P9, P8, P7, P6, P5, P4, P3, P2, P1, P0, SIGNEDP
);
    parameter REG_INPUTA_CLK = "NONE";
    parameter REG_INPUTA_CE = "CE0";
    parameter REG_INPUTA_RST = "RST0";
    parameter REG_INPUTB_CLK = "NONE";
    parameter REG_INPUTB_CE = "CE0";
    parameter REG_INPUTB_RST = "RST0";
    parameter REG_INPUTC_CLK = "NONE";
    parameter REG_INPUTC_CE = "CE0";
    parameter REG_INPUTC_RST = "RST0";
    parameter REG_PIPELINE_CLK = "NONE";
    parameter REG_PIPELINE_CE = "CE0";
    parameter REG_PIPELINE_RST = "RST0";
    parameter REG_OUTPUT_CLK = "NONE";
    parameter REG_OUTPUT_CE = "CE0";
    parameter REG_OUTPUT_RST = "RST0";
    parameter CLK0_DIV = "ENABLED";
    parameter CLK1_DIV = "ENABLED";
    parameter CLK2_DIV = "ENABLED";
    parameter CLK3_DIV = "ENABLED";
    parameter HIGHSPEED_CLK = "NONE";
    parameter GSR = "ENABLED";
    parameter CAS_MATCH_REG = "FALSE";
    parameter SOURCEB_MODE = "B_SHIFT";
    parameter MULT_BYPASS = "DISABLED";
    parameter RESETMODE = "SYNC";

    wire [17:0] a = {A17, A16, A15, A14, A13, A12, A11, A10, A9, A8, A7, A6, A5, A4, A3, A2, A1, A0};
    wire [17:0] b = {B17, B16, B15, B14, B13, B12, B11, B10, B9, B8, B7, B6, B5, B4, B3, B2, B1, B0};

    wire [3:0] clks = {CLK3, CLK2, CLK1, CLK0}, ces = {CE3, CE2, CE1, CE0}, rsts = {RST3, RST2, RST1, RST0};

    reg [17:0] a_reg, b_reg;
    reg a_signed_reg, b_signed_reg;
    always @(posedge clks[REG_INPUTA_CLK[1:0]])
        if (rsts[REG_INPUTA_RST[1:0]]) {a_signed_reg, a_reg} <= 0;
        else if (ces[REG_INPUTA_CE[1:0]]) {a_signed_reg, a_reg} <= {SIGNEDA, a};
    always @(posedge clks[REG_INPUTB_CLK[1:0]])
        if (rsts[REG_INPUTB_RST[1:0]]) {b_signed_reg, b_reg} <= 0;
        else if (ces[REG_INPUTB_CE[1:0]]) {b_signed_reg, b_reg} <= {SIGNEDB, b};
    wire [18:0] a_in = REG_INPUTA_CLK == "NONE" ? {SIGNEDA & a[17], a} : {a_signed_reg & a_reg[17], a_reg};
    wire [18:0] b_in = REG_INPUTB_CLK == "NONE" ? {SIGNEDB & b[17], b} : {b_signed_reg & b_reg[17], b_reg};

    wire signed [37:0] product = $signed(a_in) * $signed(b_in);
    reg [35:0] pipeline_reg, output_reg;
    always @(posedge clks[REG_PIPELINE_CLK[1:0]])
        if (rsts[REG_PIPELINE_RST[1:0]]) pipeline_reg <= 0;
        else if (ces[REG_PIPELINE_CE[1:0]]) pipeline_reg <= product[35:0];
    wire [35:0] middle = REG_PIPELINE_CLK == "NONE" ? product[35:0] : pipeline_reg;
    always @(posedge clks[REG_OUTPUT_CLK[1:0]])
        if (rsts[REG_OUTPUT_RST[1:0]]) output_reg <= 0;
        else if (ces[REG_OUTPUT_CE[1:0]]) output_reg <= middle;
    assign {P35, P34, P33, P32, P31, P30, P29, P28, P27, P26, P25, P24, P23, P22, P21, P20, P19, P18, P17, P16, P15, P14, P13, P12, P11, P10, P9, P8, P7, P6, P5, P4, P3, P2, P1, P0} = REG_OUTPUT_CLK == "NONE" ? middle : output_reg;
endmodule
