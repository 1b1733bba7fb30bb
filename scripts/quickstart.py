"""Runs the four quickstart configs on both frameworks, compares what they wrote, and ends with one table.

Called by scripts/quickstart, which makes the environment first.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from pipelines.errors import ParityError, PipelineError
from pipelines.report.difference import compare_outputs
from pipelines.samples import make_samples

ROOT = Path(__file__).resolve().parents[1]
CONFIGS = ("quickstart_audio", "quickstart_text", "quickstart_image", "quickstart_multimodal")
FRAMEWORKS = ("torch", "tensorflow")


class RunError(Exception):
    """A `pipelines run` ended with another exit code than 0; its words have been shown."""


def run(config: str, framework: str, output: Path) -> dict[str, Any]:
    """Run one config in a process of its own and return the summary it prints."""
    command = [str(Path(sys.executable).with_name("pipelines")), "run", f"configs/{config}.yaml"]
    command += ["--framework", framework, "--output", str(output), "--overwrite", "--json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RunError(done.returncode, f"{' '.join(command)}\nended with exit code {done.returncode}:\n{done.stderr}")
    summary: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return summary


def main() -> int:
    console = Console(stderr=True)
    out = ROOT / "out" / "quickstart"
    table = Table(title="The same configs on both frameworks")
    for name in ("config", "framework"):
        table.add_column(name)
    for name in ("records", "seconds", "records/s"):
        table.add_column(name, justify="right")
    table.add_column("largest difference between the two")
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    worst = 0.0
    try:
        counts = make_samples(ROOT / "out" / "samples")
        console.print(f"{counts['records']} records of sound, picture and caption in out/samples")
        with Progress(*columns, console=console) as progress:
            task = progress.add_task("", total=len(CONFIGS) * len(FRAMEWORKS))
            for config in CONFIGS:
                summaries = []
                for framework in FRAMEWORKS:
                    progress.update(task, description=f"{config} on {framework}")
                    if not console.is_terminal:  # where no bar can move
                        console.print(f"{config} on {framework} ...")
                    summaries.append(run(config, framework, out / config / framework))
                    progress.advance(task)
                found = compare_outputs(*(out / config / framework for framework in FRAMEWORKS))
                for summary, shown in zip(summaries, ("", str(found)), strict=True):
                    table.add_row(
                        config,
                        summary["framework"],
                        str(summary["delivered"]),
                        f"{summary['seconds']:.2f}",
                        f"{summary['records_per_second']:.0f}",
                        shown,
                    )
                table.add_section()
                worst = max(worst, found.largest)
    except RunError as e:
        code, words = e.args
        console.print(words, markup=False, highlight=False)
        return int(code)
    except KeyboardInterrupt:
        return 130
    except PipelineError as e:
        console.print(str(e), markup=False, highlight=False)
        return e.exit_code
    Console(width=max(shutil.get_terminal_size().columns, 100)).print(table)
    print(f"Written to {out}")
    if worst == float("inf"):
        console.print("The frameworks delivered other records, shapes or texts: see the last column.")
        return ParityError.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
