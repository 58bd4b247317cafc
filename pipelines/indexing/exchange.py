"""Exchange: a new collection, filled beside the old one, takes its name.

Until then the old collection stays as it is and can be searched. An exchange that was killed is completed by the next
run.
"""

from __future__ import annotations

from ..milvus.collection import Collection

# What the names of a new collection and of the old one end in during the exchange, by what the exchange is for.
REEMBEDDED = ("__reembed", "__replaced")
REBUILT = ("__rebuild", "__outdated")
IMPORTED = ("__import", "__former")


def sibling(collection: Collection, suffix: str) -> Collection:
    """Return the collection of the same Milvus whose name ends in `suffix`."""
    return Collection(collection.uri, collection.name + suffix, collection.token)


def exchange(collection: Collection, new: Collection, names: tuple[str, str]) -> None:
    """Put `new` in the place of the collection, which is dropped."""
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
