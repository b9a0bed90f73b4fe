"""Reading ahead: what comes next is made while what is there is used."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
_END = object()


def ahead(items: Iterator[T]) -> Iterator[T]:
    """The items of an iterator, each made by a thread while the one before it is used.

    No more than two are there at once, if whoever takes them lets go of one before asking for the next. The thread ends with the
    iterator: at its end, by an error, which is raised to whoever takes the items, or when it is closed or dropped.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="read-ahead") as pool:
        coming = pool.submit(next, items, _END)
        while (item := coming.result()) is not _END:
            coming = pool.submit(next, items, _END)
            yield item  # pyright: ignore[reportReturnType]
            del item
