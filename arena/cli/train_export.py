"""`arena train export`: what a training left, as a zip, a merged folder or a GGUF file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.progress import Progress

from arena.cli._common import DEFAULT_DATA, AsJson, BadInput, DataDir, WorkFailed, console, output, print_json
from arena.cli._models import open_models
from arena.cli._train_recipes import Job, job_of

if TYPE_CHECKING:
    from results.store.jobs import StoredJob

GgufType = Literal["f32", "f16", "bf16", "q8_0"]
AdapterType = Literal["f32", "bf16", "f16"]


def export(
    job: Job,
    out: Annotated[
        Path | None, typer.Option("--out", help="A zip file of all that it left.", dir_okay=False)
    ] = None,
    to: Annotated[
        Path | None,
        typer.Option(
            "--to", help="A new folder in Hugging Face's layout, an adapter merged.", file_okay=False
        ),
    ] = None,
    gguf: Annotated[
        Path | None, typer.Option(help="A GGUF file (Llama, Mistral, Qwen 2/3, Gemma 2/3).", dir_okay=False)
    ] = None,
    gguf_type: Annotated[GgufType, typer.Option(help="Numbers of the GGUF file.")] = "f16",
    adapter: Annotated[
        Path | None,
        typer.Option(help="A new folder with the adapter alone, rounded, without paths.", file_okay=False),
    ] = None,
    adapter_type: Annotated[AdapterType, typer.Option(help="Numbers of the adapter.")] = "bf16",
    as_json: AsJson = False,
    data: DataDir = DEFAULT_DATA,
) -> None:
    """Take what a training left elsewhere, in one or several of these forms: --out, --to, --gguf, --adapter.

    A merged folder is offered only where its logits agree with those of base and adapter, a GGUF file only where it
    gives the folder's logits and token ids when it is loaded again.
    """
    from arena.engines.base import EngineRejected, EngineUnavailable
    from arena.engines.weight_files import BrokenWeights
    from trainers.export import CannotExport
    from trainers.export_gguf import NoFloats

    _check_places(out, to, gguf, adapter)
    with open_models(data) as store:
        found = job_of(store, job)
    try:
        told = _written(found, data, out, to, gguf, gguf_type, adapter, adapter_type)
    except (CannotExport, EngineRejected, NoFloats, FileExistsError) as error:
        raise BadInput(str(error)) from None
    except (EngineUnavailable, BrokenWeights, OSError) as error:
        raise WorkFailed(str(error)) from None
    if as_json:
        print_json(told)
        return
    for what in told.values():
        size = f" ({what['bytes'] / 2**20:.1f} MiB)" if "bytes" in what else ""
        output.print(f"{what.get('file') or what['folder']}{size}", highlight=False)
        if what.get("difference") is not None:
            console.print(
                f"a logit moved by {what['difference']:.2g} at most (the largest is {what['largest_logit']:.3g})",
                highlight=False,
            )


def _check_places(out: Path | None, to: Path | None, gguf: Path | None, adapter: Path | None) -> None:
    """Refuse what could not be written, before hours of merging. Raises BadInput."""
    places = {"--out": out, "--to": to, "--gguf": gguf, "--adapter": adapter}
    if not any(places.values()):
        raise BadInput("say what to write: --out FILE.zip, --to FOLDER, --gguf FILE.gguf or --adapter FOLDER")
    for option, ending in (("--out", ".zip"), ("--gguf", ".gguf")):
        path = places[option]
        if path is not None and path.suffix != ending:
            raise BadInput(f"{option} {path}: name a file that ends in {ending}")
    for option, path in places.items():
        if path is not None and not path.expanduser().absolute().parent.is_dir():
            raise BadInput(f"{option} {path}: there is no folder {path.parent}")


def _written(
    found: StoredJob,
    data: Path,
    out: Path | None,
    to: Path | None,
    gguf: Path | None,
    gguf_type: GgufType,
    adapter: Path | None,
    adapter_type: AdapterType,
) -> dict[str, Any]:
    """Write each form that was asked for; what was written, by form."""
    from trainers.artifacts import zip_artifact
    from trainers.export import artifact_of, export_adapter, export_folder, export_job_gguf

    told: dict[str, Any] = {}
    if out is not None:
        with console.status("Packing"):
            packed = zip_artifact(artifact_of(found), out.expanduser())
        told["zip"] = {"file": str(packed), "bytes": packed.stat().st_size}
    if to is not None:
        with console.status("Merging, and comparing logits"):
            told["folder"] = export_folder(found, data, to.expanduser().absolute()).model_dump(mode="json")
    if adapter is not None:
        made = export_adapter(found, adapter.expanduser().absolute(), adapter_type)
        told["adapter"] = made.model_dump(mode="json")
    if gguf is not None:
        with Progress(console=console, disable=not console.is_terminal) as progress:
            task = progress.add_task("Writing tensors, then loading them again", total=None)
            written = export_job_gguf(
                found, data, gguf.expanduser().absolute(), gguf_type,
                on_tensor=lambda done, of: progress.update(task, completed=done, total=of + 1),
            )  # fmt: skip
        told["gguf"] = written.model_dump(mode="json")
    return told
