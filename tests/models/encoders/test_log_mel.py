import numpy as np
import pytest

from models.encoders.log_mel import BLOCK, HOP, log_mel, mel_bands


def chirp(seconds=1.0):
    times = np.arange(int(seconds * 16_000)) / 16_000
    return (0.5 * np.sin(2 * np.pi * (100 * times + 1500 * times**2))).astype(np.float32)


def test_log_mel_equals_librosas():
    """librosa 0.11: log10(10000 * melspectrogram(y, sr=16000, n_fft=512, hop_length=256, n_mels=96).T + 1)."""
    spectrogram = log_mel(chirp())
    assert spectrogram.shape == (63, 96)
    assert spectrogram.dtype == np.float32
    assert spectrogram.argmax(axis=1)[[0, 1, 20, 40, 62]].tolist() == [3, 4, 33, 53, 66]
    np.testing.assert_allclose(
        spectrogram.max(axis=1)[[0, 1, 20, 40, 62]],
        [5.4669814, 6.0217323, 6.0238051, 5.8189888, 5.6628342],
        atol=2e-6,
    )
    np.testing.assert_allclose(
        spectrogram[20, [10, 20, 30, 40, 60]],
        [3.8620146e-05, 2.4328737e-03, 3.2287495, 6.4184040e-02, 4.6594715e-07],
        atol=2e-6,
    )
    assert spectrogram.mean() == pytest.approx(0.35183612, abs=1e-6)


def test_mel_bands_are_slaneys():
    bands = mel_bands()
    assert bands.shape == (96, 257)
    assert bands.max() == pytest.approx(0.031999223, abs=1e-8)  # librosa.filters.mel(sr=16000, n_fft=512, n_mels=96)
    # each has an area of 1, which shows where a band is many bins of 31.25 Hz wide
    np.testing.assert_allclose(bands[-30:].sum(axis=1), 1 / 31.25, rtol=0.02)


def test_silence_is_zero():
    assert not log_mel(np.zeros(16_000, np.float32)).any()


def test_every_hop_gives_one_frame_whatever_the_block():
    sound = chirp(1.0)
    assert log_mel(sound[:1]).shape == (1, 96)
    assert log_mel(sound[: HOP - 1]).shape == (1, 96)
    assert log_mel(sound[:HOP]).shape == (2, 96)
    long = np.tile(sound, 68)
    frames = log_mel(long)
    assert len(frames) == 1 + len(long) // HOP > BLOCK
    np.testing.assert_allclose(frames[BLOCK - 2 : BLOCK + 2], log_mel(long[(BLOCK - 4) * HOP :])[2:6], atol=1e-5)


@pytest.mark.parametrize("shape", [(0,), (2, 16_000)])
def test_what_is_no_sound_is_refused(shape):
    with pytest.raises(ValueError, match=r"sound must be \[samples\], at least one"):
        log_mel(np.zeros(shape, np.float32))
