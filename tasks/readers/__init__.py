"""One file a kind of source: each turns the source's own files into the canonical tables of `tasks.schema`."""
