"""The servers of one machine, started, watched and stopped as one: S3, PostgreSQL, MLflow, Prefect and a worker.

A file a service says its command line, environment, ports and health check; `supervisor` runs them; `layout` knows the
folder, the ports and the credentials that they share.
"""
