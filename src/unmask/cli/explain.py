"""`unmask explain`: from a model and inputs to a page, with sensible choices."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from unmask.cli.errors import told
from unmask.cli.run import Address, On, Workers, carry_out, engine_of, finish

if TYPE_CHECKING:
    from unmask.run import Plan


def explain(
    model: Annotated[
        str,
        typer.Argument(
            help="package.module:function, a .pt2 program, an .onnx file, or a folder with a "
            "transformers model in safetensors."
        ),
    ],
    inputs: Annotated[
        str | None,
        typer.Argument(
            help="A .csv, .parquet, .npy, .npz, .safetensors, .txt or image file, or a folder of "
            "images. A model of the zoo brings its own."
        ),
    ] = None,
    row: Annotated[
        list[int] | None, typer.Option(help="Which input, counted from 0. May be repeated.")
    ] = None,
    text: Annotated[
        list[str] | None, typer.Option(help="A text to explain. May be repeated.")
    ] = None,
    target: Annotated[
        str | None, typer.Option(help="The class or token to explain, by number or name.")
    ] = None,
    label: Annotated[
        str | None, typer.Option(help="The column that holds the truth and is no input.")
    ] = None,
    players: Annotated[
        str | None,
        typer.Option(help="The parts to hide: features, patches, words, tokens or channels."),
    ] = None,
    grid: Annotated[
        str | None, typer.Option(help="Rows and columns of patches, such as 3x4.")
    ] = None,
    most: Annotated[
        int | None,
        typer.Option(help="So many words, tokens or columns may be hidden; 12 unasked."),
    ] = None,
    size: Annotated[
        str | None, typer.Option(help="Height and width of images, such as 224x224.")
    ] = None,
    out: Annotated[
        str | None,
        typer.Option(
            help="The run folder, here or in a store such as s3://bucket/run; by default a new one "
            "in runs."
        ),
    ] = None,
    open_: Annotated[
        bool, typer.Option("--open/--no-open", help="Open the page afterwards.")
    ] = False,
    on: On = None,
    address: Address = None,
    workers: Workers = None,
) -> None:
    """Explain predictions of a model: the plan, the results and a page.

    Example: [bold]unmask explain model.onnx table.csv --label diagnosis --row 3[/bold]
    """
    with told():
        from unmask.cli import say
        from unmask.run import Source, Wishes, open_model, read_inputs, suggest

        if text and inputs:
            raise ValueError(f"Both a file ('{inputs}') and --text were given. Give one of them.")
        source = Source(
            file=None if inputs is None else str(Path(inputs).resolve()),
            text=tuple(text or ()),
            label=label,
            size=_pair("--size", size),
        )
        engine = engine_of(on, address, workers)
        opened = open_model(model)
        material = read_inputs(source, opened)
        wishes = Wishes(
            rows=tuple(row) if row else None,
            target=int(target) if target and re.fullmatch(r"\d+", target) else target,
            players=players,
            grid=_pair("--grid", grid),
            most=most,
        )
        name = str(Path(model).resolve()) if Path(model).exists() else model
        found = suggest(name, source, opened, material, wishes)
        for note in found.notes:
            say.console().print(say.note(note))
        folder = out or _free(found.plan, model, inputs)
        done = carry_out(found.plan, folder, "explain", opened, material, engine)
        finish(done, show=open_)


def _pair(option: str, value: str | None) -> tuple[int, int] | None:
    if value is None:
        return None
    found = re.fullmatch(r"(\d+)\s*[x,]\s*(\d+)", value.strip())
    if found is None or "0" in found.groups():
        raise ValueError(f"{option} is {value!r}. Give two whole numbers, such as 3x4.")
    return int(found[1]), int(found[2])


def _free(plan: "Plan", model: str, inputs: str | None) -> Path:
    """A folder in runs that is new, or of this very plan, which then goes on."""
    from unmask.run import read_plan

    stem = Path(model.rpartition(":")[2] or model).stem
    parts = [stem, Path(inputs).stem if inputs else ""]
    name = re.sub(r"[^\w.-]+", "-", "-".join(filter(None, parts))).strip(".-") or "run"
    number = 1
    while True:
        folder = Path("runs", name if number == 1 else f"{name}-{number}")
        if not folder.exists():
            return folder
        if (folder / "plan.toml").is_file():
            try:
                if read_plan(folder / "plan.toml") == plan:
                    return folder
            except ValueError:
                pass  # a foreign plan: the folder is taken
        number += 1
