"""Where each step of a run leaves its work, relative to the run's checkout. `dvc.yaml` names the same places."""

from pathlib import Path

LANDED = Path("data/landed.json")
RAW = Path("data/raw")
ACCEPTED = Path("data/accepted")
QUARANTINE = Path("data/quarantine")
DOCS = Path("data/docs")
PREPARED = Path("data/prepared")
SNAPSHOT_INDEX = Path("data/prepared/index")
ENCODED = Path("data/encoded")
CLIPS = Path("data/clips")
LEARNED = Path("data/learned")
CANDIDATES = Path("data/candidates")
EVALUATION = Path("data/evaluation")
INDEX = Path("data/index")
CHAMPION = Path("data/champion.json")
CHAMPION_EVALUATION = Path("data/champion")

VALIDATION_METRICS = Path("metrics/validation.json")
PREPARE_METRICS = Path("metrics/prepare.json")
ENCODE_METRICS = Path("metrics/encode.json")
LEARN_METRICS = Path("metrics/learn")
TRAIN_METRICS = Path("metrics/train")
EVALUATE_METRICS = Path("metrics/evaluate")
INDEX_METRICS = Path("metrics/index.json")
CHAMPION_METRICS = Path("metrics/champion.json")
VERDICT = Path("metrics/verdict.json")
