/* schema/jinja.h: the inside of the template language: a tree of nodes, and the machine that walks it.
 *
 * Values are JSON values; "undefined" is a null of its own kind that prints as nothing. All that a template can do is
 * counted: steps, output, loops, the nesting of what it writes and of what it builds. */
#pragma once
#include "schema/hydrate.h"
#include "schema/tree.h"

#define JINJA_TEXT_MAX ((size_t)256 << 10)
#define JINJA_OUTPUT_MAX ((size_t)1 << 20)
#define JINJA_LOOPS_MAX 10  /* {% for %} in one template */
#define JINJA_NESTED_MAX 2  /* {% for %} inside {% for %} */
#define JINJA_RANGE_MAX 100
#define JINJA_DEPTH_MAX 60  /* of expressions and blocks, and of lists that a template builds */
#define JINJA_STEPS 300000

enum node_kind {
    /* expressions */
    NODE_LITERAL, /* value */
    NODE_NAME,    /* name */
    NODE_LIST,    /* items */
    NODE_DICT,    /* items: key, value, key, value … */
    NODE_ATTR,    /* x.name */
    NODE_INDEX,   /* x[y] */
    NODE_SLICE,   /* x[items: from, to, step; NULL where left out] */
    NODE_CALL,    /* x(items) */
    NODE_FILTER,  /* x | name(items) */
    NODE_TEST,    /* x is name(items); `negated` */
    NODE_NEGATE,
    NODE_PLUS,
    NODE_NOT,
    NODE_AND,
    NODE_OR,
    NODE_COMPARE, /* x, then items with `ops` */
    NODE_BINARY,  /* x op y: + - * / // % ** ~ */
    NODE_TERNARY, /* x if y else z */
    /* statements */
    NODE_TEXT,  /* name: the text */
    NODE_PRINT, /* x */
    NODE_IF,    /* x; body; otherwise (also elif: an IF alone) */
    NODE_FOR,   /* names in x if y; body; otherwise */
    NODE_SET,   /* names = x */
    NODE_BLOCK, /* names = what body prints */
};

enum op { OP_ADD, OP_SUB, OP_MUL, OP_DIV, OP_FLOOR, OP_MOD, OP_POW, OP_CONCAT, OP_EQ, OP_NE, OP_LT, OP_LE, OP_GT, OP_GE, OP_IN, OP_NOT_IN };

struct node;
struct nodes {
    VEC(const struct node *) list;
};

struct node {
    enum node_kind kind;
    enum op op;
    int line;
    bool negated, uses_loop;
    Str name;
    const struct json *value;
    const struct node *x, *y, *z;
    struct nodes items;
    struct {
        VEC(Str) list;
    } names; /* of keyword arguments, the last ones of items; or of assigned variables */
    struct {
        VEC(enum op) list;
    } ops;
    struct nodes body, otherwise;
};

/* NULL with *ret_line and err (without the line) where the text is no template. */
const struct nodes *jinja_parse(struct arena *a, Str text, int *ret_line, struct err *err);

struct args {
    const struct json *const *values;
    size_t n;
    const Str *names; /* of the last `named` values */
    size_t named;
};

struct variables {
    struct variables *outer;
    VEC(struct json_member) list;
};

struct machine {
    struct arena *a;
    struct err *err;
    int64_t steps;
    int line, depth;
    const struct json *vars;
    struct variables *scope;
    const struct jinja_filters *filters;
};

/* Sets the error; returns NULL, for `return oops(…)`. */
const struct json *oops(struct machine *m, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* False where the template has done enough. Made values cost by their bytes. */
bool spend(struct machine *m, size_t n);
const struct json *undefined(struct machine *m, Str name);
bool is_undefined(const struct json *v);
bool truthy(const struct json *v);
/* Text as it is printed; charged. STR_NONE where that is too much. */
Str text_of(struct machine *m, const struct json *v);
const struct json *made_str(struct machine *m, Str s); /* NULL where s is STR_NONE */
/* What a loop goes over: an array's items, an object's keys, a string's characters. False with the error. */
bool items_of(struct machine *m, const struct json *v, struct tree_items *ret);
/* -1, 0, 1; 2 with the error where they have no order. */
int order_of(struct machine *m, const struct json *x, const struct json *y);
/* 1, 0; -1 with the error. */
int jinja_compare(struct machine *m, enum op op, const struct json *x, const struct json *y);
/* To be called before equal_values() and order_of(): false where it costs too much. */
bool pay_comparison(struct machine *m, const struct json *x, const struct json *y);
bool equal_values(const struct json *x, const struct json *y);
const struct json *attribute(struct machine *m, const struct json *v, Str name);
/* The i-th argument, or that of the name; NULL where not given. */
const struct json *arg_get(const struct args *args, size_t i, const char *name);
/* True where it is a number; an integer in *ret_i where *ret_whole, else in *ret_d. Booleans are numbers. */
bool number_of(const struct json *v, bool *ret_whole, int64_t *ret_i, double *ret_d);

/* jinja_filters.c. NULL with the error. */
const struct json *jinja_filter(struct machine *m, Str name, const struct json *v, const struct args *args);
const struct json *jinja_test(struct machine *m, Str name, const struct json *v, const struct args *args);
/* v.name(args) */
const struct json *jinja_method(struct machine *m, Str name, const struct json *v, const struct args *args);
