#include "tests/unit/test.h"

#include "schema/hydrate.h"

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

static const struct json *find_variable(void *user, Str name, struct err *err)
{
    const struct json *v = json_get(parse(user, "{'v':{'k':[1]},'z':null,'name':'v'}"), name);
    if (!v)
        err_set(err, str_eqz(name, "broken") ? ERR_DB : ERR_NOT_FOUND, "no such thing");
    return v;
}

static int add_filter(void *user, struct arena *a, Str name, const struct json *value,
                      const struct json **ret, struct err *err)
{
    UNUSED(user);
    if (str_eqz(name, "refuse"))
        return err_set(err, ERR_INVALID, "refused");
    if (!str_eqz(name, "twice"))
        return 0;
    *ret = json_new_str(a, str_fmt(a, "%.*s%.*s", STR_ARG(json_str(value)), STR_ARG(json_str(value))));
    return 1;
}

/* ---- __prefect_kind ---- */

#define K "'__prefect_kind'"

static const struct {
    const char *value, *expected; /* "!…": the error */
} kind_cases[] = {
    {"{'a':1,'b':['x',null,{'c':2.50}]}", "{'a':1,'b':['x',null,{'c':2.50}]}"},
    {"{'a':{" K ":'none','value':5}}", "{'a':5}"},
    {"{'a':{" K ":'none','value':{'b':{" K ":'json','value':'[1]'}}}}", "{'a':{'b':[1]}}"},
    {"{'a':{" K ":'none'}}", "!'value' is missing beside '__prefect_kind'"},
    {"{'a':{" K ":'json','value':'{`x`: 1}'}}", "!Invalid JSON: expected a key at byte 1"},
    {"{'a':{" K ":'json','value':'{\\\"x\\\": [1, 12345678901234567890]}'}}",
     "{'a':{'x':[1,12345678901234567890]}}"},
    {"{'a':{" K ":'json','value':7}}", "{'a':7}"},
    {"{'a':{" K ":'json','value':['{}']}}", "{'a':['{}']}"},
    {"{'a':{" K ":'json'},'b':[1,{" K ":'json'},2]}", "{'b':[1,2]}"},
    {"{" K ":'json'}", "{}"},
    {"{" K ":'json','value':'{\\\"p\\\":1}'}", "{'p':1}"},
    {"{'a':{" K ":'json','value':{" K ":'none','value':'[2]'}}}", "{'a':[2]}"},
    {"{'a':{" K ":'json','value':{" K ":'json'}}}", "{}"},
    {"{'a':{" K ":'jinja','template':'hi {{ who|upper }} {{ nope.x }}'}}", "{'a':'hi BOB '}"},
    {"{'a':{" K ":'jinja','template':'{{ who|twice }}'}}", "{'a':'bobbob'}"},
    {"{'a':{" K ":'jinja','template':'{{ who|refuse }}'}}", "!Invalid jinja: line 1: refused"},
    {"{'a':{" K ":'jinja','template':'plain {# text #}'}}", "{'a':'plain {# text #}'}"},
    {"{'a':{" K ":'jinja','template':'\\n{{ who'}}",
     "!Invalid jinja: line 2: the template ends inside a tag"},
    {"{'a':{" K ":'jinja','template':'{{ 1/0 }}'}}", "!Invalid jinja: line 1: division by zero"},
    {"{'a':{" K ":'jinja'}}", "!'template' is missing beside '__prefect_kind'"},
    {"{'a':{" K ":'jinja','template':5}}", "!Invalid jinja: a template must be a text"},
    {"{'a':{" K ":'json','value':{" K ":'jinja','template':'[{{ 1 + 1 }}]'}}}", "{'a':[2]}"},
    {"{'a':{" K ":'workspace_variable','variable_name':'v'}}", "{'a':{'k':[1]}}"},
    {"{'a':{" K ":'workspace_variable','variable_name':'z'}}", "{'a':null}"},
    {"{'a':{" K ":'workspace_variable','variable_name':'no'}}", "!Variable 'no' not found in workspace."},
    {"{'a':{" K ":'workspace_variable','variable_name':'broken'}}", "!variable 'broken': no such thing"},
    {"{'a':{" K ":'workspace_variable'}}", "{}"},
    {"{'a':{" K ":'workspace_variable','variable_name':{" K ":'jinja','template':'{{ `v` }}'}}}",
     "{'a':{'k':[1]}}"},
    {"{'a':{" K ":'workspace_variable','variable_name':5}}", "!the name of a variable must be a text"},
    {"{'a':{" K ":'other','value':{'x':1}},'b':{" K ":'other'},'c':{" K ":7,'value':1}}",
     "{'a':{'x':1},'b':null,'c':1}"},
};

static void test_kinds(void **state)
{
    UNUSED(state);
    for (size_t i = 0; i < COUNT_OF(kind_cases); i++) {
        AUTO(arena_freep) struct arena *a = arena_create();
        const struct jinja_filters filters = {NULL, add_filter};
        const struct hydrate_context ctx = {
            .user = a, .variable = find_variable, .vars = parse(a, "{'who':'bob'}"), .filters = &filters};
        struct err err;
        const struct json *v = hydrate(a, parse(a, kind_cases[i].value), &ctx, &err);
        const char *expected = kind_cases[i].expected;
        if (expected[0] == '!') {
            if (v || strcmp(err.text, expected + 1) != 0)
                fail_msg("%s: %s", kind_cases[i].value, v ? json_text(a, v).p : err.text);
        } else if (!v || !json_equal(v, parse(a, expected)) || !json_equal(v, parse(a, str_z(a, v->raw)))) {
            fail_msg("%s: %s", kind_cases[i].value, v ? json_text(a, v).p : err.text);
        }
    }
}

static void test_nothing_to_do(void **state)
{
    UNUSED(state);
    AUTO(arena_freep) struct arena *a = arena_create();
    struct err err;
    const struct json *v = parse(a, "{'a':[1,{'b':'__prefect_kind'}]}");
    assert_ptr_equal(hydrate(a, v, NULL, &err), v);
}

static void test_hydrate_depth(void **state)
{
    UNUSED(state);
    AUTO(arena_freep) struct arena *a = arena_create();
    AUTO(buf_free) struct buf b = BUF(100000);
    struct err err;
    buf_z(&b, "{\"a\":");
    for (int i = 0; i < 150; i++)
        buf_z(&b, "[");
    buf_z(&b, "{\"__prefect_kind\":\"json\",\"value\":\"");
    for (int i = 0; i < 100; i++)
        buf_z(&b, "[");
    for (int i = 0; i < 100; i++)
        buf_z(&b, "]");
    buf_z(&b, "\"}");
    for (int i = 0; i < 150; i++)
        buf_z(&b, "]");
    buf_z(&b, "}");
    const struct json *v = json_parse(a, buf_view(&b), &err);
    assert_non_null(v);
    assert_null(hydrate(a, v, NULL, &err));
    assert_string_equal(err.text, "the values come to lie nested too deeply");
}

/* A form that is being filled in: what is not yet known is not held against it. */
static void test_form(void **state)
{
    UNUSED(state);
    AUTO(arena_freep) struct arena *a = arena_create();
    const struct hydrate_context ctx = {.user = a, .variable = find_variable};
    struct hydrate_marks marks;
    struct schema_errors errors;
    struct err err;
    const struct json *v = hydrate_form(
        a,
        parse(a, "{'later':{" K ":'jinja','template':'{{ x }}'},'bad':{" K ":'jinja','template':'{{ x'},"
                 "'json':{" K ":'json','value':'{'},'list':[1,{" K
                 ":'workspace_variable','variable_name':'no'}],"
                 "'ok':{" K ":'none','value':1},'wrong':{" K ":'none','value':'x'}}"),
        &ctx, &marks, &err);
    assert_non_null(v);
    assert_true(
        json_equal(v, parse(a, "{'later':null,'bad':null,'json':null,'list':[1,null],'ok':1,'wrong':'x'}")));
    const struct json *schema = parse(
        a, "{'properties':{'later':{'type':'integer'},'bad':{'type':'integer'},'json':{'type':'object'},'"
           "list':{'items':"
           "{'type':'integer'}},'ok':{'type':'integer'},'wrong':{'type':'integer'}},'required':['gone']}");
    assert_int_equal(schema_validate(a, schema, v, 0, NULL, NULL, &errors, &err), 0);
    hydrate_marks_apply(a, &marks, &errors);
    AUTO(buf_free) struct buf b = BUF(10000);
    struct jw w = jw_on(&b);
    schema_errors_print(&errors, &w);
    assert_string_equal(
        str_z(a, buf_view(&b)),
        "[{\"property\":\"wrong\",\"errors\":[\"'x' is not of type 'integer'\"]},"
        "{\"property\":\"gone\",\"errors\":[\"'gone' is a required property\"]},"
        "{\"property\":\"bad\",\"errors\":[\"Invalid jinja: line 1: the template ends inside a tag\"]},"
        "{\"property\":\"json\",\"errors\":[\"Invalid JSON: expected a key at byte 1\"]},"
        "{\"property\":\"list\",\"errors\":[{\"index\":1,\"errors\":"
        "[\"Variable 'no' not found in workspace.\"]}]}]");
}

/* ---- jinja ---- */

#define VARS                                                                                                 \
    "{'a':{'b':[1,2,{'c':'x'}],'n':null,'f':1.5},'s':'hello World','l':[3,1,2],'e':[],'t':true,"             \
    "'ev':{'resource':{'prefect.resource.id':'r1'}},'d':{'k':1,'z':'q'},'u':'\\u00e9t\\u00e9'}"

/* What the language's own implementation prints, for all but the words of errors. */
static const struct {
    const char *template, *expected; /* "!…": the error */
} jinja_cases[] = {
    {"{{ a.b[0] }}", "1"},
    {"{{ a.x }}", ""},
    {"{{ a.x.y }}", ""},
    {"{{ nope }}", ""},
    {"{{ nope.x.y }}", ""},
    {"{{ nope.x[\"y\"].z }}", ""},
    {"{{ nope + 1 }}", "!line 1: 'nope' is undefined"},
    {"{{ a.n }}", "None"},
    {"{{ t }}", "True"},
    {"{{ a.f }}", "1.5"},
    {"{{ a }}", "{'b': [1, 2, {'c': 'x'}], 'n': None, 'f': 1.5}"},
    {"{{ l }}", "[3, 1, 2]"},
    {"{{ s|upper }}", "HELLO WORLD"},
    {"{{ l|join(\",\") }}", "3,1,2"},
    {"{{ l|length }}", "3"},
    {"{{ s|replace(\"o\",\"0\") }}", "hell0 W0rld"},
    {"{{ a|tojson }}", "{\"b\": [1, 2, {\"c\": \"x\"}], \"f\": 1.5, \"n\": null}"},
    {"{{ \"3\"|int + 1 }}", "4"},
    {"{{ \"x\"|int }}", "0"},
    {"{{ \"1.5\"|float }}", "1.5"},
    {"{{ 5|string ~ 6 }}", "56"},
    {"{{ \"  a \"|trim }}", "a"},
    {"{{ l|first }}{{ l|last }}", "32"},
    {"{{ e|first }}", ""},
    {"{{ 1 < 2 and 2 > 1 }}", "True"},
    {"{{ not t }}", "False"},
    {"{{ 7 / 2 }} {{ 7 // 2 }} {{ -7 // 2 }} {{ 7 % 3 }} {{ -7 % 3 }} {{ 2*3 }} {{ 1-3 }} {{ 2**3 }}",
     "3.5 3 -4 1 2 6 -2 8"},
    {"{{ 1 in l }} {{ \"o\" in s }} {{ \"k\" in d }} {{ 9 not in l }}", "True True True True"},
    {"{{ \"y\" if t else \"n\" }}", "y"},
    {"{{ \"y\" if e }}|", "|"},
    {"{{ nope|default(\"d\") }}", "d"},
    {"{{ \"\"|default(\"d\") }}|{{ \"\"|default(\"d\", true) }}", "|d"},
    {"{% if a.x %}1{% elif t %}2{% else %}3{% endif %}", "2"},
    {"{% for x in l %}{{ loop.index }}:{{ x }}{% if not loop.last %},{% endif %}{% endfor %}", "1:3,2:1,3:2"},
    {"{% for x in e %}a{% else %}none{% endfor %}", "none"},
    {"{% for k, v in d.items() %}{{k}}={{v}};{% endfor %}", "k=1;z=q;"},
    {"{% for k in d %}{{k}}{% endfor %}", "kz"},
    {"{% set q = 5 %}{{ q }}", "5"},
    {"{# c #}x", "{# c #}x"},
    {"a\n  {%- if t -%}  b  {%- endif %}\nc", "ab\nc"},
    {"{% if t %}\nb\n{% endif %}\n", "\nb\n"},
    {"{{ a.b }", "!line 1: unexpected '}'"},
    {"{{ }}", "!line 1: expected an expression, found 'the end of the tag'"},
    {"{% if %}", "!line 1: expected an expression, found 'the end of the tag'"},
    {"{% foo %}", "!line 1: unknown tag 'foo'"},
    {"{{ x|nofilter }}", "!line 1: there is no filter 'nofilter'"},
    {"{{ 1/0 }}", "!line 1: division by zero"},
    {"{{ \"a\"+1 }}", "!line 1: a text + a number has no meaning"},
    {"{{ s[0] }}{{ s[-1] }}{{ s[1:3] }}", "hdel"},
    {"{{ ev.resource[\"prefect.resource.id\"] }}", "r1"},
    {"{{ s.upper() }}", "HELLO WORLD"},
    {"{{ range(3)|list }}", "[0, 1, 2]"},
    {"{% for i in range(101) %}x{% endfor %}", "!line 1: a range may have 100 numbers at most"},
    {"{% for i in range(100) %}x{% endfor %}",
     "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"},
    {"{{ s.__class__ }}", ""},
    {"{{ \"%s-%d\"|format(\"a\",3) }}", "a-3"},
    {"{{ s|title }} {{ s|capitalize }}", "Hello World Hello world"},
    {"{{ l|sort }}", "[1, 2, 3]"},
    {"{{ l|sum }}", "6"},
    {"{{ l|reverse|list }}", "[2, 1, 3]"},
    {"{{ [1,\"a\",{\"k\":2}] }}", "[1, 'a', {'k': 2}]"},
    {"{{ 1.0 }} {{ 1e20 }} {{ 1e3 }} {{ 10000000000000000000000 }}",
     "1.0 1e+20 1000.0 10000000000000000000000"},
    {"{{ true }} {{ none }} {{ False }}", "True None False"},
    {"{{ \"a\" \"b\" }}", "ab"},
    {"{{ a is defined }} {{ nope is defined }} {{ nope is not defined }} {{ a.n is none }}",
     "True False True True"},
    {"{{ s|truncate(5) }}", "he..."},
    {"{{ \"<a>\"|escape }} {{ \"<a>\" }}", "&lt;a&gt; <a>"},
    {"{% raw %}{{ x }}{% endraw %}", "{{ x }}"},
    {"{% set x %}a{% endset %}{{x}}", "a"},
    {"{{ s|length > 3 }}", "True"},
    {"{{ loop }}", ""},
    {"{{ \"\\n\" }}|", "\n|"},
    {"{{ 'a\\'b' }}", "a'b"},
    {"{{ l[5] }}", ""},
    {"{{ a[\"b\"][2][\"c\"] }}", "x"},
    {"{% for x in l if x > 1 %}{{ x }}{% endfor %}", "32"},
    {"{{ 3|round(1) }} {{ 2.567|round(2) }} {{ 3.7|int }}", "3 2.57 3"},
    {"{{ l|map(\"string\")|join }}", "312"},
    {"{{ \"a,b\".split(\",\") }}", "['a', 'b']"},
    {"{% include \"x\" %}", "!line 1: unknown tag 'include'"},
    {"{{ d|length }} {{ d.keys()|list }}", "2 ['k', 'z']"},
    {"{{ l|max }} {{ l|min }}", "3 1"},
    {"{{ 1 == 1.0 }} {{ \"a\" == \"a\" }} {{ l != [] }}", "True True True"},
    {"{% for x in l %}{% set y = x %}{% endfor %}{{ y }}", ""},
    {"x {{- 1 -}} y", "x1y"},
    {"{%- for x in l %} {{ x }} {%- endfor %}", " 3 1 2"},
    {"{{ 1 if false }}", ""},
    {"{{ nope is undefined }}", "True"},
    {"{{ a.b|join(\"-\", attribute=\"c\") }}", "--x"},
    {"{{ \"abc\"|list }}", "['a', 'b', 'c']"},
    {"{{ l|unique|list }}", "[3, 1, 2]"},
    {"{{ \"a b\"|urlencode }}", "a%20b"},
    {"{{ s|wordcount }}", "2"},
    {"{% for x in 5 %}{% endfor %}", "!line 1: a number cannot be gone through"},
    {"{% for x in s %}{{x}}.{% endfor %}", "h.e.l.l.o. .W.o.r.l.d."},
    {"{{ s|lower|replace(\"l\",\"L\",1) }}", "heLlo world"},
    {"{{ nope|upper }}|", "|"},
    {"{{ [nope, 1]|join(\"-\") }}", "-1"},
    {"{{ nope == \"\" }} {{ nope == none }}", "False False"},
    {"{% if nope == 1 %}a{% endif %}", ""},
    {"{{ \"\303\251\"|tojson }} {{ \"<x>&'\"|tojson }}", "\"\\u00e9\" \"\\u003cx\\u003e\\u0026\\u0027\""},
    {"{{ nope < 1 }}", "!line 1: 'nope' is undefined"},
    {"{{ range(5,1,-2)|join(\",\") }}", "5,3"},
    {"{{ 5 in nope }}", "False"},
    {"{{ l + [4] }}", "[3, 1, 2, 4]"},
    {"{{ d.get(\"k\") }} {{ d.get(\"zz\", 4) }}", "1 4"},
    {"{% for a,b in [[1,2],[3,4]] %}{{a}}{{b}}{% endfor %}", "1234"},
    {"{{ 1 < 2 < 3 }}", "True"},
    {"{{ -5|abs }} {{ (-5)|abs }}", "5 5"},
    {"{{ \"a\" < \"b\" }}", "True"},
    {"{{ {\"a\":1}.a }}", "1"},
    {"{{ t and \"x\" }} {{ e or \"y\" }}", "x y"},
    {"{{ x if x is defined else \"u\" }}", "u"},
    {"{{ 1__2 }}", "!line 1: expected the end of the tag, found '__2'"},
    {"{{ 1_000 }}", "1000"},
    {"line1\n\n{{ a.b }", "!line 3: unexpected '}'"},
    {"{% if t %}x", "!line 1: 'if' is not closed by 'endif'"},
    {"{% endif %}", "!line 1: unknown tag 'endif'"},
    {"{% else %}", "!line 1: unknown tag 'else'"},
    {"{% for in l %}", "!line 1: expected a name, found 'in'"},
    {"{{ \"abc }}", "!line 1: a string is not closed"},
    {"{# open", "{# open"},
    {"{{ a..b }}", "!line 1: expected a name, found '.'"},
    {"{{ a. }}", "!line 1: expected a name, found 'the end of the tag'"},
    {"{{ 3.b }}", ""},
    {"{{ f(1 }}", "!line 1: expected ')', found '}'"},
    {"{{ nope() }}", "!line 1: 'nope' cannot be called"},
    {"{{ s() }}", "!line 1: 's' cannot be called"},
    {"{{ s[1:] }} {{ s[:-1] }} {{ s[::-1] }} {{ l[::2] }} {{ s[-3:] }}",
     "ello World hello Worl dlroW olleh [3, 2] rld"},
    {"{{ a.b|selectattr(\"c\",\"defined\")|list|length }}", "1"},
    {"{{ \"%.2f\"|format(1.5) }}", "1.50"},
    {"{{ [\"b\",\"A\",\"c\"]|sort|join }} {{ [\"b\",\"A\",\"c\"]|sort(reverse=true)|join }}", "Abc cbA"},
    {"{{ [1,2,3]|sum }} {{ [1.5,2]|sum }}", "6 3.5"},
    {"{{ \"abc def ghi jkl mno\"|truncate(9) }}|{{ \"abc def ghi\"|truncate(9,true,\"..\",0) }}",
     "abc...|abc def.."},
    {"{{ {\"b\":1,\"a\":2} }}", "{'b': 1, 'a': 2}"},
    {"{{ \"\303\251\"|upper }} {{ \"\303\200B\"|lower }} {{ \"it's o'clock 3rd\"|title }}",
     "\303\211 \303\240b It's O'clock 3rd"},
    {"{{ 10 is divisibleby 5 }} {{ 3 is odd }} {{ \"a\" is string }} {{ 1 is number }} {{ d is mapping }} {{ "
     "l is sequence }} {{ 5 is eq 5 }} {{ 2 in [1,2] and not false }}",
     "True True True True True True True True"},
    {"{{ 1 if true else 2 if false else 3 }}", "1"},
    {"{% for x in l|sort if x != 2 %}{{ loop.index0 }}{{ loop.revindex }}{{ loop.length }}{{ loop.first }}{{ "
     "loop.previtem }} {% endfor %}",
     "022True 112False1 "},
    {"{% set x = [1,2] + [3] %}{{ x }}", "[1, 2, 3]"},
    {"{% if a %}{% if e %}1{% else %}2{% endif %}{% endif %}", "2"},
    {"{{ \"a\\tb\" }}", "a\tb"},
    {"{{ \"a\\qb\" }}", "a\\qb"},
    {"{% set a, b = 1, 2 %}{{ a }}{{ b }}", "12"},
    {"{{ -2 ** 2 }} {{ 2 ** -1 }} {{ 2 ** 3 ** 2 }}", "4 0.5 64"},
    {"{{ 7.5 // 2 }} {{ -7.5 % 2 }} {{ 0.1 + 0.2 }} {{ 1e16 }} {{ 1/3 }} {{ 100000000000000000000.0 }} {{ "
     "1.0e-7 }} {{ 123456789.123 }}",
     "3.0 0.5 0.30000000000000004 1e+16 0.3333333333333333 1e+20 1e-07 123456789.123"},
    {"{{ l|join(\", \") ~ \"!\" }}", "3, 1, 2!"},
    {"{{ t + 1 }}", "2"},
    {"{{ not nope }} {{ nope or \"z\" }}", "True z"},
    {"{{ \"a,b,,c\".split(\",\") }} {{ \" x  y \".split() }}", "['a', 'b', '', 'c'] ['x', 'y']"},
    {"{{ \"x\".join([\"a\",\"b\"]) }}", "axb"},
    {"{{ d.values()|list }} {{ d.keys()|list }}", "[1, 'q'] ['k', 'z']"},
    {"{{ a.b[-1].c }}", "x"},
    {"{{ a.b.0 }}", "1"},
    {"{{ s|replace(\"\",\"-\") }}", "-h-e-l-l-o- -W-o-r-l-d-"},
    {"{{ \" x \"|trim }}|{{ \"xxaxx\"|trim(\"x\") }}", "x|a"},
    {"{{ 3.14159|round(2) }} {{ 2.5|round }} {{ 1.1|round(0,\"ceil\") }} {{ 1.9|round(method=\"floor\") }}",
     "3.14 2.0 2.0 1.0"},
    {"{{ \"12abc\"|int(7) }} {{ \"1e3\"|float }} {{ none|int }} {{ \"0x1A\"|int }}", "7 1000.0 0 0"},
    {"a\r\nb{{ t }}\r\n", "a\nbTrue"},
    {"{%- if t +%}  x{% endif %}", "  x"},
    {"{{ l|reverse|list }} {{ \"abc\"|reverse }}", "[2, 1, 3] cba"},
    {"{{ [[1,2],[3,4]]|map(\"first\")|list }}", "[1, 3]"},
    {"{{ l|select(\"gt\",1)|list }} {{ l|reject(\"odd\")|list }}", "[3, 2] [2]"},
    {"{{ 5 ~ 6 ~ none }}", "56None"},
    {"{{ \"a\" if nope }}|", "|"},
    {"{{ [1,2,3][1] }} {{ {\"k\":[5]}[\"k\"][0] }} {{ (1,) [0] }}", "2 5 1"},
    {"{% for k,v in d|dictsort %}{{ k }}{{ v }}{% endfor %}", "k1zq"},
    {"{{ \"x\ny\"|indent }}", "x\n    y"},
    {"{{ l is iterable }} {{ 1.5 is float }} {{ 1 is integer }} {{ true is boolean }}",
     "True True True True"},
    {"{{ 1 == true }} {{ \"1\" == 1 }} {{ none == none }} {{ [1] == [1.0] }}", "True False True True"},
    {"{{ \"abc\" < \"abd\" }} {{ 2 > 1.5 }}", "True True"},
    {"{{ \"b\" in {\"b\":1} }} {{ 1 in (1,2) }}", "True True"},
    {"{{- \"x\" -}}  y", "xy"},
    {"{# a #}{{ 1 }}{#- b -#}  c", "1c"},
    {"{% raw -%}  {{ x }}  {%- endraw %}|{{ 1 }}", "{{ x }}|1"},
    {"{{ s|length }}{{ s|count }}", "1111"},
    {"{{ \"\\u00e9\\x41\" }}", "\303\251A"},
    {"{{ \"{{\" }} {{ '}}' }}", "{{ }}"},
    {"{{ 1_0.5 }}", "10.5"},
    {"{{ [1,2,] }} {{ {\"a\":1,} }}", "[1, 2] {'a': 1}"},
    {"{{ f }}", ""},
    {"{{ range(2,8,3)|list }} {{ range(0)|list }}", "[2, 5] []"},
    {"{% if 1 %}a{% elif 2 %}b{% elif 3 %}c{% else %}d{% endif %}{% if 0 %}a{% elif 0 %}b{% elif 3 %}c{% "
     "else %}d{% endif %}{% if 0 %}a{% elif 0 %}b{% else %}d{% endif %}",
     "acd"},
    {"{{ a[\"b\"]|length }}", "3"},
    {"{{ \"a\"|default(\"x\")|upper }}", "A"},
    {"{{ (l|first + 2) * 3 }}", "15"},
    {"{{ l | length - 1 }}", "2"},
    {"{{ not 1 == 2 }}", "True"},
    {"{{ 1 < 3 > 2 }}", "True"},
    {"{{ \"<\"|e }}", "&lt;"},
    {"{{ \"a b&c/d\"|urlencode }}", "a%20b%26c/d"},
    {"{{ nope.a.b|default(\"q\") }}", "q"},
    {"{{ d.k is defined and d.k == 1 }}", "True"},
    {"{% set ns = {\"x\": 1} %}{{ ns.x }}", "1"},
    {"{% for i in [1,2] %}{% for j in \"ab\" %}{{ i }}{{ j }}{{ loop.index }}{% endfor %}{{ loop.index }}{% "
     "endfor %}",
     "1a11b212a12b22"},
    {"{% for i in [] %}{% else %}empty{% endfor %}", "empty"},
    {"{{ {\"a\": none}|tojson }} {{ [1.0, 1e20]|tojson }}", "{\"a\": null} [1.0, 1e+20]"},
    {"{{ \"%\"|urlencode }}", "%25"},
    {"{{ 1 is not none }}", "True"},
    {"{{ s.startswith(\"hello\") }} {{ s.endswith(\"x\") }}", "True False"},
    {"{{ s.replace(\"l\",\"L\") }} {{ s.title() }}", "heLLo WorLd Hello World"},
    {"{{ 3 * \"ab\" }}", "ababab"},
    {"{{ l|min }}{{ l|max }}{{ [\"b\",\"A\"]|min }}", "13A"},
    {"{{ u|upper }} {{ u|length }} {{ u[0] }} {{ u|reverse }}",
     "\303\211T\303\211 3 \303\251 \303\251t\303\251"},
    {"{{ \"%s took %5.1f s, %03d%%|%-4s|%+d\"|format(\"run\", 2.25, 7, \"x\", 3) }}",
     "run took   2.2 s, 007%|x   |+3"},
    {"{{ u|truncate(2, true, \"\", 0) }}", "\303\251t"},
    {"{{ \"it's o'clock 3rd\"|title }}", "It's O'clock 3rd"},
};

static void test_jinja(void **state)
{
    UNUSED(state);
    AUTO(arena_freep) struct arena *vars_arena = arena_create();
    const struct json *vars = parse(vars_arena, VARS);
    for (size_t i = 0; i < COUNT_OF(jinja_cases); i++) {
        AUTO(arena_freep) struct arena *a = arena_create();
        struct err err;
        Str out;
        const char *expected = jinja_cases[i].expected;
        int rc = jinja_render(a, str_of(jinja_cases[i].template), vars, &out, &err);
        if (expected[0] == '!') {
            if (rc == 0 || strcmp(err.text, expected + 1) != 0)
                fail_msg("%s: %s", jinja_cases[i].template, rc < 0 ? err.text : str_z(a, out));
            assert_int_equal(err.code, ERR_INVALID);
        } else if (rc < 0 || !str_eqz(out, expected)) {
            fail_msg("%s: %s", jinja_cases[i].template, rc < 0 ? err.text : str_z(a, out));
        }
    }
}

static void test_jinja_check(void **state)
{
    UNUSED(state);
    static const struct {
        const char *template, *text; /* NULL: good */
        int line;
    } cases[] = {
        {"{{ a.b }}", NULL, 0},
        {"{{ x|any_filter }}", NULL, 0}, /* filters are looked up when it is rendered */
        {"line\n\n{{ a.b }", "unexpected '}'", 3},
        {"{{ }}", "expected an expression, found 'the end of the tag'", 1},
        {"{% if %}", "expected an expression, found 'the end of the tag'", 1},
        {"{% foo %}", "unknown tag 'foo'", 1},
        {"a\n{% if t %}x\n\n", "'if' is not closed by 'endif'", 2},
        {"{% endif %}", "unknown tag 'endif'", 1},
        {"{% for in l %}{% endfor %}", "expected a name, found 'in'", 1},
        {"{{ \"abc }}", "a string is not closed", 1},
        {"x\n{# open", "a comment is not closed", 2},
        {"{{ a..b }}", "expected a name, found '.'", 1},
        {"{{ f(1 }}", "expected ')', found '}'", 1},
        {"{{ f(a=1, 2) }}", "expected a named argument, found '2'", 1},
        {"{% raw %}x", "'raw' is not closed by 'endraw'", 1},
        {"{% set a, b %}", "expected '=', found 'the end of the tag'", 1},
        {"{{ 'a' 'b' | upper }}", NULL, 0},
        {"{% for a in l %}{% for b in l %}{% for c in l %}{% endfor %}{% endfor %}{% endfor %}",
         "for loops may be nested 2 deep at most", 1},
        {"{% for a in l %}{% endfor %}{% for a in l %}{% endfor %}{% for a in l %}{% endfor %}{% for a in l "
         "%}{% endfor %}"
         "{% for a in l %}{% endfor %}{% for a in l %}{% endfor %}{% for a in l %}{% endfor %}{% for a in l "
         "%}{% endfor %}"
         "{% for a in l %}{% endfor %}{% for a in l %}{% endfor %}\n{% for a in l %}{% endfor %}",
         "a template may have 10 for loops at most", 2},
        {"{{ '\\ud800' }}", "half of a surrogate pair in a string", 1},
        {"{{ a ? b }}", "unexpected character '?'", 1},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct err err = {0};
        int line = 0, rc = jinja_check(str_of(cases[i].template), &line, &err);
        if (cases[i].text ? rc == 0 || strcmp(err.text, cases[i].text) != 0 || line != cases[i].line : rc < 0)
            fail_msg("%s: line %d: %s", cases[i].template, line, rc < 0 ? err.text : "good");
    }
}

/* What would print, count, nest or take without end is stopped. */
static void test_jinja_bounds(void **state)
{
    UNUSED(state);
    static const struct {
        const char *repeated;
        int times;
        const char *before, *after, *text;
    } cases[] = {
        {"{{ s*100 }}", 2000, "{% set s = 'xxxxxxxxxx' * 100 %}", "",
         "the template prints more than 1048576 bytes"},
        {"{% set s = s ~ s %}", 40, "{% set s = 'x' %}", "{{ s }}", "a text is longer than 1048576 bytes"},
        {"{% set s = s + s %}", 40, "{% set s = [1] %}", "{{ s }}", "the template takes too long"},
        {"{% set s = [s] %}", 3000, "{% set s = 1 %}", "{{ s }}", "a list is nested too deeply"},
        {"(", 3000, "{{ ", "1", "the expression is nested too deeply"},
        {"- ", 3000, "{{ ", "1 }}", "the expression is nested too deeply"},
        {"not ", 3000, "{{ ", "1 }}", "the expression is nested too deeply"},
        {"|trim", 3000, "{{ 1", " }}", "the expression is too long"},
        {"{% if 1 %}", 3000, "", "", "nested too deeply"},
        {"{{ 'x' in big }}", 3000, "{% set big = 'ab' * 500000 %}", "", "the template takes too long"},
        {"{{ (' ' * 500000)|trim(' ' * 500000) }}", 1, "", "", "the template takes too long"},
        {"{{ x|map('map','map','map','first') }}", 1, "{% set x = [[[[1]]]] %}", "",
         "a number cannot be gone through"},
        {"9", 200, "{{ ", " }}", "a number is too long"},
        {"{% elif 0 %}", 10000, "{% if 0 %}", "{% endif %}", NULL},
        {"{{ 2 ** 9999999999 }}", 1, "", "", "the result is no number"},
    };
    Dur start = time_monotonic();
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        AUTO(arena_freep) struct arena *a = arena_create();
        AUTO(buf_free) struct buf b = BUF(1 << 20);
        struct err err;
        Str out;
        buf_z(&b, cases[i].before);
        for (int k = 0; k < cases[i].times; k++)
            buf_z(&b, cases[i].repeated);
        buf_z(&b, cases[i].after);
        int rc = jinja_render(a, buf_view(&b), NULL, &out, &err);
        if (cases[i].text ? rc == 0 || !strstr(err.text, cases[i].text) : rc < 0)
            fail_msg("%s: %s", cases[i].repeated, rc < 0 ? err.text : "rendered");
        assert_true(arena_bytes(a) < (size_t)300 << 20);
    }
    assert_true(time_monotonic() - start < 30 * SEC);
    print_message("# %lld ms\n", (long long)((time_monotonic() - start) / MSEC));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kinds),         cmocka_unit_test(test_nothing_to_do),
        cmocka_unit_test(test_hydrate_depth), cmocka_unit_test(test_form),
        cmocka_unit_test(test_jinja),         cmocka_unit_test(test_jinja_check),
        cmocka_unit_test(test_jinja_bounds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
