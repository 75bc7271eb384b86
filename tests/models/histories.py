"""What a recommender is fitted on, from lists small enough to read."""

import numpy as np

from models.protocol import Training
from tests.tasks.prepared_folder import sequences


def training(*train, valid=None, n_videos=None, seed=0, **options):
    """`train` and `valid`: a list of video indices a viewer; event `i` of a viewer is on day `i`."""
    histories = sequences(*train)
    held_back = sequences(*(valid or [[] for _ in train]))
    n_videos = n_videos or int(max(histories.videos.max(initial=-1), held_back.videos.max(initial=-1))) + 1
    now = int(histories.times.max(initial=0))
    return Training(histories, held_back, n_videos=n_videos, now=now, seed=seed, **options)


def dense(vectors):
    """Vectors of either kind as one array."""
    return vectors if isinstance(vectors, np.ndarray) else vectors.toarray()


def scores(model, histories):
    """`[viewers, videos]`, what `model` thinks."""
    return dense(model.viewer_vectors(histories)) @ dense(model.video_vectors()).T


def saved_bytes(model, folder):
    """Every file that `model` saves, by name."""
    model.save(folder)
    return {file.name: file.read_bytes() for file in sorted(folder.iterdir())}
