import os
import signal
import struct
import subprocess
import sys
import time
import zlib
from pathlib import Path

import numpy as np
import psutil
import pytest

from tasks.media import decode as module
from tasks.media.decode import Limits, Undecodable, decode, dense_frames
from tests.tasks.media.videos import (
    BLUE,
    GREEN,
    GREY,
    RED,
    corner_marked,
    make_sound,
    make_video,
    plain,
    repeat_picture,
)

LIMITS = Limits(frames_per_video=8, max_seconds=60.0, time_limit=60.0)
CLIPS = Path(os.environ.get("NIGHTREEL_DATA", "../shared/data")) / "clips"
FASTSTART = {"movflags": "faststart"}


def near(pictures: np.ndarray, colour: tuple[int, int, int], *, by: int = 12) -> bool:
    """Whether all of it has the colour, but for what encoding loses."""
    return bool((np.abs(pictures.astype(int) - colour) <= by).all())


def three_shots(at: int) -> np.ndarray:
    return plain((RED, GREEN, BLUE)[at // 20])


def test_frames_stills_and_sound_of_three_shots(tmp_path: Path) -> None:
    path = make_video(tmp_path / "v.mp4", three_shots, frames=60, sound=6.0)
    got = decode(path, limits=LIMITS)
    assert (got.frames.shape, got.frames.dtype) == ((8, 224, 224, 3), np.uint8)
    assert got.shots.tolist() == [0, 0, 0, 1, 1, 1, 2, 2]
    assert (np.diff(got.times) > 0).all()
    assert (got.times // 2 == got.shots).all()
    for shot, colour in enumerate((RED, GREEN, BLUE)):
        assert near(got.frames[got.shots == shot], colour)
        assert got.stills[shot].shape == (96, 160, 3)
        assert near(got.stills[shot], colour)
        assert got.still_times[shot] // 2 == shot
    assert got.seconds == pytest.approx(6.0, abs=0.1)
    assert got.faults == {}
    assert got.sound is not None
    assert got.sound.dtype == np.float32
    assert len(got.sound) == pytest.approx(6 * 16_000, abs=2048)
    assert np.abs(got.sound).max() == pytest.approx(0.5, abs=0.05)
    spectrum = np.abs(np.fft.rfft(got.sound[16_000:32_000]))
    assert int(spectrum.argmax()) == 440


def test_the_same_file_gives_the_same_bytes(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (40, 96, 160, 3)).astype(np.uint8)
    path = make_video(tmp_path / "v.mp4", lambda at: noise[at], frames=40, sound=1.0)
    first, second = (decode(path, limits=LIMITS) for _ in range(2))
    for name in ("frames", "times", "shots", "still_times", "sound"):
        assert getattr(first, name).tobytes() == getattr(second, name).tobytes()
    assert [still.tobytes() for still in first.stills] == [still.tobytes() for still in second.stills]


def test_kept_frames_are_those_of_their_times_also_far_from_key_frames(tmp_path: Path) -> None:
    """Each picture's grey says when it was: seeking must lead to the very frame that the first look chose."""
    path = make_video(tmp_path / "v.mp4", lambda at: plain((at, at, at)), frames=240, codec="mpeg4")
    got = decode(path, limits=LIMITS)
    shown = got.frames.astype(float).mean(axis=(1, 2, 3))
    assert shown == pytest.approx(got.times * 10, abs=3)


@pytest.mark.parametrize("codec", ["libx264", "mpeg4"])
def test_skimming_over_pictures_that_none_refers_to_changes_no_kept_one(tmp_path: Path, codec: str) -> None:
    path = make_video(tmp_path / "v.mp4", lambda at: plain((at, at, at)), frames=240, rate=30, codec=codec)
    got = decode(path, limits=LIMITS)
    assert len(got.times) == 8
    assert got.faults == {}
    assert got.frames.astype(float).mean(axis=(1, 2, 3)) == pytest.approx(got.times * 30, abs=3)


def test_long_pictures_are_cropped_to_their_centre_and_stills_are_whole(tmp_path: Path) -> None:
    picture = plain(GREY, width=320, height=96)
    picture[:, :100] = RED
    got = decode(make_video(tmp_path / "v.mp4", lambda _: picture, frames=3), limits=LIMITS)
    assert near(got.frames, GREY)
    assert near(got.stills[0][:, :90], RED)


def test_stills_have_at_most_720_pixels(tmp_path: Path) -> None:
    got = decode(make_video(tmp_path / "v.mp4", lambda _: plain(RED, width=960, height=540), frames=2), limits=LIMITS)
    assert got.stills[0].shape == (405, 720, 3)


@pytest.mark.parametrize(
    ("rotation", "corner", "shape"),
    [(0, (0, 0), (96, 160, 3)), (90, (1, 0), (160, 96, 3)), (180, (1, 1), (96, 160, 3)), (270, (0, 1), (160, 96, 3))],
)
def test_rotated_videos_are_turned_upright(
    tmp_path: Path, rotation: int, corner: tuple[int, int], shape: tuple[int, int, int]
) -> None:
    """A display matrix of 90 degrees turns counter-clockwise: the upper left corner goes to the lower left."""
    got = decode(make_video(tmp_path / "v.mp4", corner_marked, frames=3, rotation=rotation), limits=LIMITS)
    assert got.stills[0].shape == shape
    for picture in (got.frames[0], got.stills[0]):
        height, width = picture.shape[0] // 2, picture.shape[1] // 2
        quarters = {(y, x): picture[y * height :, x * width :][:height, :width] for y in (0, 1) for x in (0, 1)}
        redness = {at: int(part[..., 0].mean()) - int(part[..., 1].mean()) for at, part in quarters.items()}
        assert max(redness, key=lambda at: redness[at]) == corner


def test_one_frame(tmp_path: Path) -> None:
    got = decode(make_video(tmp_path / "v.mp4", lambda _: plain(RED), frames=1), limits=LIMITS)
    assert (len(got.frames), got.times.tolist(), got.shots.tolist(), len(got.stills)) == (1, [0.0], [0], 1)
    assert got.faults == {}


def test_a_picture_is_a_video_of_one_frame(tmp_path: Path) -> None:
    path = make_video(tmp_path / "v.mov", lambda _: plain(BLUE), frames=1, codec="png")
    assert near(decode(path, limits=LIMITS).frames, BLUE, by=0)


def test_variable_frame_rate_goes_by_timestamps(tmp_path: Path) -> None:
    moments = [0.0, 0.1, 0.2, 0.3, 0.4, 5.0, 5.1, 9.0, 9.1, 9.2]
    path = make_video(
        tmp_path / "v.mp4", lambda at: plain(RED if at < 5 else BLUE), frames=10, moments=moments, codec="mpeg4"
    )
    got = decode(path, limits=LIMITS)
    assert got.times.tolist() == pytest.approx([0.0, 0.3, 5.0, 9.0], abs=0.051)
    assert got.seconds == pytest.approx(9.2, abs=0.2)
    assert got.faults == {}


def test_a_silent_video_has_no_sound_and_no_fault(tmp_path: Path) -> None:
    got = decode(make_video(tmp_path / "v.mp4", three_shots, frames=30), limits=LIMITS)
    assert (got.sound, got.faults) == (None, {})


def test_sound_alone_is_a_fault_of_the_frames(tmp_path: Path) -> None:
    got = decode(make_sound(tmp_path / "a.m4a", seconds=2.0), limits=LIMITS)
    assert got.frames.shape == (0, 224, 224, 3)
    assert (got.stills, len(got.times), len(got.still_times)) == ((), 0, 0)
    assert got.faults == {"frames": "it holds no pictures"}
    assert got.sound is not None
    assert len(got.sound) == pytest.approx(32_000, abs=2048)


def test_very_long_videos_are_looked_at_until_max_seconds(tmp_path: Path) -> None:
    path = make_video(tmp_path / "v.mp4", lambda at: plain((at % 250,) * 3), frames=360, rate=1, codec="mpeg4")
    with_sound = make_sound(tmp_path / "a.m4a", seconds=70.0)
    started = time.monotonic()
    got = decode(path, limits=LIMITS)
    assert got.seconds == pytest.approx(360, abs=2)
    assert got.times.max() <= 60
    assert got.faults == {}
    sound = decode(with_sound, limits=LIMITS).sound
    assert sound is not None
    assert len(sound) == 60 * 16_000
    assert time.monotonic() - started < 30


def test_a_file_cut_in_the_middle_gives_what_is_left_and_a_fault(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (60, 96, 160, 3)).astype(np.uint8)
    whole = make_video(tmp_path / "v.mp4", lambda at: noise[at], frames=60, options=FASTSTART).read_bytes()
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(whole[: len(whole) // 2])
    got = decode(cut, limits=LIMITS)
    assert 0 < len(got.frames) <= 8
    assert got.times.max() < 4
    assert "pictures end after" in got.faults["frames"]
    assert "of 6.0 seconds" in got.faults["frames"]


def test_a_file_without_its_end_cannot_be_decoded(tmp_path: Path) -> None:
    whole = make_video(tmp_path / "v.mp4", three_shots, frames=60).read_bytes()
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(Undecodable, match=r"^cut\.mp4 cannot be decoded: it is no media file that can be read"):
        decode(cut, limits=LIMITS)


def test_damaged_bytes_cost_what_they_held(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (60, 96, 160, 3)).astype(np.uint8)
    content = bytearray(make_video(tmp_path / "v.mp4", lambda at: noise[at], frames=60, codec="mpeg4").read_bytes())
    middle = len(content) // 2
    content[middle : middle + 4000] = bytes(4000)
    (tmp_path / "bad.mp4").write_bytes(content)
    got = decode(tmp_path / "bad.mp4", limits=LIMITS)
    assert len(got.frames) > 0
    again = decode(tmp_path / "bad.mp4", limits=LIMITS)
    assert (got.frames.tobytes(), got.faults) == (again.frames.tobytes(), again.faults)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "it is empty"),
        (b"\0" * 5000, "it is no media file that can be read"),
        (bytes(range(256)) * 40, "it is no media file that can be read"),
        (b"#!/bin/sh\necho hello\n", "it is no media file that can be read"),
    ],
)
def test_what_is_no_video_is_said_in_one_sentence(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "v.mp4").write_bytes(content)
    with pytest.raises(Undecodable, match=f"^v.mp4 cannot be decoded: {reason}") as raised:
        decode(tmp_path / "v.mp4", limits=LIMITS)
    assert "\n" not in str(raised.value)


def test_corrupt_from_the_first_picture_on(tmp_path: Path) -> None:
    content = bytearray(make_video(tmp_path / "v.mp4", three_shots, frames=10, codec="png").read_bytes())
    start = content.index(b"mdat") + 4
    end = content.index(b"moov") - 4
    content[start:end] = bytes(end - start)
    (tmp_path / "bad.mp4").write_bytes(content)
    with pytest.raises(Undecodable, match="10 parts could not be decoded"):
        decode(tmp_path / "bad.mp4", limits=LIMITS)


@pytest.mark.parametrize(
    "content",
    [
        "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n{secret}\n#EXT-X-ENDLIST\n",
        "ffconcat version 1.0\nfile {secret}\n",
    ],
)
def test_a_playlist_reads_no_other_file(tmp_path: Path, content: str) -> None:
    secret = make_video(tmp_path / "secret.mp4", three_shots, frames=10)
    (tmp_path / "v.mp4").write_text(content.format(secret=secret), encoding="utf-8")
    with pytest.raises(Undecodable, match="it is no media file that can be read"):
        decode(tmp_path / "v.mp4", limits=LIMITS)


def png_of(width: int, height: int) -> bytes:
    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = zlib.compress(bytes(1_000_000), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def gif_of(width: int, height: int) -> bytes:
    size = struct.pack("<HH", width, height)
    picture = b"," + struct.pack("<HH", 0, 0) + size + b"\0\x02\x02\x44\x01\0;"
    return b"GIF89a" + size + b"\x80\0\0\0\0\0\xff\xff\xff" + picture


@pytest.mark.parametrize("bomb", [png_of(50_000, 50_000), png_of(7_000, 7_000), gif_of(50_000, 50_000)])
def test_an_image_bomb_is_refused_before_it_is_decoded(tmp_path: Path, bomb: bytes) -> None:
    (tmp_path / "bomb.png").write_bytes(bomb)
    with pytest.raises(Undecodable, match="its pictures are larger than 35,389,440 pixels"):
        decode(tmp_path / "bomb.png", limits=LIMITS)


def test_a_video_whose_header_claims_huge_pictures(tmp_path: Path) -> None:
    """Raw pictures say nothing of their size themselves: the header is what a decoder would believe."""
    content = make_video(tmp_path / "v.avi", lambda _: plain(RED), frames=2, codec="rawvideo").read_bytes()
    size = content.index(b"strf") + 12  # width and height in a BITMAPINFOHEADER
    assert content[size : size + 8] == struct.pack("<ii", 160, 96)
    bomb = content[:size] + struct.pack("<ii", 20_000, 20_000) + content[size + 8 :]
    (tmp_path / "bomb.avi").write_bytes(bomb)
    with pytest.raises(Undecodable, match="its pictures are larger than 35,389,440 pixels"):
        decode(tmp_path / "bomb.avi", limits=LIMITS)


@pytest.mark.parametrize("codec", ["libx264", "mpeg4", "png"])
def test_pictures_of_more_pixels_than_allowed_are_refused(tmp_path: Path, codec: str) -> None:
    path = make_video(tmp_path / "v.mov", lambda _: plain(RED), frames=3, codec=codec)
    with pytest.raises(Undecodable, match=r"its pictures are (larger than|160 x 96, more than) 15,000 pixels"):
        decode(path, limits=Limits(max_pixels=15_000))


def test_memory_is_limited(tmp_path: Path) -> None:
    path = make_video(tmp_path / "v.mp4", lambda _: plain(RED, width=1920, height=1080), frames=2)
    with pytest.raises(Undecodable, match=r"^v\.mp4 cannot be decoded: "):
        decode(path, limits=Limits(memory=60 << 20))


def test_a_decoder_that_takes_forever_is_killed_within_its_limit(tmp_path: Path) -> None:
    """A real one: 600 large pictures that take minutes to decode. Nothing of it is left."""
    path = repeat_picture(tmp_path / "v.mov", plain(RED, width=6000, height=5000), times=600)
    started = time.monotonic()
    with pytest.raises(Undecodable, match=r"^v\.mov cannot be decoded: decoding was given up after 2 seconds\.$"):
        decode(path, limits=Limits(time_limit=2.0, max_seconds=3600))
    assert time.monotonic() - started < 4
    assert not [process for process in psutil.Process().children() if "tasks.media.worker" in process.cmdline()]


def test_a_worker_that_hangs_goes_with_what_it_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make_video(tmp_path / "v.mp4", three_shots, frames=10)
    script = (
        "import os, pathlib, time\n"
        "child = os.fork()\n"
        f"child and pathlib.Path({str(tmp_path / 'child')!r}).write_text(str(child))\n"
        "time.sleep(600)\n"
    )
    monkeypatch.setattr(module, "COMMAND", (sys.executable, "-c", script))
    with pytest.raises(Undecodable, match="given up after 1 seconds"):
        decode(path, limits=Limits(time_limit=1.0))
    child = int((tmp_path / "child").read_text(encoding="utf-8"))
    deadline = time.monotonic() + 5
    while psutil.pid_exists(child) and psutil.Process(child).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_worker_ends_itself_where_nobody_is_left_to_kill_it(tmp_path: Path) -> None:
    script = "import time; from tasks.media.limits import Limits; from tasks.media.worker import restrain; "
    script += "restrain(Limits(time_limit=0.5)); time.sleep(60)"
    done = subprocess.run([sys.executable, "-c", script], cwd=Path(__file__).parents[3], check=False, timeout=30)
    assert done.returncode == -signal.SIGALRM


def test_a_crash_costs_one_video(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make_video(tmp_path / "v.mp4", three_shots, frames=10)
    monkeypatch.setattr(module, "COMMAND", (sys.executable, "-c", "import os; os.kill(os.getpid(), 11)"))
    with pytest.raises(Undecodable, match=r"^v\.mp4 cannot be decoded: the decoder crashed \(SIGSEGV\)\.$"):
        decode(path, limits=LIMITS)
    monkeypatch.setattr(module, "COMMAND", (sys.executable, "-c", "raise SystemExit('out of luck')"))
    with pytest.raises(Undecodable, match=r"the decoder failed \(out of luck\)"):
        decode(path, limits=LIMITS)


def test_the_worker_learns_no_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hush")
    path = make_video(tmp_path / "v.mp4", three_shots, frames=10)
    script = "import os; raise SystemExit(os.environ.get('AWS_SECRET_ACCESS_KEY', 'nothing to tell'))"
    monkeypatch.setattr(module, "COMMAND", (sys.executable, "-c", script))
    with pytest.raises(Undecodable, match="nothing to tell"):
        decode(path, limits=LIMITS)


def test_pipes_folders_and_missing_files_are_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path, reason in ((tmp_path / "pipe", "no regular file"), (tmp_path, "no regular file")):
        with pytest.raises(Undecodable, match=reason):
            decode(path, limits=LIMITS)
    with pytest.raises(Undecodable, match="cannot be read: No such file"):
        decode(tmp_path / "missing.mp4", limits=LIMITS)


def test_names_that_ffmpeg_would_take_for_patterns_or_protocols(tmp_path: Path) -> None:
    for name in ("v%03d.mp4", "concat:a.mp4", "*.mp4", "-v.mp4"):
        path = make_video(tmp_path / "v.mp4", three_shots, frames=5).rename(tmp_path / name)
        assert len(decode(path, limits=LIMITS).frames) == 2


def test_the_callers_own_folder_does_not_decide_what_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tasks/media").mkdir(parents=True)
    (tmp_path / "tasks/media/worker.py").write_text("raise SystemExit('wrong code')", encoding="utf-8")
    path = make_video(tmp_path / "v.mp4", three_shots, frames=5)
    monkeypatch.chdir(tmp_path)
    assert decode(path, limits=LIMITS).faults == {}


@pytest.mark.parametrize("change", [{"frames_per_video": 0}, {"max_seconds": 0.0}, {"time_limit": -1.0}])
def test_limits_are_above_zero(change: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must be above 0"):
        Limits(**change)  # type: ignore[arg-type]


def test_dense_frames_show_what_was_on_show(tmp_path: Path) -> None:
    moments = [0.0, 0.5, 2.0]
    path = make_video(
        tmp_path / "v.mp4", lambda at: plain((RED, GREEN, BLUE)[at]), frames=3, moments=moments, codec="mpeg4"
    )
    frames, times = dense_frames(path, fps=4.0, limits=LIMITS)
    assert times[:9].tolist() == [0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0]
    assert near(frames[:2], RED)
    assert near(frames[2:8], GREEN)
    assert near(frames[8:], BLUE)


@pytest.mark.parametrize("fps", [1.0, 5.0, 10.0, 20.0])
def test_dense_frames_have_the_rate_that_is_asked_for(tmp_path: Path, fps: float) -> None:
    path = make_video(tmp_path / "v.mp4", lambda at: plain((at * 4,) * 3), frames=60, codec="mpeg4")
    frames, times = dense_frames(path, fps=fps, limits=LIMITS)
    assert len(frames) == len(times) == 6 * fps
    shown = frames.astype(float).mean(axis=(1, 2, 3))
    assert shown == pytest.approx(np.floor(times * 10 + 1e-6) * 4, abs=5)
    cut, _ = dense_frames(path, fps=fps, limits=Limits(max_seconds=2.0))
    assert (cut == frames[: len(cut)]).all()
    assert len(cut) == 2 * fps + 1


def test_dense_frames_of_one_picture_and_of_none(tmp_path: Path) -> None:
    frames, times = dense_frames(make_video(tmp_path / "v.mp4", three_shots, frames=1), fps=8.0, limits=LIMITS)
    assert (len(frames), times[0]) == (1, 0.0)
    with pytest.raises(Undecodable, match="it holds no pictures"):
        dense_frames(make_sound(tmp_path / "a.m4a", seconds=1.0), fps=8.0, limits=LIMITS)
    with pytest.raises(ValueError, match=r"fps must be above 0. Received: 0"):
        dense_frames(tmp_path / "v.mp4", fps=0, limits=LIMITS)


@pytest.mark.skipif(not CLIPS.is_dir(), reason=f"{CLIPS} is absent (set NIGHTREEL_DATA)")
@pytest.mark.parametrize(
    ("name", "seconds", "frames", "samples"),
    [
        ("bottle-detection", 39.9, 32, None),
        ("car-detection", 30.2, 32, 482_645),
        ("flower", 5.1, 20, 80_896),
        ("friday", 6.2, 25, 98_453),
        ("one-by-one-person-detection", 139.4, 32, None),
    ],
)
def test_real_clips(name: str, seconds: float, frames: int, samples: int | None) -> None:
    got = decode(CLIPS / f"{name}.mp4", limits=Limits())
    assert got.faults == {}
    assert got.seconds == pytest.approx(seconds, abs=0.1)
    assert len(got.frames) == frames
    assert (got.sound is None) == (samples is None)
    assert samples is None or len(got.sound) == pytest.approx(samples, abs=2)  # type: ignore[arg-type]
    assert got.frames.std(axis=(1, 2, 3)).min() > 5
