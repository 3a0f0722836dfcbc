#include "tests/unit/test.h"

#include "schema/hydrate.h"

#include <stdio.h>
#include <string.h>

/* ' stands for " so that the cases can be read; ` for ' itself. */
static const struct json *parse(struct arena *a, const char *text)
{
    char *z = str_z(a, str_of(text));
    for (char *p = z; *p; p++)
        *p = *p == '\'' ? '"' : *p == '`' ? '\'' : *p;
    struct err err;
    const struct json *v = json_parse(a, str_of(z), &err);
    if (!v)
        fail_msg("%s: %s", text, err.text);
    return v;
}

/* ---- a small world ---- */

struct world {
    struct arena *a;
    int asked; /* how often somebody came to ask */
};

#define BLOCK_ID "6e1b7b3c-0000-4000-8000-000000000001"
#define BLOCK_DATA "{'user':'u','n':5,'nest':{'a':{'b':[1,{'c':'x'}]}},'later':'{{ prefect.variables.s }}'}"

static const struct json *find_block(void *user, Uuid id, Str slug, Str name, struct err *err)
{
    struct world *w = user;
    w->asked++;
    if (!uuid_is_nil(id))
        return str_eqz(str_of(uuid_text(id).s), BLOCK_ID) ? parse(w->a, BLOCK_DATA) : NULL;
    if (!str_eqz(name, "n")) {
        err_set(err, ERR_NOT_FOUND, "not here");
        return NULL;
    }
    if (str_eqz(slug, "secret"))
        return parse(w->a, "{'value':'sekrit'}");
    if (str_eqz(slug, "secret-dict"))
        return parse(w->a, "{'value':{'k':'v'}}");
    if (str_eqz(slug, "value-and-more"))
        return parse(w->a, "{'value':7,'other':1}");
    return parse(w->a, BLOCK_DATA);
}

static const struct json *find_variable(void *user, Str name, struct err *err)
{
    struct world *w = user;
    const struct json *all =
        parse(w->a, "{'s':'str','n':3,'d':{'k':1},'z':null,'ref':'{{ prefect.blocks.t.n.user }}'}");
    w->asked++;
    if (str_eqz(name, "broken")) {
        err_set(err, ERR_DB, "the database is away");
        return NULL;
    }
    const struct json *v = json_get(all, name);
    if (!v)
        err_set(err, ERR_NOT_FOUND, "no variable");
    return v;
}

struct resolve_case {
    const char *value;    /* job_configuration.x */
    const char *expected; /* NULL: the key is gone; "!…": the error */
};

#define VARIABLES                                                                                            \
    "{'s':'str','n':1,'f':1.5,'b':true,'nul':null,'l':[1,'a',null,[2,3]],'d':{'k':{'z':5},'q':'x`y','0':'"   \
    "zero','a-b':1},"                                                                                        \
    "'e':'','ph':'{{ s }}','big':1e20,'\\u00e9':'acc','block':{'$ref':{'block_document_id':'" BLOCK_ID       \
    "'}},"                                                                                                   \
    "'wv':'{{ prefect.variables.s }}'}"

static const struct resolve_case resolve_cases[] = {
    /* a placeholder alone takes the value's own type */
    {"'{{ s }}'", "'str'"},
    {"'{{s}}'", "'str'"},
    {"'{{\\n n\\t}}'", "1"},
    {"'{{ f }}'", "1.5"},
    {"'{{ nul }}'", "null"},
    {"'{{ l }}'", "[1,'a',null,[2,3]]"},
    {"'{{ \\u00e9 }}'", "'acc'"},
    {"'{{ big }}'", "1e20"},
    /* with text around it, it is text as Python has it */
    {"' {{ n }}'", "' 1'"},
    {"'{{ n }}\\n'", "'1\\n'"},
    {"'{{ f }}{{ b }}'", "'1.5True'"},
    {"'a {{ nul }} b'", "'a None b'"},
    {"'x{{ l }}'", "'x[1, `a`, None, [2, 3]]'"},
    {"'x{{ big }}'", "'x1e+20'"},
    {"'{{{ n }}}'", "'{1}'"},
    {"'{{ n }}{{ n }}'", "'11'"},
    {"'x{{ e }}'", "'x'"},
    /* paths */
    {"'{{ d.k.z }}'", "5"},
    {"'{{ d.k }}'", "{'z':5}"},
    {"'{{ l[0] }}'", "1"},
    {"'{{ l.0 }}'", "1"},
    {"'{{ l[-1] }}'", "[2,3]"},
    {"'{{ l[3][0] }}'", "2"},
    {"'{{ l[0 }}'", "1"},
    {"'{{ d.a-b }}'", "1"},
    {"'{{ d[a-b] }}'", "1"},
    {"'{{ d.0 }}'", NULL},
    {"'{{ l[9] }}'", NULL},
    {"'{{ l.x }}'", NULL},
    {"'{{ l. }}'", NULL},
    {"'{{ d.miss }}'", NULL},
    {"'{{ d.k.z.q }}'", NULL},
    /* unset ones take their key, item or text with them */
    {"'{{ miss }}'", NULL},
    {"'x{{ miss }}'", "'x'"},
    {"'x{{ miss }}{{ n }}'", "'x1'"},
    {"['{{ miss }}','{{ n }}','x{{ miss }}']", "[1,'x']"},
    {"{'a':'{{ miss }}','b':['{{ miss }}'],'c':{'d':'{{ miss }}'},'e':'{{ nul }}'}",
     "{'b':[],'c':{},'e':null}"},
    {"{'{{ s }}':'{{ n }}'}", "{'{{ s }}':1}"},
    {"{'a':null,'b':''}", "{'a':null,'b':''}"},
    /* no placeholders */
    {"'{{ d[\\\"k\\\"] }}'", "'{{ d[\\\"k\\\"] }}'"},
    {"'{{ n | upper }}'", "'{{ n | upper }}'"},
    {"'{{ }}'", "'{{ }}'"},
    {"'{{ n'", "'{{ n'"},
    {"'{% if n %}'", "'{% if n %}'"},
    {"'{{ s s }}'", "'{{ s s }}'"},
    /* left to others, and not filled in twice */
    {"'{{ $HOME }}'", "'{{ $HOME }}'"},
    {"'x{{ $HOME }}{{ n }}'", "'x{{ $HOME }}1'"},
    {"'{{ ph }}'", "'{{ s }}'"},
    {"'x{{ ph }}'", "'x{{ s }}'"},
    /* what the run is */
    {"'{{ ctx.flow_run.name }}'", "'blue-fox'"},
    {"'run-{{ ctx.flow_run.name }}-{{ ctx.flow.name }}'", "'run-blue-fox-'"},
    /* workspace variables */
    {"'{{ prefect.variables.s }}'", "'str'"},
    {"'x{{ prefect.variables.n }}'", "'x3'"},
    {"'{{ prefect.variables.n }}'", "3"},
    {"'{{ prefect.variables.d }}'", "{'k':1}"},
    {"'x{{ prefect.variables.d }}'", "'x{`k`: 1}'"},
    {"'{{ prefect.variables.z }}'", "null"},
    {"'{{ prefect.variables.miss }}'", "''"},
    {"'x{{ prefect.variables.miss }}'", "'x'"},
    {"'{{ prefect.variables.s }}{{ prefect.variables.n }}'", "'str3'"},
    {"'{{ prefect.variables.ref }}'", "'{{ prefect.blocks.t.n.user }}'"},
    {"'{{ prefect.variables.broken }}'", "!variable broken: the database is away"},
    {"'{{ wv }}'", "'str'"},
    /* blocks */
    {"'{{ prefect.blocks.t.n.user }}'", "'u'"},
    {"'x{{ prefect.blocks.t.n.user }}{{ prefect.blocks.t.n.n }}'", "'xu5'"},
    {"'{{ prefect.blocks.t.n.nest.a.b[1].c }}'", "'x'"},
    {"'{{ prefect.blocks.t.n.nest.a }}'", "{'b':[1,{'c':'x'}]}"},
    {"'{{ prefect.blocks.secret.n }}'", "'sekrit'"},
    {"'a{{ prefect.blocks.secret.n }}b'", "'asekritb'"},
    {"'{{ prefect.blocks.secret-dict.n }}'", "{'k':'v'}"},
    {"'{{ prefect.blocks.secret-dict.n.k }}'", "'v'"},
    {"'{{ prefect.blocks.secret-dict.n.value.k }}'", "'v'"},
    {"'{{ prefect.blocks.value-and-more.n }}'", "{'value':7,'other':1}"},
    {"'{{ prefect.blocks.t.n.later }}'", "'str'"},
    {"'{{ prefect.blocks.t.n.miss }}'", "!'prefect.blocks.t.n.miss' leads to nothing in the block's data"},
    {"'x {{ prefect.blocks.t.n }}'",
     "!'prefect.blocks.t.n' is a mapping and cannot stand inside a text: name one of its fields"},
    {"'{{ prefect.blocks.t }}'",
     "!'prefect.blocks.t' names no block: prefect.blocks.TYPE-SLUG.NAME is wanted, with .PATH or without"},
    {"'{{ prefect.blocks.t.other }}'", "!block t/other: not here"},
    {"{'$ref':{'block_document_id':'" BLOCK_ID "'},'more':1}",
     "{'user':'u','n':5,'nest':{'a':{'b':[1,{'c':'x'}]}},'later':'str'}"},
    {"'{{ block }}'", "{'user':'u','n':5,'nest':{'a':{'b':[1,{'c':'x'}]}},'later':'str'}"},
    {"{'$ref':{'block_document_id':'6e1b7b3c-0000-4000-8000-000000000002'}}",
     "!block 6e1b7b3c-0000-4000-8000-000000000002: there is no such block document"},
    {"{'$ref':{'block_document_id':'x'}}", "!\"x\" is not the id of a block document"},
    {"{'$ref':'#/definitions/x'}", "{'$ref':'#/definitions/x'}"},
};

static void test_resolve(void **state)
{
    UNUSED(state);
    for (size_t i = 0; i < COUNT_OF(resolve_cases); i++) {
        const struct resolve_case *c = &resolve_cases[i];
        AUTO(arena_freep) struct arena *a = arena_create();
        struct world world = {.a = a};
        struct hydrate_context ctx = {.user = &world, .variable = find_variable, .block = find_block};
        struct err err;
        const struct json *template = parse(
            a, str_fmt(a, "{'job_configuration':{'x':%s,'y':1},'variables':{'type':'object'}}", c->value).p);
        const struct json *v =
            template_resolve(a, template, parse(a, VARIABLES),
                             parse(a, "{'ctx':{'flow_run':{'name':'blue-fox'},'flow':{}}}"), &ctx, &err);
        if (c->expected && c->expected[0] == '!') {
            if (v || strcmp(err.text, c->expected + 1) != 0)
                fail_msg("%s: %s", c->value, v ? json_text(a, v).p : err.text);
            continue;
        }
        if (!v)
            fail_msg("%s: %s", c->value, err.text);
        const struct json *x = json_getz(v, "x");
        if (!x != !c->expected || (x && !json_equal(x, parse(a, c->expected))))
            fail_msg("%s becomes %s", c->value, x ? json_text(a, x).p : "nothing");
        assert_true(str_eq(v->raw, json_text(a, v)) && json_getz(v, "y"));
    }
}

/* Without a world, what asks for it stays. */
static void test_resolve_alone(void **state)
{
    UNUSED(state);
    AUTO(arena_freep) struct arena *a = arena_create();
    struct err err;
    const char *text =
        "{'a':'{{ prefect.blocks.t.n }}','b':'x{{ prefect.variables.s }}','c':'{{ ctx.flow_run.id }}',"
        "'d':{'$ref':{'block_document_id':'" BLOCK_ID "'}}}";
    const struct json *v = template_resolve(
        a, parse(a, str_fmt(a, "{'job_configuration':%s,'variables':{'type':'object'}}", text).p),
        parse(a, "{}"), NULL, NULL, &err);
    assert_non_null(v);
    assert_true(json_equal(v, parse(a, text)));
}

static void test_asks_once(void **state)
{
    UNUSED(state);
    AUTO(arena_freep) struct arena *a = arena_create();
    struct world world = {.a = a};
    struct hydrate_context ctx = {.user = &world, .variable = find_variable, .block = find_block};
    struct err err;
    const struct json *v = template_resolve(
        a,
        parse(a, "{'job_configuration':{'a':['{{ prefect.blocks.t.n.user }}','{{ prefect.blocks.t.n.n }}',"
                 "'{{ prefect.variables.s }}','x{{ prefect.variables.s }}','{{ prefect.variables.no }}',"
                 "'{{ prefect.variables.no }}']},'variables':{'type':'object'}}"),
        parse(a, "{}"), NULL, &ctx, &err);
    assert_non_null(v);
    assert_true(json_equal(v, parse(a, "{'a':['u',5,'str','xstr','','']}")));
    assert_int_equal(world.asked, 3);
}

/* A value named ten thousand times must not become gigabytes. */
static void test_resolve_growth(void **state)
{
    UNUSED(state);
    AUTO(arena_freep) struct arena *a = arena_create();
    struct err err;
    AUTO(buf_free) struct buf list = BUF(1 << 20), text = BUF(1 << 20), value = BUF(1 << 20);
    buf_z(&list, "{\"job_configuration\":{\"x\":[");
    buf_z(&text, "{\"job_configuration\":{\"x\":\"");
    for (int i = 0; i < 10000; i++) {
        buf_z(&list, i ? ",\"{{ v }}\"" : "\"{{ v }}\"");
        buf_z(&text, "{{ v }}");
    }
    buf_z(&list, "]}}");
    buf_z(&text, "\"}}");
    buf_z(&value, "{\"v\":[");
    for (int i = 0; i < 100000; i++)
        buf_z(&value, i ? ",1" : "1");
    buf_z(&value, "]}");
    const struct json *variables = json_parse(a, buf_view(&value), &err);
    Str both[] = {buf_view(&list), buf_view(&text)};
    for (size_t i = 0; i < COUNT_OF(both); i++) {
        const struct json *template = json_parse(a, both[i], &err);
        assert_non_null(template);
        assert_null(template_resolve(a, template, variables, NULL, NULL, &err));
        assert_int_equal(err.code, ERR_TOO_LARGE);
    }
    /* nor may depth add up */
    AUTO(buf_free) struct buf deep = BUF(10000);
    buf_z(&deep, "{\"v\":");
    for (int i = 0; i < 150; i++)
        buf_z(&deep, "[");
    for (int i = 0; i < 150; i++)
        buf_z(&deep, "]");
    buf_z(&deep, "}");
    variables = json_parse(a, str_dup(a, buf_view(&deep)), &err);
    assert_non_null(variables);
    assert_non_null(template_resolve(a, parse(a, "{'job_configuration':{'x':[[['{{ v }}']]]}}"), variables,
                                     NULL, NULL, &err));
    buf_reset(&deep);
    buf_z(&deep, "{\"job_configuration\":{\"x\":");
    for (int i = 0; i < 100; i++)
        buf_z(&deep, "[");
    buf_z(&deep, "\"{{ v }}\"");
    for (int i = 0; i < 100; i++)
        buf_z(&deep, "]");
    buf_z(&deep, "}}");
    const struct json *template = json_parse(a, buf_view(&deep), &err);
    assert_non_null(template);
    assert_null(template_resolve(a, template, variables, NULL, NULL, &err));
    assert_string_equal(err.text, "the values come to lie nested too deeply");
}

/* ---- variables ---- */

#define POOL                                                                                                 \
    "{'job_configuration':{'image':'{{ image }}','env':'{{ env }}','cpu':'{{ cpu "                           \
    "}}'},'variables':{'type':'object',"                                                                     \
    "'properties':{'image':{'type':'string','default':'python:3'},'env':{'type':'object','default':{'A':'1'" \
    ",'B':'2'}},"                                                                                            \
    "'cpu':{'type':'integer','minimum':1,'maximum':8},'size':{'enum':['small','large'],'default':'small'},"  \
    "'creds':{'type':'object','required':['key'],'properties':{'key':{'type':'string'}},'default':{'$ref':{" \
    "'block_document_id':'" BLOCK_ID "'}}},"                                                                 \
    "'wrong':{'type':'integer','default':'x'}},"                                                             \
    "'required':['cpu']%s}}"

struct variables_case {
    bool closed;
    const char *overrides[2], *expected; /* "!…": the error */
    int flags;
};

#define DEFAULTS(image, env, rest)                                                                           \
    "{'image':" image ",'env':" env ",'size':'small','creds':{'$ref':{'block_document_id':'" BLOCK_ID        \
    "'}}" rest "}"

static const struct variables_case variables_cases[] = {
    {false, {"{'cpu':2}"}, DEFAULTS("'python:3'", "{'A':'1','B':'2'}", ",'cpu':2"), 0},
    {false,
     {"{'cpu':2,'image':'a','env':{'B':'x','C':null}}", "{'image':'b','env':{'A':'y'}}"},
     DEFAULTS("'b'", "{'A':'y','B':'x','C':null}", ",'cpu':2"),
     0},
    {false,
     {NULL, "{'cpu':1,'image':null,'env':null}"},
     DEFAULTS("null", "{'A':'1','B':'2'}", ",'cpu':1"),
     0},
    {false,
     {"{'cpu':9}"},
     "!Validation failed for field 'cpu'. Failure reason: 9 is greater than the maximum of 8",
     0},
    {false,
     {"{'cpu':1,'size':'huge'}"},
     "!Validation failed for field 'size'. Failure reason: 'huge' is not one of ['small', 'large']",
     0},
    {false,
     {"{'cpu':1,'image':5}"},
     "!Validation failed for field 'image'. Failure reason: 5 is valid under none of the given schemas",
     0},
    {false,
     {"{'cpu':1,'env':'x'}"},
     "!Validation failed for field 'env'. Failure reason: 'x' is valid under none of the given schemas",
     0},
    /* a key that the template does not open */
    {false,
     {"{'cpu':1,'privileged':true}"},
     DEFAULTS("'python:3'", "{'A':'1','B':'2'}", ",'cpu':1,'privileged':true"),
     0},
    {true,
     {"{'cpu':1,'privileged':true}"},
     "!Validation failed. Failure reason: Additional properties are not allowed ('privileged' was "
     "unexpected)",
     0},
    {true, {"{'cpu':1}"}, DEFAULTS("'python:3'", "{'A':'1','B':'2'}", ",'cpu':1"), 0},
    /* blocks by reference are taken for fitting, and values are not */
    {false,
     {"{'cpu':1,'creds':{'$ref':{'block_document_id':'6e1b7b3c-0000-4000-8000-000000000009'}}}"},
     "{'image':'python:3','env':{'A':'1','B':'2'},'size':'small','creds':{'$ref':{'block_document_id':"
     "'6e1b7b3c-0000-4000-8000-000000000009'}},'cpu':1}",
     0},
    {false,
     {"{'cpu':1,'creds':{'key':5}}"},
     "!Validation failed for field 'creds.key'. Failure reason: 5 is not of type 'string'",
     0},
    {false, {"[]"}, "!job variables must be an object", 0},
};

static void test_variables(void **state)
{
    UNUSED(state);
    for (size_t i = 0; i < COUNT_OF(variables_cases); i++) {
        const struct variables_case *c = &variables_cases[i];
        AUTO(arena_freep) struct arena *a = arena_create();
        struct err err;
        const struct json *overrides[2];
        for (int k = 0; k < 2; k++)
            overrides[k] = c->overrides[k] ? parse(a, c->overrides[k]) : NULL;
        const struct json *pool =
            parse(a, str_fmt(a, POOL, c->closed ? ",'additionalProperties':false" : "").p);
        const struct json *v = template_variables(a, pool, overrides, 2, c->flags, &err);
        if (c->expected[0] == '!') {
            if (v || strcmp(err.text, c->expected + 1) != 0)
                fail_msg("case %zu: %s", i, v ? json_text(a, v).p : err.text);
            assert_int_equal(err.code, ERR_UNPROCESSABLE);
        } else if (!v || !json_equal(v, parse(a, c->expected))) {
            fail_msg("case %zu: %s", i, v ? json_text(a, v).p : err.text);
        }
    }
}

/* `required` holds where nothing was dropped and nobody asks otherwise. */
static void test_variables_required(void **state)
{
    UNUSED(state);
    AUTO(arena_freep) struct arena *a = arena_create();
    struct err err;
    const struct json *pool =
        parse(a, "{'job_configuration':{'c':'{{ cpu }}'},'variables':{'properties':{'cpu':{'type':"
                 "'integer'}},'required':['cpu']}}");
    assert_null(template_variables(a, pool, NULL, 0, 0, &err));
    assert_string_equal(err.text, "Validation failed. Failure reason: 'cpu' is a required property");
    assert_non_null(template_variables(a, pool, NULL, 0, SCHEMA_IGNORE_REQUIRED, &err));
    const struct json *over = parse(a, "{'any':1}");
    const struct json *v = template_variables(a, parse(a, "{}"), &over, 1, 0, &err);
    assert_non_null(v);
    assert_true(json_equal(v, over));
}

/* ---- checking ---- */

static void test_check(void **state)
{
    UNUSED(state);
    static const struct {
        const char *template, *text; /* NULL: good */
    } cases[] = {
        {"{}", NULL},
        {"{'job_configuration':{'x':'{{ a }} {{ $HOME }} {{ ctx.flow.id }} {{ prefect.blocks.a.b }} {{ "
         "prefect.variables.v }}'},"
         "'variables':{'properties':{'a':{}}}}",
         NULL},
        {"[]", "a base job template must be an object"},
        {"{'job_configuration':{'x':1}}", "a base job template must have a 'job_configuration' and "
                                          "'variables', both of them objects with content"},
        {"{'job_configuration':{},'variables':{'properties':{}}}",
         "a base job template must have a 'job_configuration' and 'variables', both of them objects with "
         "content"},
        {"{'job_configuration':{'x':['q {{ zz }} {{ yy }}'],'y':'{{ a.b }}','{{ key }}':'{{ zz "
         "}}'},'variables':{'properties':{'a':{}}}}",
         "job_configuration has placeholders that 'variables' does not declare as properties: 'a.b', 'yy', "
         "'zz'"},
        {"{'job_configuration':{'x':'{{ a "
         "}}'},'variables':{'properties':{'a':{'type':'integer','default':'x'}}}}",
         "the defaults of 'variables' do not fit their schema: Validation failed for field 'a'. Failure "
         "reason: 'x' is "
         "valid under none of the given schemas"},
        {"{'job_configuration':{'x':'{{ a }}'},'variables':{'properties':{'a':{'type':'int'}}}}",
         "variables: invalid schema: properties.a.anyOf.0.type must be one of array, boolean, integer, null, "
         "number, object, "
         "string, or an array of these, each once"},
        {"{'job_configuration':{'x':'{{ a "
         "}}'},'variables':{'properties':{'a':{'type':'object','required':['k'],'default':"
         "{'$ref':{'block_document_id':'" BLOCK_ID "'}}}}}}",
         NULL},
        {"{'job_configuration':{'x':'{{ a "
         "}}'},'variables':{'properties':{'a':{'type':'string','default':null}}}}",
         NULL},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        AUTO(arena_freep) struct arena *a = arena_create();
        struct err err = {0};
        int rc = template_check(a, parse(a, cases[i].template), &err);
        if (cases[i].text ? rc == 0 || strcmp(err.text, cases[i].text) != 0 : rc < 0)
            fail_msg("%s: %s", cases[i].template, rc < 0 ? err.text : "good");
        assert_true(rc == 0 || err.code == ERR_UNPROCESSABLE);
    }
}

static Str read_file(struct arena *a, const char *path)
{
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    char *p = arena_alloc(a, (size_t)1 << 20);
    size_t n = fread(p, 1, (size_t)1 << 20, f);
    fclose(f);
    return str_dup(a, (Str){p, n});
}

/* The templates of all pool types that are built in: each is good, and what comes of its defaults has no
 * placeholder left. */
static void test_catalogue(void **state)
{
    UNUSED(state);
    AUTO(arena_freep) struct arena *a = arena_create();
    struct err err;
    const struct json *packages = json_parse(a, read_file(a, "assets/worker-metadata.json"), &err);
    assert_non_null(packages);
    int seen = 0;
    for (size_t i = 0; i < packages->object.n; i++) {
        const struct json *types = &packages->object.members[i].value;
        for (size_t k = 0; k < types->object.n; k++) {
            const struct json *template =
                json_getz(&types->object.members[k].value, "default_base_job_configuration");
            Str type = types->object.members[k].key;
            if (!json_is(template, JSON_OBJECT) || !template->object.n)
                continue;
            if (template_check(a, template, &err) < 0)
                fail_msg("%.*s: %s", STR_ARG(type), err.text);
            const struct json *variables =
                template_variables(a, template, NULL, 0, SCHEMA_IGNORE_REQUIRED, &err);
            if (!variables)
                fail_msg("%.*s: %s", STR_ARG(type), err.text);
            const struct json *v =
                template_resolve(a, template, variables, parse(a, "{'ctx':{}}"), NULL, &err);
            if (!v || str_find(v->raw, STR("{{")) >= 0)
                fail_msg("%.*s: %s", STR_ARG(type), v ? v->raw.p : err.text);
            seen++;
        }
    }
    assert_true(seen >= 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_resolve),   cmocka_unit_test(test_resolve_alone),
        cmocka_unit_test(test_asks_once), cmocka_unit_test(test_resolve_growth),
        cmocka_unit_test(test_variables), cmocka_unit_test(test_variables_required),
        cmocka_unit_test(test_check),     cmocka_unit_test(test_catalogue),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
