#include "cli/cli.h"
#include "cli/commands.h"

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

static int create(struct cli *x, struct err *err)
{
    const struct json *type;
    Str slug = args_text(&x->args, "block-type-slug");
    if (type_find(x, slug, &type, err) < 0)
        return -1;
    Str page = ui_page(x, "/blocks/catalog/%.*s/create", STR_ARG(slug)), name = field(type, "name");
    cli_put(x, "A %.*s block is made at:\n%.*s\n", STR_ARG(name), STR_ARG(page));
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
    const struct json *type;
    struct items schemas;
    if (type_find(x, args_text(&x->args, "slug"), &type, err) < 0)
        return -1;
    Str id = field(type, "id");
    if (api_list(x, STR("/block_schemas/filter"), str_fmt(x->a, "\"block_schemas\":{\"block_type_id\":{\"any_\":[\"%.*s\"]}}", STR_ARG(id)), 1, &schemas, err) < 0)
        return -1;
    AUTO(buf_free) struct buf b = BUF(LIMIT_REPLY);
    struct jw w = jw_on(&b);
    jw_object(&w);
    jw_kvalue(&w, "block_type", type);
    if (schemas.n)
        jw_kvalue(&w, "schema", schemas.v[0]);
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
    return 0;
}

#define SLUG {"slug", "type/name", .optional = true}
#define OPTION_ID {"id", NULL, VALUE_UUID, 0, "The block's id, instead of its slug"}

static const struct command types[] = {
    {.name = "ls", .summary = "List block types", .run = type_ls, .options = OPTIONS(OPTION_OUTPUT)},
    {.name = "inspect", .summary = "Show a block type and its fields", .run = type_inspect, .args = ARGS({"slug", "The type's slug"}), .options = OPTIONS(OPTION_OUTPUT)},
    {.name = "delete", .summary = "Delete a block type", .run = type_delete, .args = ARGS({"slug", "The type's slug"}), .options = OPTIONS(OPTION_YES)},
    {0},
};
static const struct command type_group = {.name = "type", .alias = "types", .summary = "Kinds of blocks", .commands = types};
static const struct command *const groups[] = {&type_group, NULL};

static const struct command commands[] = {
    {.name = "ls", .summary = "List blocks", .run = ls, .options = OPTIONS(OPTION_OUTPUT)},
    {.name = "inspect", .summary = "Show a block, its secrets covered", .run = inspect, .args = ARGS(SLUG), .options = OPTIONS(OPTION_ID, OPTION_OUTPUT)},
    {.name = "create", .summary = "Say where a block of a type is made", .run = create, .args = ARGS({"block-type-slug", "The type's slug"})},
    {.name = "delete", .summary = "Delete a block", .run = delete_block, .args = ARGS(SLUG), .options = OPTIONS(OPTION_ID, OPTION_YES)},
    {0},
};

const struct command command_block = {.name = "block", .alias = "blocks", .summary = "Configuration and secrets, by name", .groups = groups, .commands = commands};
