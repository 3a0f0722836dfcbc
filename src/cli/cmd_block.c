#include "cli/cli.h"
#include "cli/commands.h"
#include "cli/files.h"
#include "cli/guess.h"

/* The document that SLUG ("type/name") or --id names. */
static int find(struct cli *x, const struct json **ret, struct err *err)
{
    Str slug = args_text(&x->args, "slug"), id = args_text(&x->args, "id"), rest = slug, type;
    if (slug.p && id.p)
        return err_set(err, ERR_INVALID, "Give a slug or an id, not both.");
    if (id.p) {
        if (api_get(x, str_fmt(x->a, "/block_documents/%.*s", STR_ARG(id)), ret, err) == 0)
            return 0;
        return err->code == ERR_NOT_FOUND ? err_set(err, ERR_NOT_FOUND, "Block '%.*s' not found!", STR_ARG(id)) : -1;
    }
    if (!slug.p)
        return err_set(err, ERR_INVALID, "Must provide a block slug or id");
    if (!memchr(slug.p, '/', slug.n) || !str_cut(&rest, '/', &type))
        return err_set(err, ERR_INVALID, "'%.*s' is not valid: a block's slug is <type>/<name>", STR_ARG(slug));
    type = url_segment(x->a, type);
    rest = url_segment(x->a, rest);
    if (api_get(x, str_fmt(x->a, "/block_types/slug/%.*s/block_documents/name/%.*s", STR_ARG(type), STR_ARG(rest)), ret, err) == 0)
        return 0;
    return err->code == ERR_NOT_FOUND ? err_set(err, ERR_NOT_FOUND, "Block '%.*s' not found!", STR_ARG(slug)) : -1;
}

static Str slug_of(struct cli *x, const struct json *v)
{
    Str type = field(json_getz(v, "block_type"), "slug"), name = field(v, "name");
    return str_fmt(x->a, "%.*s/%.*s", STR_ARG(type), STR_ARG(name));
}

static int by_slug(const struct json *x, const struct json *y)
{
    int c = str_cmp(field(json_getz(x, "block_type"), "slug"), field(json_getz(y, "block_type"), "slug"));
    return c ? c : str_cmp(field(x, "name"), field(y, "name"));
}

static int ls(struct cli *x, struct err *err)
{
    static const struct column columns[] = {
        {.title = "ID", .style = STYLE_CYAN}, {.title = "Type", .style = STYLE_BLUE}, {.title = "Name", .style = STYLE_BLUE}, {.title = "Slug", .style = STYLE_BLUE}};
    struct items blocks;
    if (api_list(x, STR("/block_documents/filter"), STR(""), INT_NONE, &blocks, err) < 0)
        return -1;
    if (x->json) {
        cli_show_items(x, &blocks);
        return 0;
    }
    items_sort(&blocks, by_slug);
    struct table *t = table_create(x->a, "Blocks", columns, COUNT_OF(columns));
    table_caption(t, str_fmt(x->a, "`%s block type ls` shows the types there are", x->program).p, NULL);
    for (size_t i = 0; i < blocks.n; i++) {
        const struct json *v = blocks.v[i];
        table_cell(t, field(v, "id"));
        table_cell(t, field(json_getz(v, "block_type"), "name"));
        table_cell(t, field(v, "name"));
        table_cell(t, slug_of(x, v));
    }
    cli_table(x, t);
    return 0;
}

static int inspect(struct cli *x, struct err *err)
{
    const struct json *v;
    if (find(x, &v, err) < 0)
        return -1;
    cli_show(x, v);
    return 0;
}

static int delete_block(struct cli *x, struct err *err)
{
    const struct json *v;
    if (find(x, &v, err) < 0)
        return -1;
    Str slug = slug_of(x, v), id = field(v, "id"), question = str_fmt(x->a, "Delete block '%.*s'?", STR_ARG(slug));
    if (cli_confirm(x, question.p, "Deletion aborted.", err) < 0 || api_delete(x, str_fmt(x->a, "/block_documents/%.*s", STR_ARG(id)), err) < 0)
        return -1;
    cli_ok(x, "Deleted Block '%.*s'.", STR_ARG(slug));
    cli_result(x, v);
    return 0;
}

/* --- types --- */

static int type_find(struct cli *x, Str slug, const struct json **ret, struct err *err)
{
    Str segment = url_segment(x->a, slug);
    if (api_get(x, str_fmt(x->a, "/block_types/slug/%.*s", STR_ARG(segment)), ret, err) == 0)
        return 0;
    return err->code == ERR_NOT_FOUND ? err_set(err, ERR_NOT_FOUND, "Block type '%.*s' not found! `%s block type ls` shows those there are.", STR_ARG(slug), x->program) : -1;
}

/* The newest schema of a type; NULL where it has none. */
static int newest_schema(struct cli *x, const struct json *type, const struct json **ret, struct err *err)
{
    struct items schemas;
    Str id = field(type, "id");
    if (api_list(x, STR("/block_schemas/filter"), str_fmt(x->a, "\"block_schemas\":{\"block_type_id\":{\"any_\":[\"%.*s\"]}}", STR_ARG(id)), 1, &schemas, err) < 0)
        return -1;
    *ret = schemas.n ? schemas.v[0] : NULL;
    return 0;
}

/* The block's fields: of --from-file, then those of --field over them. */
static int read_fields(struct cli *x, struct map *ret, struct err *err)
{
    Str file = args_text(&x->args, "from-file");
    const struct json *v = NULL;
    if (file.p && document_read(x->a, file, &v, err) < 0)
        return -1;
    if (v && !json_is(v, JSON_OBJECT))
        return err_set(err, ERR_INVALID, "%.*s: a block's fields are an object", STR_ARG(file));
    for (size_t i = 0; v && i < v->object.n; i++) {
        Str *value = arena_new(x->a, Str);
        *value = json_text(x->a, &v->object.members[i].value);
        *map_at(x->a, ret, v->object.members[i].key) = value;
    }
    return pairs_json(x->a, args_list(&x->args, "field"), "field", ret, err);
}

/* A field that the type does not have is mostly a mistyped one; one that it wants is told before the server is asked. */
static int check_fields(struct cli *x, const struct json *schema, const struct map *fields, struct err *err)
{
    const struct json *known = json_path(schema, "fields.properties"), *required = json_path(schema, "fields.required"),
                      *more = json_path(schema, "fields.additionalProperties");
    bool open = json_is(more, JSON_OBJECT) || (json_is(more, JSON_BOOL) && more->boolean);
    for (size_t i = 0; !open && json_is(known, JSON_OBJECT) && i < fields->n; i++) {
        struct guesses g = {.word = fields->entries[i].key};
        if (json_get(known, g.word))
            continue;
        for (size_t k = 0; k < known->object.n; k++)
            guess_try(&g, known->object.members[k].key);
        Str hint = guess_hint(x->a, &g);
        return err_set(err, ERR_INVALID, "blocks of this type have no field '%.*s'%.*s", STR_ARG(g.word), STR_ARG(hint));
    }
    for (size_t i = 0; json_is(required, JSON_ARRAY) && i < required->array.n; i++) {
        Str key = json_str(&required->array.items[i]);
        if (key.p && !map_get(fields, key))
            return err_set(err, ERR_INVALID, "the block lacks '%.*s', which its type requires: --field %.*s=…", STR_ARG(key), STR_ARG(key));
    }
    return 0;
}

/* A block of the type: --name and its fields. */
static int create_document(struct cli *x, const struct json *type, Str name, struct err *err)
{
    Str slug = field(type, "slug"), id = field(type, "id"), segment = url_segment(x->a, name), shown = str_fmt(x->a, "%.*s/%.*s", STR_ARG(slug), STR_ARG(name));
    struct map fields = {0};
    const struct json *schema, *old = NULL, *made;
    if (read_fields(x, &fields, err) < 0 || newest_schema(x, type, &schema, err) < 0)
        return -1;
    if (!schema)
        return err_set(err, ERR_NOT_FOUND, "block type '%.*s' has no schema yet: `%s block register` brings one", STR_ARG(slug), x->program);
    if (check_fields(x, schema, &fields, err) < 0)
        return -1;
    bool exists = api_get(x, str_fmt(x->a, "/block_types/slug/%.*s/block_documents/name/%.*s", STR_ARG(slug), STR_ARG(segment)), &old, err) == 0;
    if (!exists && err->code != ERR_NOT_FOUND)
        return -1;
    if (exists && !args_flag(&x->args, "overwrite", false))
        return err_set(err, ERR_CONFLICT, "Block '%.*s' already exists. `--overwrite` changes it.", STR_ARG(shown));
    AUTO(buf_free) struct buf b = BUF(LIMIT_BODY);
    struct jw w = jw_on(&b);
    jw_object(&w);
    if (!exists) {
        jw_kstr(&w, "name", name);
        jw_kstr(&w, "block_type_id", id);
    } else {
        jw_kbool(&w, "merge_existing_data", false);
    }
    jw_kstr(&w, "block_schema_id", field(schema, "id"));
    jw_key(&w, STR("data"));
    jw_object(&w);
    for (size_t i = 0; i < fields.n; i++) {
        jw_key(&w, fields.entries[i].key);
        jw_raw(&w, *(Str *)fields.entries[i].value);
    }
    jw_end(&w);
    jw_end(&w);
    if (b.overflow)
        return err_set(err, ERR_TOO_LARGE, "the block is over %zu MB", LIMIT_BODY >> 20);
    Str path = str_fmt(x->a, "/block_documents/%.*s", exists ? (int)field(old, "id").n : 0, exists ? field(old, "id").p : "");
    if (exists ? api_patch(x, path, buf_view(&b), err) < 0 : api_post(x, path, buf_view(&b), &made, err) < 0)
        return -1;
    cli_ok(x, "%s block '%.*s'.", exists ? "Updated" : "Created", STR_ARG(shown));
    if (exists)
        return cli_result_at(x, path, err);
    cli_result(x, made);
    return 0;
}

static int create(struct cli *x, struct err *err)
{
    const struct json *type;
    Str slug = args_text(&x->args, "block-type-slug"), own = args_text(&x->args, "name");
    if (type_find(x, slug, &type, err) < 0)
        return -1;
    if (own.p)
        return create_document(x, type, own, err);
    if (args_given(&x->args, "field") || args_given(&x->args, "from-file"))
        return err_set(err, ERR_INVALID, "give the block a name: --name");
    if (x->json) {
        Str quoted = json_quote(x->a, ui_page(x, "/blocks/catalog/%.*s/create", STR_ARG(slug)));
        cli_put(x, "{\n  \"url\": %.*s\n}\n", STR_ARG(quoted));
        return 0;
    }
    Str page = ui_page(x, "/blocks/catalog/%.*s/create", STR_ARG(slug)), name = field(type, "name");
    cli_put(x, "A %.*s block is made at:\n%.*s\n", STR_ARG(name), STR_ARG(page));
    cli_put(x, "Or here: %s block create %.*s --name NAME --field KEY=VALUE …\n", x->program, STR_ARG(slug));
    return 0;
}

static int by_type_slug(const struct json *x, const struct json *y)
{
    return str_cmp(field(x, "slug"), field(y, "slug"));
}

static int type_ls(struct cli *x, struct err *err)
{
    static const struct column columns[] = {
        {.title = "Block Type Slug", .style = STYLE_BLUE},
        {.title = "Description", .wrap = true, .most = 80},
        {.title = "Generate creation link", .style = STYLE_CYAN},
    };
    struct items types;
    if (api_list(x, STR("/block_types/filter"), STR(""), INT_NONE, &types, err) < 0)
        return -1;
    if (x->json) {
        cli_show_items(x, &types);
        return 0;
    }
    items_sort(&types, by_type_slug);
    struct table *t = table_create(x->a, "Block Types", columns, COUNT_OF(columns));
    table_lines(t);
    for (size_t i = 0; i < types.n; i++) {
        Str slug = field(types.v[i], "slug"), text = field(types.v[i], "description");
        ptrdiff_t stop = str_find(text, STR(". "));
        table_cell(t, slug);
        table_cell(t, stop >= 0 ? str_sub(text, 0, (size_t)stop + 1) : text);
        table_cellf(t, "%s block create %.*s", x->program, STR_ARG(slug));
    }
    cli_table(x, t);
    return 0;
}

static int type_inspect(struct cli *x, struct err *err)
{
    const struct json *type, *schema;
    if (type_find(x, args_text(&x->args, "slug"), &type, err) < 0 || newest_schema(x, type, &schema, err) < 0)
        return -1;
    AUTO(buf_free) struct buf b = BUF(LIMIT_REPLY);
    struct jw w = jw_on(&b);
    jw_object(&w);
    jw_kvalue(&w, "block_type", type);
    if (schema)
        jw_kvalue(&w, "schema", schema);
    else
        jw_knull(&w, "schema");
    jw_end(&w);
    const struct json *both = json_parse(x->a, str_dup(x->a, buf_view(&b)), err);
    if (!both)
        return -1;
    cli_show(x, both);
    return 0;
}

static int type_delete(struct cli *x, struct err *err)
{
    const struct json *type;
    Str slug = args_text(&x->args, "slug"), question = str_fmt(x->a, "Delete block type '%.*s' and all its blocks?", STR_ARG(slug));
    if (type_find(x, slug, &type, err) < 0 || cli_confirm(x, question.p, "Deletion aborted.", err) < 0)
        return -1;
    Str id = field(type, "id");
    if (api_delete(x, str_fmt(x->a, "/block_types/%.*s", STR_ARG(id)), err) < 0)
        return err->code == ERR_FORBIDDEN ? err_set(err, ERR_FORBIDDEN, "'%.*s' is a protected block!", STR_ARG(slug)) : -1;
    cli_ok(x, "Deleted Block Type '%.*s'.", STR_ARG(slug));
    cli_result(x, type);
    return 0;
}

#define SLUG {"slug", "type/name", .optional = true}
#define OPTION_ID {"id", NULL, VALUE_UUID, 0, "The block's id, instead of its slug"}

static const struct command types[] = {
    {.name = "ls", .summary = "List block types", .run = type_ls, .options = OPTIONS(OPTION_OUTPUT)},
    {.name = "inspect", .summary = "Show a block type and its fields", .run = type_inspect, .args = ARGS({"slug", "The type's slug"}), .options = OPTIONS(OPTION_OUTPUT)},
    {.name = "delete", .summary = "Delete a block type", .run = type_delete, .args = ARGS({"slug", "The type's slug"}), .options = OPTIONS(OPTION_YES, OPTION_OUTPUT)},
    {0},
};
static const struct command type_group = {.name = "type", .alias = "types", .summary = "Kinds of blocks", .commands = types};
static const struct command *const groups[] = {&type_group, &command_block_register, NULL};

static const struct command commands[] = {
    {.name = "ls", .summary = "List blocks", .run = ls, .options = OPTIONS(OPTION_OUTPUT)},
    {.name = "inspect", .summary = "Show a block, its secrets covered", .run = inspect, .args = ARGS(SLUG), .options = OPTIONS(OPTION_ID, OPTION_OUTPUT)},
    {.name = "create", .summary = "Make a block, or say where one is made", .run = create, .args = ARGS({"block-type-slug", "The type's slug"}),
     .details = "With --name it makes the block, from the fields given. Without, it tells the page where one is made. Values of --field are JSON; "
                "a word that is none counts as text.",
     .options = OPTIONS({"name", "n", VALUE_TEXT, 0, "The block's name"}, {"from-file", "f", VALUE_PATH, 0, "JSON or YAML file with its fields; - reads standard input"},
                        {"field", NULL, VALUE_TEXT, OPTION_LIST, "KEY=VALUE of a field"}, {"overwrite", NULL, VALUE_FLAG, 0, "Also where it exists"}, OPTION_OUTPUT)},
    {.name = "delete", .summary = "Delete a block", .run = delete_block, .args = ARGS(SLUG), .options = OPTIONS(OPTION_ID, OPTION_YES, OPTION_OUTPUT)},
    {0},
};

const struct command command_block = {.name = "block", .alias = "blocks", .summary = "Configuration and secrets, by name", .groups = groups, .commands = commands};
