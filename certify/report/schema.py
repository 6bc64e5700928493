"""The shape of ``report.json`` as data (a subset of JSON Schema) and a checker that needs no dependency."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from certify.results import Status
from theory.provenance import Rigor, Side
from theory.theorem import Outcome

ID = "landau-certify-report/1"

Schema = dict[str, Any]

_STRING: Schema = {"type": "string"}
_FLAG: Schema = {"type": "boolean"}
_MAYBE_NUMBER: Schema = {"type": ["number", "null"]}
_CURVE: Schema = {"type": ["array", "null"], "items": _MAYBE_NUMBER}
_STRINGS: Schema = {"type": "array", "items": _STRING}


def _object(required: Mapping[str, Schema], **optional: Schema) -> Schema:
    return {"type": "object", "required": list(required), "properties": {**required, **optional}}


def _mapping(values: Schema) -> Schema:
    return {"type": "object", "additionalProperties": values}


def _names(kind: type[Status] | type[Rigor] | type[Side] | type[Outcome], *, lower: bool = False) -> Schema:
    return {"enum": [member.name.lower() if lower else member.name for member in kind]}


def _estimate() -> Schema:
    return _object(
        {
            "value": {"type": ["array", "number", "null"], "items": _MAYBE_NUMBER},
            "axis": {"enum": ["constant", "times", "nodes", "other"]},
            "side": _names(Side, lower=True),
            "rigor": _names(Rigor, lower=True),
            "method": _STRING,
            "delta": {"type": "number"},
            "oracle": _FLAG,
            "infinite": _FLAG,
        },
        detail={"type": "object"},
    )


def _ingredient() -> Schema:
    return _object(
        {
            "symbol": _STRING,
            "meaning": _STRING,
            "unit": _STRING,
            "needed": _names(Side, lower=True),
            "given": {"type": ["object", "null"]},
        }
    )


def _hypothesis() -> Schema:
    return _object(
        {
            "statement": _STRING,
            "outcome": _names(Outcome, lower=True),
            "reason": _STRING,
            "valid_until": _MAYBE_NUMBER,
            "voids_everything": _FLAG,
        }
    )


def _share() -> Schema:
    numbers = ("value", "other", "log10_bound", "log10_bound_other", "elasticity", "decades")
    return _object({"id": _STRING, **dict.fromkeys(numbers, _MAYBE_NUMBER), "is_bound": _FLAG, "method": _STRING})


def _bracket() -> Schema:
    return _object(
        {
            "id": _STRING,
            "title": _STRING,
            "lower": _CURVE,
            "upper": _CURVE,
            "lower_estimate": {**_estimate(), "type": ["object", "null"]},
            "certificate": _STRING,
            "status": _names(Status),
            "oracle": _FLAG,
            "contradicted": _FLAG,
        },
        line=_STRING,
    )


def _conservation() -> Schema:
    words = dict.fromkeys(("id", "title", "largest", "when", "end", "rigor", "method"), _STRING)
    check = _object({**words, "value": _MAYBE_NUMBER, "at": _MAYBE_NUMBER})
    return _object({"line": _STRING, "checks": {"type": "array", "items": check}})


def _certificate() -> Schema:
    return _object(
        {
            "id": _STRING,
            "status": _names(Status),
            "rigor": _names(Rigor, lower=True),
            "oracle": _FLAG,
            "weakest": _STRING,
            "times": {"type": "array", "items": {"type": "number"}},
            "bound": _CURVE,
            "trivial": _CURVE,
            "measured": _object({"lower": _CURVE, "upper": _CURVE}),
            "effectivity": {"type": ["array", "null"], "items": _MAYBE_NUMBER, "minItems": 2, "maxItems": 2},
            "terms": _mapping(_CURVE),
            "hypotheses": _mapping(_hypothesis()),
            "budget": {"type": "array", "items": _share()},
            "reasons": _STRINGS,
        },
        title=_STRING,
        source=_STRING,
        statement=_STRING,
        bounds=_STRING,
        statuses={"type": "array", "items": _names(Status)},
        delta={"type": "number"},
        valid_until=_MAYBE_NUMBER,
        missing=_STRINGS,
        log10_bound=_CURVE,
        log10_trivial=_CURVE,
        log10_terms=_mapping(_CURVE),
        log10_effectivity={"type": ["array", "null"], "items": _MAYBE_NUMBER},
        ingredients=_mapping(_ingredient()),
    )


def schema() -> Schema:
    """JSON Schema of ``report.json``. Extra keys are allowed everywhere."""
    measured = _object(
        {
            "title": _STRING,
            "method": _STRING,
            "lower": {**_estimate(), "type": ["object", "null"]},
            "upper": {**_estimate(), "type": ["object", "null"]},
        }
    )
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": ID,
        **_object(
            {
                "schema": {"enum": [ID]},
                "problem": {"type": "object"},
                "model": {"type": "object"},
                "options": {"type": "object"},
                "certificates": {"type": "array", "items": _certificate()},
                "brackets": {"type": "array", "items": _bracket()},
                "conservation": _conservation(),
                "ingredients": _mapping(_estimate()),
                "measured": _mapping(measured),
                "hypotheses": _mapping(_hypothesis()),
            },
            headline=_STRING,
            incomplete=_FLAG,
            quick=_FLAG,
            times={"type": "array", "items": {"type": "number"}},
            nodes={"type": "array", "items": {"type": "number"}},
            numerics={"type": "object"},
            environment={"type": "object"},
            warnings=_STRINGS,
            digest=_STRING,
        ),
    }


_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "boolean": (bool,),
    "number": (int, float),
    "null": (type(None),),
    "array": (list,),
    "object": (dict,),
}


def _is(value: object, name: str) -> bool:
    return isinstance(value, _TYPES[name]) and not (name == "number" and isinstance(value, bool))


def faults(document: Any, shape: Schema, path: str = "$") -> Iterator[str]:
    """Every place where ``document`` does not have the ``shape``; nothing if it does."""
    allowed = shape.get("type")
    if allowed is not None and not any(_is(document, t) for t in ([allowed] if isinstance(allowed, str) else allowed)):
        yield f"{path}: {type(document).__name__} is not {allowed}"
        return
    if "enum" in shape and document not in shape["enum"]:
        yield f"{path}: {document!r} is none of {shape['enum']}"
    if isinstance(document, float) and document - document != 0.0:
        yield f"{path}: {document} is not finite"
    if isinstance(document, dict):
        yield from (f"{path}: key {key!r} is missing" for key in shape.get("required", ()) if key not in document)
        properties, rest = shape.get("properties", {}), shape.get("additionalProperties", {})
        for key, value in document.items():
            yield from faults(value, properties.get(key, rest), f"{path}.{key}")
    if isinstance(document, list):
        size = len(document)
        if not shape.get("minItems", 0) <= size <= shape.get("maxItems", size):
            yield f"{path}: {size} items"
        for k, value in enumerate(document):
            yield from faults(value, shape.get("items", {}), f"{path}[{k}]")
