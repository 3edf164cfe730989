"""First version of the app: text search, sets, photos, thumbnails."""
from __future__ import annotations

import io
import json
import os
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Any
from urllib.parse import quote

from fastapi import FastAPI, Request, Response
from pydantic import ValidationError
from starlette.concurrency import run_in_threadpool

from pipeline.datasets.photos.reading import read_photo
from pipeline.errors import QpertError
from pipeline.io.images import decode
from pipeline.queries.exact import top_k
from pipeline.retrieval.similarity import rows_of
from pipeline.retrieval.text import embed_texts, reading_warnings
from pipeline.serving.embedding import EncoderPool
from pipeline.serving.errors import RequestError, add_error_handlers, problems_text
from pipeline.serving.models import *
from pipeline.serving.served_set import open_set
from pipeline.serving.settings import ServeSettings


def build_app(settings: ServeSettings) -> FastAPI:
    pool = EncoderPool()
    sets = {}
    for root in settings.features:
        name = os.path.basename(root.rstrip("/"))
        sets[name] = open_set(name, root, pool)
    app = FastAPI(title="qpert", version="0")
    add_error_handlers(app)

    def chosen(name):
        if name is None:
            return next(iter(sets.values()))
        if name not in sets:
            raise RequestError(404, f"there is no set {name}")
        return sets[name]

    def answer(request: SearchRequest):
        started = time.perf_counter()
        served = chosen(request.set)
        if request.text is None and not request.terms:
            raise RequestError(422, "nothing to look for: give text, terms or an image")
        offset = int(request.cursor) if request.cursor else 0
        text = request.text or " ".join(getattr(term, "text", "") for term in request.terms)
        vectors = embed_texts(served.encoder, [text])
        hits = top_k(served.features, vectors, offset + request.k + 1, min_score=request.min_score)[0]
        more = len(hits) > offset + request.k
        page = hits[offset:offset + request.k]
        ranks = {}
        if request.compare:
            other = chosen(request.compare)
            ranks = {hit.image_id: n for n, hit in enumerate(top_k(other.features, embed_texts(other.encoder, [text]), 1000)[0], 1)}
        rows = rows_of(served.features, [hit.image_id for hit in page], ["width", "height", "objects"])
        results = []
        for rank, hit in enumerate(page, offset + 1):
            row = rows[hit.image_id]
            where = f"{quote(served.name)}/{quote(hit.image_id)}"
            results.append(Result(rank=rank, score=hit.score, image_id=hit.image_id, uri=hit.uri, set=served.name,
                width=row["width"], height=row["height"],
                objects=[FoundObject(label=o["label"], score=o["score"], box=(o["x0"], o["y0"], o["x1"], o["y1"])) for o in row["objects"] or ()],
                thumbnail=f"/thumbnails/{where}", photo=f"/photos/{where}",
                compared_rank=ranks.get(hit.image_id), moved=ranks[hit.image_id] - rank if hit.image_id in ranks else None))
        return SearchAnswer(set=served.name, index=served.info.index, results=results, cursor=str(offset + request.k) if more else None,
            took_ms=1000 * (time.perf_counter() - started), notes=reading_warnings(served.encoder, [text]))

    @app.post("/search", response_model=SearchAnswer)
    async def search(request: Request) -> Any:
        try:
            if request.headers.get("content-type", "").startswith("multipart/form-data"):
                form = await request.form()
                query = SearchRequest.model_validate_json(form.get("query") or "{}")
            else:
                query = SearchRequest.model_validate_json(await request.body())
        except ValidationError as error:
            raise RequestError(422, problems_text(error.errors())) from error
        return await run_in_threadpool(answer, query)

    @app.get("/sets", response_model=SetsAnswer)
    def list_sets() -> Any:
        return SetsAnswer(sets=[served.info for served in sets.values()])

    def picture(name, image_id, size):
        served = chosen(name)
        rows = rows_of(served.features, [image_id], ["uri"])
        if image_id not in rows:
            raise RequestError(404, "no such photo")
        image = decode(read_photo(rows[image_id]["uri"], settings.rules))
        image.thumbnail((size, size))
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=85)
        return Response(buffer.getvalue(), media_type="image/jpeg")

    @app.get("/photos/{set}/{image_id:path}")
    def photo(set: str, image_id: str) -> Response:
        return picture(set, image_id, 4096)

    @app.get("/thumbnails/{set}/{image_id:path}")
    def thumbnail(set: str, image_id: str, size: int = 320) -> Response:
        return picture(set, image_id, min(size, 640))

    @app.get("/healthz")
    def healthz() -> Any:
        return {"status": "ok", "sets": {name: "ok" for name in sets}}

    csp = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    from pathlib import Path
    from fastapi.responses import FileResponse
    pages = Path(__file__).parent / "page"

    @app.get("/", include_in_schema=False)
    def page() -> Response:
        return FileResponse(pages / "index.html", headers={"content-security-policy": csp})

    @app.get("/page/{name:path}", include_in_schema=False)
    def page_file(name: str) -> Response:
        path = (pages / name).resolve()
        if not path.is_relative_to(pages) or not path.is_file():
            raise RequestError(404, "no such file")
        return FileResponse(path, headers={"content-security-policy": csp})

    return app
