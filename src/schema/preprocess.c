/* What clients call a parameter schema is not quite a schema of the draft: older ones write tuples as `items`
 * lists and leave out that an optional value may be null, and a block may be given by reference. */
#include "schema/jsonschema.h"

#include "schema/tree.h"

static bool is_required(const struct json *required, Str key)
{
    for (size_t i = 0; json_is(required, JSON_ARRAY) && i < required->array.n; i++)
        if (str_eq(json_str(&required->array.items[i]), key))
            return true;
    return false;
}

static const struct json *without(struct arena *a, const struct json *object, Str key)
{
    struct tree_members m = {0};
    for (size_t i = 0; i < object->object.n; i++)
        if (!str_eq(object->object.members[i].key, key))
            tree_add(a, &m, object->object.members[i].key, &object->object.members[i].value);
    return tree_object(a, &m);
}

static const struct json *with(struct arena *a, const struct json *object, Str key, const struct json *value)
{
    struct tree_members m = {0};
    for (size_t i = 0; i < object->object.n; i++)
        tree_add(a, &m, object->object.members[i].key, &object->object.members[i].value);
    tree_set(a, &m, key, value);
    return tree_object(a, &m);
}

/* {"type": T} becomes {"anyOf": [{"type": T}, {"type": "null"}]}. */
static const struct json *or_null(struct arena *a, const struct json *schema)
{
    struct tree_members type = {0}, null_type = {0};
    struct tree_items branches = {0};
    tree_add(a, &type, STR("type"), json_getz(schema, "type"));
    tree_add(a, &null_type, STR("type"), tree_str(a, STR("null")));
    tree_push(a, &branches, tree_object(a, &type));
    tree_push(a, &branches, tree_object(a, &null_type));
    return with(a, without(a, schema, STR("type")), STR("anyOf"), tree_array(a, &branches));
}

static const struct json *process_members(struct arena *a, const struct json *schema, bool null_defaults);

static const struct json *process_property(struct arena *a, const struct json *schema, bool required,
                                           bool null_defaults)
{
    if (schema->kind != JSON_OBJECT)
        return schema;
    const struct json *type = json_getz(schema, "type");
    if (!required && type && !str_eqz(json_str(type), "null") &&
        (null_defaults || !json_getz(schema, "default")))
        schema = or_null(a, schema);
    const struct json *items = json_getz(schema, "items"), *prefix = json_getz(schema, "prefixItems");
    if (json_is(items, JSON_ARRAY) && items->array.n && !(json_is(prefix, JSON_ARRAY) && prefix->array.n))
        schema = with(a, without(a, schema, STR("items")), STR("prefixItems"), items);
    return process_members(a, schema, null_defaults);
}

/* The schema with its `properties` gone through; the same one where nothing changes. */
static const struct json *process_members(struct arena *a, const struct json *schema, bool null_defaults)
{
    const struct json *properties = json_getz(schema, "properties"),
                      *required = json_getz(schema, "required");
    if (!json_is(properties, JSON_OBJECT))
        return schema;
    struct tree_members m = {0};
    bool changed = false;
    for (size_t i = 0; i < properties->object.n; i++) {
        const struct json_member *old = &properties->object.members[i];
        const struct json *new =
            process_property(a, &old->value, is_required(required, old->key), null_defaults);
        changed |= new != &old->value;
        tree_add(a, &m, old->key, new);
    }
    return changed ? with(a, schema, STR("properties"), tree_object(a, &m)) : schema;
}

/* A block's definition, or a reference to a stored one in its place. */
static const struct json *or_reference(struct arena *a, const struct json *definition)
{
    static const char reference[] =
        "{\"type\":\"object\",\"properties\":{\"$ref\":{\"oneOf\":[{\"type\":\"string\",\"format\":\"uuid\"},"
        "{\"type\":\"object\",\"additionalProperties\":{\"type\":\"string\"},\"minProperties\":1}]}},"
        "\"required\":[\"$ref\"]}";
    struct err err;
    const struct json *other = json_parse(a, str_of(reference), &err);
    if (!other)
        die("block reference schema: %s", err.text);
    struct tree_items branches = {0};
    tree_push(a, &branches, definition);
    tree_push(a, &branches, other);
    struct tree_members m = {0};
    tree_add(a, &m, STR("anyOf"), tree_array(a, &branches));
    return tree_object(a, &m);
}

static const struct json *process_definitions(struct arena *a, const struct json *schema, Str keyword,
                                              bool null_defaults)
{
    const struct json *definitions = json_get(schema, keyword);
    if (!json_is(definitions, JSON_OBJECT))
        return schema;
    struct tree_members m = {0};
    bool changed = false;
    for (size_t i = 0; i < definitions->object.n; i++) {
        const struct json_member *old = &definitions->object.members[i];
        const struct json *new = process_members(a, &old->value, null_defaults);
        if (json_getz(new, "block_type_slug"))
            new = or_reference(a, new);
        changed |= new != &old->value;
        tree_add(a, &m, old->key, new);
    }
    return changed ? with(a, schema, keyword, tree_object(a, &m)) : schema;
}

static const struct json *process(struct arena *a, const struct json *schema, bool null_defaults)
{
    schema = process_members(a, schema, null_defaults);
    schema = process_definitions(a, schema, STR("definitions"), null_defaults);
    return process_definitions(a, schema, STR("$defs"), null_defaults);
}

const struct json *schema_preprocess(struct arena *a, const struct json *schema)
{
    return process(a, schema, false);
}

const struct json *schema_preprocess_variables(struct arena *a, const struct json *schema)
{
    return process(a, schema, true);
}
