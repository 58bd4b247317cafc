"""`image-search export` and `import`: a collection's rows and embeddings as files."""

from __future__ import annotations

from dataclasses import MISSING, dataclass
from typing import TYPE_CHECKING

from ..errors import InputError
from ..settings import Settings, option
from .collection import copy_rows
from .parser import Output

if TYPE_CHECKING:
    from ..milvus.collection import Collection


@dataclass(frozen=True)
class ExportOptions:
    """The files to write."""

    folder: str = option(MISSING, "", "DIR")
    float16: bool = option(False, "Write embeddings as float16: half the size, scores change in the fourth digit.")


@dataclass(frozen=True)
class ImportOptions:
    """The files to read, and how."""

    folder: str = option(MISSING, "", "DIR")
    bulk: str = option(
        "",
        "Let Milvus load the files itself, into a new collection that then takes the name. Names where it reads: its "
        "bucket, as s3://bucket/folder, or a folder of its local storage.",
    )
    path_column: str = option("image_path", "Of clip-retrieval's metadata: the column that holds the paths.")


def export(options: ExportOptions, settings: Settings, output: Output) -> int:
    """Write a collection into files, embeddings included.

    They are Parquet files with ids, paths, columns, embeddings and the model id.

    Run the same command again to continue an interrupted export.

    Example: image-search export vectors/ --uri http://localhost:19530
    """
    from ..milvus.collection import Collection
    from ..milvus.vector_folder import VectorFolder

    target = VectorFolder(options.folder, half=options.float16)
    return copy_rows(Collection(settings.uri, settings.collection, settings.token), target, output)


def import_(options: ImportOptions, settings: Settings, output: Output) -> int:
    """Read files of export or of clip-retrieval into a collection.

    The files of `insert --to` are those of export.

    Run the same command again to continue an interrupted import. The output folder of clip-retrieval (img_emb/ and
    metadata/) does not say which model made it: name it by --model.

    \b
    Examples:
      image-search import vectors/ --uri http://localhost:19530
      image-search import clip-retrieval-output/ --model clip_vit_base_patch32
    """
    from ..indexing.bulk import BulkLoad
    from ..milvus.clip_retrieval import ClipRetrievalFolder, is_clip_retrieval
    from ..milvus.collection import Collection
    from ..milvus.vector_folder import VectorFolder
    from ..models.clip import model_of
    from ..models.model_id import resolve_model

    source: Collection
    if is_clip_retrieval(options.folder):
        if not settings.model:
            raise InputError(f"{options.folder} does not say which model made its embeddings: name it by --model")
        model = model_of(resolve_model(settings))
        source = ClipRetrievalFolder(options.folder, model.model_id, model.spec.dim, options.path_column)
    else:
        source = VectorFolder(options.folder)
    target = Collection(settings.uri, settings.collection, settings.token)
    return copy_rows(source, BulkLoad(target, options.bulk) if options.bulk else target, output)
