"""web/schema.json, by which server and browser understand each other."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator

SCHEMA = json.loads((Path(__file__).parents[1] / "web" / "schema.json").read_text(encoding="utf-8"))


def checked(name: str, value: Any) -> Any:
    """`value`, if it is what the schema calls `name`. Raises jsonschema.ValidationError."""
    Draft202012Validator({**SCHEMA, "$ref": f"#/$defs/{name}"}).validate(value)
    return value
