"""Splits a folder of emoji in two: what the shipped generator is trained on, and food and animals to fine-tune it to.

    launch/local.sh python benchmarks/held_out.py FOLDER --out DIRECTORY

FOLDER's files are named by their code points (`1f600.png`, `1f468-200d-1f373.png`), as those of Twemoji; held_out.txt
beside this script says which are held out. DIRECTORY/train and DIRECTORY/held_out get links to them.
"""

import argparse
import re
from pathlib import Path

RANGES = Path(__file__).with_name("held_out.txt")


def ranges() -> list[range]:
    """The ranges of code points that are held out."""
    found = re.findall(r"^([0-9a-f]+)(?:-([0-9a-f]+))?\b", RANGES.read_text(), re.MULTILINE)
    return [range(int(first, 16), int(last or first, 16) + 1) for first, last in found]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    out, counts = ranges(), {"train": 0, "held_out": 0}
    for path in sorted(options.folder.resolve().iterdir()):
        first = re.match(r"[0-9a-f]+\b", path.stem)
        if first:
            part = "held_out" if any(int(first[0], 16) in span for span in out) else "train"
            (options.out / part).mkdir(parents=True, exist_ok=True)
            (options.out / part / path.name).symlink_to(path)
            counts[part] += 1
    print("  ".join(f"{part}: {count:,}" for part, count in counts.items()))


if __name__ == "__main__":
    main()
