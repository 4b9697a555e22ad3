#include "driver.h"

/* The fabric stops itself after `watchdog` cycles. So many more polls are for a memory that never answers. */
#define POLLS_AFTER_WATCHDOG 100000u

enum fabric_outcome fabric_check(void)
{
    if (platform_read(CELOSIA_REG_MAGIC) != CELOSIA_MAGIC_WORD
        || platform_read(CELOSIA_REG_VERSION) != CELOSIA_ISA_VERSION
        || platform_read(CELOSIA_REG_FINGERPRINT_LO) != CELOSIA_FINGERPRINT_LO
        || platform_read(CELOSIA_REG_FINGERPRINT_HI) != CELOSIA_FINGERPRINT_HI)
        return FABRIC_FOREIGN;
    return FABRIC_DONE;
}

enum fabric_outcome fabric_run(uint32_t address, uint32_t count, uint32_t watchdog, struct fabric_fault *fault)
{
    /* A poll takes at least a cycle, so these are enough for any run. */
    uint64_t polls = (uint64_t)watchdog + POLLS_AFTER_WATCHDOG;

    platform_write(CELOSIA_REG_PROGRAM_ADDRESS, address);
    platform_write(CELOSIA_REG_PROGRAM_COUNT, count);
    platform_write(CELOSIA_REG_WATCHDOG, watchdog);
    /* If the processor has a write buffer or a cache over this memory: flush it here. */
    platform_write(CELOSIA_REG_CONTROL, CELOSIA_CONTROL_START);
    while (platform_read(CELOSIA_REG_STATUS) & CELOSIA_STATUS_BUSY)
        if (polls-- == 0)
            return FABRIC_SILENT;
    if (platform_read(CELOSIA_REG_STATUS) & CELOSIA_STATUS_FAULT) {
        fault->code = platform_read(CELOSIA_REG_FAULT);
        fault->address = platform_read(CELOSIA_REG_FAULT_ADDRESS);
        fault->unit = platform_read(CELOSIA_REG_FAULT_UNIT);
        return FABRIC_FAULT;
    }
    return FABRIC_DONE;
}
