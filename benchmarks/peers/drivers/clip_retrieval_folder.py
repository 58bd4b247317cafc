"""clip-retrieval: `clip_inference` over a folder, `clip_index`, and the service of `clip_back` without HTTP."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .. import compat  # noqa: F401
from ..driver import TOP_K, Job, drive

# The defaults are 256 and 4. The warm-up embeds two batches of images and of texts: a minute on two cores at 256.
BATCH, WORKERS = 32, 2


class ClipRetrieval:
    def load(self, job: Job) -> None:
        self.job = job
        self.embeddings, self.indices = str(Path(job.collection, "embeddings")), str(Path(job.collection, "indices"))

    def warm(self, path: str) -> None:
        # The arguments are those of its own worker, because it loads a model once per set of arguments.
        from all_clip import load_clip

        load_clip(clip_model=self.job.weights, use_jit=False, warmup_batch_size=BATCH, clip_cache_path=None)

    def index(self, paths: Sequence[str]) -> None:
        from clip_retrieval import clip_inference

        clip_inference(
            self.job.images, self.embeddings, enable_text=False, clip_model=self.job.weights, use_jit=False,
            batch_size=BATCH, num_prepro_workers=WORKERS,
        )  # fmt: skip

    def stored(self) -> int:
        import numpy as np

        return sum(len(np.load(file)) for file in Path(self.embeddings, "img_emb").glob("*.npy"))

    def finish(self) -> None:
        from clip_retrieval import clip_index

        clip_index(self.embeddings, self.indices)
        Path(self.job.collection, "indices.json").write_text(json.dumps({"images": self.indices}))

    def open(self) -> None:
        from clip_retrieval.clip_back import ClipOptions, KnnService, load_clip_indices

        options = ClipOptions(
            indice_folder="", clip_model=self.job.weights, enable_hdf5=False, enable_faiss_memory_mapping=False,
            columns_to_return=["image_path"], reorder_metadata_by_ivf_index=False, enable_mclip_option=False,
            use_jit=False, use_arrow=False, provide_safety_model=False, provide_violence_detector=False,
            provide_aesthetic_embeddings=False,
        )  # fmt: skip
        resources = load_clip_indices(str(Path(self.job.collection, "indices.json")), options)
        self.service = KnnService(clip_resources=resources)

    def search(self, text: str) -> Sequence[Any]:
        return self.service.query(text_input=text, num_images=TOP_K, num_result_ids=TOP_K, deduplicate=False)


if __name__ == "__main__":
    drive(ClipRetrieval(), "clip-retrieval")
