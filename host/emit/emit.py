"""From scheduled instructions to a Program."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ...rtl.contract.isa import INSTRUCTION_BYTES, Instruction
from ..graph.ir import Graph
from ..lower.plan import HostStep
from ..schedule.predict import Prediction, predict
from ..schedule.schedule import Scheduled, Segment
from .program import FabricRun, HostRun, LayerInfo, Program
from .tokens import Item, with_tokens


def emit(scheduled: Scheduled) -> Program:
    """Set tokens, encode, predict, and put everything into one Program."""
    fabric = scheduled.fabric
    blobs = list(scheduled.blobs)
    partition = scheduled.partition
    end = scheduled.rom_used or scheduled.dram_used

    def encode(items: Sequence[Item]) -> tuple[tuple[int, int], list[Instruction]]:
        nonlocal end
        program = with_tokens(items)
        if partition is not None:
            program = [partition.placed(instruction) for instruction in program]
        code = b"".join(instruction.encode(fabric) for instruction in program)
        if code:
            blobs.append((end, np.frombuffer(code, np.uint8)))
        place = (end, len(program))
        end += -(-len(code) // 64) * 64
        return place, program

    setup, _ = encode(scheduled.setup)
    steps: list[FabricRun | HostRun] = []
    predictions: list[Prediction] = []
    for part in scheduled.parts:
        if isinstance(part, HostStep):
            steps.append(HostRun(part.op, part.reason))
            continue
        (address, count), program = encode(part.items)
        predictions.append(predict(program, fabric))
        steps.append(
            FabricRun(
                address,
                count,
                tuple(scheduled.tensors[t] for t in part.inputs),
                tuple(scheduled.tensors[t] for t in part.outputs),
                tuple(part.weights),
            )
        )
    return Program(
        name=scheduled.plan.graph.name,
        fabric=fabric,
        graph=_without_weights(scheduled),
        steps=tuple(steps),
        setup=setup,
        blobs=tuple(blobs),
        dram_bytes=scheduled.dram_used if fabric.rom_base else end,
        layers=tuple(_layer_table(scheduled, predictions)),
        predicted=sum(prediction.cycles for prediction in predictions),
        memory=_memory(scheduled),
        maps=tuple(scheduled.maps),
        rom_bytes=end - fabric.rom_base if fabric.rom_base else 0,
    )


def _without_weights(scheduled: Scheduled) -> Graph:
    """The graph with only those constants that host steps or images read; the others lie packed in the
    blobs."""
    graph = scheduled.plan.graph
    kept = {
        tensor
        for part in scheduled.parts
        for tensor in (graph.ops[part.op].inputs if isinstance(part, HostStep) else part.inputs)
    } | set(graph.outputs)
    return replace(
        graph,
        tensors=tuple(
            tensor if index in kept else replace(tensor, data=None)
            for index, tensor in enumerate(graph.tensors)
        ),
    )


def _layer_table(scheduled: Scheduled, predictions: Sequence[Prediction]) -> list[LayerInfo]:
    graph = scheduled.plan.graph
    proofs = {proof.op: proof.text for proof in scheduled.plan.proofs}
    cycles: dict[int, int] = {}
    for prediction in predictions:
        for tag, count in prediction.layers.items():
            cycles[tag] = cycles.get(tag, 0) + count
    table: list[LayerInfo] = []
    for part in scheduled.parts:
        if isinstance(part, HostStep):
            op = graph.ops[part.op]
            table.append(
                LayerInfo(
                    len(table),
                    graph.tensors[op.outputs[0]].name,
                    op.source,
                    "host",
                    part.reason,
                    graph.macs(op),
                    -1,
                    0,
                    "",
                )
            )
            continue
        for layer, tag in zip(part.layers, part.tags, strict=True):
            table.append(
                LayerInfo(
                    len(table),
                    layer.name,
                    layer.source,
                    "fabric",
                    "",
                    layer.macs,
                    tag,
                    cycles.get(tag, 0),
                    "; ".join(proofs[op] for op in layer.ops if op in proofs),
                )
            )
    return table


def _memory(scheduled: Scheduled) -> dict[str, object]:
    """The planner's decisions, for people."""
    fabric = scheduled.fabric
    weights = scheduled.constants.weights.residency
    params = scheduled.constants.params.residency
    segments = []
    for part in scheduled.parts:
        if isinstance(part, Segment):
            images = part.images
            assert images is not None
            names = scheduled.plan.graph.tensors
            segments.append(
                {
                    "layers": [layer.name for layer in part.layers],
                    "activation_bytes": images.used,
                    "activation_bytes_to_stay_on_chip": images.wanted,
                    "resident": not images.spilled,
                    "spilled": sorted(names[tensor].name for tensor in images.spilled),
                    "strips": [
                        {
                            "layers": [layer.name for layer in part.layers[group.first : group.last + 1]],
                            "rows": group.rows,
                            "of": part.layers[group.last].out_shape[0],
                        }
                        for group in images.groups
                    ],
                    "images": {names[tensor].name: base for tensor, base in images.base.items()},
                }
            )
    partition = scheduled.partition
    shared: dict[str, object] = {}
    if partition is not None:
        each = fabric.rows
        shared["shared"] = {
            "bytes": fabric.am_bytes,
            "activations": partition.am_words * each,
            "weights": partition.wm_words * each,
            "parameters": partition.pm_words * fabric.parameter_words * each,
            "inputs_and_outputs": fabric.am_bytes - partition.ports,
        }
    return {
        **shared,
        "activation_capacity": fabric.am_bytes if partition is None else partition.am_words * fabric.rows,
        "segments": segments,
        "weight_words": weights.used,
        "weight_words_to_stay_on_chip": weights.wanted,
        "weight_words_computed": sum(
            len(block.data) for block in scheduled.constants.weights.blocks if block.changing
        ),
        "weight_capacity": weights.capacity,
        "weights_resident": weights.resident,
        "parameter_records": params.used,
        "parameter_records_to_stay_on_chip": params.wanted,
        "parameter_capacity": params.capacity,
        "parameters_resident": params.resident,
        "instruction_bytes": INSTRUCTION_BYTES
        * sum(len(part.items) for part in scheduled.parts if isinstance(part, Segment)),
    }
