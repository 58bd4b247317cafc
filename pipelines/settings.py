"""Every setting of the program with its default and its environment variable, in one place.

The command line, the page and the notebook all start from `Settings.from_env()`.
"""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import InputError
from .models.model_id import name_of, resolve_name

ENV_PREFIX = "IMAGE_SEARCH_"
DEFAULT_MODEL = "clip_vit_base_patch32"


def env_name(field: str) -> str:
    """The environment variable of a setting: `batch_size` → `IMAGE_SEARCH_BATCH_SIZE`."""
    return ENV_PREFIX + field.upper()


@dataclass(frozen=True)
class Settings:
    """What both pipelines need to know. Field names are the option names, with underscores.

    uri: a Milvus Lite file (`./search.db`), a server (`http://host:19530`) or a Zilliz Cloud endpoint.
    model: a name of the registry, or the path of a folder that `train` wrote; '' takes the one that made the
        collection, for a new one DEFAULT_MODEL.
    batch_size: images per model call; 0 chooses by device.
    weights: a weights file to use instead of the registry's.
    runtime: what runs the model: 'pytorch', 'openvino', or 'auto' for the faster one here.
    exact_preprocess: decode large JPEGs in full before resizing, as the reference does.
    auth: `user:password` that the page and the API ask for; '' asks for none.
    rate_limit: searches and uploads a second that one client of the page or the API may make; 0 sets no limit.
    allow_private_urls: also fetch images from private, loopback and link-local addresses.
    """

    uri: str = "./search.db"
    token: str = ""
    collection: str = "images"
    model: str = ""
    weights: str = ""
    device: str = "auto"
    batch_size: int = 0
    host: str = "127.0.0.1"
    port: int = 7860
    runtime: str = "auto"
    exact_preprocess: bool = False
    auth: str = dataclasses.field(default="", repr=False)
    rate_limit: int = 50
    allow_private_urls: bool = False

    @classmethod
    def from_env(cls, **overrides: Any) -> Settings:
        """Defaults, then the environment, then the given values (None means "not given").

        Raises:
            InputError: a variable that must be a number is none.
        """
        values: dict[str, Any] = {}
        for field in dataclasses.fields(cls):
            raw = os.environ.get(env_name(field.name), "")
            if raw:
                values[field.name] = _parse(field, raw)
        values.update({name: value for name, value in overrides.items() if value is not None})
        return cls(**values)

    @property
    def model_options(self) -> dict[str, Any]:
        """What the embedding operators take of these."""
        return {
            "model_name": self.model, "device": self.device, "weights": self.weights, "runtime": self.runtime,
        }  # fmt: skip

    @property
    def decode_options(self) -> dict[str, Any]:
        """What the decode operator takes of these."""
        return {"exact": self.exact_preprocess, "allow_private": self.allow_private_urls}

    @property
    def milvus_options(self) -> dict[str, Any]:
        """What the Milvus operators take of these."""
        return {"uri": self.uri, "collection_name": self.collection, "token": self.token}

    def with_model_of(self, model_id: str) -> Settings:
        """Settles the model: the one given, else that of a collection's tag (`name@fingerprint`), else the default."""
        return dataclasses.replace(self, model=resolve_name(self.model or name_of(model_id) or DEFAULT_MODEL))


def _parse(field: dataclasses.Field[Any], raw: str) -> Any:
    if isinstance(field.default, bool):
        return _parse_bool(field.name, raw)
    if not isinstance(field.default, int):
        return raw
    try:
        return int(raw)
    except ValueError:
        raise InputError(f"{env_name(field.name)} must be a whole number, not '{raw}'") from None


def _parse_bool(name: str, raw: str) -> bool:
    value = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}.get(raw.lower())
    if value is None:
        raise InputError(f"{env_name(name)} must be 1 or 0, not '{raw}'")
    return value


def cache_dir() -> Path:
    """Where downloaded weights are kept: IMAGE_SEARCH_CACHE, else the platform's cache folder."""
    explicit = os.environ.get(env_name("cache"))
    if explicit:
        return Path(explicit).expanduser()
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "image-search"
