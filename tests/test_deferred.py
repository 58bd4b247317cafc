"""Packages that are imported at their first use: `pipelines.deferred`, and the imports that it spares a search."""

from __future__ import annotations

import pytest

from pipelines import Settings, run_insert
from pipelines.milvus.connection import close
from tests.support.photos import Photos
from tests.support.program import run_code

# Modules that a search of a file for words does not need. Importing them would take as long as all of the search.
_LEFT_OUT = (
    "torch", "torchvision", "pandas", "scipy", "requests", "urllib3", "httpx", "huggingface_hub", "faiss", "ftfy",
    "cv2", "PIL", "pkg_resources", "setuptools", "towhee.hub", "towhee.models", "openvino.tools.ovc", "gradio",
    "fastapi", "babel", "rapidfuzz", "tokenizers", "safetensors", "tqdm", "matplotlib", "pipelines.indexing",
    "pipelines.training",
)  # fmt: skip
_SEARCH = (
    "import sys; from pipelines.cli import main\n"
    "try: main(['search', 'a dog', '--uri', sys.argv[1], *sys.argv[2:]])\n"
    "except SystemExit as end: assert not end.code\n"
    "print('imported:', *sorted(sys.modules))"
)


def imported(*arguments: object) -> set[str]:
    """Return the modules that a search imports."""
    done = run_code(_SEARCH, *arguments)
    assert done.status == 0, done.err
    *hits, modules = done.out.splitlines()
    assert len(hits) > 2
    return set(modules.split())


@pytest.mark.parametrize("options", [(), ("--filter", "label == 'cat' or label != 'cat'"), ("--sort", "label")])
def test_a_search_of_a_file_imports_only_what_it_needs(lite: Settings, photos: Photos, options: tuple[str]) -> None:
    run_insert(photos.csv, lite)
    close(lite.uri)
    found = imported(lite.uri, *options)
    assert {"pymilvus", "milvus_lite", "openvino", "towhee"} <= found
    assert [name for name in _LEFT_OUT if name in found] == []


def test_what_was_left_out_is_there_when_it_is_used(lite: Settings, photos: Photos) -> None:
    """Other code in the process may use the same pymilvus with tables of pandas, and pandas itself."""
    run_insert(photos.csv, lite)
    close(lite.uri)
    code = (
        "import sys; from pipelines.milvus.collection import Collection\n"
        "assert Collection(sys.argv[1], 'images').count()\n"
        "print('requests' in sys.modules, 'faiss' in sys.modules)\n"
        "from pymilvus.orm import schema\n"
        "from pymilvus.client import global_topology\n"
        "from milvus_lite.index import faiss_hnsw\n"
        "import faiss, pandas, requests\n"
        "table = pandas.DataFrame({'id': [1, 2], 'words': ['a', 'b']})\n"
        "assert schema.pd.DataFrame is pandas.DataFrame and schema.is_list_like([]) and not schema.is_list_like(1)\n"
        "assert [field.dtype.name for field in schema.construct_fields_from_dataframe(table)] == ['INT64', 'VARCHAR']\n"
        "assert global_topology.requests.get is requests.get\n"
        "assert faiss_hnsw.faiss.IndexHNSWFlat is faiss.IndexHNSWFlat\n"
        "import scipy.sparse; from pymilvus.client.utils import SciPyHelper\n"
        "print(SciPyHelper.is_scipy_sparse(scipy.sparse.csr_matrix([[1.0]])), SciPyHelper.is_scipy_sparse([1.0]))"
    )
    done = run_code(code, lite.uri)
    assert done.out.splitlines() == ["False False", "True False"], done.err


def test_a_package_is_imported_when_anything_of_it_is_used() -> None:
    code = (
        "import sys; from pipelines.deferred import deferred\n"
        "with deferred({'colorsys': [], 'wsgiref.util': ['is_hop_by_hop'], 'no_such_package': []}):\n"
        "    import colorsys\n"
        "    from wsgiref.util import is_hop_by_hop\n"
        "    assert 'no_such_package' not in sys.modules\n"
        "print({'colorsys', 'wsgiref.util'} & set(sys.modules), is_hop_by_hop('te'), colorsys.hsv_to_rgb(0, 0, 1))\n"
        "import colorsys as real, wsgiref.util\n"
        "print(colorsys is real, colorsys.hsv_to_rgb is real.hsv_to_rgb, wsgiref.util.is_hop_by_hop is is_hop_by_hop)\n"
        "with deferred({'colorsys': ['rgb_to_hsv']}):\n"
        "    assert sys.modules['colorsys'] is real\n"
        "with deferred({'wave': []}):\n"
        "    import wave\n"
        "    wave.open\n"
        "    assert sys.modules['wave'] is not wave\n"
    )
    done = run_code(code)
    assert done.out == "set() True (1, 1, 1)\nFalse True False\n", done.err


def test_a_package_is_looked_for_once() -> None:
    code = (
        "import importlib; from pipelines.deferred import deferred\n"
        "with deferred({'colorsys': [], 'wave': ['open']}):\n"
        "    import colorsys, wave; opened = wave.open\n"
        "first = colorsys.rgb_to_hsv, wave.Error\n"
        "importlib.import_module = None\n"
        "print(colorsys.rgb_to_hsv is first[0], wave.Error is first[1], opened.__name__)\n"
    )
    done = run_code(code)
    assert (done.status, done.out) == (0, "True True call\n"), done.err
