"""A trained model as the judge of parity: trained on one framework's features, evaluated on both frameworks'.

python scripts/judge.py [CONFIG ...] [--epochs N] [--output DIR]

For each config the validation part is written by both frameworks, then scripts/train_torch.py and train_keras.py train
on the rest. Prints a table; exit 4 when the other framework's features change an accuracy by 0.2 points or more.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CONFIGS = [ROOT / "configs" / f"train_{name}.yaml" for name in ("digits", "ag_news", "cifar10")]
FRAMEWORKS = {"torch": "train_torch.py", "tensorflow": "train_keras.py"}
MOST = 0.2


def call(*arguments: object) -> None:
    """Runs Python; one that fails has said why, and ends this program with its exit code."""
    code = subprocess.run([sys.executable, *map(str, arguments)]).returncode
    if code:
        sys.exit(code)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("configs", nargs="*", type=Path, default=CONFIGS)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--output", type=Path, default=ROOT / "out" / "judge")
    given = parser.parse_args()
    rows, worst = [], 0.0
    for config in given.configs:
        folders = {framework: given.output / config.stem / framework for framework in FRAMEWORKS}
        for framework, folder in folders.items():
            options = ("--evaluate", "--overwrite", "--set", "source.split.use=valid", "--output", folder)
            call("-m", "pipelines", "run", config, "--framework", framework, *options)
        for framework, script in FRAMEWORKS.items():
            told = given.output / config.stem / f"{framework}.json"
            evaluate = ("--evaluate", *folders.values(), "--json", told)
            call(ROOT / "scripts" / script, config, "--epochs", given.epochs, *evaluate)
            found = json.loads(told.read_text())
            own = found.pop(str(folders[framework]))
            (other,) = found.values()
            gap = 100 * abs(own - other)
            worst = max(worst, gap)
            rows.append(f"| {config.stem} | {framework} | {100 * own:.2f} % | {100 * other:.2f} % | {gap:.2f} |")
    print("| config | trained on | accuracy on its own features | on the other's | points apart |")
    print("| --- | --- | --- | --- | --- |")
    print("\n".join(rows))
    return 4 if worst >= MOST else 0


if __name__ == "__main__":
    sys.exit(main())
