"""Digits as characters, for the demo."""
from collections.abc import Sequence

from rich.columns import Columns
from rich.console import Console
from rich.panel import Panel
from rich.text import Text

from ..host.driver.device import Array

SHADES = " ░▒▓█"


def picture(image: Array) -> str:
    """An int8 image [H, W, 1] as characters, two to a pixel."""
    levels = (image[..., 0].astype(int) + 128) * len(SHADES) // 256
    return "\n".join("".join(SHADES[level] * 2 for level in row) for row in levels)


def show_digits(console: Console, images: Array, labels: Sequence[int], guesses: Sequence[int]) -> None:
    """Every digit with what the network took it for."""
    panels = []
    for image, label, guess in zip(images, labels, guesses, strict=False):
        colour = "green" if guess == label else "red"
        panels.append(Panel(Text(picture(image)), title=f"[{colour}]{guess}[/{colour}]", expand=False,
                            padding=0, subtitle=None if guess == label else f"is {label}"))
    console.print(Columns(panels, padding=(0, 0)))
