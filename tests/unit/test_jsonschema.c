#include "tests/unit/test.h"

#include "schema/jsonschema.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The public suite of draft 2020-12, where it is beside the checkout, or where MILLPOND_TEST_DATA says. */
static char suite[400];

static Str read_file(struct arena *a, const char *path)
{
    FILE *f = fopen(path, "rb");
    if (!f)
        return STR_NONE;
    char *p = arena_alloc(a, (size_t)1 << 20);
    size_t n = fread(p, 1, (size_t)1 << 20, f);
    fclose(f);
    return str_dup(a, (Str){p, n});
}

struct remotes {
    struct arena *a;
};

/* http://localhost:1234/x is the file remotes/x. */
static const struct json *find_remote(void *user, Str uri)
{
    struct remotes *r = user;
    Str base = STR("http://localhost:1234/");
    if (!str_starts(uri, base))
        return NULL;
    Str name = str_sub(uri, base.n, uri.n);
    Str text = read_file(r->a, str_fmt(r->a, "%s/remotes/%.*s", suite, STR_ARG(name)).p);
    struct err err;
    return text.p ? json_parse(r->a, text, &err) : NULL;
}

struct tally {
    int passed, failed;
};

static void run_file(const char *path, int flags, struct tally *t)
{
    AUTO(arena_freep) struct arena *a = arena_create();
    struct err err;
    const struct json *groups = json_parse(a, read_file(a, path), &err);
    assert_non_null(groups);
    struct remotes remotes = {a};
    for (size_t g = 0; g < groups->array.n; g++) {
        const struct json *group = &groups->array.items[g], *tests = json_getz(group, "tests");
        for (size_t i = 0; i < tests->array.n; i++) {
            const struct json *test = &tests->array.items[i];
            struct schema_errors errors;
            int rc = schema_validate(a, json_getz(group, "schema"), json_getz(test, "data"), flags,
                                     find_remote, &remotes, &errors, &err);
            bool valid = json_getz(test, "valid")->boolean;
            bool best = rc == 0 && (errors.best != NULL) == (errors.list.n > 0);
            if (rc == 0 && best && valid == (errors.list.n == 0)) {
                t->passed++;
                continue;
            }
            t->failed++;
            print_message("# %s: %.*s: %.*s: %s\n", path, STR_ARG(json_get_str(group, STR("description"))),
                          STR_ARG(json_get_str(test, STR("description"))),
                          rc < 0  ? err.text
                          : valid ? errors.list.v[0].message.p
                                  : "not refused");
        }
    }
}

/* False where the suite is not here. */
static bool run_folder(const char *name, int flags, struct tally *t)
{
    AUTO(arena_freep) struct arena *a = arena_create();
    const char *path = str_fmt(a, "%s/%s", suite, name).p;
    DIR *dir = opendir(path);
    if (!dir) {
        print_message("# left out: %s is not here\n", path);
        return false;
    }
    for (struct dirent *e; (e = readdir(dir));)
        if (str_ends(str_of(e->d_name), STR(".json")))
            run_file(str_fmt(a, "%s/%s", path, e->d_name).p, flags, t);
    closedir(dir);
    return true;
}

static void test_public_suite(void **state)
{
    UNUSED(state);
    struct tally t = {0};
    if (!run_folder("tests", 0, &t))
        return;
    print_message("# %d of %d cases\n", t.passed, t.passed + t.failed);
    assert_int_equal(t.failed, 0);
    assert_true(t.passed > 1200);
}

/* {schema, value, text of the error}; NULL: it fits; a text that starts with '!': the schema is refused so.
 */
struct text_case {
    const char *schema, *value, *text;
    int flags;
};
#define FIELD(name, reason) "Validation failed for field '" name "'. Failure reason: " reason
#define ROOT(reason) "Validation failed. Failure reason: " reason

static const struct text_case text_cases[] = {
    {"{'required':['a']}", "{}", ROOT("'a' is a required property")},
    {"{'required':['a']}", "{}", NULL, SCHEMA_IGNORE_REQUIRED},
    {"{'properties':{'a':{'type':'integer'}}}", "{'a':'x'}", FIELD("a", "'x' is not of type 'integer'")},
    {"{'properties':{'a':{'type':['integer','null']}}}", "{'a':'x'}",
     FIELD("a", "'x' is not of type 'integer', 'null'")},
    {"{'properties':{'a':{'type':'integer'}}}", "{'a':1.0}", NULL},
    {"{'properties':{'a':{'type':'integer'}}}", "{'a':true}", FIELD("a", "True is not of type 'integer'")},
    {"{'properties':{'a':{'minimum':5}}}", "{'a':1}", FIELD("a", "1 is less than the minimum of 5")},
    {"{'properties':{'a':{'maximum':5}}}", "{'a':9}", FIELD("a", "9 is greater than the maximum of 5")},
    {"{'properties':{'a':{'exclusiveMinimum':5}}}", "{'a':5}", FIELD("a", "5 is not greater than 5")},
    {"{'properties':{'a':{'exclusiveMaximum':5}}}", "{'a':5.0}", FIELD("a", "5.0 is not less than 5")},
    {"{'properties':{'a':{'enum':['a','b']}}}", "{'a':'x'}", FIELD("a", "'x' is not one of ['a', 'b']")},
    {"{'properties':{'a':{'const':null}}}", "{'a':'x'}", FIELD("a", "'x' is not the expected None")},
    {"{'properties':{'a':{'multipleOf':0.01}}}", "{'a':19.99}", NULL},
    {"{'properties':{'a':{'multipleOf':0.01}}}", "{'a':19.995}",
     FIELD("a", "19.995 is not a multiple of 0.01")},
    {"{'properties':{'a':{'multipleOf':7}}}", "{'a':700000000000000000000000000000}", NULL},
    {"{'properties':{'a':{'multipleOf':7}}}", "{'a':700000000000000000000000000001}",
     FIELD("a", "700000000000000000000000000001 is not a multiple of 7")},
    {"{'properties':{'a':{'multipleOf':12345678901234567890123}}}", "{'a':24691357802469135780246e3000000}",
     NULL},
    {"{'properties':{'a':{'multipleOf':3}}}", "{'a':1e999999999}", FIELD("a", "inf is not a multiple of 3")},
    {"{'properties':{'a':{'maximum':1e400}}}", "{'a':1e401}",
     FIELD("a", "inf is greater than the maximum of inf")},
    {"{'properties':{'a':{'minimum':-0.0}}}", "{'a':0}", NULL},
    {"{'properties':{'a':{'minLength':3}}}", "{'a':'\\u00e9t'}",
     FIELD("a", "'\xc3\xa9t' is too short: at least 3 characters")},
    {"{'properties':{'a':{'maxLength':2}}}", "{'a':'\\ud83d\\ude00\\ud83d\\ude00'}", NULL},
    {"{'properties':{'a':{'pattern':'^a'}}}", "{'a':'b'}", FIELD("a", "'b' does not match '^a'")},
    {"{'properties':{'a':{'pattern':'^(a+)+$'}}}",
     "{'a':'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab'}",
     "!pattern '^(a+)+$' takes too long on a value of 54 bytes"},
    {"{'properties':{'a':{'pattern':'('}}}", "{'a':'b'}",
     "!'(' is not a regular expression: missing closing parenthesis (at 1)"},
    {"{'properties':{'a':{'minItems':2}}}", "{'a':[1]}", FIELD("a", "[1] is too short: at least 2 items")},
    {"{'properties':{'a':{'uniqueItems':true}}}", "{'a':[{'x':1,'y':[2]},{'y':[2.0],'x':1e0}]}",
     FIELD("a", "[{'x': 1, 'y': [2]}, {'y': [2.0], 'x': 1.0}] has items that are not unique")},
    {"{'properties':{'a':{'uniqueItems':true}}}", "{'a':[0,false,'',null,[],{},'0',[0],{'0':0}]}", NULL},
    {"{'properties':{'a':{'items':{'type':'integer'}}}}", "{'a':[1,'x']}",
     FIELD("a[1]", "'x' is not of type 'integer'")},
    {"{'properties':{'a':{'properties':{'b':{'items':{'required':['c']}}}}}}", "{'a':{'b':[{}]}}",
     FIELD("a.b[0]", "'c' is a required property")},
    {"{'properties':{'a b':{'type':'integer'}}}", "{'a b':'x'}",
     "Validation failed for field \"$['a b']\". Failure reason: 'x' is not of type 'integer'"},
    {"{'properties':{'a':{}},'additionalProperties':false}", "{'z':1,'a':1,'b':2}",
     ROOT("Additional properties are not allowed ('b', 'z' were unexpected)")},
    {"{'properties':{'a':{}},'additionalProperties':false}", "{'b':2}",
     ROOT("Additional properties are not allowed ('b' was unexpected)")},
    {"{'properties':{'a':false}}", "{'a':2}", FIELD("a", "2 is not allowed here")},
    /* Which of several is told: the shallow before the deep, required before a property's own. */
    {"{'properties':{'a':{'properties':{'c':{'type':'null'}}},'b':{'type':'string'}}}", "{'a':{'c':1},'b':2}",
     FIELD("b", "2 is not of type 'string'")},
    {"{'properties':{'a':{'type':'string'}},'required':['q','r']}", "{'a':1}",
     ROOT("'q' is a required property")},
    {"{'properties':{'a':{'type':'string'},'b':{'type':'string'}}}", "{'a':1,'b':2}",
     FIELD("b", "2 is not of type 'string'")},
    /* Inside anyOf: the branch that came furthest, or none. */
    {"{'properties':{'a':{'anyOf':[{'type':'integer'},{'type':'null'}]}}}", "{'a':'x'}",
     FIELD("a", "'x' is valid under none of the given schemas")},
    {"{'properties':{'a':{'anyOf':[{'type':'integer','minimum':3},{'type':'null'}]}}}", "{'a':1}",
     FIELD("a", "1 is less than the minimum of 3")},
    {"{'properties':{'a':{'anyOf':[{'properties':{'k':{'type':'integer'}}},{'type':'string'}]}}}",
     "{'a':{'k':'z'}}", FIELD("a.k", "'z' is not of type 'integer'")},
    {"{'properties':{'a':{'oneOf':[{'type':'integer'},{'minimum':0}]}}}", "{'a':1}",
     FIELD("a", "1 is valid under more than one of the given schemas")},
    {"{'properties':{'a':{'not':{'type':'integer'}}}}", "{'a':1}",
     FIELD("a", "1 must not be valid under {'type': 'integer'}")},
    {"{'dependentRequired':{'a':['b']}}", "{'a':1}", ROOT("'b' is a required property beside 'a'")},
    {"{'unevaluatedProperties':false,'allOf':[{'properties':{'a':true}}]}", "{'a':1,'b':1}",
     ROOT("Unevaluated properties are not allowed ('b' was unexpected)")},
    /* Of equal keys the last counts, in values and in schemas. */
    {"{'properties':{'a':{'type':'integer'}}}", "{'a':'x','a':1}", NULL},
    {"{'maxProperties':1}", "{'a':'x','a':1}", NULL},
    {"{'type':'string','type':'object'}", "{}", NULL},
    {"{'contains':{'type':'null'}}", "[1]", ROOT("[1] has no item that matches the given schema")},
    {"{'contains':true,'minContains':1e30}", "[1]",
     ROOT("[1] has 1 items that match the given schema, of at least 1e+30")},
    {"{'contains':true,'maxContains':1.0}", "[1,2]",
     ROOT("[1, 2] has more items that match the given schema than 1.0")},
    /* Formats are told only where asked. */
    {"{'properties':{'a':{'format':'uuid'}}}", "{'a':'x'}", NULL},
    {"{'properties':{'a':{'format':'uuid'}}}", "{'a':'x'}", FIELD("a", "'x' is not in the format 'uuid'"),
     SCHEMA_FORMATS},
    /* Schemas that are no good. */
    {"{'properties':{'a':{'type':'int'}}}", "{'a':1}",
     "!type must be the name of a type or an array of such"},
    {"{'minimum':'x'}", "1", "!minimum must be a number"},
    {"{'minLength':-1}", "'x'", "!minLength must be a whole number, 0 or more"},
    {"{'multipleOf':0}", "1", "!multipleOf must be a number above 0"},
    {"{'$ref':'#/$defs/b','$defs':{'b':{'$ref':'#/$defs/c'},'c':{'anyOf':[{'$ref':'#/$defs/b'}]}}}", "1",
     "!the schema's references go round in a circle at '#/$defs/b'"},
    {"{'$ref':'#/nope'}", "1", "!the reference '#/nope' leads nowhere in the schema"},
    {"{'$ref':'http://x/y'}", "1", "!the reference 'http://x/y' leads to no schema that is known here"},
    {"[]", "1", "!a schema must be an object, true or false"},
    /* A ring that each turn takes a step into the value is none. */
    {"{'properties':{'a':{'$ref':'#'}},'type':'object'}", "{'a':{'a':{'a':1}}}",
     FIELD("a.a.a", "1 is not of type 'object'")},
};

/* ' stands for " so that the cases can be read. */
static const struct json *parse(struct arena *a, const char *text)
{
    char *z = str_z(a, str_of(text));
    for (char *p = z; *p; p++)
        if (*p == '\'')
            *p = '"';
    struct err err;
    const struct json *v = json_parse(a, str_of(z), &err);
    if (!v)
        fail_msg("%s: %s", text, err.text);
    return v;
}

static void test_texts(void **state)
{
    UNUSED(state);
    for (size_t i = 0; i < COUNT_OF(text_cases); i++) {
        const struct text_case *c = &text_cases[i];
        AUTO(arena_freep) struct arena *a = arena_create();
        struct schema_errors errors;
        struct err err = {0};
        int rc =
            schema_validate(a, parse(a, c->schema), parse(a, c->value), c->flags, NULL, NULL, &errors, &err);
        const char *text = rc < 0 ? str_fmt(a, "!%s", err.text).p : schema_error_text(a, &errors).p;
        if (rc < 0)
            assert_int_equal(err.code, ERR_UNPROCESSABLE);
        if (!text != !c->text || (text && strcmp(text, c->text) != 0))
            fail_msg("%s with %s: %s", c->schema, c->value, text ? text : "fits");
    }
}

static void check_printed(const char *schema, const char *value, const char *expected)
{
    AUTO(arena_freep) struct arena *a = arena_create();
    struct schema_errors errors;
    struct err err;
    assert_int_equal(schema_validate(a, parse(a, schema), parse(a, value), 0, NULL, NULL, &errors, &err), 0);
    AUTO(buf_free) struct buf b = BUF(100000);
    struct jw w = jw_on(&b);
    schema_errors_print(&errors, &w);
    assert_string_equal(str_z(a, buf_view(&b)), expected);
}

static void test_nested_form(void **state)
{
    UNUSED(state);
    check_printed("{'type':'object'}", "{}", "[]");
    check_printed(
        "{'type':'string','properties':{'a':{'type':'null'},'l':{'items':{'type':'null'}},"
        "'o':{'properties':{'x':{'type':'null'},'y':{'type':'null'}},'required':['z']}},'required':['q']}",
        "{'a':1,'l':[null,2,3],'o':{'x':1,'y':2}}",
        "[\"{'a': 1, 'l': [None, 2, 3], 'o': {'x': 1, 'y': 2}} is not of type 'string'\","
        "{\"property\":\"a\",\"errors\":[\"1 is not of type 'null'\"]},"
        "{\"property\":\"l\",\"errors\":[{\"index\":1,\"errors\":[\"2 is not of type 'null'\"]},"
        "{\"index\":2,\"errors\":[\"3 is not of type 'null'\"]}]},"
        "{\"property\":\"o\",\"errors\":[{\"property\":\"x\",\"errors\":[\"1 is not of type 'null'\"]},"
        "{\"property\":\"y\",\"errors\":[\"2 is not of type 'null'\"]},"
        "{\"property\":\"z\",\"errors\":[\"'z' is a required property\"]}]},"
        "{\"property\":\"q\",\"errors\":[\"'q' is a required property\"]}]");
    /* What is wrong inside joins the first entry of its property. */
    check_printed("{'properties':{'a':{'minProperties':2,'properties':{'x':{'type':'null'}}}}}",
                  "{'a':{'x':1}}",
                  "[{\"property\":\"a\",\"errors\":[\"{'x': 1} has too few properties: at least 2\","
                  "{\"property\":\"x\",\"errors\":[\"1 is not of type 'null'\"]}]}]");
}

static void test_nested_form_deep(void **state)
{
    UNUSED(state);
    AUTO(arena_freep) struct arena *a = arena_create();
    AUTO(buf_free) struct buf value = BUF(10000), out = BUF(100000);
    for (int i = 0; i < 190; i++)
        buf_z(&value, "[");
    buf_z(&value, "1");
    for (int i = 0; i < 190; i++)
        buf_z(&value, "]");
    struct schema_errors errors;
    struct err err;
    const struct json *v = json_parse(a, buf_view(&value), &err);
    assert_non_null(v);
    assert_int_equal(schema_validate(a, parse(a, "{'items':{'$ref':'#'},'type':'array'}"), v, 0, NULL, NULL,
                                     &errors, &err),
                     0);
    assert_int_equal(errors.list.n, 1);
    assert_int_equal(errors.best->step_count, 190);
    struct jw w = jw_on(&out);
    schema_errors_print(&errors, &w);
    assert_non_null(json_parse(a, buf_view(&out), &err));
}

static void check_preprocessed(const char *schema, bool flags, const char *expected)
{
    AUTO(arena_freep) struct arena *a = arena_create();
    const struct json *got =
        flags ? schema_preprocess_variables(a, parse(a, schema)) : schema_preprocess(a, parse(a, schema));
    if (!json_equal(got, parse(a, expected)))
        fail_msg("%s becomes %s", schema, json_text(a, got).p);
}

static void test_preprocess(void **state)
{
    UNUSED(state);
    check_preprocessed(
        "{'properties':{'a':{'type':'string'},'b':{'type':'string'},'c':{'type':'string','default':1},"
        "'d':{'type':'null'},'e':{'enum':[1]}},'required':['a']}",
        0,
        "{'properties':{'a':{'type':'string'},'b':{'anyOf':[{'type':'string'},{'type':'null'}]},"
        "'c':{'type':'string','default':1},'d':{'type':'null'},'e':{'enum':[1]}},'required':['a']}");
    check_preprocessed("{'properties':{'c':{'type':'string','default':1}}}", true,
                       "{'properties':{'c':{'default':1,'anyOf':[{'type':'string'},{'type':'null'}]}}}");
    check_preprocessed(
        "{'properties':{'t':{'type':'array','items':[{'type':'string'}]}},'required':['t']}", 0,
        "{'properties':{'t':{'type':'array','prefixItems':[{'type':'string'}]}},'required':['t']}");
    check_preprocessed(
        "{'properties':{'o':{'type':'object','properties':{'x':{'type':'string'}}}},'required':['o']}", 0,
        "{'properties':{'o':{'type':'object','properties':{'x':{'anyOf':[{'type':'string'},"
        "{'type':'null'}]}}}},'required':['o']}");
    AUTO(arena_freep) struct arena *a = arena_create();
    const struct json *same =
        parse(a, "{'properties':{'a':{'enum':[1]}},'definitions':{'A':{'type':'string'}}}");
    assert_ptr_equal(schema_preprocess(a, same), same);
}

static void test_block_reference(void **state)
{
    UNUSED(state);
    AUTO(arena_freep) struct arena *a = arena_create();
    const struct json *schema = schema_preprocess(
        a, parse(a, "{'properties':{'b':{'$ref':'#/definitions/Creds'}},'required':['b'],"
                    "'definitions':{'Creds':{'title':'Creds','type':'object','required':['key'"
                    "],'block_type_slug':'creds',"
                    "'properties':{'key':{'type':'string'}}}}}"));
    static const struct {
        const char *value;
        bool fits;
    } cases[] = {
        {"{'b':{'key':'k'}}", true},
        {"{'b':{'$ref':'6e1b7b3c-0000-4000-8000-000000000001'}}", true},
        {"{'b':{'$ref':{'block_document_id':'6e1b7b3c-0000-4000-8000-000000000001'}}}", true},
        {"{'b':{'$ref':{}}}", false},
        {"{'b':{'other':1}}", false},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct schema_errors errors;
        struct err err;
        assert_int_equal(schema_validate(a, schema, parse(a, cases[i].value), 0, NULL, NULL, &errors, &err),
                         0);
        if ((errors.list.n == 0) != cases[i].fits)
            fail_msg("%s", cases[i].value);
    }
}

static void test_check(void **state)
{
    UNUSED(state);
    static const char *const good[] = {
        "true",
        "{}",
        "{'type':'object','properties':{'a':{'type':['string','null'],'title':'A','position':0}}}",
        "{'items':{'pattern':'^\\\\p{Letter}+$'},'x-mine':{'type':5}}",
        "{'enum':[{'type':5}],'const':{'minimum':'x'}}",
    };
    static const struct {
        const char *schema, *text;
    } bad[] = {
        {"5", "a schema must be an object, true or false"},
        {"{'properties':{'a':{'type':'int'}}}", "properties.a.type must be one of array, "
                                                "boolean, integer, null, number, object, string, or "
                                                "an array of these, each once"},
        {"{'allOf':[{},{'required':'a'}]}", "allOf.1.required must be an array of strings"},
        {"{'required':['a','a']}", "required must be an array of strings, each once"},
        {"{'anyOf':[]}", "anyOf must be an array of one schema or more"},
        {"{'items':[{}]}", "items must be a schema: an object, true or false"},
        {"{'pattern':'['}",
         "'[' is not a regular expression: missing terminating ] for character class (at 1)"},
        {"{'$defs':{'a':5}}", "$defs.a must be a schema: an object, true or false"},
        {"{'uniqueItems':1}", "uniqueItems must be true or false"},
        {"{'minItems':1.5}", "minItems must be a whole number, 0 or more"},
    };
    AUTO(arena_freep) struct arena *a = arena_create();
    struct err err;
    for (size_t i = 0; i < COUNT_OF(good); i++)
        if (schema_check(a, parse(a, good[i]), &err) < 0)
            fail_msg("%s: %s", good[i], err.text);
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        assert_int_equal(schema_check(a, parse(a, bad[i].schema), &err), -1);
        assert_string_equal(err.text, bad[i].text);
    }
}

/* No schema or value may take long: each of these would run for hours if nothing counted. */
static void test_budget(void **state)
{
    UNUSED(state);
    AUTO(arena_freep) struct arena *a = arena_create();
    AUTO(buf_free) struct buf schema = BUF(1 << 20), value = BUF(1 << 20);
    struct schema_errors errors;
    struct err err;
    /* 2^40 ways through forty definitions */
    buf_z(&schema, "{\"$ref\":\"#/$defs/0\",\"$defs\":{");
    for (int i = 0; i < 40; i++)
        buf_fmt(&schema, "\"%d\":{\"allOf\":[{\"$ref\":\"#/$defs/%d\"},{\"$ref\":\"#/$defs/%d\"}]},", i,
                i + 1, i + 1);
    buf_z(&schema, "\"40\":{}}}");
    Dur start = time_monotonic();
    const struct json *s = json_parse(a, buf_view(&schema), &err);
    assert_non_null(s);
    assert_int_equal(schema_validate(a, s, parse(a, "1"), 0, NULL, NULL, &errors, &err), -1);
    assert_string_equal(err.text, "checking the value against its schema takes too long");
    /* a slow pattern for each of many items */
    for (int i = 0; i < 20000; i++)
        buf_z(&value, i ? ",\"aaaaaaaaaaaaaaaaaab\"" : "[\"aaaaaaaaaaaaaaaaaab\"");
    buf_z(&value, "]");
    const struct json *v = json_parse(a, buf_view(&value), &err);
    assert_non_null(v);
    assert_int_equal(schema_validate(a, parse(a, "{'items':{'not':{'pattern':'^(a|aa)+$'}}}"), v, 0, NULL,
                                     NULL, &errors, &err),
                     -1);
    /* a long text tried from each of its bytes */
    buf_reset(&value);
    buf_char(&value, '"');
    for (int i = 0; i < 500000; i++)
        buf_char(&value, 'a');
    buf_char(&value, '"');
    v = json_parse(a, buf_view(&value), &err);
    assert_non_null(v);
    assert_int_equal(schema_validate(a, parse(a, "{'pattern':'a+[xy]'}"), v, 0, NULL, NULL, &errors, &err),
                     -1);
    /* as many items as parameters may hold, and all of them wrong */
    buf_reset(&value);
    for (int i = 0; i < 260000; i++)
        buf_z(&value, i ? ",1" : "[1");
    buf_z(&value, "]");
    v = json_parse(a, buf_view(&value), &err);
    assert_non_null(v);
    assert_int_equal(
        schema_validate(a, parse(a, "{'items':{'type':'integer'}}"), v, 0, NULL, NULL, &errors, &err), 0);
    assert_int_equal(errors.list.n, 0);
    assert_int_equal(schema_validate(a, parse(a, "{'items':{'anyOf':[{'type':'string'},{'type':'null'}]}}"),
                                     v, 0, NULL, NULL, &errors, &err),
                     0);
    assert_int_equal(errors.list.n, SCHEMA_ERRORS_MAX);
    Dur took = time_monotonic() - start;
    assert_true(took < 30 * SEC);
    print_message("# four attempts at exhaustion took %lld ms\n", (long long)(took / MSEC));
}

/* Many members: looked up by an index. */
static void test_large_objects(void **state)
{
    UNUSED(state);
    AUTO(arena_freep) struct arena *a = arena_create();
    AUTO(buf_free) struct buf schema = BUF(1 << 20), value = BUF(1 << 20);
    buf_z(&schema, "{\"additionalProperties\":false,\"properties\":{");
    buf_z(&value, "{");
    for (int i = 0; i < 2000; i++) {
        buf_fmt(&schema, "%s\"k%d\":{\"const\":%d}", i ? "," : "", i, i);
        buf_fmt(&value, "%s\"k%d\":%d", i ? "," : "", 1999 - i, 1999 - i);
    }
    buf_z(&schema, "}}");
    buf_z(&value, ",\"k7\":8,\"other\":1}");
    struct schema_errors errors;
    struct err err;
    const struct json *s = json_parse(a, buf_view(&schema), &err), *v = json_parse(a, buf_view(&value), &err);
    assert_non_null(s);
    assert_non_null(v);
    assert_int_equal(schema_validate(a, s, v, 0, NULL, NULL, &errors, &err), 0);
    assert_int_equal(errors.list.n, 2); /* the second k7 counts, and `other` */
}

int main(int argc, char **argv)
{
    UNUSED(argv);
    const char *data = getenv("MILLPOND_TEST_DATA");
    snprintf(suite, sizeof suite, "%s/json-schema-2020-12", data ? data : "../shared/data");
    if (argc > 1) {
        struct tally t = {0};
        (void)run_folder("tests/optional", 0, &t);
        (void)run_folder("tests/optional/format", SCHEMA_FORMATS, &t);
        print_message("# %d of %d cases\n", t.passed, t.passed + t.failed);
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_public_suite),  cmocka_unit_test(test_texts),
        cmocka_unit_test(test_nested_form),   cmocka_unit_test(test_nested_form_deep),
        cmocka_unit_test(test_preprocess),    cmocka_unit_test(test_block_reference),
        cmocka_unit_test(test_check),         cmocka_unit_test(test_budget),
        cmocka_unit_test(test_large_objects),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
