"""Attack a page on loopback in every known way, and print which attacks it withstood: `python -m benchmarks.attack`

The page has 256 file descriptors and a password. Meanwhile a client searches and a health probe runs. The table shows
their slowest responses during each attack. The exit status is 1 if any attack succeeded.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from ..harness import machine, table
from . import connections, images, models, requests
from .page import KINDS, Meanwhile, make_collection, running


def main() -> None:
    """Run the attacks and print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", default="", help="names of the attacks to play, by commas: half_sent_headers,uploads")
    only = parser.parse_args().only.split(",")
    attacks = [*requests.ATTACKS, *connections.ATTACKS, *images.ATTACKS, *models.ATTACKS]
    gave_way, rows = 0, []
    with tempfile.TemporaryDirectory(prefix="attack-") as name:
        folder = Path(name)
        uri = make_collection(folder)
        with running(folder, uri) as page, Meanwhile(page) as meanwhile:
            meanwhile.reset()
            time.sleep(5)
            rows.append(["none", "", "", *_worst(meanwhile), "5 s", ""])
            for attack in [one for one in attacks if only == [""] or one.__name__ in only]:
                meanwhile.reset()
                start = time.perf_counter()
                outcome = attack(page)
                held = outcome.held and not meanwhile.failed
                gave_way += not held
                note = "; ".join([outcome.note, *sorted(set(meanwhile.failed))[:3]])
                seconds = f"{time.perf_counter() - start:.0f} s"
                rows.append(
                    [outcome.kind, outcome.tries, "held" if held else "GAVE WAY", *_worst(meanwhile), seconds, note]
                )
                print(f"{outcome.kind}: {rows[-1][2]}", file=sys.stderr)
            log = page.log_bytes
    table(rows, ["attack", "how often", "", "worst search", "by image", "worst probe", "took", "note"])
    print(f"\n{machine()}; {log:,} bytes of log in all")
    sys.exit(1 if gave_way else 0)


def _worst(meanwhile: Meanwhile) -> list[str]:
    return [f"{meanwhile.worst[kind] * 1000:.0f} ms" for kind in KINDS]


if __name__ == "__main__":
    main()
