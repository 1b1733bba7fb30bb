"""Trains a small classifier on a config, in PyTorch; a loop to copy.

python scripts/train_torch.py configs/train_digits.yaml --epochs 10 --output out/digits.pt
torchrun --nproc-per-node 2 scripts/train_torch.py configs/train_digits.yaml

--resume goes on from the checkpoint, in the middle of an epoch too. --evaluate FOLDER tells the accuracy on finished
features (`pipelines run CONFIG --evaluate --output FOLDER`), whichever framework made them.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

import torch
from torch import nn
from torch.nn.functional import cross_entropy

import pipelines
from pipelines.errors import PipelineError, UserError


class Classifier(nn.Module):
    """Class scores of a picture, of a spectrogram, or of token ids; 0 is padding."""

    def __init__(self, spec: pipelines.Spec, classes: int) -> None:
        super().__init__()
        self.of_ids = spec.dtype == "int64"
        if self.of_ids:
            size = int((spec.range or (0, 50_000))[1]) + 1
            self.body: nn.Module = nn.Embedding(size, 64, padding_idx=0)
            nn.init.normal_(self.body.weight, std=0.05)
        else:
            channels = (spec.size("channel") or 1) if spec.is_picture else 1
            layers: list[nn.Module] = [nn.BatchNorm2d(channels)]
            for inside, outside in ((channels, 16), (16, 32), (32, 64)):
                layers += [
                    nn.Conv2d(inside, outside, 3, padding=1),
                    nn.BatchNorm2d(outside),
                    nn.ReLU(),
                    nn.MaxPool2d(2),
                ]
            self.body = nn.Sequential(*layers, nn.Flatten())
        self.head = nn.Linear(64, classes) if self.of_ids else nn.LazyLinear(classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.of_ids:
            there = (x != 0).unsqueeze(-1)
            return self.head((self.body(x) * there).sum(1) / there.sum(1).clamp(min=1))
        return self.head(self.body(x if x.ndim == 4 else x.unsqueeze(1)))


def features_of(pipe: pipelines.Pipeline, label: str) -> tuple[str, int]:
    """The field to learn from, and the number of classes."""
    specs = pipe.plan.specs
    found = [name for name, spec in specs.items() if name != label and spec.is_numeric and spec.axes]
    if label not in specs or not found:
        wanted = "a field to learn from, of numbers" if label in specs else f"a field {label!r} (--label names another)"
        raise UserError(f"expected {wanted}, the config has {', '.join(specs)}")
    return found[0], int((specs[label].range or (0, 9))[1]) + 1


def accuracy(model: nn.Module, folder: Path, name: str, label: str, device: str) -> float:
    """The share of the records in `folder` that the model gets right."""
    fields = {field: {"from": field} for field in (name, label)}
    source = {"shards": {"path": str(folder)}}
    pipe = pipelines.load(
        {"framework": "torch", "source": source, "fields": fields, "batch": {"size": 256}},
        device=device,
        rank=0,
        world=1,
    )
    model.eval()
    right = 0
    with torch.no_grad():
        for batch in pipe:
            right += int((model(batch[name]).argmax(1) == batch[label]).sum())
    return right / pipe.counts.delivered


def train(given: argparse.Namespace) -> int:
    ranks = int(os.environ.get("WORLD_SIZE", 1))  # set by torchrun; pipelines.load reads it too
    if ranks > 1:
        torch.distributed.init_process_group("nccl" if given.device == "cuda" else "gloo")
    torch.manual_seed(0)
    first = int(os.environ.get("RANK", 0)) == 0
    pipe = pipelines.load(given.config, framework="torch", device=given.device)
    name, classes = features_of(pipe, given.label)
    spec = pipe.plan.specs[name]
    model = Classifier(spec, classes).to(given.device)
    with torch.no_grad():  # lets the model find its sizes
        sizes = [axis.size or 1 for axis in spec.native("torch")]
        model.eval()(torch.zeros(1, *sizes, dtype=getattr(torch, spec.dtype), device=given.device))
    optimizer = torch.optim.AdamW(model.parameters(), 2e-3)
    if given.resume and given.output.exists():
        held = torch.load(given.output, weights_only=True)
        model.load_state_dict(held["model"])
        optimizer.load_state_dict(held["optimizer"])
        pipe.resume(held["state"])
    learner = nn.parallel.DistributedDataParallel(model) if ranks > 1 else model

    def save(state: str) -> None:
        held = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "state": state}
        torch.save(held, given.output.with_suffix(".new"))
        given.output.with_suffix(".new").replace(given.output)

    steps = 0
    while pipe.next_start[0] < given.epochs:
        epoch, total, right, rows = pipe.next_start[0], 0.0, 0, 0
        learner.train()
        for batch in pipe:
            valid = batch["_valid"] if "_valid" in batch else torch.ones_like(batch[given.label], dtype=torch.bool)
            scores = learner(batch[name])
            losses = cross_entropy(scores, batch[given.label], reduction="none") * valid  # filler rows do not count
            loss = losses.sum() / valid.sum().clamp(min=1)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += float(losses.sum())
            right += int(((scores.argmax(1) == batch[given.label]) & valid).sum())
            rows += int(valid.sum())
            steps += 1
            if first and given.output and given.save_every and steps % given.save_every == 0:
                save(batch["_state"])
            if steps == given.stop_after:
                return 0
        if first:
            print(f"epoch {epoch + 1}: loss {total / rows:.4f}, accuracy {right / rows:.3f}, {rows} records")
            if given.output:
                save(json.dumps(pipe.state()))
    if first:
        found = {str(folder): accuracy(model, folder, name, given.label, given.device) for folder in given.evaluate}
        for folder, share in found.items():
            print(f"{folder}: accuracy {share:.4f}")
        if given.json:
            given.json.write_text(json.dumps(found))
    if ranks > 1:
        torch.distributed.destroy_process_group()
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("config")
    parser.add_argument("--label", default="label", help="the field of class numbers")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--output", type=Path, help="the checkpoint: model, optimizer and place in the data")
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint, if there is one")
    parser.add_argument("--save-every", type=int, default=0, help="checkpoint after so many batches, too")
    parser.add_argument("--stop-after", type=int, help="stop after so many batches, as a killed job would")
    parser.add_argument("--evaluate", type=Path, nargs="*", default=[], help="folders of finished features")
    parser.add_argument("--json", type=Path, help="write the accuracies here")
    given = parser.parse_args()
    if given.stop_after and (given.evaluate or given.json):
        parser.error("--stop-after ends before there is anything to evaluate")
    if (given.resume or given.save_every) and not given.output:
        parser.error("--resume and --save-every need a checkpoint: --output FILE")
    try:
        return train(given)
    except PipelineError as error:
        print(error, file=sys.stderr)
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main())
