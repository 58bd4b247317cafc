"""Exchange: a new collection, filled beside the old one, takes its name.

Until then the old collection stays unchanged and can be searched. The next run completes an exchange that was killed.
"""

from __future__ import annotations

from ..milvus.collection import Collection

# Suffixes of the new and the old collection's names during an exchange, for each of its purposes.
REEMBEDDED = ("__reembed", "__replaced")
REBUILT = ("__rebuild", "__outdated")
IMPORTED = ("__import", "__former")


def sibling(collection: Collection, suffix: str) -> Collection:
    """Return the collection in the same Milvus with this suffix after its name."""
    return Collection(collection.uri, collection.name + suffix, collection.token)


def exchange(collection: Collection, new: Collection, names: tuple[str, str]) -> None:
    """Give `new` the name of the collection, and drop the old one."""
    new.flush()
    old = sibling(collection, names[1])
    sibling(collection, "").rename(old.name)
    new.rename(collection.name)
    old.drop()
    collection.forget()


def finish_exchange(collection: Collection) -> None:
    """Complete an exchange that was killed."""
    for new_name, old_name in (REEMBEDDED, REBUILT, IMPORTED):
        old, new = sibling(collection, old_name), sibling(collection, new_name)
        if not old.exists():
            continue
        if not collection.exists() and new.exists():
            new.rename(collection.name)
        if collection.exists():
            old.drop()
        else:
            old.rename(collection.name)
