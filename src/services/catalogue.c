#include "services/catalogue.h"

#include "assets/assets.h"

static int install_type(struct conn *c, struct arena *a, const struct json *v, Time now, struct err *err)
{
    struct block_type t;
    record_init(&block_type_resource, &t);
    t.name = json_get_str(v, STR("name"));
    t.slug = json_get_str(v, STR("slug"));
    t.logo_url = json_get_str(v, STR("logo_url"));
    t.documentation_url = json_get_str(v, STR("documentation_url"));
    t.description = json_get_str(v, STR("description"));
    t.code_example = json_get_str(v, STR("code_example"));
    const struct json *protected = json_getz(v, "is_protected");
    t.is_protected = json_is(protected, JSON_BOOL) && protected->boolean;
    t.id = uuid_v7();
    t.created = t.updated = now;
    if (record_insert(c, &block_type_resource, &t, "ON CONFLICT (slug) DO NOTHING", err) < 0 ||
        db_get_uuid(c, err, &t.id, "SELECT id FROM block_type WHERE slug = $1", "s", t.slug) < 0)
        return -1;
    const struct json *schema = json_getz(v, "block_schema");
    struct block_schema s;
    record_init(&block_schema_resource, &s);
    /* The published checksum: clients look a schema up by the one they compute, over their own descriptions. */
    s.checksum = json_get_str(schema, STR("checksum"));
    s.fields = json_text(a, json_getz(schema, "fields"));
    s.capabilities = json_text(a, json_getz(schema, "capabilities"));
    s.version = json_get_str(schema, STR("version"));
    s.block_type_id = t.id;
    s.id = uuid_v7();
    s.created = s.updated = now;
    return record_insert(c, &block_schema_resource, &s, "ON CONFLICT (checksum, version) DO NOTHING", err) < 0 ? -1 : 0;
}

int catalogue_install(struct conn *c, struct arena *a, Time now, struct err *err)
{
    Str text = asset_find("block-types.json");
    /* Once for each version of the program and of the list. */
    Str mark = str_fmt(a, "%s %016llx", MILLPOND_VERSION, (unsigned long long)str_hash(text));
    int64_t one;
    int rc = db_get_int(c, err, &one, "SELECT 1 FROM configuration WHERE key = 'catalogue' AND value = $1", "s", mark);
    if (rc != 0)
        return rc < 0 ? -1 : 0;
    const struct json *all = json_parse(a, text, err);
    if (!all)
        return err_wrap(err, "the built-in block types");
    for (size_t i = 0; i < all->object.n; i++) {
        const struct json *package = &all->object.members[i].value;
        for (size_t k = 0; k < package->object.n; k++)
            if (install_type(c, a, &package->object.members[k].value, now, err) < 0)
                return -1;
    }
    return db_exec(c, err, "INSERT INTO configuration (key, updated, value) VALUES ('catalogue', $1, $2)"
                           " ON CONFLICT (key) DO UPDATE SET value = excluded.value, updated = excluded.updated", "ts", now, mark) < 0
               ? -1
               : 0;
}
