"""Prints what a config delivers, batch by batch: what a training job would see.

python scripts/run_pipeline.py configs/audio_digits.yaml --framework torch --batches 3
"""

from __future__ import annotations

import argparse
import sys
from itertools import islice

import pipelines
from pipelines.errors import PipelineError


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("config")
    parser.add_argument("--framework", choices=("torch", "tensorflow"), help="instead of the config's own")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps")
    parser.add_argument("--batches", type=int, default=3, help="how many batches to print")
    given = parser.parse_args()
    try:
        pipe = pipelines.load(given.config, framework=given.framework, device=given.device)
        for number, batch in enumerate(islice(pipe, given.batches)):
            print(f"batch {number}: {len(batch['key'])} records, the first is {batch['key'][0]}")
            for name, value in batch.items():
                if hasattr(value, "shape"):
                    print(f"  {name:20} {str(value.dtype).split('.')[-1]}{list(value.shape)}")
    except PipelineError as e:
        print(e, file=sys.stderr)
        return e.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
