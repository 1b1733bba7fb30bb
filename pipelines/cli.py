"""The `pipelines` command. Frameworks are loaded only by the commands that run something."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from pipelines.errors import ConfigError, PipelineError, UserError

app = typer.Typer(
    help="Audio, text and image pipelines from one YAML config, on PyTorch or TensorFlow.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
)


def _step_names(incomplete: str) -> list[str]:
    from pipelines.catalog import announced_step_names, step_names

    return [name for name in (*step_names(), *announced_step_names()) if name.startswith(incomplete)]


def _keys(incomplete: str) -> list[str]:
    """The keys of a config that --set may name, up to the second level, as the schema in the package knows them."""
    from importlib.resources import files

    schema = json.loads(files("pipelines.config").joinpath("schema.json").read_text("utf-8"))

    def inner(part: dict[str, Any]) -> list[str]:
        for way in (part, *part.get("anyOf", ())):
            found = schema["$defs"][way["$ref"].rsplit("/", 1)[1]] if "$ref" in way else way
            if "properties" in found:
                return list(found["properties"])
        return []

    keys = [f"{name}.{key}" for name, part in schema["properties"].items() for key in inner(part)]
    return [f"{key}=" for key in (*schema["properties"], *keys) if key.startswith(incomplete)]


ConfigArgument = Annotated[Path, typer.Argument(metavar="CONFIG", help="The YAML config.", show_default=False)]
FrameworkOption = Annotated[
    str | None,
    typer.Option(
        "--framework",
        "-f",
        help="torch or tensorflow; overrides the config.",
        autocompletion=lambda: ["torch", "tensorflow"],
    ),
]
DeviceOption = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")]
LimitOption = Annotated[int | None, typer.Option(min=1, help="Only the first so many records.")]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Overrides one key: batch.size=64", autocompletion=_keys),
]
ThreadsOption = Annotated[
    int | None, typer.Option(min=1, help="Workers at once; if left out, at most the cores, found by trying.")
]
WorkersOption = Annotated[
    str, typer.Option(help="threads; or processes, for steps that hold the interpreter's lock, on torch.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one line of JSON.")]


@app.command()
def run(
    config: ConfigArgument,
    framework: FrameworkOption = None,
    device: DeviceOption = "auto",
    output: Annotated[Path | None, typer.Option(help="Write shards here; overrides the config.")] = None,
    epochs: Annotated[int, typer.Option(min=1, help="How often to go through the records.")] = 1,
    limit: LimitOption = None,
    threads: ThreadsOption = None,
    workers: WorkersOption = "threads",
    sets: SetOption = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where a stopped run has ended.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Start again, replacing what a run wrote.")] = False,
    evaluate: Annotated[bool, typer.Option("--evaluate", help="Random steps do the least they can.")] = False,
    only_quarantined: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Only the records that failed in the run that wrote FOLDER."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Run a config: deliver every batch, and write shards where it asks for them."""
    from pipelines.pipeline import describe, load
    from pipelines.report.progress import progress
    from pipelines.run import run as run_pipeline
    from pipelines.runtime._clock import Waits
    from pipelines.sinks._quarantine import quarantined

    if resume and overwrite:
        raise UserError("--resume and --overwrite exclude each other")
    pipe = load(
        config,
        framework=framework,
        device=device,
        threads=threads,
        workers=workers,
        overrides=tuple(sets or ()),
        rank=0,
        world=1,
        limit=limit,
        evaluate=evaluate,
        only=None if only_quarantined is None else quarantined(only_quarantined),
    )
    folder = output or (pipe.config.output.path if pipe.config.output else None)
    if only_quarantined is not None and folder is not None and folder.resolve() == only_quarantined.resolve():
        raise UserError(f"{folder} holds the run whose failed records are wanted; give another folder as --output")
    mode: Literal["new", "resume", "overwrite"] = "resume" if resume else "overwrite" if overwrite else "new"
    waits = Waits(pipe.engine.clock, "writing the shards" if folder else "the consumer")
    with progress(f"{config.stem} on {pipe.framework}", pipe.grid.records * epochs, waits) as watch:
        try:
            summary = run_pipeline(pipe, epochs=epochs, output=output, mode=mode, watch=watch)
        except KeyboardInterrupt:
            typer.echo("interrupted" + (f"; {folder} can be gone on with by --resume" if folder else ""), err=True)
            raise typer.Exit(130) from None
    if as_json:
        typer.echo(json.dumps(summary.as_dict()))
        return
    for failure in pipe.quarantine[:5]:
        typer.echo(f"quarantined {describe(failure)}", err=True)
    more = len(pipe.quarantine) - 5
    if more > 0:
        typer.echo(
            f"... and {more} more" + (f", all in {summary.output}/quarantine.jsonl" if summary.output else ""), err=True
        )
    typer.echo(
        f"{summary.framework}: read {summary.read} = delivered {summary.delivered} + quarantined {summary.quarantined}"
        f" + left over {summary.left_over}, {summary.seconds:.1f} s, {summary.records_per_second:,.0f} records/s"
    )
    typer.echo(f"wrote {summary.output}" if summary.output else "wrote nothing; --output FOLDER keeps the batches")


@app.command()
def check(
    config: ConfigArgument, framework: FrameworkOption = None, sets: SetOption = None, limit: LimitOption = None
) -> None:
    """Find every fault of a config, then show the plan: each seam and the stage of each step.

    Loads no framework, but to see whether the weights of a pretrained model fit.
    """
    from pipelines.config import read_config
    from pipelines.pipeline import weights_faults
    from pipelines.plan import compile_plan
    from pipelines.report.tables import plan_table, show
    from pipelines.runtime._lengths import kept_lengths

    read = read_config(config, tuple(sets or ()), framework)
    plan, source = compile_plan(read, limit)
    faults = weights_faults(read, plan)
    if faults:
        raise ConfigError(faults)
    lengths = None if read.batch.buckets is None else kept_lengths(read, plan, source)
    show([plan_table(read, plan, len(source), lengths)])


@app.command()
def fit(
    config: ConfigArgument,
    framework: FrameworkOption = None,
    sets: SetOption = None,
    limit: LimitOption = None,
    again: Annotated[bool, typer.Option("--again", help="Fit also what is fitted already.")] = False,
) -> None:
    """Build what must be learnt from the data, such as vocabularies, and save it where the config says.

    What is there is kept, unless it was learnt by other parameters, or after other steps, than the config has by now.
    """
    from pipelines.config import read_config
    from pipelines.fit import learners
    from pipelines.plan import open_source
    from pipelines.report.progress import progress

    read = read_config(config, tuple(sets or ()), framework)
    records, fitted = len(open_source(read, limit)), 0
    for learner in learners(read, again=again):
        title = f"fit {learner.use.name} on {read.framework}"
        with progress(title, records * len(learner.fields)) as watch:
            one = learner.fit(limit, watch)
        fitted += 1
        why = f" ({one.why})" if one.why else ""
        typer.echo(f"{one.field}: {one.step}: learnt from {one.records} records{why}, wrote {', '.join(one.files)}")
    if not fitted:
        typer.echo("nothing to fit: every step has what it needs (--again fits anew)")


@app.command()
def explain(
    config: ConfigArgument,
    key: Annotated[str, typer.Argument(help="The key of the record.", show_default=False)],
    framework: FrameworkOption = None,
    sets: SetOption = None,
    epoch: Annotated[int, typer.Option(min=0, help="Whose draws to use.")] = 0,
) -> None:
    """Replay one record step by step: what flows, and where it fails and why."""
    from pipelines.pipeline import load
    from pipelines.report.explain import explain as explain_record

    pipe = load(config, framework=framework, device="cpu", overrides=tuple(sets or ()))
    failed = explain_record(pipe, key, epoch)
    raise typer.Exit(3 if failed else 0)


@app.command()
def show(
    config: ConfigArgument,
    records: Annotated[int, typer.Option(min=1, help="Show so many, spread evenly over the set.")] = 4,
    keys: Annotated[
        list[str] | None, typer.Option(metavar="KEY", help="Show these records instead; may be given several times.")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(metavar="PAGE.html", help="Where the page goes.", show_default="<config>_show.html here"),
    ] = None,
    png: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Write each picture as a PNG file too.", show_default=False)
    ] = None,
    both: Annotated[bool, typer.Option("--both", help="Both frameworks side by side, and their difference.")] = False,
    epoch: Annotated[int, typer.Option(min=0, help="Whose draws to use.")] = 0,
    framework: FrameworkOption = None,
    sets: SetOption = None,
    limit: LimitOption = None,
) -> None:
    """See the data: one page of what goes in and what each step makes of it, which opens offline."""
    from pipelines.report.show import show as show_records

    if both and framework:
        raise UserError("--both shows both frameworks; leave out --framework")
    options: dict[str, Any] = {"records": records, "keys": keys or (), "epoch": epoch, "limit": limit}
    found = show_records(config, tuple(sets or ()), framework=framework, both=both, output=output, png=png, **options)
    failed = f", of which {found.failed} fail{'s' * (found.failed == 1)}" if found.failed else ""
    typer.echo(f"wrote {found.page}: {found.records} of {found.of} records{failed}")
    if png is not None:
        typer.echo(f"wrote {found.pictures} pictures to {png}")


@app.command()
def compare(
    config: ConfigArgument,
    records: Annotated[
        int, typer.Option(min=1, help="Compare at most so many, in batches spread evenly over the epoch.")
    ] = 512,
    sample: Annotated[int, typer.Option(min=1, help="Compare so many of those step by step.")] = 32,
    epoch: Annotated[int, typer.Option(min=0, help="Whose draws to use.")] = 0,
    limit: LimitOption = None,
    device: DeviceOption = "auto",
    threads: ThreadsOption = None,
    sets: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Run both frameworks on your records: do they agree, which is faster, which fits. Exits with 4 if they do not."""
    from pipelines.report.compare import compare as compare_frameworks

    options: dict[str, Any] = {"epoch": epoch, "limit": limit, "records": records, "sample": sample}
    try:
        found = compare_frameworks(config, tuple(sets or ()), device=device, threads=threads, **options)
    except KeyboardInterrupt:
        typer.echo("interrupted; nothing is left behind", err=True)
        raise typer.Exit(130) from None
    if as_json:
        typer.echo(json.dumps(found.as_dict()))
    else:
        found.show()
    found.require_parity()


@app.command()
def profile(
    config: ConfigArgument,
    framework: FrameworkOption = None,
    device: DeviceOption = "auto",
    seconds: Annotated[float, typer.Option(min=0.1, help="How long to measure.")] = 10.0,
    consumer_ms: Annotated[
        float, typer.Option(min=0.0, help="Milliseconds that each batch is held, as a training step holds it.")
    ] = 0.0,
    limit: LimitOption = None,
    threads: ThreadsOption = None,
    sets: SetOption = None,
    output: Annotated[
        Path | None, typer.Option(metavar="PAGE.html", help="Write a page with the picture of the timeline.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Where the time goes: per step and stage, threads, queue, bytes; the bottleneck, and what to change about it.

    Runs the config for some seconds, over several epochs where they are short. It writes no shards.
    """
    from pipelines.pipeline import load
    from pipelines.report.profile import profile as measure

    def hold(batch: dict[str, Any]) -> None:
        time.sleep(consumer_ms / 1000)

    overrides = tuple(sets or ())
    pipe = load(
        config, framework=framework, device=device, threads=threads, overrides=overrides, rank=0, world=1, limit=limit
    )
    typer.echo(f"measuring for {seconds:g} s", err=True)
    try:
        found = measure(pipe, seconds, hold)
    except KeyboardInterrupt:
        typer.echo("interrupted; nothing is left behind", err=True)
        raise typer.Exit(130) from None
    if output is not None:
        found.write(output)
    if as_json:
        typer.echo(json.dumps(found.as_dict()))
        return
    found.show()
    if output is not None:
        typer.echo(f"wrote {output}")


@app.command()
def steps(
    name: Annotated[str | None, typer.Argument(help="One step, such as audio.mel.", autocompletion=_step_names)] = None,
) -> None:
    """The catalogue of steps, or all about one."""
    from pipelines.report.tables import show, step_page, steps_table

    show([step_page(name) if name else steps_table()])


@app.command()
def stats(
    config: ConfigArgument,
    framework: FrameworkOption = None,
    limit: LimitOption = None,
    most: Annotated[int, typer.Option(min=1, help="Look at up to so many records, spread evenly.")] = 10_000,
    output: Annotated[Path | None, typer.Option(metavar="PAGE.html", help="Write plots as one HTML page too.")] = None,
    sets: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """The data set at a glance: files, lengths, sizes, labels, tokens, what is twice and what is broken.

    Files are read, not decoded. A framework is loaded only where texts are tokenized.
    """
    from pipelines.config import read_config
    from pipelines.plan import open_source
    from pipelines.report._stats_view import stats_page, stats_tables
    from pipelines.report.progress import progress
    from pipelines.report.stats import statistics
    from pipelines.report.tables import show

    read = read_config(config, tuple(sets or ()), framework)
    source = open_source(read, limit)
    with progress(f"stats of {config.stem}", min(len(source), most)) as watch:
        found = statistics(read, source, limit, most, watch)
    if as_json:
        typer.echo(json.dumps(found.as_dict()))
    else:
        show([stats_tables(found)])
    if output is not None:
        stats_page(found, output)
        typer.echo(f"wrote {output}", err=as_json)


@app.command()
def new(
    folder: Annotated[Path, typer.Argument(help="A folder of files, a table, or lines of text.", show_default=False)],
    output: Annotated[Path | None, typer.Option(metavar="CONFIG", help="Left out: NAME.yaml, here.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the config that is there.")] = False,
) -> None:
    """Write a config for data of your own: looks at what is there, says what it found, and is ready to run."""
    from pipelines.report.new import new as write_new

    path = output or Path(f"{folder.resolve().name.split('.')[0] or 'data'}.yaml")
    must_fit = write_new(folder, path, overwrite)
    typer.echo(path.read_text("utf-8"), nl=False)
    fit_first = f"pipelines fit {path}; " if must_fit else ""
    typer.echo(f"wrote {path}; next: {fit_first}pipelines check {path}; pipelines run {path}", err=True)


@app.command()
def samples(
    folder: Annotated[Path, typer.Argument(help="Where to make them.", show_default=False)],
    seed: Annotated[int, typer.Option(min=0)] = 0,
) -> None:
    """Make a small set of sounds, pictures and captions to try the configs on."""
    from pipelines.samples import make_samples

    made = make_samples(folder, seed)
    typer.echo(f"{folder}: " + ", ".join(f"{count} {what}" for what, count in made.items()))


@app.command()
def schema() -> None:
    """The JSON Schema of configs, for editors."""
    from pipelines.config import json_schema

    typer.echo(json.dumps(json_schema(), indent=2, ensure_ascii=False))


@app.command()
def doctor(as_json: JsonOption = False) -> None:
    """Which companion library works here and which does not, why, and what is used instead."""
    from pipelines.report.doctor import doctor as examine

    report = examine()
    if as_json:
        typer.echo(json.dumps(report.as_dict()))
    else:
        report.show()


@contextmanager
def _user_words() -> Iterator[None]:
    """Turns errors raised on purpose into a message and their exit code."""
    try:
        yield
    except ConfigError as error:
        for fault in error.faults:
            typer.echo(str(fault), err=True)
        count = len(error.faults)
        typer.echo(f"{count} fault{'s' * (count != 1)}; nothing was run", err=True)
        sys.exit(error.exit_code)
    except PipelineError as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(error.exit_code)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)


def main() -> None:
    """Entry point of the `pipelines` command."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # notes of every start-up; errors are raised
    with _user_words():
        app(standalone_mode=True)
