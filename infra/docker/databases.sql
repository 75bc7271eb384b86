-- Prefect's is made by the image; these stand beside it.
CREATE DATABASE mlflow;
CREATE DATABASE mlflow_auth;
CREATE DATABASE tuning;
