"""The stream's reader must notice what TCP is trusted not to do; a check that cannot fail proves nothing."""

from __future__ import annotations

from roaming.stream import Reader, words


def test_whole_stream_in_odd_pieces_misses_nothing() -> None:
    reader, data = Reader(), words(0, 100)
    assert sum(reader.take(data[start : start + 7]) for start in range(0, len(data), 7)) == 0
    assert (reader.received, reader.lost) == (800, 0)


def test_skipped_words_are_counted_in_bytes_where_they_are_missing() -> None:
    reader = Reader()
    assert reader.take(words(0, 10)) == 0
    assert reader.take(words(13, 10)) == 24
    assert reader.take(words(23, 1)) == 0
    assert reader.lost == 24


def test_repeated_words_are_counted_too() -> None:
    reader = Reader()
    reader.take(words(0, 10))
    assert reader.take(words(8, 4)) == 16
