"""The challenger as MLflow serves it: a model from code over the release's folder, so that no pickle is involved.

MLflow runs this file when it loads the model: input one row a viewer with `user_id`, output one row a recommended
video with `user_id`, `rank`, `video_id`, `score`.
"""

from pathlib import Path
from typing import Any

import pandas as pd
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel

from tasks.recommend import Bundle


class ServedRelease(PythonModel):
    """Answers from the bundle in artifact `release`."""

    def load_context(self, context: Any) -> None:
        """Open the bundle."""
        self._bundle = Bundle(Path(context.artifacts["release"]), context.model_config["candidate"])

    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """Recommend `params["k"]` videos (default 10) to each row's `user_id`."""
        k = int((params or {}).get("k", 10))
        rows = [
            {"user_id": str(user), "rank": rank, "video_id": str(video["video_id"]), "score": video["score"]}
            for user in model_input["user_id"]
            for rank, video in enumerate(self._bundle.recommend(str(user), k=k).videos, start=1)
        ]
        return pd.DataFrame(rows)


set_model(ServedRelease())
