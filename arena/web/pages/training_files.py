"""Downloads of what a training left, for the operator: single files, or all of them as one zip that is packed while
it is sent."""

from __future__ import annotations

import asyncio
import io
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import quote
from uuid import UUID

from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, Route

from arena.web._frame import PageContext
from arena.web.operators import NotOperator, require
from results.store import Store
from results.store.jobs import StoredJob, job

_CHUNK = 1 << 20


def artifact_folder(found: StoredJob) -> Path | None:
    """Where the artifact of a job lies; None where it has left none, or it is gone."""
    named = found.result.get("artifact")
    folder = Path(named) if isinstance(named, str) else None
    return folder if folder is not None and folder.is_dir() else None


def artifact_files(folder: Path) -> list[tuple[str, int]]:
    """The files of an artifact (path in it, bytes), in order."""
    return [
        (file.relative_to(folder).as_posix(), file.stat().st_size)
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    ]


def file_address(job_id: UUID, name: str) -> str:
    """The address of one file, relative to the page."""
    return f"./training/files/{job_id}/{quote(name)}"


def zip_address(job_id: UUID) -> str:
    """The address of all files as a zip, relative to the page."""
    return f"./training/zip/{job_id}"


def routes(context: PageContext) -> Sequence[BaseRoute]:
    """The page's downloads."""
    store = context.store

    async def one(request: Request) -> Response:
        found = await asyncio.to_thread(_allowed, store, request)
        if isinstance(found, Response):
            return found
        _, folder = found
        name = request.path_params["name"]
        # Only what the artifact holds, whatever the address says.
        if name not in dict(await asyncio.to_thread(artifact_files, folder)):
            return PlainTextResponse("not found", 404)
        return FileResponse(folder / name, filename=Path(name).name, media_type="application/octet-stream")

    async def every(request: Request) -> Response:
        found = await asyncio.to_thread(_allowed, store, request)
        if isinstance(found, Response):
            return found
        named, folder = found
        head = {"content-disposition": f"attachment; filename*=utf-8''{quote(named.name, safe='')}.zip"}
        return StreamingResponse(zip_chunks(folder), media_type="application/zip", headers=head)

    return (
        Route("/training/files/{job}/{name:path}", one),
        Route("/training/zip/{job}", every),
    )


def zip_chunks(folder: Path) -> Iterator[bytes]:
    """A folder as a zip, piece by piece: nothing is written to disk, and weights need not fit into memory."""
    sink = _Sink()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED, allowZip64=True) as archive:
        for name, size in artifact_files(folder):
            entry = zipfile.ZipInfo.from_file(folder / name, name)
            # Weights do not compress.
            entry.compress_type = (
                zipfile.ZIP_STORED if name.endswith(".safetensors") else zipfile.ZIP_DEFLATED
            )
            with (
                (folder / name).open("rb") as source,
                archive.open(entry, "w", force_zip64=size >= 2**31) as target,
            ):
                while chunk := source.read(_CHUNK):
                    target.write(chunk)
                    yield sink.taken()
    yield sink.taken()


class _Sink(io.RawIOBase):
    """What was written since it was last asked for; it cannot be sought, so that zip writes forwards only."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: bytes | bytearray | memoryview, /) -> int:  # type: ignore[override]
        self._parts.append(bytes(data))
        return len(data)

    def taken(self) -> bytes:
        parts, self._parts = self._parts, []
        return b"".join(parts)


def _allowed(store: Store, request: Request) -> tuple[StoredJob, Path] | Response:
    """The training that the address names with its artifact, or the refusal."""
    try:
        require(request)
    except NotOperator as error:
        return PlainTextResponse(str(error), 403)
    try:
        found = job(store, UUID(request.path_params["job"]))
    except ValueError:
        found = None
    folder = artifact_folder(found) if found is not None else None
    if found is None or folder is None:
        return PlainTextResponse("not found", 404)
    return found, folder
