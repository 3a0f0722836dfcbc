/* work-pool storage: where a pool keeps the bundles that its runs are sent in, and their results. */
#include "cli/commands.h"
#include "cli/pools.h"

/* What a provider's storage is made of: a bundle's two steps, the block that keeps results, the block of credentials. */
struct provider {
    const char *title, *bucket_option, *step_module, *package;
    const char *block_slug, *block_bucket, *block_folder, *block_credentials;
    const char *credentials_slug, *credentials_option, *step_bucket, *step_credentials;
    bool needs_credentials;
};

static const struct provider s3 = {
    .title = "S3 storage", .bucket_option = "bucket", .step_module = "prefect_aws.experimental.bundles", .package = "prefect-aws",
    .block_slug = "s3-bucket", .block_bucket = "bucket_name", .block_folder = "bucket_folder", .block_credentials = "credentials",
    .credentials_slug = "aws-credentials", .credentials_option = "aws-credentials-block-name", .step_bucket = "bucket",
    .step_credentials = "aws_credentials_block_name"};
static const struct provider gcs = {
    .title = "GCS storage", .bucket_option = "bucket", .step_module = "prefect_gcp.experimental.bundles", .package = "prefect-gcp",
    .block_slug = "gcs-bucket", .block_bucket = "bucket", .block_folder = "bucket_folder", .block_credentials = "gcp_credentials",
    .credentials_slug = "gcp-credentials", .credentials_option = "gcp-credentials-block-name", .step_bucket = "bucket",
    .step_credentials = "gcp_credentials_block_name"};
static const struct provider azure = {
    .title = "Azure Blob Storage", .bucket_option = "container", .step_module = "prefect_azure.experimental.bundles", .package = "prefect-azure",
    .block_slug = "azure-blob-storage-container", .block_bucket = "container_name", .block_credentials = "credentials",
    .credentials_slug = "azure-blob-storage-credentials", .credentials_option = "azure-blob-storage-credentials-block-name",
    .step_bucket = "container", .step_credentials = "azure_blob_storage_credentials_block_name", .needs_credentials = true};

/* A block by its type's slug and its name; NULL in *ret where there is none. */
static int block_find(struct cli *x, const char *slug, Str name, const char *query, const struct json **ret, struct err *err)
{
    Str segment = url_segment(x->a, name);
    *ret = NULL;
    if (api_get(x, str_fmt(x->a, "/block_types/slug/%s/block_documents/name/%.*s%s", slug, STR_ARG(segment), query), ret, err) == 0)
        return 0;
    *ret = NULL;
    return err->code == ERR_NOT_FOUND ? 0 : -1;
}

/* Words of a launcher: the program and its arguments. n is 0 where none was given. */
struct launcher {
    Str program;
    struct strs args;
};

static int read_launcher(struct cli *x, const char *prefix, struct launcher *ret, struct err *err)
{
    const char *option = str_fmt(x->a, "%slauncher", prefix).p, *more = str_fmt(x->a, "%slauncher-arg", prefix).p;
    ret->program = args_text(&x->args, option);
    ret->args = args_list(&x->args, more);
    if (ret->program.p && !str_trim(ret->program).n)
        return err_set(err, ERR_INVALID, "--%s cannot be empty.", option);
    if (ret->args.n && !ret->program.p)
        return err_set(err, ERR_INVALID, "--%s requires --%s.", more, option);
    return 0;
}

/* {"module.step": {bucket, credentials, launcher or what it requires}}. */
static void put_step(struct jw *w, struct arena *a, const struct provider *p, const char *key, const char *step, Str bucket, Str credentials,
                     const struct launcher *launcher)
{
    jw_key(w, str_of(key));
    jw_object(w);
    jw_key(w, str_fmt(a, "%s.%s", p->step_module, step));
    jw_object(w);
    jw_key(w, str_of(p->step_bucket));
    jw_str(w, bucket);
    if (credentials.p) {
        jw_key(w, str_of(p->step_credentials));
        jw_str(w, credentials);
    }
    if (launcher->program.p) {
        jw_key(w, STR("launcher"));
        jw_array(w);
        jw_str(w, launcher->program);
        for (size_t i = 0; i < launcher->args.n; i++)
            jw_str(w, launcher->args.v[i]);
        jw_end(w);
    } else {
        jw_kz(w, "requires", p->package);
    }
    jw_end(w);
    jw_end(w);
}

/* The block that keeps results, made or changed; its id. */
static int result_block(struct cli *x, const struct provider *p, Str pool, Str bucket, const struct json *credentials, Str *ret_id, struct err *err)
{
    Str lower = str_lower(x->a, pool), name = str_fmt(x->a, "default-%.*s-result-storage", STR_ARG(lower));
    const struct json *old, *type, *list, *made;
    AUTO(buf_free) struct buf b = BUF(LIMIT_BODY);
    struct jw w = jw_on(&b);
    jw_object(&w);
    jw_key(&w, str_of(p->block_bucket));
    jw_str(&w, bucket);
    if (p->block_folder) {
        jw_key(&w, str_of(p->block_folder));
        jw_z(&w, "results");
    }
    if (credentials || !p->needs_credentials) {
        jw_key(&w, str_of(p->block_credentials));
        jw_object(&w);
        if (credentials) {
            jw_key(&w, STR("$ref"));
            jw_object(&w);
            jw_kstr(&w, "block_document_id", field(credentials, "id"));
            jw_end(&w);
        }
        jw_end(&w);
    }
    jw_end(&w);
    Str data = str_dup(x->a, buf_view(&b));
    if (block_find(x, p->block_slug, name, "?include_secrets=true", &old, err) < 0)
        return -1;
    if (old) {
        *ret_id = field(old, "id");
        return api_patch(x, str_fmt(x->a, "/block_documents/%.*s", STR_ARG(field(old, "id"))), str_fmt(x->a, "{\"data\":%.*s}", STR_ARG(data)), err);
    }
    if (api_get(x, str_fmt(x->a, "/block_types/slug/%s", p->block_slug), &type, err) < 0)
        return err->code == ERR_NOT_FOUND ? err_set(err, ERR_NOT_FOUND, "The server has no block type '%s': `%s block register -m %s` brings it.", p->block_slug,
                                                    x->program, p->package)
                                          : -1;
    Str type_id = field(type, "id");
    if (api_post(x, STR("/block_schemas/filter"),
                 str_fmt(x->a, "{\"block_schemas\":{\"block_type_id\":{\"any_\":[\"%.*s\"]}},\"limit\":1}", STR_ARG(type_id)), &list, err) < 0)
        return -1;
    if (!json_is(list, JSON_ARRAY) || !list->array.n)
        return err_set(err, ERR_NOT_FOUND, "The server has no schema of block type '%s'.", p->block_slug);
    Str quoted = json_quote(x->a, name), schema = field(&list->array.items[0], "id");
    if (api_post(x, STR("/block_documents/"),
                 str_fmt(x->a, "{\"name\":%.*s,\"data\":%.*s,\"block_schema_id\":\"%.*s\",\"block_type_id\":\"%.*s\"}", STR_ARG(quoted), STR_ARG(data),
                         STR_ARG(schema), STR_ARG(type_id)),
                 &made, err) < 0)
        return -1;
    *ret_id = field(made, "id");
    return 0;
}

/* The option's value, or what a person answers where one can be asked. STR_NONE: nothing, which is allowed where `needed` is false. */
static int ask_option(struct cli *x, const char *option, const char *question, bool needed, Str *ret, struct err *err)
{
    *ret = args_text(&x->args, option);
    if (ret->p && !ret->n)
        *ret = STR_NONE;
    if (ret->p || (!needed && !cli_interactive(x)))
        return 0;
    if (!cli_interactive(x))
        return err_set(err, ERR_INVALID, "nobody can be asked here: give it with `--%s`", option);
    if (!needed)
        return 0;
    *ret = cli_ask_text(x, question, err);
    return ret->p ? 0 : -1;
}

static int configure(struct cli *x, const struct provider *p, struct err *err)
{
    Str pool = args_text(&x->args, "work-pool-name"), quoted = text_quoted(x->a, pool), bucket, credentials_name, block;
    struct launcher both = {0}, upload, execution;
    const struct json *v, *credentials = NULL;
    if (read_launcher(x, "", &both, err) < 0 || read_launcher(x, "upload-", &upload, err) < 0 || read_launcher(x, "execution-", &execution, err) < 0 ||
        pool_get(x, pool, &v, err) < 0 || ask_option(x, p->bucket_option, str_fmt(x->a, "The %s's name", p->bucket_option).p, true, &bucket, err) < 0 ||
        ask_option(x, p->credentials_option, "The credentials block's name", p->needs_credentials, &credentials_name, err) < 0)
        return -1;
    if (credentials_name.p && block_find(x, p->credentials_slug, credentials_name, "", &credentials, err) < 0)
        return -1;
    if (credentials_name.p && !credentials)
        return err_set(err, ERR_NOT_FOUND, "There is no block '%s/%.*s'. `%s block create %s` makes one.", p->credentials_slug, STR_ARG(credentials_name),
                       x->program, p->credentials_slug);
    if (result_block(x, p, pool, bucket, credentials, &block, err) < 0)
        return -1;
    AUTO(buf_free) struct buf b = BUF(LIMIT_BODY);
    struct jw w = jw_on(&b);
    jw_object(&w);
    jw_key(&w, STR("storage_configuration"));
    jw_object(&w);
    put_step(&w, x->a, p, "bundle_upload_step", "upload", bucket, credentials_name, upload.program.p ? &upload : &both);
    put_step(&w, x->a, p, "bundle_execution_step", "execute", bucket, credentials_name, execution.program.p ? &execution : &both);
    jw_kstr(&w, "default_result_storage_block_id", block);
    jw_end(&w);
    jw_end(&w);
    if (api_patch(x, pool_path(x->a, pool), buf_view(&b), err) < 0)
        return -1;
    cli_ok(x, "Configured %s for work pool %.*s", p->title, STR_ARG(quoted));
    return cli_result_at(x, pool_path(x->a, pool), err);
}

static int configure_s3(struct cli *x, struct err *err)
{
    return configure(x, &s3, err);
}

static int configure_gcs(struct cli *x, struct err *err)
{
    return configure(x, &gcs, err);
}

static int configure_azure(struct cli *x, struct err *err)
{
    return configure(x, &azure, err);
}

/* --- inspect --- */

/* The settings of a step, and of which kind it is. */
static const struct json *step_settings(const struct json *step, const char **ret_type)
{
    static const struct {
        const char *prefix, *type;
    } kinds[] = {{"prefect_aws.", "S3"}, {"prefect_gcp.", "GCS"}, {"prefect_azure.", "Azure Blob Storage"}};
    if (!json_is(step, JSON_OBJECT) || !step->object.n)
        return NULL;
    *ret_type = "Unknown";
    for (size_t i = 0; i < COUNT_OF(kinds); i++)
        if (str_starts(step->object.members[0].key, str_of(kinds[i].prefix)))
            *ret_type = kinds[i].type;
    return &step->object.members[0].value;
}

static void put_rows(struct cli *x, struct table *t, const char *prefix, const struct json *settings)
{
    for (size_t i = 0; json_is(settings, JSON_OBJECT) && i < settings->object.n; i++) {
        const struct json_member *m = &settings->object.members[i];
        AUTO(buf_free) struct buf b = BUF(LIMIT_BODY);
        if (m->value.kind == JSON_STRING)
            buf_str(&b, m->value.string);
        else
            text_python(&b, &m->value);
        table_cellf(t, "%s%.*s", prefix, STR_ARG(m->key));
        table_cell(t, str_dup(x->a, buf_view(&b)));
    }
}

static int inspect(struct cli *x, struct err *err)
{
    static const struct column columns[] = {{.title = "Setting", .style = STYLE_CYAN}, {.title = "Value", .wrap = true}};
    Str pool = args_text(&x->args, "work-pool-name");
    const struct json *v;
    if (pool_get(x, pool, &v, err) < 0)
        return -1;
    const char *type = NULL, *other = NULL;
    const struct json *storage = json_getz(v, "storage_configuration"), *upload = step_settings(json_getz(storage, "bundle_upload_step"), &type),
                      *execution = step_settings(json_getz(storage, "bundle_execution_step"), &other);
    type = type ? type : other;
    if (x->json) {
        struct jw w = jw_on(&x->out);
        w.indent = 2;
        jw_object(&w);
        if (type)
            jw_kz(&w, "type", type);
        if (upload)
            jw_kvalue(&w, "upload", upload);
        if (execution)
            jw_kvalue(&w, "execution", execution);
        jw_end(&w);
        buf_char(&x->out, '\n');
        return 0;
    }
    if (!type) {
        cli_note(x, "No storage is configured for work pool '%.*s'.", STR_ARG(pool));
        return 0;
    }
    struct table *t = table_create(x->a, str_fmt(x->a, "Storage of %.*s", STR_ARG(pool)).p, columns, COUNT_OF(columns));
    table_cell(t, STR("type"));
    table_cell(t, str_of(type));
    if (upload && execution && json_equal(upload, execution)) {
        put_rows(x, t, "", upload);
    } else {
        put_rows(x, t, "upload.", upload);
        put_rows(x, t, "execution.", execution);
    }
    cli_table(x, t);
    return 0;
}

#define POOL_NAME {"work-pool-name", "The pool's name"}
#define OPTIONS_LAUNCHER                                                                                                              \
    {"launcher", NULL, VALUE_TEXT, 0, "Program that both steps are started with, instead of installing what they require"},           \
    {"launcher-arg", NULL, VALUE_TEXT, OPTION_LIST | OPTION_DASH, "An argument of it"},                                               \
    {"upload-launcher", NULL, VALUE_TEXT, 0, "Of the step that sends a bundle, alone"},                                               \
    {"upload-launcher-arg", NULL, VALUE_TEXT, OPTION_LIST | OPTION_DASH, "An argument of it"},                                        \
    {"execution-launcher", NULL, VALUE_TEXT, 0, "Of the step that runs a bundle, alone"},                                             \
    {"execution-launcher-arg", NULL, VALUE_TEXT, OPTION_LIST | OPTION_DASH, "An argument of it"}, OPTION_OUTPUT

static const struct command configure_commands[] = {
    {.name = "s3", .summary = "Keep a pool's bundles and results in an S3 bucket", .run = configure_s3, .args = ARGS(POOL_NAME),
     .options = OPTIONS({"bucket", NULL, VALUE_TEXT, 0, "The bucket"}, {"aws-credentials-block-name", NULL, VALUE_TEXT, 0, "Block with credentials; else those of where it runs"}, OPTIONS_LAUNCHER)},
    {.name = "gcs", .summary = "Keep a pool's bundles and results in a GCS bucket", .run = configure_gcs, .args = ARGS(POOL_NAME),
     .options = OPTIONS({"bucket", NULL, VALUE_TEXT, 0, "The bucket"}, {"gcp-credentials-block-name", NULL, VALUE_TEXT, 0, "Block with credentials; else those of where it runs"}, OPTIONS_LAUNCHER)},
    {.name = "azure-blob-storage", .summary = "Keep a pool's bundles and results in an Azure container", .run = configure_azure, .args = ARGS(POOL_NAME),
     .options = OPTIONS({"container", NULL, VALUE_TEXT, 0, "The container"}, {"azure-blob-storage-credentials-block-name", NULL, VALUE_TEXT, 0, "Block with credentials"}, OPTIONS_LAUNCHER)},
    {0},
};
static const struct command configure_group = {.name = "configure", .summary = "Set a pool's storage", .commands = configure_commands};
static const struct command *const groups[] = {&configure_group, NULL};
static const struct command commands[] = {
    {.name = "inspect", .summary = "Show a pool's storage", .run = inspect, .args = ARGS(POOL_NAME), .options = OPTIONS(OPTION_OUTPUT)},
    {0},
};

const struct command command_work_pool_storage = {.name = "storage", .summary = "Where a pool keeps bundles and results", .groups = groups, .commands = commands};
