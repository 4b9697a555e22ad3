/* One network on the fabric: network.h and the memory image are what image.py wrote. */
#include <string.h>

#include "driver.h"
#include "network.h"

#define WATCHDOG 100000000u

/* Once: `memory` is the fabric's address 0, and holds the image. */
enum fabric_outcome network_start(struct fabric_fault *fault)
{
    const enum fabric_outcome found = fabric_check();
    if (found != FABRIC_DONE || NETWORK_SETUP_COUNT == 0)
        return found;
    return fabric_run(NETWORK_SETUP_ADDRESS, NETWORK_SETUP_COUNT, WATCHDOG, fault);
}

/* One inference: the stored (quantised) values of the input, then those of the output. */
enum fabric_outcome network_run(uint8_t *memory, const int8_t *input, int8_t *output, struct fabric_fault *fault)
{
    enum fabric_outcome outcome;
    uint32_t row;
    for (row = 0; row < NETWORK_INPUT_ROWS; ++row)
        memcpy(memory + NETWORK_INPUT_ADDRESS + row * NETWORK_INPUT_STRIDE,
               input + row * NETWORK_INPUT_ROW_BYTES, NETWORK_INPUT_ROW_BYTES);
    outcome = fabric_run(NETWORK_ADDRESS, NETWORK_COUNT, WATCHDOG, fault);
    for (row = 0; row < NETWORK_OUTPUT_ROWS; ++row)
        memcpy(output + row * NETWORK_OUTPUT_ROW_BYTES,
               memory + NETWORK_OUTPUT_ADDRESS + row * NETWORK_OUTPUT_STRIDE, NETWORK_OUTPUT_ROW_BYTES);
    return outcome;
}
