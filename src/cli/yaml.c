#include "cli/yaml.h"

#include "base/lazy.h"

#include <math.h>
#include <pthread.h>
#include <yaml.h>

#define DEPTH_MAX 100

static struct {
    __typeof__(&yaml_parser_initialize) yaml_parser_initialize;
    __typeof__(&yaml_parser_delete) yaml_parser_delete;
    __typeof__(&yaml_parser_set_input_string) yaml_parser_set_input_string;
    __typeof__(&yaml_parser_set_encoding) yaml_parser_set_encoding;
    __typeof__(&yaml_parser_parse) yaml_parser_parse;
    __typeof__(&yaml_event_delete) yaml_event_delete;
} lib;

static void load(void)
{
    static const char *const files[] = {"libyaml-0.so.2", NULL};
    static const struct lazy_symbol symbols[] = {
#define ROW(fn) {#fn, offsetof(__typeof__(lib), fn)}
        ROW(yaml_parser_initialize), ROW(yaml_parser_delete), ROW(yaml_parser_set_input_string),
        ROW(yaml_parser_set_encoding), ROW(yaml_parser_parse), ROW(yaml_event_delete),
#undef ROW
    };
    lazy_load(files, symbols, COUNT_OF(symbols), &lib);
}

/* A node is its JSON text; of a mapping, its members too, which a merge wants. */
struct node {
    Str json;
    const struct members *members; /* NULL: no mapping */
};
struct member {
    Str key, json; /* key decoded */
    bool merged;   /* of a merge: gives way to the mapping's own */
};
struct members {
    struct member *v;
    size_t n, cap;
    struct map at; /* key to its place + 1 */
};

struct reader {
    struct arena *a;
    yaml_parser_t parser;
    yaml_event_t event;
    bool has_event;
    struct map anchors; /* to struct node */
    struct err *err;
};

static int fault(struct reader *r, const char *what)
{
    return err_set(r->err, ERR_INVALID, "line %zu: %s", r->parser.mark.line + 1, what);
}

/* The next event, in r->event. */
static int next(struct reader *r)
{
    if (r->has_event)
        lib.yaml_event_delete(&r->event);
    r->has_event = false;
    if (!lib.yaml_parser_parse(&r->parser, &r->event)) {
        size_t line = r->parser.problem_mark.line ? r->parser.problem_mark.line : r->parser.mark.line;
        return err_set(r->err, ERR_INVALID, "line %zu: %s", line + 1, r->parser.problem ? r->parser.problem : "no YAML");
    }
    r->has_event = true;
    return 0;
}

/* --- scalars --- */

static bool one_of(Str s, const char *const *words, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (str_eqz(s, words[i]))
            return true;
    return false;
}

static bool all_digits(Str s, const char *digits)
{
    for (size_t i = 0; i < s.n; i++)
        if (!s.p[i] || !strchr(digits, s.p[i]))
            return false;
    return s.n > 0;
}

/* 12, -3, 0x1f, 017, 1_000 as a decimal number; false for others. */
static bool read_int(struct arena *a, Str s, Str *ret)
{
    bool negative = s.n && s.p[0] == '-';
    Str digits = s.n && (s.p[0] == '-' || s.p[0] == '+') ? str_sub(s, 1, SIZE_MAX) : s;
    char plain[80];
    size_t n = 0;
    if (!digits.n || digits.n >= sizeof plain || digits.p[0] == '_')
        return false;
    for (size_t i = 0; i < digits.n; i++)
        if (digits.p[i] != '_')
            plain[n++] = digits.p[i];
    plain[n] = '\0';
    digits = (Str){plain, n};
    int base = 10;
    if (n > 2 && plain[0] == '0' && (plain[1] == 'x' || plain[1] == 'b' || plain[1] == 'o')) {
        base = plain[1] == 'x' ? 16 : plain[1] == 'b' ? 2 : 8;
        digits = str_sub(digits, 2, SIZE_MAX);
    } else if (n > 1 && plain[0] == '0') {
        base = 8;
        digits = str_sub(digits, 1, SIZE_MAX);
    }
    if (!all_digits(digits, base == 16 ? "0123456789abcdefABCDEF" : base == 10 ? "0123456789" : base == 8 ? "01234567" : "01"))
        return false;
    if (base == 10) { /* of any size, as JSON has it */
        *ret = str_fmt(a, "%s%.*s", negative && !str_eq(digits, STR("0")) ? "-" : "", STR_ARG(digits));
        return true;
    }
    uint64_t value = 0;
    for (size_t i = 0; i < digits.n; i++) {
        char c = digits.p[i];
        uint64_t digit = (uint64_t)(c <= '9' ? c - '0' : (c | 32) - 'a' + 10);
        if (value > (UINT64_MAX - digit) / (uint64_t)base)
            return false;
        value = value * (uint64_t)base + digit;
    }
    *ret = str_fmt(a, "%s%llu", negative && value ? "-" : "", (unsigned long long)value);
    return true;
}

/* 1.5, -.5, 6.02e23; not 1e3 without a point, which stays text in YAML 1.1. */
static bool read_float(struct arena *a, Str s, Str *ret)
{
    double d;
    if (!s.n || !memchr(s.p, '.', s.n) || !strchr("+-.0123456789", s.p[0]))
        return false;
    for (size_t i = 0; i < s.n; i++)
        if (!strchr("+-.0123456789eE", s.p[i]))
            return false;
    Str text = s.p[0] == '+' ? str_sub(s, 1, SIZE_MAX) : s;
    if (!str_double(text, &d) || !isfinite(d))
        return false;
    AUTO(buf_free) struct buf b = BUF(64);
    struct jw w = jw_on(&b);
    jw_double(&w, d);
    *ret = str_dup(a, buf_view(&b));
    return true;
}

static Str plain_scalar(struct arena *a, Str s)
{
    static const char *const nulls[] = {"", "~", "null", "Null", "NULL"};
    static const char *const yes[] = {"true", "True", "TRUE", "yes", "Yes", "YES", "on", "On", "ON"};
    static const char *const no[] = {"false", "False", "FALSE", "no", "No", "NO", "off", "Off", "OFF"};
    Str number;
    if (one_of(s, nulls, COUNT_OF(nulls)))
        return STR("null");
    if (one_of(s, yes, COUNT_OF(yes)))
        return STR("true");
    if (one_of(s, no, COUNT_OF(no)))
        return STR("false");
    if (read_int(a, s, &number) || read_float(a, s, &number))
        return number;
    return json_new_str(a, s)->raw;
}

static Str scalar_text(const yaml_event_t *e)
{
    return (Str){(const char *)e->data.scalar.value, e->data.scalar.length};
}

static bool is_plain(const yaml_event_t *e)
{
    const char *tag = (const char *)e->data.scalar.tag;
    bool said_text = tag && (!strcmp(tag, "!") || !strcmp(tag, YAML_STR_TAG));
    return e->data.scalar.style == YAML_PLAIN_SCALAR_STYLE && !said_text;
}

/* --- nodes --- */

static int read_node(struct reader *r, int depth, struct node *ret);

static int keep(struct reader *r, const struct buf *b, struct node *ret)
{
    if (b->overflow || b->n > LIMIT_BODY)
        return fault(r, "it is too large once its aliases are put in");
    ret->json = str_dup(r->a, buf_view(b));
    return 0;
}

static int read_sequence(struct reader *r, int depth, struct node *ret)
{
    AUTO(buf_free) struct buf b = BUF(LIMIT_BODY + 1);
    buf_char(&b, '[');
    for (;;) {
        struct node item;
        if (next(r) < 0)
            return -1;
        if (r->event.type == YAML_SEQUENCE_END_EVENT)
            break;
        if (read_node(r, depth + 1, &item) < 0)
            return -1;
        if (b.n > 1)
            buf_char(&b, ',');
        buf_str(&b, item.json);
        if (b.overflow)
            return keep(r, &b, ret);
    }
    buf_char(&b, ']');
    return keep(r, &b, ret);
}

/* A member: the last of equal keys counts, and what was merged gives way to what stands there. */
static void put_member(struct reader *r, struct members *m, Str key, Str json, bool merged)
{
    void **at = map_at(r->a, &m->at, key);
    if (!*at) {
        vec_push(r->a, m, ((struct member){key, json, merged}));
        *at = (void *)(uintptr_t)m->n;
        return;
    }
    struct member *old = &m->v[(uintptr_t)*at - 1];
    if (!merged || old->merged)
        *old = (struct member){key, json, merged};
}

static void merge(struct reader *r, struct members *m, const struct members *from)
{
    for (size_t i = 0; i < from->n; i++)
        if (!map_get(&m->at, from->v[i].key)) /* of several, the first counts */
            put_member(r, m, from->v[i].key, from->v[i].json, /* merged= */ true);
}

/* What stands behind "<<": a mapping, or a list of them. */
static int read_merge(struct reader *r, int depth, struct members *m)
{
    if (next(r) < 0)
        return -1;
    if (r->event.type == YAML_SEQUENCE_START_EVENT) {
        for (;;) {
            struct node one;
            if (next(r) < 0)
                return -1;
            if (r->event.type == YAML_SEQUENCE_END_EVENT)
                return 0;
            if (read_node(r, depth + 1, &one) < 0)
                return -1;
            if (!one.members)
                return fault(r, "<< merges mappings");
            merge(r, m, one.members);
        }
    }
    struct node one;
    if (read_node(r, depth + 1, &one) < 0)
        return -1;
    if (!one.members)
        return fault(r, "<< merges mappings");
    merge(r, m, one.members);
    return 0;
}

/* The event is a key: its text. */
static int read_key(struct reader *r, Str *ret)
{
    if (r->event.type != YAML_SCALAR_EVENT)
        return fault(r, "a key that is a list, a mapping or an alias has no JSON form");
    Str text = scalar_text(&r->event);
    if (!str_utf8_valid(text))
        return fault(r, "no UTF-8");
    *ret = str_dup(r->a, text);
    return 0;
}

static int read_mapping(struct reader *r, int depth, struct node *ret)
{
    struct members *m = arena_new(r->a, struct members);
    for (;;) {
        struct node value;
        Str key;
        if (next(r) < 0)
            return -1;
        if (r->event.type == YAML_MAPPING_END_EVENT)
            break;
        if (read_key(r, &key) < 0)
            return -1;
        if (str_eq(key, STR("<<")) && is_plain(&r->event)) {
            if (read_merge(r, depth, m) < 0)
                return -1;
            continue;
        }
        if (next(r) < 0 || read_node(r, depth + 1, &value) < 0)
            return -1;
        put_member(r, m, key, value.json, /* merged= */ false);
    }
    AUTO(buf_free) struct buf b = BUF(LIMIT_BODY + 1);
    struct jw w = jw_on(&b);
    jw_object(&w);
    for (size_t i = 0; i < m->n && !b.overflow; i++) {
        jw_key(&w, m->v[i].key);
        jw_raw(&w, m->v[i].json);
    }
    jw_end(&w);
    ret->members = m;
    return keep(r, &b, ret);
}

/* The node that the event begins. */
static int read_node(struct reader *r, int depth, struct node *ret)
{
    const yaml_event_t *e = &r->event;
    const char *anchor = NULL;
    struct node node = {0};
    int rc = 0;
    if (depth > DEPTH_MAX)
        return fault(r, "it is nested too deep");
    switch (e->type) {
    case YAML_ALIAS_EVENT: {
        const struct node *known = map_get(&r->anchors, str_of((const char *)e->data.alias.anchor));
        if (!known)
            return fault(r, "an alias of an anchor that is not there");
        *ret = *known;
        return 0;
    }
    case YAML_SCALAR_EVENT:
        anchor = (const char *)e->data.scalar.anchor;
        if (!str_utf8_valid(scalar_text(e)))
            return fault(r, "no UTF-8");
        Str text = str_dup(r->a, scalar_text(e));
        node.json = is_plain(e) ? plain_scalar(r->a, text) : json_new_str(r->a, text)->raw;
        break;
    case YAML_SEQUENCE_START_EVENT:
        anchor = (const char *)e->data.sequence_start.anchor;
        anchor = anchor ? str_z(r->a, str_of(anchor)) : NULL; /* the event goes with the next one */
        rc = read_sequence(r, depth, &node);
        break;
    case YAML_MAPPING_START_EVENT:
        anchor = (const char *)e->data.mapping_start.anchor;
        anchor = anchor ? str_z(r->a, str_of(anchor)) : NULL;
        rc = read_mapping(r, depth, &node);
        break;
    default:
        return fault(r, "a value is wanted here");
    }
    if (rc == 0 && anchor) {
        struct node *kept = arena_new(r->a, struct node);
        *kept = node;
        *map_at(r->a, &r->anchors, str_dup(r->a, str_of(anchor))) = kept;
    }
    *ret = node;
    return rc;
}

static int read_document(struct reader *r, struct node *ret)
{
    if (next(r) < 0 || next(r) < 0) /* the stream's start, and the document's or the stream's end */
        return -1;
    if (r->event.type == YAML_STREAM_END_EVENT) {
        *ret = (struct node){.json = STR("null")};
        return 0;
    }
    if (next(r) < 0 || read_node(r, 0, ret) < 0 || next(r) < 0 || next(r) < 0)
        return -1;
    if (r->event.type != YAML_STREAM_END_EVENT)
        return fault(r, "a second document begins: one is wanted");
    return 0;
}

const struct json *yaml_parse(struct arena *a, Str text, struct err *err)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, load);
    if (text.n > LIMIT_BODY) {
        (void)err_set(err, ERR_TOO_LARGE, "it is over %zu MB", LIMIT_BODY >> 20);
        return NULL;
    }
    struct reader r = {.a = a, .err = err};
    if (!lib.yaml_parser_initialize(&r.parser))
        die("out of memory");
    lib.yaml_parser_set_encoding(&r.parser, YAML_UTF8_ENCODING);
    lib.yaml_parser_set_input_string(&r.parser, (const unsigned char *)(text.p ? text.p : ""), text.n);
    struct node node;
    int rc = read_document(&r, &node);
    if (r.has_event)
        lib.yaml_event_delete(&r.event);
    lib.yaml_parser_delete(&r.parser);
    return rc == 0 ? json_parse(a, node.json, err) : NULL;
}
