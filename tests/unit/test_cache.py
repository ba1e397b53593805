from __future__ import annotations

import fcntl
import hashlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from offnote import cache
from offnote.cache import CachedClip
from offnote.clips import SPLITS, Entry, Excluded
from offnote.errors import InputError

SETTINGS = {"audio": {"sample_rate": 16000, "channel": 0}, "features": {"n_mels": 8, "f_max": None, "power": 2.0}}
MELS = 8


def clip(entry: Entry, frames: int, seed: int = 0) -> CachedClip:
    values = np.random.default_rng(seed).standard_normal((frames, MELS)).astype(np.float32)
    return CachedClip(entry, hashlib.sha256(entry.path.encode()).hexdigest(), frames * 512, values)


def some_clips(count: int = 6) -> list[CachedClip]:
    return [clip(Entry(f"fan/train/{n:04}.wav", "train", "source"), 100 + n, n) for n in range(count)]


def write(path: Path, clips: Sequence[CachedClip | Excluded], **more: Any) -> Path:
    cache.write(path, clips, SETTINGS, n_mels=MELS, **more)
    return path


@st.composite
def entries(draw: st.DrawFn) -> Entry:
    path = draw(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=20))
    split = draw(st.sampled_from(SPLITS))
    domain = draw(st.sampled_from(["", "source", "target"])) if split == "train" else ""
    start = draw(st.none() | st.floats(0, 3600))
    return Entry(path, split, domain, start, None if start is None else start + 10)


@settings(max_examples=40, deadline=None)
@given(
    drawn=st.lists(st.tuples(entries(), st.integers(1, 700)), min_size=1, max_size=6, unique_by=lambda one: one[0].path)
)
def test_what_is_written_is_read(tmp_path_factory: pytest.TempPathFactory, drawn: list[tuple[Entry, int]]) -> None:
    clips = [clip(entry, frames, seed) for seed, (entry, frames) in enumerate(drawn)]
    with cache.read(write(tmp_path_factory.mktemp("cache") / "id_00.h5", clips)) as found:
        assert found.entries == [one.entry for one in clips]
        assert found.sha256 == [one.sha256 for one in clips]
        assert found.settings == SETTINGS
        assert found.n_mels == MELS
        assert found.offsets.tolist() == np.cumsum([0] + [len(one.frames) for one in clips]).tolist()
        for index, one in enumerate(clips):
            assert np.array_equal(found.clip(index), one.frames)


@pytest.fixture(scope="module")
def six_clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("cache") / "id_00.h5", some_clips(6))


@given(indices=st.lists(st.integers(0, 5), max_size=12))
def test_many_clips_are_read_as_one_by_one(six_clips: Path, indices: list[int]) -> None:
    clips = some_clips(6)
    with cache.read(six_clips) as found:
        frames, offsets = found.clips(indices)
    assert offsets.tolist() == np.cumsum([0] + [len(clips[index].frames) for index in indices]).tolist()
    assert np.array_equal(frames, np.concatenate([np.empty((0, MELS)), *(clips[index].frames for index in indices)]))


def test_the_file_holds_what_the_format_says_and_nothing_else(tmp_path: Path) -> None:
    clips = [*some_clips(), clip(Entry("fan/test/0000.wav", "test", start=1.0, end=2.0), 31)]
    with h5py.File(write(tmp_path / "id_00.h5", clips, computed_on="cuda", gated_seconds=1.5)) as file:
        assert set(file) == {"frames", "clips"}
        assert set(file["clips"]) == {"path", "offset", "split", "domain", "sha256", "samples", "start", "end"}
        texts = {name: value.decode() for name, value in file.attrs.items() if isinstance(value, bytes)}
        assert dict(file.attrs) | texts == {
            "format": "offnote-features",
            "format_version": 1,
            "features": '{"audio":{"channel":0,"sample_rate":16000},"features":{"f_max":null,"n_mels":8,"power":2.0}}',
            "inputs_sha256": cache.inputs_sha256([one.entry for one in clips], [one.sha256 for one in clips]),
            "computed_on": "cuda",
            "gated_seconds": 1.5,
            "complete": 1,
        }
        frames = file["frames"]
        assert (frames.chunks, frames.fletcher32, frames.compression) == ((256, MELS), True, None)
        assert np.isnan(file["clips/start"][:-1]).all()
        assert file["clips/start"][-1] == 1.0
        assert h5py.check_string_dtype(file["clips/path"].dtype).encoding == "utf-8"
        for item in [file, file["clips"], frames, *file["clips"].values()]:
            assert h5py.h5g.get_objinfo(item.id).mtime == 0


def test_without_slices_there_is_no_start_or_end(tmp_path: Path) -> None:
    with h5py.File(write(tmp_path / "id_00.h5", some_clips())) as file:
        assert not {"start", "end"} & set(file["clips"])


def test_a_rewrite_gives_the_same_bytes(tmp_path: Path) -> None:
    first = write(tmp_path / "a.h5", some_clips(40)).read_bytes()
    assert write(tmp_path / "b.h5", some_clips(40)).read_bytes() == first
    assert write(tmp_path / "a.h5", some_clips(40)).read_bytes() == first


def test_half_precision_rounds_to_the_nearest(tmp_path: Path) -> None:
    clips = some_clips()
    with cache.read(write(tmp_path / "id_00.h5", clips, dtype="float16")) as found:
        assert found.dtype == np.float16
        assert np.array_equal(found.clip(3), clips[3].frames.astype(np.float16))


def test_the_hash_of_the_inputs_knows_every_field() -> None:
    entry = Entry("a.wav", "train")
    variants = [entry, Entry("b.wav", "train"), Entry("a.wav", "test"), replace(entry, domain="target")]
    variants += [replace(entry, start=0.0, end=1.0), replace(entry, start=0.0, end=2.0)]
    hashes = {cache.inputs_sha256([variant], [sha256]) for variant in variants for sha256 in ("0", "1")}
    assert len(hashes) == 2 * len(variants)


def test_excluded_clips_are_kept_with_their_reason(tmp_path: Path) -> None:
    whole = Excluded(Entry("fan/test/ä.wav", "test"), "silent")
    stretch = Excluded(Entry("long.wav", "train", "", 10.0, 20.0), "cut short – copy it anew")
    clips = some_clips(2)
    with cache.read(write(tmp_path / "id_00.h5", [whole, clips[0], stretch, clips[1]])) as found:
        assert found.excluded == [whole, stretch]
        assert found.entries == [one.entry for one in clips]
    without = cache.read(write(tmp_path / "id_02.h5", clips))
    assert without.excluded == []
    assert without.inputs_sha256 == found.inputs_sha256


def test_a_machine_of_broken_clips_alone_has_a_cache_that_lists_them(tmp_path: Path) -> None:
    broken = [Excluded(Entry(f"{number}.wav", "train"), "silent") for number in range(3)]
    write(tmp_path / "id_00.h5", broken)
    with cache.read(tmp_path / "id_00.h5") as found:
        assert (found.entries, found.offsets.tolist(), found.excluded) == ([], [0], broken)
        assert found.frames(0, 0).shape == (0, MELS)


def test_an_error_half_way_leaves_no_file(tmp_path: Path) -> None:
    def failing() -> Iterator[CachedClip]:
        yield from some_clips()
        raise InputError("a.wav: broken")

    with pytest.raises(InputError, match="broken"):
        cache.write(tmp_path / "id_00.h5", failing(), SETTINGS, n_mels=MELS)
    assert list(tmp_path.iterdir()) == []


FULL_DISK = """
import resource, sys
from pathlib import Path
from offnote.errors import InputError
from tests.unit.test_cache import some_clips, write

for size in range(0, 70_000, 1000):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
    try:
        write(Path(sys.argv[1]) / f"{size}.h5", some_clips(20))
    except InputError as error:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        print(error)
"""


def test_wherever_the_disk_ends_the_file_is_named_and_the_process_goes_on(tmp_path: Path) -> None:
    """HDF5 by itself fails again when it closes the file, in words of its own, and crashes when the process ends."""
    done = subprocess.run([sys.executable, "-c", FULL_DISK, str(tmp_path)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    refused = done.stdout.splitlines()
    assert len(refused) > 50
    assert all("h5: cannot be written (File too large); make room" in sentence for sentence in refused)
    written = sorted(path.stem for path in tmp_path.iterdir())
    assert len(written) + len(refused) == 70
    for name in written:
        with cache.read(tmp_path / f"{name}.h5") as found:
            assert len(found) == 20


def test_a_writer_refuses_what_makes_no_cache(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"a\.wav: 3 frames of 5 values; it takes one or more of 8"):
        write(tmp_path / "id_00.h5", [CachedClip(Entry("a.wav", "train"), "", 1, np.zeros((3, 5), np.float32))])


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"split": "validation"}, "split is 'validation'"),
        ({"split": "test", "domain": "target"}, "a test clip may not carry a domain"),
        ({"split": "test", "start": 1.0}, "both start and end"),
    ],
)
def test_an_entry_holds_nothing_it_must_not(fields: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        Entry("a.wav", **fields)


def foreign_cache(path: Path) -> Path:
    """Make the least that another program has to write."""
    with h5py.File(path, "w") as file:
        file["frames"] = np.arange(80, dtype=np.float32).reshape(10, MELS)
        file["clips/path"] = ["a.wav", "ä.wav"]
        file["clips/offset"] = np.array([0, 4, 10], dtype=np.int32)
        file["clips/split"] = ["train", "test"]
        file.attrs.update({"format": "offnote-features", "format_version": 1, "features": "{}", "complete": 1})
    return path


def test_a_cache_of_another_program_is_read(tmp_path: Path) -> None:
    with cache.read(foreign_cache(tmp_path / "id_00.h5")) as found:
        assert found.entries == [Entry("a.wav", "train"), Entry("ä.wav", "test")]
        assert found.clip(1)[0, 0] == 4 * MELS
        assert found.sha256 == ["", ""]
        assert found.inputs_sha256 == cache.inputs_sha256(found.entries, found.sha256)


def change(name: str, value: Any) -> Callable[[h5py.File], None]:
    def changed(file: h5py.File) -> None:
        del file[name]
        file[name] = value

    return changed


def exclude(paths: list[str], split: str = "test") -> Callable[[h5py.File], None]:
    def changed(file: h5py.File) -> None:
        columns = {"path": paths, "split": [split] * len(paths), "reason": ["silent"] * len(paths)}
        for name, values in columns.items():
            file[f"excluded/{name}"] = values

    return changed


def slices(starts: list[float], ends: list[float]) -> Callable[[h5py.File], None]:
    def changed(file: h5py.File) -> None:
        file["clips/start"], file["clips/end"] = starts, ends

    return changed


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (lambda file: file.attrs.update(format="wav"), "its format is 'wav'"),
        (lambda file: file.attrs.update(format_version=2), "format_version is 2"),
        (lambda file: file.attrs.pop("complete"), "not written to its end"),
        (lambda file: file.attrs.pop("features"), "'features'.* is missing"),
        (lambda file: file.attrs.update(features="{"), "damaged"),
        (lambda file: file.attrs.update(features="[1]"), "must be a JSON object of settings"),
        (lambda file: file.attrs.update(features='{"a": NaN}'), "a number that is not finite"),
        (lambda file: file.attrs.update(features='{"a": 1e999}'), "a number that is not finite"),
        (lambda file: file.attrs.update(features='{"a": "\\ud800"}'), "text that is not Unicode"),
        (change("clips/path", ["a.wav", ""]), "lists a clip without a name"),
        (exclude(["b.wav", ""]), "lists a clip without a name"),
        (exclude(["b.wav", "a.wav"]), r"lists the clip a\.wav twice"),
        (exclude(["\x1b[2J\n"] * 2), r"lists the clip \\x1b\[2J\\n twice"),
        (exclude(["b\n.wav"], split="toast"), r"id_00\.h5: b\\n\.wav: split is 'toast'"),
        (slices([1.0, 5.0], [2.0, 1.0]), r"id_00\.h5: ä\.wav: there is no slice from 5 s to 1 s"),
        (slices([0.0, 0.0], [1.0, np.inf]), "there is no slice from 0 s to inf s"),
        (lambda file: file["clips"].create_group("more"), "/clips/more is no column"),
        (lambda file: file.attrs.update(inputs_sha256="0"), "contradicts its inputs_sha256"),
        (lambda file: file.pop("frames"), "frames missing"),
        (lambda file: file["clips"].pop("split"), "clips/split missing"),
        (change("frames", np.zeros((10, MELS), np.int16)), "float32 or float16"),
        (change("frames", np.zeros(10, np.float32)), r"must be \(total, mels\)"),
        (change("clips/offset", [0, 4, 11]), "grow from 0 to the 10 frames"),
        (change("clips/offset", [1, 4, 10]), "grow from 0 to the 10 frames"),
        (change("clips/offset", [0, 12, 10]), "grow from 0 to the 10 frames"),
        (change("clips/offset", [0, 10]), r"/clips/offset has shape \(2,\)"),
        (change("clips/offset", [0.0, 4.5, 10.0]), "must be whole numbers"),
        (change("clips/split", ["train", "eval"]), "split is 'eval'"),
        (change("clips/domain", ["source", "target"]), "test clip may not carry a domain"),
        (change("clips/path", ["a.wav", "a.wav"]), r"lists the clip a\.wav twice"),
    ],
)
def test_a_cache_that_contradicts_itself_is_refused(
    tmp_path: Path, damage: Callable[[h5py.File], None], sentence: str
) -> None:
    path = foreign_cache(tmp_path / "id_00.h5")
    with h5py.File(path, "a") as file:
        if "clips/domain" not in file:
            file["clips/domain"] = ["", ""]
        damage(file)
    with pytest.raises(InputError, match=sentence) as raised:
        cache.read(path)
    assert str(raised.value).isprintable()


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize(("frame", "name"), [(3, "a.wav"), (4, "ä.wav")])
def test_frames_that_are_not_finite_are_named(tmp_path: Path, value: float, frame: int, name: str) -> None:
    path = foreign_cache(tmp_path / "id_00.h5")
    with h5py.File(path, "a") as file:
        file["frames"][frame, 2] = value
    with (
        cache.read(path) as found,
        pytest.raises(InputError, match=rf"id_00\.h5: frames of the clip {name} are not finite"),
    ):
        found.clips([1, 0])


def external_storage(file: h5py.File, elsewhere: Path) -> None:
    elsewhere.write_bytes(bytes(320))
    del file["frames"]
    file.create_dataset("frames", (10, MELS), np.float32, external=[(str(elsewhere), 0, 320)])


def virtual_dataset(file: h5py.File, elsewhere: Path) -> None:
    layout = h5py.VirtualLayout((10, MELS), np.float32)
    layout[:] = h5py.VirtualSource(str(elsewhere), "frames", (10, MELS))
    del file["frames"]
    file.create_virtual_dataset("frames", layout)


def external_link(file: h5py.File, elsewhere: Path) -> None:
    os.mkfifo(elsewhere)
    del file["clips/path"]
    file["clips/path"] = h5py.ExternalLink(str(elsewhere), "path")


@pytest.mark.parametrize("refer", [external_storage, virtual_dataset, external_link])
def test_a_cache_that_would_be_read_out_of_other_files_is_refused(
    tmp_path: Path, refer: Callable[[h5py.File, Path], None]
) -> None:
    """A pipe would be waited for without end, and what lies elsewhere on the disk be taken for sound."""
    path = foreign_cache(tmp_path / "id_00.h5")
    with h5py.File(path, "a") as file:
        refer(file, tmp_path / "elsewhere")
    with pytest.raises(InputError, match=r"id_00\.h5: /.* is a link, or lies in another file"):
        cache.read(path)


def test_groups_within_groups_hold_up_no_reader(tmp_path: Path) -> None:
    """Every way through them is one of a million million."""
    path = foreign_cache(tmp_path / "id_00.h5")
    with h5py.File(path, "a") as file:
        group = file.create_group("more")
        for _ in range(40):
            inner = group.create_group("a")
            group["b"] = inner
            group = inner
        group["again"] = file["more"]
        group = file.create_group("deep")
        for _ in range(2000):
            group = group.create_group("a")
    began = time.monotonic()
    with cache.read(path) as found:
        assert len(found) == 2
    assert time.monotonic() - began < 5


def test_a_file_that_is_no_cache_is_named(tmp_path: Path) -> None:
    path = tmp_path / "id_00.h5"
    with pytest.raises(InputError, match=r"id_00\.h5: there is no such feature cache"):
        cache.read(path)
    path.write_bytes(b"RIFF" * 500)
    with pytest.raises(InputError, match=r"id_00\.h5: not a feature cache, or damaged"):
        cache.read(path)
    whole = write(path, some_clips()).read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"id_00\.h5: not a feature cache, or damaged .*truncated"):
        cache.read(path)


def flip(path: Path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


def test_a_flipped_byte_is_noticed(tmp_path: Path) -> None:
    clips = some_clips()
    path = write(tmp_path / "id_00.h5", clips)
    flip(path, path.read_bytes().index(clips[0].frames[5].tobytes()))
    with cache.read(path) as found:
        with pytest.raises(InputError, match=r"id_00\.h5: .*damaged"):
            found.clip(0)
        with pytest.raises(InputError, match=r"id_00\.h5: .*damaged"):
            found.clips([3, 0])
        assert np.array_equal(found.clip(5), clips[5].frames)


def test_a_flipped_byte_in_the_list_of_clips_is_noticed(tmp_path: Path) -> None:
    path = write(tmp_path / "id_00.h5", some_clips())
    flip(path, path.read_bytes().index(b"fan/train/0003.wav"))
    with pytest.raises(InputError, match=r"id_00\.h5: .*damaged"):
        cache.read(path)


def test_a_flipped_byte_anywhere_is_noticed_or_changes_nothing(tmp_path: Path) -> None:
    path = write(tmp_path / "id_00.h5", [*some_clips(2), Excluded(Entry("fan/test/a.wav", "test"), "silent")])
    whole, content = path.read_bytes(), everything(path)
    noticed = 0
    for place in range(0, len(whole), 13):
        flip(path, place)
        try:
            assert everything(path) == content
        except InputError as error:
            assert "delete it and make it again" in str(error) or "its format" in str(error)  # noqa: PT017
            noticed += 1
        path.write_bytes(whole)
    assert noticed > len(whole) / 13 / 2


def everything(path: Path) -> tuple[object, ...]:
    with cache.read(path) as found:
        frames = found.frames(0, int(found.offsets[-1])).tobytes()
        return found.entries, found.offsets.tolist(), found.settings, found.sha256, found.excluded, frames


def test_a_file_under_write_is_named(tmp_path: Path) -> None:
    path = foreign_cache(tmp_path / "id_00.h5")
    with path.open("rb") as writer:
        fcntl.flock(writer, fcntl.LOCK_EX)
        with pytest.raises(InputError, match=r"id_00\.h5: another program is writing this file"):
            cache.read(path)


def test_other_settings_are_named_key_by_key(tmp_path: Path) -> None:
    found = cache.read(write(tmp_path / "id_00.h5", some_clips()))
    cache.check_settings(found, SETTINGS)
    wanted = {"audio": {"sample_rate": 8000, "channel": 0}, "features": {"n_mels": 8, "f_max": 4000.0}, "slice": {}}
    with pytest.raises(InputError) as caught:
        cache.check_settings(found, wanted)
    sentence = str(caught.value)
    assert "audio.sample_rate is 16000 there and 8000 here" in sentence
    assert "features.f_max is null there and 4000.0 here" in sentence
    assert "features.power is 2.0 there and missing here" in sentence
    assert "channel" not in sentence
    assert "n_mels" not in sentence
