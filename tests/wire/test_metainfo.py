"""Info dicts: the derived vectors, what real torrents do, and every hostile dict of the fact sheet."""

from __future__ import annotations

import tracemalloc
from typing import TYPE_CHECKING

import libtorrent as lt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawler.wire import bencode, metainfo
from crawler.wire.file_tree import list_files
from crawler.wire.files import Files
from crawler.wire.metainfo import Metainfo, MetainfoError, MetainfoLimits, parse
from crawler.wire.names import Text
from crawler.wire.torrent_file import torrent_file
from tests.wire import torrent_vectors as vectors

if TYPE_CHECKING:
    from collections.abc import Iterable


def info_dict(**fields: object) -> bytes:
    """Return a v1 info dict of one file of 20000 bytes; fields replace or add, None leaves out."""
    base: dict[str, object] = {
        "length": 20000,
        "name": b"a.txt",
        "piece length": 16384,
        "pieces": vectors.PIECES,
    }
    base.update({key.replace("_", " "): value for key, value in fields.items()})
    return bencode.encode({key.encode(): value for key, value in base.items() if value is not None})


def files_dict(*files: dict[bytes, object], **fields: object) -> bytes:
    """Return a v1 info dict with these files."""
    return info_dict(length=None, files=list(files), name=b"dir", **fields)


def tree_dict(tree: object, **fields: object) -> bytes:
    """Return a v2 info dict with this file tree."""
    whole: dict[str, object] = {"length": None, "pieces": None, "meta version": 2, "name": b"dir"}
    fields = {key.replace("_", " "): value for key, value in fields.items()}
    return info_dict(**{**whole, "file tree": tree, **fields})


def plain(info: Metainfo) -> list[tuple[str, int]]:
    """Return path, joined for reading, and size of each file."""
    return [("|".join(name.text for name in file.path), file.size) for file in info.files]


def leaf(size: int, root: bytes | None = vectors.ROOT) -> dict[bytes, object]:
    """Return a file of a v2 tree."""
    return {b"": {b"length": size, **({b"pieces root": root} if root else {})}}


@pytest.fixture(params=["decoded", "walked"])
def _way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the test run twice: info dicts decoded whole, as small ones are, and walked, as large ones are."""
    if request.param == "walked":
        monkeypatch.setattr(metainfo, "_SMALL", 0)


both_ways = pytest.mark.usefixtures("_way")

A_TXT = ((b"a.txt",), 20000)


@both_ways
@pytest.mark.parametrize(
    ("info", "version", "v1", "v2"),
    [
        (vectors.V1_INFO, 1, vectors.V1_HASH, None),
        (vectors.V2_INFO, 2, None, vectors.V2_HASH),
        (vectors.HYBRID_INFO, 2, vectors.HYBRID_HASH_V1, vectors.HYBRID_HASH_V2),
    ],
)
def test_vectors(info: bytes, version: int, v1: bytes | None, v2: bytes | None) -> None:
    """The three derived torrents have one file, the right hashes, and no faults."""
    assert parse(info) == Metainfo(
        name=Text("a.txt"),
        piece_length=16384,
        files=Files([A_TXT]),
        file_count=1,
        size=20000,
        files_truncated=False,
        private=False,
        meta_version=version,
        infohash_v1=v1,
        infohash_v2=v2,
    )


@both_ways
def test_many_files() -> None:
    """Files keep their order and their directories, whatever extra keys stand beside them."""
    info = parse(
        files_dict(
            {b"length": 19000, b"path": [b"b", b"c.txt"], b"md5sum": b"x", b"attr": b"x"},
            {b"length": 1000, b"path": [b"a.txt"], b"sha1": [b"odd", 1, {b"k": []}]},
        )
    )

    assert plain(info) == [("b|c.txt", 19000), ("a.txt", 1000)]
    assert (info.name, info.size, info.file_count, info.faults) == (Text("dir"), 20000, 2, ())


@both_ways
def test_v2_tree() -> None:
    """A v2 tree gives its files in order, an empty file having no root."""
    info = parse(tree_dict({b"d": {b"a": leaf(5), b"b": {b"c": leaf(6)}}, b"e": leaf(0, None)}))

    assert plain(info) == [("d|a", 5), ("d|b|c", 6), ("e", 0)]
    assert (info.size, info.meta_version, info.infohash_v1, info.faults) == (11, 2, None, ())


@both_ways
def test_padding_is_left_out() -> None:
    """Neither BEP 47's padding nor the two older customs show up as files or as content."""
    info = parse(
        files_dict(
            {b"length": 10000, b"path": [b"a"]},
            {b"length": 6384, b"path": [b".pad", b"6384"], b"attr": b"p"},
            {b"length": 1, b"path": [b".pad", b"1"]},
            {b"length": 2, b"path": [b"_____padding_file_0_if you see this file, please update"]},
            {b"length": 10000, b"path": [b"b"]},
        )
    )

    assert plain(info) == [("a", 10000), ("b", 10000)]
    assert (info.size, info.faults) == (20000, ())


@both_ways
def test_utf8_names_come_first() -> None:
    """``name.utf-8`` and ``path.utf-8`` win where they are valid, and only there."""
    good = files_dict(
        {b"length": 20000, b"path": [b"\xcc\xf3\xe7"], b"path.utf-8": ["Муз".encode()]},
        **{"name.utf-8": "Имя".encode()},
    )
    bad = files_dict({b"length": 20000, b"path": [b"p"], b"path.utf-8": [b"\xff"]}, **{"name.utf-8": b"\xff"})

    assert (parse(good).name, plain(parse(good))) == (Text("Имя"), [("Муз", 20000)])
    assert (parse(bad).name, plain(parse(bad))) == (Text("dir"), [("p", 20000)])


def test_foreign_names_keep_their_bytes() -> None:
    """A name that is not UTF-8 comes with the guessed encoding and as it was."""
    name = "Сборник популярных песен".encode("cp1251")

    text = parse(info_dict(name=name)).name

    assert text == Text("Сборник популярных песен", "cp1251", name)


@pytest.mark.parametrize(
    ("value", "private"), [(1, True), (0, False), (2, False), (b"1", False), ([], False)]
)
def test_private_is_the_integer_one(value: object, private: bool) -> None:
    """Only the integer 1 makes a torrent private (BEP 27)."""
    assert parse(info_dict(private=value)).private is private


# (what libtorrent's fixture is called, the dict, files as read, faults)
ODD = [
    ("invalid_name", info_dict(name=5), [("", 20000)], ("empty_path", "no_name")),
    ("missing name", info_dict(name=None), [("", 20000)], ("empty_path", "no_name")),
    (
        "parent_path",
        files_dict({b"length": 20000, b"path": [b"..", b"a"]}),
        [("..|a", 20000)],
        ("unsafe_path",),
    ),
    (
        "hidden_parent_path",
        files_dict({b"length": 20000, b"path": [b"foo/../../../bar"]}),
        [("foo/../../../bar", 20000)],
        ("unsafe_path",),
    ),
    ("absolute_filename", info_dict(name=b"/foobar"), [("/foobar", 20000)], ("unsafe_path",)),
    ("slash_path", files_dict({b"length": 20000, b"path": [b"/"]}), [("/", 20000)], ("unsafe_path",)),
    (
        "backslash_path",
        files_dict({b"length": 20000, b"path": [b"a\\b"]}),
        [("a\\b", 20000)],
        ("unsafe_path",),
    ),
    ("empty path", files_dict({b"length": 20000, b"path": []}), [("", 20000)], ("empty_path",)),
    ("empty element", files_dict({b"length": 20000, b"path": [b"a", b""]}), [("a|", 20000)], ("empty_path",)),
    ("no path", files_dict({b"length": 20000}), [("", 20000)], ("empty_path",)),
    (
        "path is a string",
        files_dict({b"length": 20000, b"path": b"a"}),
        [("", 20000)],
        ("bad_path", "empty_path"),
    ),
    ("element is an int", files_dict({b"length": 20000, b"path": [1, b"a"]}), [("a", 20000)], ("bad_path",)),
    (
        "a file is a string",
        info_dict(length=None, files=[b"x", {b"length": 20000, b"path": [b"a"]}]),
        [("a", 20000)],
        ("bad_file",),
    ),
    ("pieces not 20n", info_dict(pieces=b"x" * 39), [("a.txt", 20000)], ("bad_pieces",)),
    ("too few pieces", info_dict(pieces=b"x" * 20), [("a.txt", 20000)], ("bad_pieces",)),
    ("pieces missing", info_dict(pieces=None), [("a.txt", 20000)], ("bad_pieces",)),
    ("pieces is a list", info_dict(pieces=[1]), [("a.txt", 20000)], ("bad_pieces",)),
    (
        "symlink out of the tree",
        files_dict(
            {b"length": 20000, b"path": [b"a"]},
            {b"path": [b"l"], b"attr": b"l", b"symlink path": [b"..", b"..", b"etc"]},
        ),
        [("a", 20000), ("l", 0)],
        (),
    ),
    ("zero root", tree_dict({b"a": leaf(5, bytes(32))}), [("a", 5)], ("bad_root",)),
    ("no root", tree_dict({b"a": leaf(5, None)}), [("a", 5)], ("bad_root",)),
    ("short root", tree_dict({b"a": leaf(5, b"x")}), [("a", 5)], ("bad_root",)),
    (
        "file without name",
        tree_dict({b"": {b"length": 5, b"pieces root": vectors.ROOT}}),
        [("", 5)],
        ("empty_path",),
    ),
    ("a node is an int", tree_dict({b"a": leaf(5), b"b": 3}), [("a", 5)], ("bad_file",)),
    ("piece length 100", tree_dict({b"a": leaf(5)}, piece_length=100), [("a", 5)], ("bad_v2_piece_length",)),
    ("no power of two", tree_dict({b"a": leaf(5)}, piece_length=16385), [("a", 5)], ("bad_v2_piece_length",)),
    ("unknown version", tree_dict({b"a": leaf(5)}, meta_version=3), [("a", 5)], ("bad_meta_version",)),
    (
        "v1 and v2 disagree",
        info_dict(file_tree={b"b.txt": leaf(20000)}, meta_version=2),
        [("a.txt", 20000)],
        ("files_disagree",),
    ),
    ("name too long", info_dict(name=b"n" * 1025), [("n" * 1024, 20000)], ("long_name",)),
    ("trailing bytes", vectors.V1_INFO + b"xyz", [("a.txt", 20000)], ("trailing_bytes",)),
    (
        "unordered",
        b"d6:pieces40:" + vectors.PIECES + vectors.V1_INFO[1 : -len("6:pieces40:") - 41] + b"e",
        [("a.txt", 20000)],
        (),
    ),
    ("leading zeros", vectors.V1_INFO.replace(b"i20000e", b"i020000e"), [("a.txt", 20000)], ()),
    ("overlong int elsewhere", info_dict(source=10**50), [("a.txt", 20000)], ()),
]


@both_ways
@pytest.mark.parametrize(("info", "files", "faults"), [pytest.param(*row[1:], id=row[0]) for row in ODD])
def test_odd_dicts_are_told_as_they_are(
    info: bytes, files: list[tuple[str, int]], faults: tuple[str, ...]
) -> None:
    """What is wrong but readable gives a record with its faults named: nothing is dropped or repaired."""
    found = parse(info)

    assert (plain(found), found.faults) == (files, faults)
    assert found.size == sum(size for _, size in files)


LIMIT = 2**63 - 1

REFUSED = [
    ("empty", b"", "not_bencode"),
    ("list", b"le", "not_bencode"),
    ("cut off", vectors.V1_INFO[:-1], "not_bencode"),
    ("key is an int", b"di1ei2ee", "not_bencode"),
    ("string runs over", b"d4:name9999999999:x", "not_bencode"),
    ("endless digits", b"d4:name" + b"9" * 5000 + b":xe", "not_bencode"),
    ("endless int", b"d6:lengthi" + b"9" * 5000 + b"ee", "not_bencode"),
    ("nothing", b"de", "bad_piece_length"),
    ("piece length 0", info_dict(piece_length=0), "bad_piece_length"),
    ("piece length -1", info_dict(piece_length=-1), "bad_piece_length"),
    ("piece length huge", info_dict(piece_length=10**19), "bad_piece_length"),
    ("piece length text", info_dict(piece_length=b"16384"), "bad_piece_length"),
    ("no files", info_dict(length=None), "no_files"),
    ("empty list", files_dict(), "no_files"),
    ("only padding", files_dict({b"length": 5, b"path": [b"a"], b"attr": b"p"}), "no_files"),
    ("empty tree", tree_dict({}), "no_files"),
    ("negative size", info_dict(length=-1), "bad_size"),
    ("size is text", info_dict(length=b"1"), "bad_size"),
    ("huge size", info_dict(length=2**63), "bad_size"),
    ("overlong size", vectors.V1_INFO.replace(b"20000", b"9" * 40), "bad_size"),
    ("negative file", files_dict({b"length": -1, b"path": [b"a"]}), "bad_size"),
    ("no file size", files_dict({b"path": [b"a"]}), "bad_size"),
    ("sum too large", files_dict(*[{b"length": LIMIT, b"path": [b"a"]}] * 2), "bad_size"),
    ("negative in tree", tree_dict({b"a": leaf(-1)}), "bad_size"),
    (
        "tree recursion",
        b"d9:file tree" + b"d1:a" * 5000,
        "too_deep",
    ),
    ("list recursion", b"d1:x" + b"l" * 100_000, "too_deep"),
    ("dict recursion", b"d1:x" + b"d0:" * 100_000, "too_deep"),
]


@both_ways
@pytest.mark.parametrize(("info", "reason"), [pytest.param(*row[1:], id=row[0]) for row in REFUSED])
def test_what_no_program_could_load_is_refused(info: bytes, reason: str) -> None:
    """Broken bencode, impossible sizes and endless nesting give the one error, with a reason to count by."""
    with pytest.raises(MetainfoError) as caught:
        parse(info)
    assert caught.value.reason == reason


@both_ways
def test_file_list_is_cut_but_counted() -> None:
    """Beyond the limit files are no longer listed, though their sizes count, and the record says so."""
    files = [{b"length": 1, b"path": [b"%d" % number]} for number in range(25)]

    info = parse(files_dict(*files), MetainfoLimits(max_files=20))

    assert (len(info.files), info.file_count, info.size, info.files_truncated) == (20, 25, 25, True)


@both_ways
def test_path_depth_is_cut() -> None:
    """A path of hundreds of elements is kept to a hundred, and marked."""
    info = parse(files_dict({b"length": 20000, b"path": [b"x"] * 500}))

    assert len(info.files[0].path) == 100
    assert info.faults == ("bad_path",)


def test_deep_but_allowed_tree() -> None:
    """A tree within the depth limit is read, without recursion on our side."""
    tree: dict[bytes, object] = leaf(5)
    for _ in range(90):
        tree = {b"d": tree}

    def encode(node: object) -> bytes:
        if isinstance(node, dict):
            return b"d" + b"".join(bencode.encode(key) + encode(value) for key, value in node.items()) + b"e"
        return bencode.encode(node)

    info = parse(b"d9:file tree" + encode(tree) + b"12:meta versioni2e4:name1:n12:piece lengthi16384ee")

    assert len(info.files[0].path) == 90


@pytest.mark.parametrize("filling", [b"de", b"le", b"0:", b"i1e", b"d0:lee"])
def test_a_bomb_costs_no_memory(filling: bytes) -> None:
    """Endless empty values are refused or skipped in the memory of the document itself."""
    bomb = b"d1:xl" + filling * ((1 << 18) // len(filling)) + b"e" + vectors.V1_INFO[1:]
    tracemalloc.start()

    with pytest.raises(MetainfoError, match="too_many_tokens"):
        parse(bomb, MetainfoLimits(max_tokens=20_000))

    assert tracemalloc.get_traced_memory()[1] < 1 << 18
    tracemalloc.stop()


def test_too_large_is_not_even_looked_at() -> None:
    """A document beyond ten mebibytes is refused by its length."""
    with pytest.raises(MetainfoError, match="too_large"):
        parse(bytes((10 << 20) + 1))


@given(data=st.binary(max_size=200))
def test_any_bytes_parse_or_raise_the_one_error(data: bytes) -> None:
    """No bytes make anything but a record or a MetainfoError, on their own or inside an info dict."""
    for info in (data, b"d5:filesl" + data, b"d9:file treed" + data, info_dict(pieces=data, name=data)):
        try:
            assert parse(info).file_count
        except MetainfoError:
            continue


KEYS = st.sampled_from(
    [
        b"length",
        b"path",
        b"path.utf-8",
        b"attr",
        b"name",
        b"name.utf-8",
        b"",
        b"pieces root",
        b"private",
        b"x",
    ]
)
NODES = st.recursive(
    st.integers(-5, 2**40) | st.binary(max_size=8),
    lambda child: st.lists(child, max_size=3) | st.dictionaries(KEYS, child, max_size=4),
    max_leaves=25,
)


@given(files=NODES, tree=NODES, more=st.dictionaries(KEYS, NODES, max_size=3))
def test_decoded_and_walked_agree(files: object, tree: object, more: dict[bytes, object]) -> None:
    """Small dicts and large ones are read by the same rules, to the last fault."""
    info = bencode.encode({**more, b"files": files, b"file tree": tree, b"piece length": 16384})

    def outcome() -> object:
        try:
            return parse(info)
        except MetainfoError as error:
            return error.reason

    decoded = outcome()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(metainfo, "_SMALL", 0)
        assert outcome() == decoded


def test_saved_files_load_in_libtorrent() -> None:
    """A .torrent around v1, v2 or hybrid bytes loads in libtorrent under the very same hashes."""
    for info in (vectors.V1_INFO, vectors.V2_INFO, vectors.HYBRID_INFO):
        saved = torrent_file(
            info, trackers=["udp://t:1", "http://u/a"], nodes=[("1.2.3.4", 6881)], created_by="x", comment="é"
        )
        loaded = lt.load_torrent_buffer(saved)
        ours = parse(info)

        assert saved.count(info) == 1
        assert loaded.ti is not None
        hashes = loaded.ti.info_hashes()
        assert hashes.v1.to_bytes() == (ours.infohash_v1 or bytes(20))
        assert hashes.v2.to_bytes() == (ours.infohash_v2 or bytes(32))
        assert loaded.trackers == ["udp://t:1", "http://u/a"]


@pytest.mark.parametrize("info", [b"", b"le", vectors.V1_INFO + b"x", vectors.V1_INFO[:-1], b"d1:md"])
def test_only_a_whole_dict_is_saved(info: bytes) -> None:
    """Bytes that are not exactly one dict would make a file that nobody can read."""
    with pytest.raises(MetainfoError, match="not_a_dict"):
        torrent_file(info)


SIZES = st.integers(-1, 3) | st.sampled_from([2**62, 2**63])
ENTRIES = st.lists(
    st.fixed_dictionaries(
        {b"length": SIZES, b"path": st.lists(st.sampled_from([b"a", b"b\xff", b"", b".pad"]), max_size=2)},
        optional={b"attr": st.sampled_from([b"p", b"x"])},
    )
    | st.sampled_from(
        [b"xy", {b"length": 1}, {b"length": b"1", b"path": [b"a"]}, {b"length": 1, b"path": b"a"}]
    ),
    max_size=4,
)


@given(entries=ENTRIES)
def test_files_are_listed_alike_at_once_and_one_by_one(entries: list[object]) -> None:
    """The quick way through an ordinary list gives what going through it entry by entry gives."""

    def listed(files: Iterable[object]) -> object:
        try:
            return list_files(files, 3)
        except MetainfoError as error:
            return error.reason

    assert listed(entries) == listed(iter(entries))
