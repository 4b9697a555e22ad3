"""Folders of results that are found again by what they were made from; safe for builds side by side."""
import functools
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from ..sim.native import build as native

Progress = Callable[[str, str], None]
"""Called with the stage ("elaborate", "synthesise", "place", "route", "pack", or "wait" for another process
that builds the same) and in words how far it is, "" at its beginning."""

KEEP = 8
"""Results of each stage that stay; the ones not used for longest go first."""
WAIT_SECONDS = 4 * 3600


def cache_folder() -> Path:
    """Beside the compiled simulators: CELOSIA_CACHE, or the user's cache folder of this system."""
    return native.cache_folder().with_name("boards")


def cached(stage: str, key: str, make: Callable[[Path], None], progress: Progress) -> Path:
    """The folder of results under ``key``; ``make`` fills an empty one if there is none yet.

    It appears whole or not at all, and one process makes it while others wait.

    Raises
    ------
    ToolError
        If another process has been making it for WAIT_SECONDS; and what ``make`` raises.
    """
    home = cache_folder() / stage
    target = home / key
    if _used(target):
        return target
    home.mkdir(parents=True, exist_ok=True)
    tell_once = functools.cache(lambda: progress("wait", ""))
    with native.locked(home / f"{key}.lock", WAIT_SECONDS, tell_once):
        if _used(target):  # made while this process waited
            return target
        draft = home / f"{key}.draft"
        shutil.rmtree(draft, ignore_errors=True)  # of a build that failed or was killed: the lock is ours
        draft.mkdir()
        make(draft)
        draft.replace(target)
        _prune(home, target)
    return target


def _used(folder: Path) -> bool:
    """Whether there is such a result; notes the time of its last use."""
    try:
        os.utime(folder)
    except OSError:
        return False
    return True


def _prune(home: Path, newest: Path) -> None:
    """Forget the results that were not used for longest."""
    folders = [path for path in home.iterdir() if path.is_dir() and path.suffix != ".draft"]
    folders.sort(key=lambda path: path.stat().st_mtime, reverse=True)
    for path in folders[KEEP:]:
        if path != newest:
            shutil.rmtree(path, ignore_errors=True)
            path.with_name(f"{path.name}.lock").unlink(missing_ok=True)
