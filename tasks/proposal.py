"""Better parameters as a diff to `params.yaml`, whose comments, order and layout stay."""

import difflib
import io
import re
from collections.abc import Mapping
from typing import Any

from ruamel.yaml import YAML, ScalarNode
from ruamel.yaml.representer import RoundTripRepresenter

from tasks.search_space import Values

NO_END_OF_LINE = "\\ No newline at end of file\n"


class _Plain(RoundTripRepresenter):
    """Writes what PyYAML, which reads YAML 1.1, reads back alike: `null`, and a dot in numbers like 1.0e-05."""

    def represent_null(self, data: None) -> ScalarNode:
        return self.represent_scalar("tag:yaml.org,2002:null", "null")

    def represent_number(self, data: float) -> ScalarNode:
        told = re.sub(r"^(-?\d+)e", r"\1.0e", repr(data))
        return self.represent_scalar("tag:yaml.org,2002:float", told)


_Plain.add_representer(type(None), _Plain.represent_null)
_Plain.add_representer(float, _Plain.represent_number)


def proposal(text: str, candidate: str, values: Values) -> str:
    """A unified diff, with the paths that `git apply` asks for, that sets `values` of `candidate`; empty for none.

    Args:
        text: of `params.yaml`.
        candidate: whose section below `train` it is, made where it is missing.
        values: by dotted field.
    """
    if not values:
        return ""
    before, after = text.splitlines(keepends=True), _edited(text, candidate, values).splitlines(keepends=True)
    lines = difflib.unified_diff(before, after, "a/params.yaml", "b/params.yaml")
    return "".join(line if line.endswith("\n") else f"{line}\n{NO_END_OF_LINE}" for line in lines)


def _edited(text: str, candidate: str, values: Mapping[str, Any]) -> str:
    yaml = YAML()
    yaml.Representer = _Plain
    yaml.preserve_quotes = True
    yaml.width = 1 << 16
    sections, lists = _depth(text, "[^ #-]", otherwise=2), _depth(text, "- ", otherwise=0)
    yaml.indent(mapping=sections, sequence=lists + 2, offset=lists)
    tree = yaml.load(text)
    for field, value in values.items():
        *above, name = ["train", candidate, *field.split(".")]
        below = tree
        for part in above:
            below = below.setdefault(part, {})
        below[name] = value
    written = io.StringIO()
    yaml.dump(tree, written)
    return written.getvalue()


def _depth(text: str, begin: str, *, otherwise: int) -> int:
    """By how many spaces `text` indents what lies below a top-level key and begins with `begin`."""
    found = re.search(rf"^\w+:[^\n\S]*(?:#.*)?\n( *){begin}", text, re.MULTILINE)
    return len(found[1]) if found else otherwise
