"""The Towhee tutorial's pipelines on Towhee 1.1.3: decode, CLIP, normalise, insert; one pipeline call per CSV.

The tutorial downloads its operators from a hub. This module registers equivalent operators (one image per call, cv2,
`towhee.models.clip`, fp32) under the hub's names, because Towhee looks for registered operators first.
The Milvus operators insert and search through MilvusClient, because the hub's cannot open a Milvus Lite file.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from .. import compat  # noqa: F401
from ..driver import TOP_K, Job, drive

COLLECTION = "text_image_search"
# The mean and deviation of CLIP's training images (clip/clip.py, github.com/openai/CLIP).
MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


def register_operators(job: Job) -> Any:
    """Register the tutorial's operators, and return the Milvus client that they share."""
    import cv2
    import numpy as np
    import torch
    from PIL import Image
    from pymilvus import MilvusClient
    from torchvision import transforms
    from towhee import register
    from towhee.models import clip

    model = clip.create_model("clip_vit_b32", pretrained=False, device="cpu")
    model.load_state_dict(torch.load(job.weights, weights_only=True), strict=False)
    model.eval()
    client = MilvusClient(uri=str(Path(job.collection, "towhee.db")))
    prepare = transforms.Compose(
        [
            transforms.Resize(224, transforms.InterpolationMode.BICUBIC),
            transforms.CenterCrop(224),
            transforms.ToTensor(),
            transforms.Normalize(MEAN, STD),
        ]
    )

    @register(name="image-decode/cv2")
    class Decode:
        def __init__(self, mode: str = "rgb") -> None: ...

        def __call__(self, path: str) -> Any:
            image = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR)
            return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)

    @register(name="image-text-embedding/clip")
    class Clip:
        def __init__(self, model_name: str, modality: str) -> None:
            self.modality = modality

        def __call__(self, data: Any) -> Any:
            with torch.no_grad():
                if self.modality == "text":
                    return model.encode_text(clip.tokenize(data)).numpy().flatten()
                return model.encode_image(prepare(Image.fromarray(data)).unsqueeze(0)).numpy().flatten()

    @register(name="ann-insert/milvus-client")
    class Insert:
        def __call__(self, number: int, vector: Any) -> Any:
            return client.insert(COLLECTION, [{"id": number, "vector": vector}])

    @register(name="ann-search/milvus-client")
    class Search:
        def __call__(self, vector: Any) -> Any:
            hits = client.search(COLLECTION, data=[vector], limit=TOP_K)[0]
            return [[hit["id"], hit["distance"]] for hit in hits]

    return client


def read_csv(path: str) -> Iterator[tuple[int, str]]:
    """Yield the id and path of each row, as the tutorial's generator does."""
    with open(path, encoding="utf-8-sig") as file:
        for row in csv.DictReader(file):
            yield int(row["id"]), row["path"]


class TowheeTutorial:
    def load(self, job: Job) -> None:
        self.client = register_operators(job)
        import numpy as np
        from towhee import ops, pipe

        unit = lambda x: x / np.linalg.norm(x)  # noqa: E731 (as the tutorial has it)
        self.table = job.table
        embed = pipe.input("path").map("path", "img", ops.image_decode.cv2("rgb"))
        embed = embed.map("img", "vec", ops.image_text_embedding.clip("clip_vit_base_patch32", "image"))
        self.embed_pipe = embed.output("vec")
        insert = pipe.input("csv_file").flat_map("csv_file", ("id", "path"), read_csv)
        insert = insert.map("path", "img", ops.image_decode.cv2("rgb"))
        insert = insert.map("img", "vec", ops.image_text_embedding.clip("clip_vit_base_patch32", "image"))
        insert = insert.map("vec", "vec", unit)
        self.insert_pipe = insert.map(("id", "vec"), (), ops.ann_insert.milvus_client()).output()
        search = pipe.input("text").map("text", "vec", ops.image_text_embedding.clip("clip_vit_base_patch32", "text"))
        search = search.map("vec", "vec", unit)
        self.search_pipe = search.map("vec", "hits", ops.ann_search.milvus_client()).output("hits")

    def warm(self, path: str) -> None:
        self.embed_pipe(path)

    def index(self, paths: Sequence[str]) -> None:
        if self.client.has_collection(COLLECTION):
            self.client.drop_collection(COLLECTION)
        self.client.create_collection(COLLECTION, dimension=512)
        self.insert_pipe(self.table)

    def stored(self) -> int:
        return int(self.client.query(COLLECTION, output_fields=["count(*)"])[0]["count(*)"])

    def finish(self) -> None: ...

    def open(self) -> None:
        self.client.load_collection(COLLECTION)

    def search(self, text: str) -> Sequence[Any]:
        return self.search_pipe(text).get()[0]


if __name__ == "__main__":
    drive(TowheeTutorial(), "towhee")
