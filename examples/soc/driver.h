/* Runs programs on a fabric; celosia.h is what `celosia verilog --header` wrote for it. */
#ifndef DRIVER_H
#define DRIVER_H

#include "celosia.h"

/* Of your system: one access to a register of the fabric, usually `*(volatile uint32_t *)(BASE + reg)`. */
uint32_t platform_read(uint32_t reg);
void platform_write(uint32_t reg, uint32_t value);

enum fabric_outcome {
    FABRIC_DONE,
    FABRIC_FAULT,    /* struct fabric_fault says what and where; the outputs mean nothing */
    FABRIC_FOREIGN,  /* no fabric, or another than celosia.h describes; nothing was written */
    FABRIC_SILENT    /* busy for longer than any run may take: the memory does not answer */
};

struct fabric_fault {
    uint32_t code, address, unit; /* CELOSIA_FAULT_x, see docs/registers.md, CELOSIA_UNIT_x */
};

/* Once, before anything is written. */
enum fabric_outcome fabric_check(void);

/* Runs `count` instructions from `address` on; `watchdog` is the cycles they may take. */
enum fabric_outcome fabric_run(uint32_t address, uint32_t count, uint32_t watchdog, struct fabric_fault *fault);

#endif
