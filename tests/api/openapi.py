"""The API's description as a program reads it: what an answer must look like, and how two descriptions differ."""
import json
import re

JSON_TYPES = {bool: "boolean", int: "integer", float: "number", str: "string", list: "array", dict: "object", type(None): "null"}
METHODS = {"get", "post", "put", "patch", "delete"}


class Document:
    def __init__(self, text):
        self.all = json.loads(text)
        self.routes = []
        for path, item in self.all["paths"].items():
            names = re.compile("^" + re.sub(r"\\\{[^}]+\\\}", "[^/]+", re.escape(path)) + "$")
            self.routes += [(method, names, path, operation) for method, operation in item.items() if method in METHODS]
        self.says_null = '{"type": "null"}' in json.dumps(self.all)  # older descriptions do not
        self.routes.sort(key=lambda r: r[2].count("{"))  # the closest first

    def resolve(self, schema):
        while "$ref" in schema:
            target = self.all
            for part in schema["$ref"][2:].split("/"):
                target = target[part]
            schema = target
        return schema

    def operation(self, method, path):
        path = path.split("?")[0]
        return next((r for r in self.routes if r[0] == method.lower() and r[1].match(path)), None)

    def check_answer(self, method, path, status, text):
        """What is wrong with an answer, as a list of sentences."""
        found = self.operation(method, path)
        if not found or status in (304, 307):
            return []
        answers = found[3]["responses"]
        answer = self.resolve(answers.get(str(status)) or answers["default"])
        if status < 400 and str(status) not in answers:
            return [f"status {status} is not described"]
        content = answer.get("content", {})
        if not content:
            return [f"{status}: a body where none is described"] if text else []
        if "application/json" not in content:
            return []
        return list(self.faults(content["application/json"]["schema"], json.loads(text), f"{status}"))

    def faults(self, schema, value, where):
        schema = self.resolve(schema)
        if "anyOf" in schema:
            each = [list(self.faults(s, value, where)) for s in schema["anyOf"]]
            if all(each):
                yield from min(each, key=len)
            return
        kind, said = JSON_TYPES[type(value)], schema.get("type")
        said = [said] if isinstance(said, str) else said
        if said and kind not in said and not (kind == "integer" and "number" in said):
            yield f"{where}: {kind}, not {said}"
            return
        if "enum" in schema and value not in schema["enum"]:
            yield f"{where}: {value!r} is none of {schema['enum']}"
        if kind == "array" and "items" in schema:
            for i, item in enumerate(value):
                yield from self.faults(schema["items"], item, f"{where}[{i}]")
        if kind == "object":
            known, rest = schema.get("properties"), schema.get("additionalProperties")
            for key in schema.get("required", []):
                if key not in value:
                    yield f"{where}.{key} is missing"
            for key, item in value.items():
                if known and key in known:
                    yield from self.faults(known[key], item, f"{where}.{key}")
                elif known and rest is None:
                    yield f"{where}.{key} is not described"
                elif isinstance(rest, dict):
                    yield from self.faults(rest, item, f"{where}.{key}")


class Schema:
    """A schema with references and alternatives taken together."""

    def __init__(self, document, schema):
        self.types, self.enum, self.properties, self.required, self.items, self.closed, self.bounds = set(), None, {}, set(), [], False, {}
        self.default = schema.get("default", ...)
        self.union = 0  # alternatives that are objects
        self._add(document, schema, set())

    def _add(self, document, schema, seen):
        if "$ref" in schema:
            if schema["$ref"] in seen:
                return
            seen = seen | {schema["$ref"]}
        schema = document.resolve(schema)
        if self.default is ...:
            self.default = schema.get("default", ...)
        for key in ("anyOf", "oneOf", "allOf"):
            for one in schema.get(key, []):
                self._add(document, one, seen)
        if any(key in schema for key in ("anyOf", "oneOf", "allOf")):
            return
        kind = schema.get("type")
        if kind is None:
            kind = {str: "string", int: "integer"}[type(schema["const"])] if "const" in schema else "string" if "enum" in schema else "any"
        self.types |= {kind} if isinstance(kind, str) else set(kind)
        names = schema.get("enum") or ([schema["const"]] if "const" in schema else None)
        if kind == "any" or self.types >= {"array", "boolean", "number", "object", "string"}:
            self.types = {"any"}  # which null is one of
        if names:
            self.enum = (self.enum or set()) | set(names)
        first = not self.union
        self.union += kind == "object"
        for key, one in schema.get("properties", {}).items():
            self.properties[key] = (document, one)
        required = set(schema.get("required", []))
        self.required = required if first else self.required & required if kind == "object" else self.required
        if isinstance(schema.get("items"), dict):
            self.items.append((document, schema["items"]))
        self.closed |= schema.get("additionalProperties") is False
        for key in ("minimum", "maximum", "exclusiveMinimum"):
            if key in schema:
                self.bounds[key] = float(schema[key])


def differences(ours, theirs, where, asked, depth=0):
    """Ours against theirs, newest first; `asked`: "body", "change" (whose absent keys stay as they are: defaults say nothing), "parameter", or
    "" for an answer. A server may answer less than it may, and take more than it must: so only what an old client sends
    and is not taken, or what it does not expect and gets, counts for null; the rest must be equal."""
    mine, others = Schema(*ours), [Schema(*one) for one in theirs]
    new = others[0]
    number = {"integer", "number"}
    types, expected = mine.types - {"null"}, new.types - {"null"}
    if types != expected and not (types <= number and expected <= number and bool(asked) != ("number" in expected)) and expected:
        yield f"{where}: type {'|'.join(sorted(types))} / {'|'.join(sorted(expected))}"
        return
    nulls = "null" in mine.types, "null" in new.types
    if nulls[0] != nulls[1] and nulls[0] != bool(asked) and asked != "parameter" and "any" not in mine.types | new.types and theirs[0][0].says_null:
        yield f"{where}: null {'' if nulls[0] else 'not '}{'taken' if asked else 'answered'}"
    if mine.enum != new.enum and new.types != {"any"}:
        yield f"{where}: enum {sorted(mine.enum or [])} / {sorted(new.enum or [])}"
    if asked != "change" and asked and new.default is not ... and mine.default != new.default:
        yield f"{where}: default {'none' if mine.default is ... else mine.default} / {new.default}"
    if asked != "change" and asked and new.default is ... and mine.default not in (..., {}, [], ""):
        yield f"{where}: default {mine.default} / none"
    if asked:
        for key, bound in new.bounds.items():
            if mine.bounds.get(key) != bound:
                yield f"{where}: {key} {mine.bounds.get(key)} / {bound}"
    if mine.items and new.items:
        yield from differences(mine.items[0], [o.items[0] for o in others if o.items], where + "[]", asked, depth + 1)
    expected = {key: [o.properties[key] for o in others if key in o.properties] for o in others for key in o.properties}
    if not mine.properties and expected:
        yield f"{where}: opaque"
        return
    if mine.properties and not expected and new.union:
        yield f"{where}: described / opaque"
        return
    for key in sorted(set(mine.properties) | set(expected)):
        if key not in expected:
            yield f"{where}.{key}: extra"
        elif key not in mine.properties:
            yield f"{where}.{key}: not there"
        elif depth < 6 and new.union < 2:  # of alternatives only the names are compared
            yield from differences(mine.properties[key], expected[key], f"{where}.{key}", asked, depth + 1)
    if asked:
        for key in sorted((mine.required ^ new.required) & set(mine.properties) & set(new.properties)):
            yield f"{where}.{key}: {'' if key in mine.required else 'not '}required"
        if mine.properties and mine.closed != new.closed:
            yield f"{where}: unknown keys {'refused' if mine.closed else 'passed over'}"
    else:
        for key in sorted((new.required - mine.required) & set(mine.properties)):
            yield f"{where}.{key}: may be missing"


def body_of(document, operation):
    content = document.resolve(operation.get("requestBody", {})).get("content", {})
    return content.get("application/json", {}).get("schema")


def answer_of(document, operation, status):
    content = document.resolve(operation["responses"][status]).get("content", {})
    return content.get("application/json", {}).get("schema")


def compare(ours, theirs):
    """Every difference of a description from others (newest first), a line each: "METHOD path: place: what"."""
    for (method, path) in sorted({(m, p) for d in theirs for m, _, p, _ in d.routes}):
        shape = re.sub(r"\{[^}]+\}", "{}", path)
        mine = next((r[3] for r in ours.routes if r[0] == method and re.sub(r"\{[^}]+\}", "{}", r[2]) == shape), None)
        at = f"{method.upper()} {path}"
        if not mine:
            yield f"{at}: no such operation"
            continue
        known = [(d, r[3]) for d in theirs for r in d.routes if r[0] == method and r[2] == path]
        yield from compare_parameters(ours, mine, known, at)
        statuses = set(known[0][1]["responses"]), set(mine["responses"]) - {"default"}
        if statuses[0] != statuses[1]:
            yield f"{at}: statuses {sorted(statuses[1])} / {sorted(statuses[0])}"
        bodies = [(d, body_of(d, o)) for d, o in known]
        body, expected = body_of(ours, mine), [b for b in bodies if b[1] is not None]
        if (body is None) != (bodies[0][1] is None):
            yield f"{at}: {'no ' if body is None else 'a '}body"
        elif body is not None:
            yield from differences((ours, body), expected, f"{at}: body", "change" if method == "patch" else "body")
        for status in sorted(statuses[0] & statuses[1] - {"422"}):
            answers = [(d, answer_of(d, o, status)) for d, o in known if status in o["responses"]]
            answer, expected = answer_of(ours, mine, status), [a for a in answers if a[1] not in (None, {})]
            if expected and answer is not None:
                yield from differences((ours, answer), expected, f"{at}: answer", "")
            elif expected:
                yield f"{at}: no answer"


def compare_parameters(ours, mine, known, at):
    def listed(document, operation):
        return {(p["in"], p["name"]): p for p in map(document.resolve, operation.get("parameters", []))}

    expected = {}
    for document, operation in reversed(known):
        expected |= {key: (document, p) for key, p in listed(document, operation).items()}
    own = listed(ours, mine)
    for key in sorted(set(own) | set(expected)):
        where = f"{at}: {key[0]} {key[1]}"
        if key not in expected or key not in own:
            yield f"{where}: {'extra' if key in own else 'not there'}"
            continue
        document, p = expected[key]
        if bool(p.get("required")) != bool(own[key].get("required")):
            yield f"{where}: {'' if own[key].get('required') else 'not '}required"
        yield from differences((ours, own[key]["schema"]), [(document, p["schema"])], where, "parameter")
