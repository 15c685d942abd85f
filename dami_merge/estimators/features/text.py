"""Features of a prompt's text alone: hashed n-grams, shapes and counts. Built in; nothing is downloaded.

The hash is a polynomial over the UTF-8 bytes, so that it is the same on every machine and in every release of
Python, and so that one prompt takes some tens of microseconds. Source: ours.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dami_merge.estimators.fitted import Conversation, Inputs

ORDERS = (1, 2, 3, 4)
"""Lengths of the n-grams, in bytes."""

BITS = 10
"""2^BITS buckets for the n-grams; different n-grams may share one."""

MOST_BYTES_READ = 20_000
"""Bytes of a prompt that are read: half from its start, half from its end."""

VERSION = "1"

_STEPS = 4
"""Steps of the logarithm of the length that are told apart."""

_COUNTED = ("digits", "capitals", "small letters", "spaces", "lines", "signs", "beyond ASCII", "backslashes")
_FACTOR = np.uint64(0x9E3779B97F4A7C15)
_MIXER = np.uint64(0xD6E8FEB86659FD93)
_POWERS = np.array([pow(0x100000001B3, power, 1 << 64) for power in range(8)], dtype=np.uint64)

Bytes = NDArray[np.uint8]
Words = NDArray[np.uint64]


class TextFeatures:
    """Hashed n-grams of bytes and of shapes, the length together with the opening, and counts of characters.

    A shape has one letter for all digits, one for all capitals, and so on; signs stay what they are: `7a-3`
    has the shape `0a-0`.

    Example:
        >>> TextFeatures().inputs([[{"role": "user", "content": "7a-3b*3c-2"}]]).vectors.shape
        (1, 3082)
    """

    spec = "text"

    def inputs(self, queries: Sequence[Conversation]) -> Inputs:
        """Features of some queries, shape [n, 3·2^BITS + 10]: n-grams, shapes, length by opening, counts."""
        rows = [self._row(query) for query in queries]
        vectors = np.array(rows) if rows else np.zeros((0, _WIDTH))
        return Inputs(vectors, np.zeros(len(rows)), ("",) * len(rows), _BLOCKS)

    def describe(self) -> dict[str, str]:
        """The version of the hash and its options."""
        return {"text": VERSION, "orders": "1-4", "bits": str(BITS)}

    @staticmethod
    def _row(query: Conversation) -> NDArray[np.float64]:
        data = _bytes(query)
        counts, shapes = _counts(data), _SHAPES[data]
        return np.concatenate([_gram_block(data), _gram_block(shapes), _opening(shapes, counts[0]), counts])


def _gram_block(data: Bytes) -> NDArray[np.float64]:
    """N-grams of every order, each order scaled to a length of 1, shape [2^BITS]."""
    grams = np.zeros(_GRAMS)
    for order in ORDERS:
        own = np.zeros(_GRAMS)
        words = _hashes(data, order)
        signs = np.where(words & np.uint64(1), 1.0, -1.0)
        np.add.at(own, _buckets(words), signs)
        size = np.sqrt((own**2).sum())
        grams += own / size if size else own
    return grams


def _opening(shapes: Bytes, length: float) -> NDArray[np.float64]:
    """The first shape, alone and with the length, shape [2^BITS]. Near lengths share two of three buckets."""
    opening = np.zeros(_GRAMS)
    first = shapes[1:2].astype(np.uint64) * _POWERS[5]
    step = np.uint64(round(float(length) * _STEPS)) + np.arange(3).astype(np.uint64)
    np.add.at(opening, _buckets(_mixed(first)), 1.0)
    np.add.at(opening, _buckets(_mixed(first + step * _FACTOR)), 1.0)
    return opening


def prompt_text(query: Conversation) -> str:
    """What is read of a conversation: the contents of all turns, one after the other."""
    return "\n".join(turn["content"] for turn in query)


def _bytes(query: Conversation) -> Bytes:
    data = prompt_text(query).encode("utf-8", "replace")
    if len(data) > MOST_BYTES_READ:
        data = data[: MOST_BYTES_READ // 2] + data[-MOST_BYTES_READ // 2 :]
    return np.frombuffer(b"\x02" + data + b"\x03", dtype=np.uint8)


def _hashes(data: Bytes, order: int) -> Words:
    """A number of 64 bits for each n-gram of one order."""
    count = len(data) - order + 1
    if count < 1:
        return np.zeros(0, dtype=np.uint64)
    total = np.full(count, order, dtype=np.uint64) * _FACTOR
    for place in range(order):
        total += data[place : place + count].astype(np.uint64) * _POWERS[place]
    return _mixed(total)


def _buckets(words: Words) -> NDArray[np.int64]:
    return (words >> np.uint64(64 - BITS)).astype(np.int64)


def _mixed(words: Words) -> Words:
    mixed = (words ^ (words >> np.uint64(32))) * _MIXER
    mixed = (mixed ^ (mixed >> np.uint64(29))) * _FACTOR
    result: Words = mixed ^ (mixed >> np.uint64(32))
    return result


def _counts(data: Bytes) -> NDArray[np.float64]:
    """Logarithms of one plus: the length, and the number of bytes of each kind; last, the different bytes."""
    kinds = np.bincount(_KINDS[data], minlength=len(_COUNTED) + 1)[1:]
    logs: NDArray[np.float64] = np.log1p(np.concatenate([[len(data)], kinds, [len(np.unique(data))]]))
    return logs


def _kinds() -> Bytes:
    """The kind of each byte: a place in `_COUNTED` plus 1; 0 is none."""
    table = np.full(256, 6, dtype=np.uint8)
    for kind, ranges in enumerate((b"09", b"AZ", b"az"), 1):
        table[ranges[0] : ranges[1] + 1] = kind
    table[ord(" ")], table[ord("\n")], table[ord("\\")] = 4, 5, 8
    table[128:] = 7
    table[[2, 3]] = 0
    return table


def _shapes() -> Bytes:
    """The shape of each byte: one for digits, capitals, small letters and what is beyond ASCII."""
    table = np.arange(256, dtype=np.uint8)
    for shape, ranges in ((b"0", b"09"), (b"A", b"AZ"), (b"a", b"az")):
        table[ranges[0] : ranges[1] + 1] = shape[0]
    table[128:] = 128
    return table


_KINDS = _kinds()
_SHAPES = _shapes()
_GRAMS = 1 << BITS
_BLOCKS = (_GRAMS, _GRAMS, _GRAMS, len(_COUNTED) + 2)
_WIDTH = sum(_BLOCKS)
