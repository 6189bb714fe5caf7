"""Copies the tuning records into the package: lesson 07 needs them where only a wheel is installed.

`make claims` runs it; a test fails where the copies differ from benchmarks/records.
"""

from pathlib import Path

from minivit.evidence import TUNING

SOURCES = [Path(__file__).parent / "records" / name for name in ("recipe_search", "rates")]


def originals():
    """File name → path of each tuning record."""
    return {file.name: file for folder in SOURCES for file in sorted(folder.glob("*.json"))}


def main():
    TUNING.mkdir(parents=True, exist_ok=True)
    for file in TUNING.glob("*.json"):
        file.unlink()
    for name, file in originals().items():
        (TUNING / name).write_bytes(file.read_bytes())
    print(TUNING)


if __name__ == "__main__":
    main()
