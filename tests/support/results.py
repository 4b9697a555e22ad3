"""Where checks leave their figures, for the table in docs/verification.md (tests/verification.py)."""
import json
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parents[2] / "build" / "verification"


def record(name: str, found: Any) -> None:
    """Keep figures as build/verification/<name>.json; those of the last run count."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    (FOLDER / f"{name}.json").write_text(json.dumps(found, indent=1) + "\n")
