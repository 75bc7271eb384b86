"""Log-mel spectrograms as musicnn was trained on them: power spectrum, Slaney's mel bands, logarithm.

Pons and Serra 2019, "musicnn: Pre-trained convolutional neural networks for music audio tagging". Equals librosa's
`melspectrogram(sr=16000, n_fft=512, hop_length=256, n_mels=96)` without librosa (McFee et al. 2015, "librosa: Audio and
Music Signal Analysis in Python").
"""

from functools import cache

import numpy as np
from numpy.typing import NDArray

RATE = 16_000
N_FFT = 512
HOP = 256
BANDS = 96
BLOCK = 4096

# Slaney's Auditory Toolbox (1998): linear up to 1 kHz, from there 27 mels for each factor of 6.4
HERTZ_PER_MEL = 200 / 3
LINEAR_HERTZ = 1000.0
LINEAR_MELS = LINEAR_HERTZ / HERTZ_PER_MEL
LOG_STEP = np.log(6.4) / 27


def log_mel(sound: NDArray[np.float32]) -> NDArray[np.float32]:
    """`[frames, 96]` of `sound`, `[samples]` float32 at 16 kHz: `log10(10000 power + 1)` in each band.

    A frame is centred on every 256th sample, the first and last half filled up with zeros, so there are
    `1 + samples // 256` of them. Powers stay float32: musicnn's own extractor rounds them to float16, which overflows
    where sound is loud.

    Raises:
        ValueError: `sound` is not one channel with at least one sample.
    """
    if sound.ndim != 1 or not len(sound):
        raise ValueError(f"sound must be [samples], at least one. Received: shape {sound.shape}")
    padded = np.pad(sound.astype(np.float32, copy=False), N_FFT // 2)
    frames = np.lib.stride_tricks.sliding_window_view(padded, N_FFT)[::HOP]
    # by blocks: the windowed frames of ten minutes would take as much memory as the sound twice over, several times
    return np.concatenate([_log_mel(frames[at : at + BLOCK]) for at in range(0, len(frames), BLOCK)])


def _log_mel(frames: NDArray[np.float32]) -> NDArray[np.float32]:
    spectrum = np.fft.rfft(frames * _window())
    power = np.square(spectrum.real) + np.square(spectrum.imag)
    logarithm: NDArray[np.float32] = np.log10(np.float32(10_000) * (power @ mel_bands().T) + np.float32(1))
    return logarithm


@cache
def _window() -> NDArray[np.float32]:
    """The periodic Hann window `[512]`; NumPy's own is the symmetric one."""
    window: NDArray[np.float32] = (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(N_FFT) / N_FFT)).astype(np.float32)
    return window


@cache
def mel_bands() -> NDArray[np.float32]:
    """`[96, 257]` weights of the spectrum's bins in each band: triangles of equal area (Slaney 1998)."""
    edges = _hertz(np.linspace(0, _mels(RATE / 2), BANDS + 2))
    bins = np.linspace(0, RATE / 2, 1 + N_FFT // 2)
    rising = (bins - edges[:-2, None]) / np.diff(edges)[:-1, None]
    falling = (edges[2:, None] - bins) / np.diff(edges)[1:, None]
    triangles = np.maximum(0, np.minimum(rising, falling))
    bands: NDArray[np.float32] = (triangles * (2 / (edges[2:] - edges[:-2]))[:, None]).astype(np.float32)
    return bands


def _mels(hertz: float) -> float:
    if hertz < LINEAR_HERTZ:
        return hertz / HERTZ_PER_MEL
    return float(LINEAR_MELS + np.log(hertz / LINEAR_HERTZ) / LOG_STEP)


def _hertz(mels: NDArray[np.float64]) -> NDArray[np.float64]:
    logarithmic = LINEAR_HERTZ * np.exp(LOG_STEP * (mels - LINEAR_MELS))
    return np.where(mels < LINEAR_MELS, mels * HERTZ_PER_MEL, logarithmic)
