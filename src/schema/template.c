/* Base job templates: what a pool's owner lets be set, and what comes of it. */
#include "schema/hydrate.h"

#include "schema/pyrepr.h"
#include "schema/tree.h"

#include <string.h>

/* ---- placeholders ---- */

static bool name_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           (unsigned char)c >= 0x80 || (c && strchr("_.-[]$", c));
}

static size_t skip_space(Str s, size_t at)
{
    while (at < s.n && (s.p[at] == ' ' || (s.p[at] >= '\t' && s.p[at] <= '\r')))
        at++;
    return at;
}

struct placeholder {
    size_t from, to; /* in the text, braces included */
    Str name;
};

/* The first {{ name }} at or after `at`. */
static bool placeholder_find(Str s, size_t at, struct placeholder *ret)
{
    for (;;) {
        ptrdiff_t open = str_find(str_sub(s, at, s.n), STR("{{"));
        if (open < 0)
            return false;
        size_t from = at + (size_t)open, start = skip_space(s, from + 2), end = start;
        while (end < s.n && name_char(s.p[end]))
            end++;
        size_t close = skip_space(s, end);
        if (end > start && str_starts(str_sub(s, close, 2), STR("}}"))) {
            *ret = (struct placeholder){from, close + 2, str_sub(s, start, end - start)};
            return true;
        }
        at = from + 1;
    }
}

enum name_kind { NAME_VARIABLE, NAME_ENV, NAME_BLOCK, NAME_WORKSPACE_VARIABLE };

#define BLOCKS STR("prefect.blocks.")
#define VARIABLES STR("prefect.variables.")

static enum name_kind kind_of(Str name)
{
    if (str_starts(name, STR("$")))
        return NAME_ENV;
    if (str_starts(name, BLOCKS))
        return NAME_BLOCK;
    return str_starts(name, VARIABLES) ? NAME_WORKSPACE_VARIABLE : NAME_VARIABLE;
}

/* Follows a.b[0].c; a number is the index of an array, from its end where negative. NULL where it leads
 * nowhere. */
static const struct json *follow(struct arena *a, const struct json *v, Str path)
{
    char *plain = arena_alloc(a, path.n + 1);
    size_t n = 0;
    for (size_t i = 0; i < path.n; i++)
        if (path.p[i] != ']')
            plain[n++] = path.p[i] == '[' ? '.' : path.p[i];
    Str rest = {plain, n}, part;
    while (v && str_cut(&rest, '.', &part)) {
        int64_t i;
        bool number = str_int(part, &i);
        if (v->kind == JSON_ARRAY && number) {
            i += i < 0 ? (int64_t)v->array.n : 0;
            v = i >= 0 && (uint64_t)i < v->array.n ? &v->array.items[i] : NULL;
        } else {
            v = number ? NULL : json_get(v, part);
        }
    }
    return v;
}

/* ---- filling in ---- */

struct filling {
    struct arena *a;
    /* What a placeholder stands for: 1 with the value; 0: it is left as it stands; 2: unset, and it goes with
     * its key; -1 */
    int (*find)(struct filling *f, Str name, bool whole, const struct json **ret);
    /* The same for an object as a whole; may be NULL. */
    int (*object)(struct filling *f, const struct json *v, const struct json **ret);
    const struct json *variables, *extra;
    const struct hydrate_context *ctx;
    size_t text_left;
    struct map found; /* blocks and variables that were asked for */
    struct err *err;
};

enum { LEFT, FOUND, UNSET };

static int too_large(struct filling *f)
{
    return err_set(f->err, ERR_TOO_LARGE, "the job configuration comes to too much text");
}

static int fill_text(struct filling *f, Str s, const struct json **ret)
{
    struct placeholder p;
    if (!placeholder_find(s, 0, &p)) {
        *ret = NULL;
        return LEFT;
    }
    if (p.from == 0 && p.to == s.n)
        return f->find(f, p.name, /* whole: */ true, ret);
    AUTO(buf_free) struct buf b = BUF(f->text_left);
    size_t at = 0;
    do {
        const struct json *v = NULL;
        buf_str(&b, str_sub(s, at, p.from - at));
        int rc = f->find(f, p.name, /* whole: */ false, &v);
        if (rc < 0)
            return -1;
        if (rc == FOUND)
            py_str(&b, v);
        if (rc == LEFT)
            buf_str(&b, str_sub(s, p.from, p.to - p.from));
        at = p.to;
    } while (placeholder_find(s, at, &p));
    buf_str(&b, str_sub(s, at, s.n));
    if (b.overflow)
        return too_large(f);
    f->text_left -= b.n;
    *ret = tree_str(f->a, str_dup(f->a, buf_view(&b)));
    return FOUND;
}

/* As find: LEFT gives the value itself in *ret. Keys are not looked at. */
static int fill(struct filling *f, const struct json *v, const struct json **ret)
{
    struct tree_items items = {0};
    struct tree_members members = {0};
    const struct json *part;
    bool changed = false;
    int rc = LEFT;
    if (v->kind == JSON_STRING) {
        rc = fill_text(f, v->string, ret);
    } else if (v->kind == JSON_ARRAY) {
        for (size_t i = 0; i < v->array.n; i++) {
            if ((rc = fill(f, &v->array.items[i], &part)) < 0)
                return -1;
            changed |= rc != LEFT;
            if (rc != UNSET)
                tree_push(f->a, &items, part);
        }
        rc = changed ? FOUND : LEFT;
        if (changed)
            *ret = tree_array(f->a, &items);
    } else if (v->kind == JSON_OBJECT) {
        if (f->object && (rc = f->object(f, v, ret)) != LEFT)
            return rc;
        for (size_t i = 0; i < v->object.n; i++) {
            if ((rc = fill(f, &v->object.members[i].value, &part)) < 0)
                return -1;
            changed |= rc != LEFT;
            if (rc != UNSET)
                tree_add(f->a, &members, v->object.members[i].key, part);
        }
        rc = changed ? FOUND : LEFT;
        if (changed)
            *ret = tree_object(f->a, &members);
    }
    if (rc == LEFT)
        *ret = v;
    return rc;
}

/* ---- the variables of a pool ---- */

static int find_variable(struct filling *f, Str name, bool whole, const struct json **ret)
{
    if (kind_of(name) != NAME_VARIABLE)
        return LEFT;
    size_t first = 0;
    while (first < name.n && name.p[first] != '.' && name.p[first] != '[')
        first++;
    bool ours = json_get(f->variables, str_sub(name, 0, first));
    if (!ours && !f->extra && str_starts(name, STR("ctx.")))
        return LEFT;
    *ret = follow(f->a, ours ? f->variables : f->extra, name);
    return *ret ? FOUND : UNSET;
}

/* ---- blocks ---- */

/* The block's data, looked up once. NULL with the error. */
static const struct json *block_data(struct filling *f, Uuid id, Str slug, Str name)
{
    Str key = uuid_is_nil(id) ? str_fmt(f->a, "block %.*s/%.*s", STR_ARG(slug), STR_ARG(name))
                              : str_fmt(f->a, "block %s", uuid_text(id).s);
    void **slot = map_at(f->a, &f->found, key);
    struct err why = {.code = ERR_NOT_FOUND, .text = "there is no such block document"};
    const struct json *data = *slot ? *slot : f->ctx->block(f->ctx->user, id, slug, name, &why);
    if (!data) {
        *f->err = why;
        err_wrap(f->err, "%.*s", (int)MIN(key.n, 200), key.p);
        return NULL;
    }
    *map_at(f->a, &f->found, key) = (void *)(uintptr_t)data;
    return data;
}

/* A block of nothing but a value (a secret, an old variable) stands for that value. */
static const struct json *only_value(const struct json *data)
{
    return data->kind == JSON_OBJECT && data->object.n == 1 ? json_getz(data, "value") : NULL;
}

static int find_block(struct filling *f, Str name, bool whole, const struct json **ret)
{
    if (kind_of(name) != NAME_BLOCK || !f->ctx || !f->ctx->block)
        return LEFT;
    Str rest = str_sub(name, BLOCKS.n, name.n), slug, document;
    if (!str_cut(&rest, '.', &slug) || !str_cut(&rest, '.', &document) || !slug.n || !document.n)
        return err_set(
            f->err, ERR_INVALID,
            "'%.*s' names no block: prefect.blocks.TYPE-SLUG.NAME is wanted, with .PATH or without",
            (int)MIN(name.n, 200), name.p);
    const struct json *data = block_data(f, UUID_NIL, slug, document);
    if (!data)
        return -1;
    const struct json *value = only_value(data), *v = rest.p  ? follow(f->a, data, rest)
                                                      : value ? value
                                                              : data;
    if (!v && value)
        v = follow(f->a, value, rest);
    if (!v)
        return err_set(f->err, ERR_INVALID, "'%.*s' leads to nothing in the block's data",
                       (int)MIN(name.n, 200), name.p);
    if (!whole && v->kind == JSON_OBJECT)
        return err_set(f->err, ERR_INVALID,
                       "'%.*s' is a mapping and cannot stand inside a text: name one of its fields",
                       (int)MIN(name.n, 200), name.p);
    *ret = v;
    return FOUND;
}

static bool block_reference(const struct json *v, Uuid *ret)
{
    return uuid_parse(json_get_str(json_getz(v, "$ref"), STR("block_document_id")), ret);
}

/* {"$ref": {"block_document_id": …}} */
static int find_block_object(struct filling *f, const struct json *v, const struct json **ret)
{
    Uuid id;
    const struct json *wanted = json_getz(json_getz(v, "$ref"), "block_document_id");
    if (!f->ctx || !f->ctx->block || !wanted)
        return LEFT;
    if (!block_reference(v, &id)) {
        Str text = json_text(f->a, wanted);
        return err_set(f->err, ERR_INVALID, "%.*s is not the id of a block document", (int)MIN(text.n, 100),
                       text.p);
    }
    *ret = block_data(f, id, STR_NONE, STR_NONE);
    return *ret ? FOUND : -1;
}

/* ---- workspace variables ---- */

static int find_workspace_variable(struct filling *f, Str name, bool whole, const struct json **ret)
{
    if (kind_of(name) != NAME_WORKSPACE_VARIABLE || !f->ctx || !f->ctx->variable)
        return LEFT;
    void **slot = map_at(f->a, &f->found, name);
    struct err why = {.code = ERR_NOT_FOUND};
    Str wanted = str_sub(name, VARIABLES.n, name.n);
    *ret = *slot ? *slot : f->ctx->variable(f->ctx->user, wanted, &why);
    if (!*ret && why.code != ERR_NOT_FOUND) {
        *f->err = why;
        return err_wrap(f->err, "variable %.*s", (int)MIN(wanted.n, 200), wanted.p);
    }
    if (!*ret)
        *ret = tree_str(f->a, STR(""));
    *map_at(f->a, &f->found, name) = (void *)(uintptr_t)*ret;
    return FOUND;
}

/* ---- the outside ---- */

static bool empty(const struct json *v)
{
    return !json_is(v, JSON_OBJECT) || !v->object.n;
}

struct undeclared {
    const struct json *properties;
    VEC(Str) names;
};

static int by_name(const void *x, const void *y)
{
    const Str *a = x, *b = y;
    return str_cmp(*a, *b);
}

static void find_undeclared(struct arena *a, const struct json *v, struct undeclared *u)
{
    struct placeholder p;
    for (size_t at = 0; v->kind == JSON_STRING && placeholder_find(v->string, at, &p); at = p.to) {
        bool known = kind_of(p.name) != NAME_VARIABLE || str_starts(p.name, STR("ctx.")) ||
                     json_get(u->properties, p.name);
        for (size_t i = 0; i < u->names.n && !known && u->names.n < 50; i++)
            known = str_eq(u->names.v[i], p.name);
        if (!known && u->names.n < 50)
            vec_push(a, &u->names, p.name);
    }
    for (size_t i = 0; v->kind == JSON_ARRAY && i < v->array.n; i++)
        find_undeclared(a, &v->array.items[i], u);
    for (size_t i = 0; v->kind == JSON_OBJECT && i < v->object.n; i++)
        find_undeclared(a, &v->object.members[i].value, u);
}

/* {name: default} of the properties that have one. */
static const struct json *defaults_of(struct arena *a, const struct json *variables)
{
    const struct json *properties = json_getz(variables, "properties");
    struct tree_members m = {0};
    for (size_t i = 0; json_is(properties, JSON_OBJECT) && i < properties->object.n; i++) {
        const struct json_member *p = &properties->object.members[i];
        const struct json *value = json_getz(&p->value, "default");
        if (value && json_get(properties, p->key) == &p->value)
            tree_add(a, &m, p->key, value);
    }
    return tree_object(a, &m);
}

/* Without the members that are references to blocks: what those hold is not known here. */
static const struct json *without_references(struct arena *a, const struct json *values)
{
    struct tree_members m = {0};
    Uuid id;
    for (size_t i = 0; i < values->object.n; i++)
        if (!block_reference(&values->object.members[i].value, &id))
            tree_add(a, &m, values->object.members[i].key, &values->object.members[i].value);
    return m.list.n == values->object.n ? values : tree_object(a, &m);
}

/* The schema with the names in `present` no longer required. */
static const struct json *requiring_less(struct arena *a, const struct json *schema,
                                         const struct json *present)
{
    const struct json *required = json_getz(schema, "required");
    if (!json_is(required, JSON_ARRAY))
        return schema;
    struct tree_items names = {0};
    for (size_t i = 0; i < required->array.n; i++)
        if (!json_get(present, json_str(&required->array.items[i])))
            tree_push(a, &names, &required->array.items[i]);
    struct tree_members m = {0};
    for (size_t i = 0; i < schema->object.n; i++)
        tree_add(a, &m, schema->object.members[i].key, &schema->object.members[i].value);
    tree_set(a, &m, STR("required"), tree_array(a, &names));
    return tree_object(a, &m);
}

static int check_values(struct arena *a, const struct json *variables, const struct json *values, int flags,
                        struct schema_errors *ret, struct err *err)
{
    const struct json *schema = schema_preprocess_variables(a, variables);
    const struct json *known = without_references(a, values);
    if (known != values) /* a reference is there, if not known */
        schema = requiring_less(a, schema, values);
    return schema_validate(a, schema, known, flags, NULL, NULL, ret, err);
}

int template_check(struct arena *a, const struct json *base_job_template, struct err *err)
{
    if (!json_is(base_job_template, JSON_OBJECT))
        return err_set(err, ERR_UNPROCESSABLE, "a base job template must be an object");
    if (!base_job_template->object.n)
        return 0;
    const struct json *configuration = json_getz(base_job_template, "job_configuration");
    const struct json *variables = json_getz(base_job_template, "variables");
    if (empty(configuration) || empty(variables))
        return err_set(err, ERR_UNPROCESSABLE,
                       "a base job template must have a 'job_configuration' and 'variables', both of them "
                       "objects with content");
    if (schema_check(a, schema_preprocess_variables(a, variables), err) < 0)
        return err_wrap(err, "variables: invalid schema");
    struct undeclared u = {.properties = json_getz(variables, "properties")};
    find_undeclared(a, configuration, &u);
    if (u.names.n) {
        qsort(u.names.v, u.names.n, sizeof *u.names.v, by_name);
        AUTO(buf_free) struct buf b = BUF(4000);
        for (size_t i = 0; i < u.names.n; i++)
            buf_fmt(&b, "%s'%.*s'", i ? ", " : "", STR_ARG(u.names.v[i]));
        return err_set(
            err, ERR_UNPROCESSABLE,
            "job_configuration has placeholders that 'variables' does not declare as properties: %.*s",
            STR_ARG(buf_view(&b)));
    }
    struct schema_errors errors;
    if (check_values(a, variables, defaults_of(a, variables), SCHEMA_IGNORE_REQUIRED, &errors, err) < 0)
        return err_wrap(err, "variables");
    if (errors.best) {
        Str text = schema_error_text(a, &errors);
        return err_set(err, ERR_UNPROCESSABLE, "the defaults of 'variables' do not fit their schema: %.*s",
                       STR_ARG(text));
    }
    return 0;
}

/* The defaults without those that do not fit; *ret_dropped tells whether there were such. */
static const struct json *good_defaults(struct arena *a, const struct json *variables, bool *ret_dropped,
                                        struct err *err)
{
    const struct json *defaults = defaults_of(a, variables);
    struct schema_errors errors;
    if (check_values(a, variables, defaults, SCHEMA_IGNORE_REQUIRED, &errors, err) < 0)
        return NULL;
    *ret_dropped = false;
    struct tree_members m = {0};
    for (size_t i = 0; i < defaults->object.n; i++) {
        bool bad = false;
        for (size_t k = 0; k < errors.list.n && !bad; k++)
            bad = errors.list.v[k].step_count &&
                  str_eq(errors.list.v[k].steps[0].key, defaults->object.members[i].key);
        *ret_dropped |= bad;
        if (!bad)
            tree_add(a, &m, defaults->object.members[i].key, &defaults->object.members[i].value);
    }
    return tree_object(a, &m);
}

/* Members of `over` go over those of `base`. */
static const struct json *overlay(struct arena *a, const struct json *base, const struct json *over)
{
    struct map places = {0};
    struct tree_members m = {0};
    const struct json *both[] = {base, over};
    for (size_t k = 0; k < COUNT_OF(both); k++) {
        for (size_t i = 0; i < both[k]->object.n; i++) {
            const struct json_member *member = &both[k]->object.members[i];
            void **slot = map_at(a, &places, member->key);
            if (*slot) {
                m.list.v[(uintptr_t)*slot - 1].value = member->value;
            } else {
                tree_add(a, &m, member->key, &member->value);
                *slot = (void *)(uintptr_t)m.list.n;
            }
        }
    }
    return tree_object(a, &m);
}

#define ENV STR("env")

static const struct json *with_env(struct arena *a, const struct json *base, const struct json *over)
{
    const struct json *old = json_get(base, ENV), *new = json_get(over, ENV);
    const struct json *all = overlay(a, base, over);
    if (!json_is(old, JSON_OBJECT) || !new || (new->kind != JSON_OBJECT &&new->kind != JSON_NULL))
        return all;
    struct tree_members env = {0};
    tree_add(a, &env, ENV, new->kind == JSON_OBJECT ? overlay(a, old, new) : old);
    return overlay(a, all, tree_object(a, &env));
}

/* -1 where an override sets what the template does not open. */
static int check_open(const struct json *variables, const struct json *over, struct err *err)
{
    if (json_getz(variables, "additionalProperties") || json_getz(variables, "patternProperties"))
        return 0; /* the template says itself what else there may be */
    const struct json *open = json_getz(variables, "properties");
    for (size_t i = 0; i < over->object.n; i++) {
        Str name = over->object.members[i].key;
        if (json_get(open, name))
            continue;
        char list[160];
        size_t n = 0, k = 0, count = json_is(open, JSON_OBJECT) ? open->object.n : 0;
        for (; k < count && n + open->object.members[k].key.n + 4 < sizeof list; k++)
            n += (size_t)snprintf(list + n, sizeof list - n, "%s%.*s", k ? ", " : "", STR_ARG(open->object.members[k].key));
        return err_set(err, ERR_UNPROCESSABLE, "the work pool opens no field '%.*s'; it opens: %s%s", STR_ARG(str_sub(name, 0, 60)),
                       k ? list : "none", k < count ? ", \xe2\x80\xa6" : "");
    }
    return 0;
}

const struct json *template_variables(struct arena *a, const struct json *base_job_template,
                                      const struct json *const *overrides, size_t n, int flags,
                                      struct err *err)
{
    const struct json *variables = json_getz(base_job_template, "variables");
    bool dropped = false, schema = !empty(variables);
    const struct json *values =
        schema ? good_defaults(a, variables, &dropped, err) : tree_object(a, &(struct tree_members){0});
    if (!values) {
        err_wrap(err, "the pool's variables");
        return NULL;
    }
    for (size_t i = 0; i < n; i++) {
        if (!overrides[i])
            continue;
        if (overrides[i]->kind != JSON_OBJECT) {
            err_set(err, ERR_UNPROCESSABLE, "job variables must be an object");
            return NULL;
        }
        if (flags & TEMPLATE_CLOSED && check_open(variables, overrides[i], err) < 0)
            return NULL;
        values = with_env(a, values, overrides[i]);
    }
    struct schema_errors errors = {0};
    flags &= ~TEMPLATE_CLOSED;
    if (dropped) /* they may be what is required */
        flags |= SCHEMA_IGNORE_REQUIRED;
    if (schema && check_values(a, variables, values, flags, &errors, err) < 0) {
        err_wrap(err, "the pool's variables");
        return NULL;
    }
    if (errors.best) {
        Str text = schema_error_text(a, &errors);
        err_set(err, ERR_UNPROCESSABLE, "%.*s", STR_ARG(text));
        return NULL;
    }
    return tree_seal(a, values, HYDRATE_MAX, err);
}

const struct json *template_resolve(struct arena *a, const struct json *base_job_template,
                                    const struct json *variables, const struct json *extra,
                                    const struct hydrate_context *ctx, struct err *err)
{
    const struct json *v = json_getz(base_job_template, "job_configuration");
    if (!json_is(v, JSON_OBJECT)) {
        err_set(err, ERR_UNPROCESSABLE, "the pool's base job template has no job_configuration");
        return NULL;
    }
    /* An env written out in the template is added to, not replaced. */
    const struct json *env = json_get(variables, ENV);
    if (json_is(json_get(v, ENV), JSON_OBJECT) && json_is(env, JSON_OBJECT)) {
        struct tree_members m = {0};
        tree_add(a, &m, ENV, env);
        v = with_env(a, v, tree_object(a, &m));
    }
    struct filling f = {
        .a = a,
        .variables = variables,
        .extra = extra,
        .ctx = ctx,
        .text_left = HYDRATE_MAX,
        .err = err,
    };
    /* In this order, so that variables may hold references to blocks, and both of these workspace variables.
     */
    static const struct {
        int (*find)(struct filling *f, Str name, bool whole, const struct json **ret);
        int (*object)(struct filling *f, const struct json *v, const struct json **ret);
    } rounds[] = {
        {find_variable, NULL},
        {find_block, find_block_object},
        {find_workspace_variable, NULL},
    };
    for (size_t i = 0; i < COUNT_OF(rounds); i++) {
        f.find = rounds[i].find;
        f.object = rounds[i].object;
        if (fill(&f, v, &v) < 0 || !(v = tree_seal(a, v, HYDRATE_MAX, err)))
            return NULL;
    }
    return v;
}
