"""The subcommand that makes an int8 ONNX model of a float one."""
import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.markup import escape
from rich.table import Table

from ..rtl.contract.errors import InputError
from .commands import check_folder, debug_option, json_option, samples_text
from .progress import Samples, sample_progress
from .tables import NARROW, WIDE, add_row, console, new_table, progress_console, short

if TYPE_CHECKING:
    from ..host.quantise import Quantised

METHODS = ("minmax", "entropy", "percentile")
FORMATS = ("qdq", "qoperator")
TYPES = ("int8", "uint8")
POOR = 20.0
"""Decibels of signal to noise below which a layer is marked: a tenth of the amplitude is noise."""
STAGES = {"calibrate": "running calibration samples", "ranges": "quantising",
          "measure": "running both models"}


def numbers(context: click.Context, parameter: click.Parameter, value: str) -> tuple[float, ...]:
    """One number, or one for each channel."""
    try:
        return tuple(float(part) for part in value.split(","))
    except ValueError:
        raise click.BadParameter(f"{value!r} is not a number, nor one for each channel such as 0.5,0.5,0.5",
                                 context, parameter) from None


@click.command()
@click.argument("model", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("-c", "--calibration", type=click.Path(path_type=Path), metavar="DIR|FILE.npz",
              help="Inputs as the model will meet them: an .npz (arrays by input name, one sample or several "
              "along a leading axis; or in{i}_{k} = input i of sample k), an .npy, or a folder of those and "
              "of pictures.")
@click.option("-o", "--output", required=True, type=click.Path(dir_okay=False, path_type=Path),
              metavar="Q.onnx", help="The quantised model to write.")
@click.option("--labels", type=click.Path(exists=True, dir_okay=False, path_type=Path), metavar="FILE.csv",
              help="Tells the accuracy before and after. A line for each sample: file name first, label "
              "last; or labels alone, in order. An .npz may hold them as `labels`.")
@click.option("--test", type=click.Path(path_type=Path), metavar="DIR|FILE.npz",
              help="Other inputs to measure loss and accuracy with (--labels are theirs then).")
@click.option("--samples", type=click.IntRange(1), metavar="N",
              help="Calibrate with the first N samples only.")
@click.option("--method", type=click.Choice(METHODS), default="minmax", show_default=True,
              help="How ranges come from the values seen.")
@click.option("--percentile", type=click.FloatRange(0, 100, min_open=True), default=99.999, show_default=True,
              help="Share of the values that --method percentile keeps.")
@click.option("--per-channel/--per-tensor", default=True, show_default=True,
              help="One scale for each output channel of the weights, or one for all.")
@click.option("--format", "form", type=click.Choice(FORMATS), default="qdq", show_default=True,
              help="qdq: float operators between DequantizeLinear and QuantizeLinear, which all tools take. "
              "qoperator: integer operators, which the fabric computes in one pass instead of two.")
@click.option("--activations", type=click.Choice(TYPES), default="int8", show_default=True)
@click.option("--weights", type=click.Choice(TYPES), default="int8", show_default=True)
@click.option("--exclude", multiple=True, metavar="NAME",
              help="Leave this operator in float32; may be given several times.")
@click.option("--scale", type=float, default=1 / 255, show_default="1/255",
              help="Of pictures, which become (pixel * scale - mean) / std, float32, RGB or grey as the "
              "input has 3 channels or 1, resized to it.")
@click.option("--mean", callback=numbers, default="0", show_default=True, metavar="NUMBER[,…]")
@click.option("--std", callback=numbers, default="1", show_default=True, metavar="NUMBER[,…]")
@click.option("-v", "--verbose", is_flag=True, help="Also show what ONNX Runtime's tools have to say.")
@json_option
@debug_option
def quantize(model: Path, calibration: Path | None, output: Path, labels: Path | None, test: Path | None,
             samples: int | None, method: Any, percentile: float, per_channel: bool, form: Any,
             activations: Any, weights: Any, exclude: tuple[str, ...], scale: float,
             mean: tuple[float, ...], std: tuple[float, ...], verbose: bool, as_json: bool) -> None:
    """Make an int8 MODEL.onnx of a float32 one, and tell what that loses, layer by layer.

    ONNX Runtime's own tools do it. Dimensions that MODEL leaves open, such as the batch, become those of
    the samples.

    \b
    celosia quantize model.onnx --calibration photos/ -o model_int8.onnx
    celosia quantize model.onnx -c samples.npz --labels labels.csv --method entropy -o model_int8.onnx
    """
    # Not above: they take a second to import, and no other command needs them.
    from ..host.quantise import quantise
    from ..host.quantise.model import input_specs, read_model
    from .calibration import Pixels, read_calibration, read_labels

    inputs = input_specs(read_model(model))
    if calibration is None:
        raise InputError(missing(inputs))
    check_folder(output, "-o")
    pixels = Pixels(scale, mean, std)
    given = read_calibration(inputs, calibration, pixels)
    tested = given if test is None else read_calibration(inputs, test, pixels)
    marks = tested.labels if labels is None else read_labels(labels, tested)
    with progress() as tell:
        result = quantise(model, output, given[:samples], test=tested, labels=marks, method=method,
                          percentile=percentile, per_channel=per_channel, format=form,
                          activations=activations, weights=weights, exclude=exclude, progress=tell)
    if verbose:
        for notice in result.notices:
            progress_console.print(f"[dim]onnxruntime: {escape(notice)}[/dim]")
    if as_json:
        click.echo(json.dumps(summary(result, model), indent=1))
    else:
        show(result)


def missing(inputs: Any) -> str:
    """What to say without calibration data."""
    names = ", ".join(f"{spec.name!r}: {'array' if k == 0 else 'other'}" for k, spec in enumerate(inputs))
    return ("calibration data is missing: the ranges of int8 values come from running the float model on "
            f"real inputs, 100 or more of them. It takes {', '.join(map(str, inputs))}. Give --calibration "
            f"FILE.npz, made by numpy.savez('FILE.npz', **{{{names}}}) with the samples along a leading axis "
            "and values as in training; or --calibration DIR, a folder of .npy or .npz files or of pictures")


@contextmanager
def progress() -> Iterator[Callable[[str, int, int], None]]:
    """A callback that shows how far each stage is."""
    with ExitStack() as stack:
        at, counter = "", None

        def tell(stage: str, done: int, total: int) -> None:
            nonlocal at, counter
            if stage != at:
                stack.close()
                at = stage
                progress_console.print(f"[dim]{STAGES[stage]}[/dim]")
                counter = stack.enter_context(sample_progress(total, "samples")) if total else None
            if isinstance(counter, Samples):
                counter.finished()

        yield tell


def loss_table(result: "Quantised", *, width: int = WIDE) -> Table:
    """One line per layer: signal to noise of its weights, of rounding its output, and of all up to it."""
    columns = ["layer", "operator", *([] if width < NARROW else ["scale"]), "weights", "rounding", "in all",
               "remark"]
    table = new_table(*columns, right=("scale", "weights", "rounding", "in all"), wrapped="remark")
    outputs = {layer.tensor for layer in result.outputs}
    for layer in result.layers:
        remarks = ["output"] if layer.tensor in outputs else []
        if layer.scale is None:
            remarks.append("stays float32")
        if layer.total < POOR:
            remarks.append("noisy")
        add_row(table, {
            "layer": short(layer.name), "operator": layer.op,
            "scale": "" if layer.scale is None else f"{layer.scale:.4g}", "weights": decibels(layer.weights),
            "rounding": decibels(layer.rounding), "in all": decibels(layer.total),
            "remark": ", ".join(remarks)})
    return table


def decibels(ratio: float | None) -> str:
    """A ratio as text."""
    return "" if ratio is None else "exact" if ratio == float("inf") else f"{ratio:.1f} dB"


def show(result: "Quantised") -> None:
    """The result for people."""
    console.print(loss_table(result, width=console.width))
    console.print(f"\n[dim]Signal to quantisation noise over {samples_text(result.measured)}: of the "
                  "weights, of a layer's output when it alone is rounded, and of that output with all that "
                  "was lost before.[/dim]")
    if result.accuracy is not None:
        before, after, count = (result.accuracy.before, result.accuracy.after, result.accuracy.samples)
        console.print(f"accuracy: {before / count:.2%} before, [bold]{after / count:.2%}[/bold] after "
                      f"({before} and {after} of {count} right)")
    if result.same is not None:
        console.print(f"{result.same} of {samples_text(result.measured)} have the same largest output as "
                      "before")
    console.print(f"{escape(str(result.file))}: {result.bytes_after:,} bytes ({result.bytes_before:,} "
                  f"before), calibrated with {samples_text(result.calibrated)}")


def summary(result: "Quantised", model: Path) -> dict[str, Any]:
    """The object of --json."""
    return {"model": model.name, "file": str(result.file), "bytes_before": result.bytes_before,
            "bytes": result.bytes_after, "calibrated": result.calibrated, "measured": result.measured,
            "layers": [layer.summary() for layer in result.layers],
            "outputs": [layer.tensor for layer in result.outputs],
            "accuracy": None if result.accuracy is None else vars(result.accuracy), "same": result.same,
            "notices": result.notices}
