"""Read XMP, the XML that image editors write about an image (ISO 16684-1)."""

from __future__ import annotations

from xml.etree import ElementTree

Properties = dict[str, list[str]]  # for example `dc:subject` → the keywords

_NAMESPACES = {
    "dc": "http://purl.org/dc/elements/1.1/",
    "xmp": "http://ns.adobe.com/xap/1.0/",
    "exif": "http://ns.adobe.com/exif/1.0/",
    "exifEX": "http://cipa.jp/exif/1.0/",
    "aux": "http://ns.adobe.com/exif/1.0/aux/",
    "tiff": "http://ns.adobe.com/tiff/1.0/",
    "photoshop": "http://ns.adobe.com/photoshop/1.0/",
}
_RDF = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}"
_LANGUAGE = "{http://www.w3.org/XML/1998/namespace}lang"
MAX_BYTES = 1 << 20  # larger XMP, with long lists of edits and masks, is not read


class _NoDoctype(ElementTree.TreeBuilder):
    """Refuses a document type: XMP has none, and it could expand a short file into a long text."""

    def doctype(self, name: str, pubid: str | None, system: str | None) -> None:
        raise ElementTree.ParseError("XMP with a document type")


def read_xmp(data: bytes) -> Properties:
    """Return the properties; none if the XMP is damaged. The default language of a text comes first."""
    start, end = data.find(b"<"), data.rfind(b">")
    if not 0 <= start < end or len(data) > MAX_BYTES:
        return {}
    try:
        root = ElementTree.fromstring(data[start : end + 1], ElementTree.XMLParser(target=_NoDoctype()))
    except (ElementTree.ParseError, ValueError, LookupError):  # also an unknown encoding
        return {}
    found: Properties = {}
    for description in root.iter(f"{_RDF}Description"):
        for name, value in description.items():
            _add(found, name, [value])
        for element in description:
            _add(found, element.tag, _values(element))
    return found


def _values(element: ElementTree.Element) -> list[str]:
    items = sorted(element.iter(f"{_RDF}li"), key=lambda item: item.get(_LANGUAGE) not in (None, "x-default"))
    return [item.text or "" for item in items] if items else [element.text or ""]


def _add(found: Properties, name: str, values: list[str]) -> None:
    space, _, local = name.removeprefix("{").partition("}")
    prefix = next((prefix for prefix, known in _NAMESPACES.items() if known == space), "")
    kept = [value.strip() for value in values if value.strip()]
    if prefix and kept:
        found.setdefault(f"{prefix}:{local}", kept)
