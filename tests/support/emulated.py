"""A Network compiled and run on the emulator against its own definition."""
import numpy as np
from celosia.host.emit.emit import emit
from celosia.host.schedule.schedule import schedule

import celosia


def check(network, fabric, outputs=None, device="emulator", **options):
    """Every output of two inferences equals the definition; returns the Program."""
    program = emit(schedule(network.plan(outputs), fabric))
    stored = getattr(network, "stored", lambda value: value)
    with celosia.open(device, fabric=fabric, memory_bytes=1 << 20, **options) as opened:
        for _ in range(2):
            image = network.image()
            values = network.values(image)
            result = opened.run(program, stored(image))
            for tensor, output in zip(program.graph.outputs, result.outputs, strict=True):
                np.testing.assert_array_equal(output[0], stored(values[tensor]), err_msg=f"tensor {tensor}")
    return program
