/* From a template's text to its nodes. */
#include "schema/jinja.h"

#include "schema/pyrepr.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum token_kind { TOKEN_END /* of the tag */, TOKEN_NAME, TOKEN_NUMBER, TOKEN_STRING, TOKEN_OP };

struct token {
    enum token_kind kind;
    Str text; /* of a string: decoded */
    int line;
};

struct parser {
    struct arena *a;
    Str src;
    size_t at;
    int line;
    struct token tok; /* the one that comes next */
    char closing;     /* of the tag that we are in: '}' or '%' */
    int brackets;     /* open ones in this tag */
    bool trim_next;   /* the last tag ended with '-' */
    int depth, loops, nested;
    bool saw_loop; /* the name `loop` was used */
    struct err *err;
    int error_line;
};

static int fail(struct parser *p, int line, const char *fmt, ...) PRINTF_LIKE(3, 4);
static int fail(struct parser *p, int line, const char *fmt, ...)
{
    char text[300];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    p->error_line = line;
    return err_set(p->err, ERR_INVALID, "%s", text);
}

/* ---- tokens ---- */

static bool name_char(char c, bool first)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || (unsigned char)c >= 0x80 ||
           (!first && c >= '0' && c <= '9');
}

static bool digit(char c)
{
    return c >= '0' && c <= '9';
}

static char peek(const struct parser *p, size_t n)
{
    return p->at + n < p->src.n ? p->src.p[p->at + n] : 0;
}

static void put_code(struct buf *b, unsigned c)
{
    if (c < 0x80) {
        buf_char(b, (char)c);
    } else if (c < 0x800) {
        buf_char(b, (char)(0xc0 | c >> 6));
        buf_char(b, (char)(0x80 | (c & 0x3f)));
    } else {
        buf_char(b, (char)(0xe0 | c >> 12));
        buf_char(b, (char)(0x80 | (c >> 6 & 0x3f)));
        buf_char(b, (char)(0x80 | (c & 0x3f)));
    }
}

static int hex_code(struct parser *p, int digits, unsigned *ret)
{
    unsigned v = 0;
    for (int i = 0; i < digits; i++) {
        char c = peek(p, (size_t)i);
        int d = digit(c)               ? c - '0'
                : c >= 'a' && c <= 'f' ? c - 'a' + 10
                : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                       : -1;
        if (d < 0)
            return fail(p, p->line, "bad escape in a string");
        v = v * 16 + (unsigned)d;
    }
    if (v >= 0xd800 && v < 0xe000)
        return fail(p, p->line, "half of a surrogate pair in a string");
    p->at += (size_t)digits;
    *ret = v;
    return 0;
}

static int read_escape(struct parser *p, struct buf *b)
{
    static const char from[] = "\\'\"nrtabfv", to[] = "\\'\"\n\r\t\a\b\f\v";
    char c = peek(p, 1);
    const char *hit = c ? strchr(from, c) : NULL;
    unsigned code = 0;
    p->at += 2;
    if (hit) {
        buf_char(b, to[hit - from]);
    } else if (c == 'x' || c == 'u') {
        if (hex_code(p, c == 'x' ? 2 : 4, &code) < 0)
            return -1;
        put_code(b, code);
    } else { /* kept as it stands */
        p->at--;
        buf_char(b, '\\');
    }
    return 0;
}

static int read_string(struct parser *p)
{
    char quote = peek(p, 0);
    AUTO(buf_free) struct buf b = BUF(JINJA_TEXT_MAX);
    int line = p->line;
    p->at++;
    for (;;) {
        if (p->at >= p->src.n)
            return fail(p, line, "a string is not closed");
        char c = peek(p, 0);
        if (c == quote)
            break;
        if (c == '\\') {
            if (read_escape(p, &b) < 0)
                return -1;
            continue;
        }
        p->line += c == '\n';
        buf_char(&b, c);
        p->at++;
    }
    p->at++;
    p->tok = (struct token){TOKEN_STRING, str_dup(p->a, buf_view(&b)), line};
    return 0;
}

/* The text of a JSON number: underscores left out. */
static int read_number(struct parser *p)
{
    char text[80];
    size_t n = 0;
    bool floating = false;
    while (digit(peek(p, 0)) || (peek(p, 0) == '_' && digit(peek(p, 1))) ||
           (!floating && peek(p, 0) == '.' && digit(peek(p, 1))) ||
           ((peek(p, 0) == 'e' || peek(p, 0) == 'E') &&
            (digit(peek(p, 1)) || ((peek(p, 1) == '-' || peek(p, 1) == '+') && digit(peek(p, 2)))))) {
        char c = peek(p, 0);
        if (n + 3 > sizeof text)
            return fail(p, p->line, "a number is too long");
        if (c != '_')
            text[n++] = c;
        p->at++;
        if (c == '.')
            floating = true;
        if (c == 'e' || c == 'E') {
            floating = true;
            if (!digit(peek(p, 0)))
                text[n++] = p->src.p[p->at++];
            while (digit(peek(p, 0)) && n + 3 < sizeof text)
                text[n++] = p->src.p[p->at++];
            break;
        }
    }
    if (n > 1 && text[0] == '0' && digit(text[1]))
        return fail(p, p->line, "a number may not begin with 0");
    p->tok = (struct token){TOKEN_NUMBER, str_dup(p->a, (Str){text, n}), p->line};
    return 0;
}

/* Does the tag end here? Its '-' and the two closing characters are taken. */
static bool at_end(struct parser *p)
{
    char sign = peek(p, 0);
    size_t n = sign == '-' || sign == '+';
    if (p->brackets || peek(p, n) != p->closing || peek(p, n + 1) != '}')
        return false;
    p->trim_next = sign == '-';
    p->at += n + 2;
    return true;
}

static int next_token(struct parser *p)
{
    static const char *const ops[] = {"**", "//", "==", "!=", "<=", ">=", "+", "-", "*", "/", "%", "~", "(",
                                      ")",  "[",  "]",  "{",  "}",  ",",  ".", ":", "|", "<", ">", "="};
    while (p->at < p->src.n && strchr(" \t\n\f\v", peek(p, 0)) && peek(p, 0)) {
        p->line += peek(p, 0) == '\n';
        p->at++;
    }
    if (p->at >= p->src.n)
        return fail(p, p->line, "the template ends inside a tag");
    if (at_end(p)) {
        p->tok = (struct token){TOKEN_END, STR("the end of the tag"), p->line};
        return 0;
    }
    char c = peek(p, 0);
    if (name_char(c, true)) {
        size_t from = p->at;
        while (name_char(peek(p, 0), false))
            p->at++;
        p->tok = (struct token){TOKEN_NAME, str_sub(p->src, from, p->at - from), p->line};
        return 0;
    }
    if (digit(c))
        return read_number(p);
    if (c == '"' || c == '\'')
        return read_string(p);
    for (size_t i = 0; i < COUNT_OF(ops); i++) {
        Str op = str_of(ops[i]);
        if (!str_starts(str_sub(p->src, p->at, 2), op))
            continue;
        p->at += op.n;
        if (strchr("([{", ops[i][0]))
            p->brackets++;
        if (strchr(")]}", ops[i][0]) && --p->brackets < 0)
            return fail(p, p->line, "unexpected '%s'", ops[i]);
        p->tok = (struct token){TOKEN_OP, op, p->line};
        return 0;
    }
    return fail(p, p->line, "unexpected character '%c'", (unsigned char)c < 0x20 || c == 0x7f ? '?' : c);
}

static bool is(const struct parser *p, enum token_kind kind, const char *text)
{
    return p->tok.kind == kind && str_eqz(p->tok.text, text);
}

static bool is_op(const struct parser *p, const char *text)
{
    return is(p, TOKEN_OP, text);
}

static bool is_word(const struct parser *p, const char *text)
{
    return is(p, TOKEN_NAME, text);
}

static int unexpected(struct parser *p, const char *wanted)
{
    return fail(p, p->tok.line, "expected %s, found '%.*s'", wanted, (int)MIN(p->tok.text.n, 60),
                p->tok.text.p);
}

/* Takes the operator, or fails. */
static int expect(struct parser *p, const char *op)
{
    char wanted[8];
    snprintf(wanted, sizeof wanted, "'%s'", op);
    return is_op(p, op) ? next_token(p) : unexpected(p, wanted);
}

/* ---- expressions ---- */

static struct node *node_new(struct parser *p, enum node_kind kind)
{
    struct node *n = arena_new(p->a, struct node);
    n->kind = kind;
    n->line = p->tok.line;
    return n;
}

static const struct node *expression(struct parser *p);
static const struct node *condition(struct parser *p); /* without if-else */
static const struct node *unary(struct parser *p, bool with_filters);

static const struct node *literal(struct parser *p, const struct json *v)
{
    struct node *n = node_new(p, NODE_LITERAL);
    n->value = v;
    return n;
}

static const struct json *number_literal(struct parser *p, Str text)
{
    struct json *v = arena_new(p->a, struct json);
    v->kind = JSON_NUMBER;
    v->raw = text;
    double d;
    if (str_find(text, STR(".")) >= 0 || str_find(text, STR("e")) >= 0 || str_find(text, STR("E")) >= 0)
        return str_double(text, &d) ? tree_double(p->a, d) : v;
    return v;
}

/* Expressions between commas up to `close`, which is taken. */
static int list_until(struct parser *p, const char *close, struct nodes *ret)
{
    while (!is_op(p, close)) {
        const struct node *n = expression(p);
        if (!n)
            return -1;
        vec_push(p->a, &ret->list, n);
        if (!is_op(p, ","))
            break;
        if (next_token(p) < 0)
            return -1;
    }
    return expect(p, close);
}

static const struct node *dict(struct parser *p)
{
    struct node *n = node_new(p, NODE_DICT);
    if (next_token(p) < 0)
        return NULL;
    while (!is_op(p, "}")) {
        const struct node *key = expression(p);
        if (!key || expect(p, ":") < 0)
            return NULL;
        const struct node *value = expression(p);
        if (!value)
            return NULL;
        vec_push(p->a, &n->items.list, key);
        vec_push(p->a, &n->items.list, value);
        if (!is_op(p, ","))
            break;
        if (next_token(p) < 0)
            return NULL;
    }
    return expect(p, "}") < 0 ? NULL : n;
}

static const struct node *parenthesis(struct parser *p)
{
    struct node *n = node_new(p, NODE_LIST);
    if (next_token(p) < 0)
        return NULL;
    bool comma = is_op(p, ")");
    while (!is_op(p, ")")) {
        const struct node *item = expression(p);
        if (!item)
            return NULL;
        vec_push(p->a, &n->items.list, item);
        if (!is_op(p, ","))
            break;
        comma = true;
        if (next_token(p) < 0)
            return NULL;
    }
    if (expect(p, ")") < 0)
        return NULL;
    return comma ? n : n->items.list.v[0];
}

static const struct node *name_or_constant(struct parser *p)
{
    static const struct {
        const char *name;
        int value; /* 2: none */
    } constants[] = {{"true", 1}, {"True", 1}, {"false", 0}, {"False", 0}, {"none", 2}, {"None", 2}};
    Str name = p->tok.text;
    for (size_t i = 0; i < COUNT_OF(constants); i++)
        if (str_eqz(name, constants[i].name))
            return literal(p, constants[i].value == 2 ? tree_null() : tree_bool(constants[i].value));
    static const char *const reserved[] = {"and", "or", "not", "in", "is", "if", "else"};
    for (size_t i = 0; i < COUNT_OF(reserved); i++) {
        if (str_eqz(name, reserved[i])) {
            (void)unexpected(p, "an expression");
            return NULL;
        }
    }
    if (str_eqz(name, "loop"))
        p->saw_loop = true;
    struct node *n = node_new(p, NODE_NAME);
    n->name = name;
    return n;
}

static const struct node *primary(struct parser *p)
{
    const struct node *n;
    switch (p->tok.kind) {
    case TOKEN_NAME:
        n = name_or_constant(p);
        return n && next_token(p) < 0 ? NULL : n;
    case TOKEN_NUMBER:
        n = literal(p, number_literal(p, p->tok.text));
        return next_token(p) < 0 ? NULL : n;
    case TOKEN_STRING: {
        AUTO(buf_free) struct buf b = BUF(JINJA_TEXT_MAX);
        while (p->tok.kind == TOKEN_STRING) { /* neighbours are one */
            buf_str(&b, p->tok.text);
            if (next_token(p) < 0)
                return NULL;
        }
        return literal(p, tree_str(p->a, str_dup(p->a, buf_view(&b))));
    }
    case TOKEN_OP:
        if (is_op(p, "("))
            return parenthesis(p);
        if (is_op(p, "{"))
            return dict(p);
        if (is_op(p, "[")) {
            struct node *list = node_new(p, NODE_LIST);
            return next_token(p) < 0 || list_until(p, "]", &list->items) < 0 ? NULL : list;
        }
        break;
    case TOKEN_END:
        break;
    }
    (void)unexpected(p, "an expression");
    return NULL;
}

/* What follows '(': values, then name=value. */
static int arguments(struct parser *p, struct node *n)
{
    while (!is_op(p, ")")) {
        struct parser before = *p;
        Str name = p->tok.kind == TOKEN_NAME ? p->tok.text : STR_NONE;
        bool named = false;
        if (name.p) {
            if (next_token(p) < 0)
                return -1;
            named = is_op(p, "=");
            if (!named)
                *p = before;
            else if (next_token(p) < 0)
                return -1;
        }
        if (!named && n->names.list.n)
            return unexpected(p, "a named argument");
        const struct node *value = expression(p);
        if (!value)
            return -1;
        vec_push(p->a, &n->items.list, value);
        if (named)
            vec_push(p->a, &n->names.list, name);
        if (!is_op(p, ","))
            break;
        if (next_token(p) < 0)
            return -1;
    }
    return expect(p, ")");
}

/* x[…]: an index or a slice. */
static const struct node *subscript(struct parser *p, const struct node *x)
{
    struct node *n = node_new(p, NODE_INDEX);
    const struct node *parts[3] = {0};
    int colons = 0;
    n->x = x;
    if (next_token(p) < 0)
        return NULL;
    while (!is_op(p, "]")) {
        if (is_op(p, ":")) {
            if (++colons > 2 || next_token(p) < 0) {
                if (colons > 2)
                    (void)unexpected(p, "']'");
                return NULL;
            }
            continue;
        }
        if (parts[colons]) {
            (void)unexpected(p, "']'");
            return NULL;
        }
        if (!(parts[colons] = expression(p)))
            return NULL;
    }
    if (!colons && !parts[0]) {
        (void)unexpected(p, "an index");
        return NULL;
    }
    if (next_token(p) < 0)
        return NULL;
    n->y = parts[0];
    if (colons) {
        n->kind = NODE_SLICE;
        for (int i = 0; i < 3; i++)
            vec_push(p->a, &n->items.list, parts[i]);
    }
    return n;
}

static const struct node *attribute_of(struct parser *p, const struct node *x)
{
    struct node *n = node_new(p, NODE_ATTR);
    if (next_token(p) < 0)
        return NULL;
    n->x = x;
    n->name = p->tok.text;
    if (p->tok.kind == TOKEN_NUMBER) {
        n->kind = NODE_INDEX;
        n->y = literal(p, number_literal(p, p->tok.text));
    } else if (p->tok.kind != TOKEN_NAME) {
        (void)unexpected(p, "a name");
        return NULL;
    }
    return next_token(p) < 0 ? NULL : n;
}

static const struct node *postfix(struct parser *p, const struct node *n)
{
    for (int i = 0; n; i++) {
        if (!is_op(p, ".") && !is_op(p, "[") && !is_op(p, "("))
            return n;
        if (i >= JINJA_DEPTH_MAX) {
            (void)fail(p, p->tok.line, "the expression is too long");
            return NULL;
        }
        if (is_op(p, ".")) {
            n = attribute_of(p, n);
        } else if (is_op(p, "[")) {
            n = subscript(p, n);
        } else {
            struct node *call = node_new(p, NODE_CALL);
            call->x = n;
            n = next_token(p) < 0 || arguments(p, call) < 0 ? NULL : call;
        }
    }
    return NULL;
}

static const struct node *test_of(struct parser *p, const struct node *x)
{
    struct node *n = node_new(p, NODE_TEST);
    n->x = x;
    if (next_token(p) < 0)
        return NULL;
    if (is_word(p, "not")) {
        n->negated = true;
        if (next_token(p) < 0)
            return NULL;
    }
    if (p->tok.kind != TOKEN_NAME) {
        (void)unexpected(p, "the name of a test");
        return NULL;
    }
    n->name = p->tok.text;
    if (next_token(p) < 0)
        return NULL;
    if (is_op(p, "("))
        return next_token(p) < 0 || arguments(p, n) < 0 ? NULL : n;
    bool value =
        p->tok.kind == TOKEN_STRING || p->tok.kind == TOKEN_NUMBER || is_op(p, "[") || is_op(p, "{") ||
        (p->tok.kind == TOKEN_NAME && !is_word(p, "and") && !is_word(p, "or") && !is_word(p, "else") &&
         !is_word(p, "if") && !is_word(p, "is") && !is_word(p, "in") && !is_word(p, "not"));
    if (value) { /* x is divisibleby 3 */
        const struct node *arg = primary(p);
        arg = arg ? postfix(p, arg) : NULL;
        if (!arg)
            return NULL;
        vec_push(p->a, &n->items.list, arg);
    }
    return n;
}

static const struct node *filters(struct parser *p, const struct node *n)
{
    for (int i = 0; n; i++) {
        if (i >= JINJA_DEPTH_MAX) {
            (void)fail(p, p->tok.line, "the expression is too long");
            return NULL;
        }
        if (is_word(p, "is")) {
            n = test_of(p, n);
            continue;
        }
        if (!is_op(p, "|"))
            return n;
        struct node *f = node_new(p, NODE_FILTER);
        f->x = n;
        if (next_token(p) < 0)
            return NULL;
        if (p->tok.kind != TOKEN_NAME) {
            (void)unexpected(p, "the name of a filter");
            return NULL;
        }
        f->name = p->tok.text;
        if (next_token(p) < 0)
            return NULL;
        if (is_op(p, "(") && (next_token(p) < 0 || arguments(p, f) < 0))
            return NULL;
        n = f;
    }
    return NULL;
}

static const struct node *signed_value(struct parser *p)
{
    if (!is_op(p, "-") && !is_op(p, "+")) {
        const struct node *n = primary(p);
        return n ? postfix(p, n) : NULL;
    }
    struct node *sign = node_new(p, is_op(p, "-") ? NODE_NEGATE : NODE_PLUS);
    if (next_token(p) < 0)
        return NULL;
    sign->x = unary(p, /* with_filters: */ false);
    return sign->x ? sign : NULL;
}

static const struct node *unary(struct parser *p, bool with_filters)
{
    if (++p->depth > JINJA_DEPTH_MAX) {
        (void)fail(p, p->tok.line, "the expression is nested too deeply");
        return NULL;
    }
    const struct node *n = signed_value(p);
    p->depth--;
    return n && with_filters ? filters(p, n) : n;
}

struct level {
    struct {
        const char *text;
        enum op op;
    } ops[4];
};

/* Binary operators, loosest first: + -, ~, * / // %, **. */
static const struct level levels[] = {
    {{{"+", OP_ADD}, {"-", OP_SUB}}},
    {{{"~", OP_CONCAT}}},
    {{{"*", OP_MUL}, {"/", OP_DIV}, {"//", OP_FLOOR}, {"%", OP_MOD}}},
    {{{"**", OP_POW}}},
};

static const struct node *binary(struct parser *p, size_t level)
{
    if (level == COUNT_OF(levels))
        return unary(p, /* with_filters: */ true);
    const struct node *left = binary(p, level + 1);
    for (int n = 0; left; n++) {
        size_t i = 0;
        while (i < 4 && levels[level].ops[i].text && !is_op(p, levels[level].ops[i].text))
            i++;
        if (i == 4 || !levels[level].ops[i].text)
            return left;
        if (n >= JINJA_DEPTH_MAX) {
            (void)fail(p, p->tok.line, "the expression is too long");
            return NULL;
        }
        struct node *b = node_new(p, NODE_BINARY);
        b->op = levels[level].ops[i].op;
        b->x = left;
        if (next_token(p) < 0 || !(b->y = binary(p, level + 1)))
            return NULL;
        left = b;
    }
    return NULL;
}

/* 1: a comparison's operator was taken; 0: there is none. */
static int comparison_op(struct parser *p, enum op *ret)
{
    static const struct {
        const char *text;
        enum op op;
    } ops[] = {{"==", OP_EQ}, {"!=", OP_NE}, {"<", OP_LT}, {"<=", OP_LE}, {">", OP_GT}, {">=", OP_GE}};
    for (size_t i = 0; i < COUNT_OF(ops); i++) {
        if (is_op(p, ops[i].text)) {
            *ret = ops[i].op;
            return next_token(p) < 0 ? -1 : 1;
        }
    }
    if (is_word(p, "in")) {
        *ret = OP_IN;
        return next_token(p) < 0 ? -1 : 1;
    }
    if (!is_word(p, "not"))
        return 0;
    *ret = OP_NOT_IN;
    if (next_token(p) < 0)
        return -1;
    if (!is_word(p, "in"))
        return unexpected(p, "'in'");
    return next_token(p) < 0 ? -1 : 1;
}

static const struct node *comparison(struct parser *p)
{
    const struct node *left = binary(p, 0);
    struct node *n = NULL;
    while (left) {
        enum op op;
        int rc = comparison_op(p, &op);
        if (rc <= 0)
            return rc < 0 ? NULL : n ? n : left;
        if (!n) {
            n = node_new(p, NODE_COMPARE);
            n->x = left;
        }
        const struct node *right = binary(p, 0);
        if (!right)
            return NULL;
        vec_push(p->a, &n->items.list, right);
        vec_push(p->a, &n->ops.list, op);
    }
    return NULL;
}

static const struct node *negation(struct parser *p)
{
    if (!is_word(p, "not"))
        return comparison(p);
    struct node *n = node_new(p, NODE_NOT);
    if (++p->depth > JINJA_DEPTH_MAX) {
        (void)fail(p, p->tok.line, "the expression is nested too deeply");
        return NULL;
    }
    if (next_token(p) < 0)
        return NULL;
    n->x = negation(p);
    p->depth--;
    return n->x ? n : NULL;
}

/* `and` and `or`, as one node of many items each. */
static const struct node *junction(struct parser *p, enum node_kind kind, const char *word,
                                   const struct node *(*part)(struct parser *p))
{
    const struct node *first = part(p);
    if (!first || !is_word(p, word))
        return first;
    struct node *n = node_new(p, kind);
    vec_push(p->a, &n->items.list, first);
    while (is_word(p, word)) {
        const struct node *next = next_token(p) < 0 ? NULL : part(p);
        if (!next)
            return NULL;
        vec_push(p->a, &n->items.list, next);
    }
    return n;
}

static const struct node *conjunction(struct parser *p)
{
    return junction(p, NODE_AND, "and", negation);
}

static const struct node *condition(struct parser *p)
{
    return junction(p, NODE_OR, "or", conjunction);
}

static const struct node *expression(struct parser *p)
{
    if (++p->depth > JINJA_DEPTH_MAX) {
        (void)fail(p, p->tok.line, "the expression is nested too deeply");
        return NULL;
    }
    const struct node *n = condition(p);
    for (int i = 0; n && is_word(p, "if"); i++) {
        struct node *t = node_new(p, NODE_TERNARY);
        t->x = n;
        if (i >= JINJA_DEPTH_MAX) {
            (void)fail(p, p->tok.line, "the expression is too long");
            return NULL;
        }
        if (next_token(p) < 0 || !(t->y = condition(p)))
            return NULL;
        if (is_word(p, "else") && (next_token(p) < 0 || !(t->z = expression(p))))
            return NULL;
        n = t;
    }
    p->depth--;
    return n;
}

/* ---- statements ---- */

static int block(struct parser *p, struct nodes *ret, const char *const *ends, const char *opened,
                 int opened_line);

static int end_of_tag(struct parser *p)
{
    return p->tok.kind == TOKEN_END ? 0 : unexpected(p, "the end of the tag");
}

/* The name of the tag that ended a block is the token that comes next: takes it. */
static int close_with(struct parser *p, const char *word)
{
    if (!is_word(p, word))
        return unexpected(p, word);
    return next_token(p) < 0 ? -1 : end_of_tag(p);
}

static const struct node *if_statement(struct parser *p)
{
    static const char *const ends[] = {"elif", "else", "endif", NULL};
    struct node *n = node_new(p, NODE_IF), *last = n;
    int line = p->tok.line;
    if (next_token(p) < 0 || !(n->x = expression(p)) || end_of_tag(p) < 0 ||
        block(p, &n->body, ends, "if", line) < 0)
        return NULL;
    while (is_word(p, "elif")) {
        struct node *next = node_new(p, NODE_IF);
        if (next_token(p) < 0 || !(next->x = expression(p)) || end_of_tag(p) < 0 ||
            block(p, &next->body, ends, "if", line) < 0)
            return NULL;
        vec_push(p->a, &last->otherwise.list, next);
        last = next;
    }
    if (is_word(p, "else") &&
        (close_with(p, "else") < 0 || block(p, &last->otherwise, ends + 2, "if", line) < 0))
        return NULL;
    return close_with(p, "endif") < 0 ? NULL : n;
}

/* a, b, c */
static int targets(struct parser *p, struct node *n)
{
    for (;;) {
        if (p->tok.kind != TOKEN_NAME || is_word(p, "in"))
            return unexpected(p, "a name");
        vec_push(p->a, &n->names.list, p->tok.text);
        if (next_token(p) < 0)
            return -1;
        if (!is_op(p, ","))
            return 0;
        if (next_token(p) < 0)
            return -1;
    }
}

static const struct node *for_statement(struct parser *p)
{
    static const char *const ends[] = {"else", "endfor", NULL};
    struct node *n = node_new(p, NODE_FOR);
    int line = p->tok.line;
    if (++p->loops > JINJA_LOOPS_MAX) {
        (void)fail(p, line, "a template may have %d for loops at most", JINJA_LOOPS_MAX);
        return NULL;
    }
    if (++p->nested > JINJA_NESTED_MAX) {
        (void)fail(p, line, "for loops may be nested %d deep at most", JINJA_NESTED_MAX);
        return NULL;
    }
    if (next_token(p) < 0 || targets(p, n) < 0)
        return NULL;
    if (!is_word(p, "in")) {
        (void)unexpected(p, "'in'");
        return NULL;
    }
    if (next_token(p) < 0 || !(n->x = condition(p)))
        return NULL;
    if (is_word(p, "if") && (next_token(p) < 0 || !(n->y = expression(p))))
        return NULL;
    bool outer_saw = p->saw_loop;
    p->saw_loop = false;
    if (end_of_tag(p) < 0 || block(p, &n->body, ends, "for", line) < 0)
        return NULL;
    n->uses_loop = p->saw_loop;
    p->saw_loop = outer_saw;
    if (is_word(p, "else") &&
        (close_with(p, "else") < 0 || block(p, &n->otherwise, ends + 1, "for", line) < 0))
        return NULL;
    p->nested--;
    return close_with(p, "endfor") < 0 ? NULL : n;
}

static const struct node *set_statement(struct parser *p)
{
    static const char *const ends[] = {"endset", NULL};
    struct node *n = node_new(p, NODE_SET);
    int line = p->tok.line;
    if (next_token(p) < 0 || targets(p, n) < 0)
        return NULL;
    if (is_op(p, "=")) {
        if (next_token(p) < 0 || !(n->x = expression(p)))
            return NULL;
        if (is_op(p, ",")) { /* a tuple without its parenthesis */
            struct node *list = node_new(p, NODE_LIST);
            vec_push(p->a, &list->items.list, n->x);
            while (is_op(p, ",")) {
                const struct node *item = next_token(p) < 0 ? NULL : expression(p);
                if (!item)
                    return NULL;
                vec_push(p->a, &list->items.list, item);
            }
            n->x = list;
        }
        return end_of_tag(p) < 0 ? NULL : n;
    }
    n->kind = NODE_BLOCK;
    if (n->names.list.n > 1) {
        (void)unexpected(p, "'='");
        return NULL;
    }
    if (end_of_tag(p) < 0 || block(p, &n->body, ends, "set", line) < 0)
        return NULL;
    return close_with(p, "endset") < 0 ? NULL : n;
}

static void add_text(struct parser *p, struct nodes *ret, Str text, bool trim_end)
{
    if (p->trim_next)
        while (text.n && strchr(" \t\n\f\v", text.p[0]) && text.p[0])
            text = str_sub(text, 1, text.n);
    if (trim_end)
        while (text.n && strchr(" \t\n\f\v", text.p[text.n - 1]) && text.p[text.n - 1])
            text.n--;
    p->trim_next = false;
    if (!text.n)
        return;
    struct node *n = arena_new(p->a, struct node);
    n->kind = NODE_TEXT;
    n->line = p->line;
    n->name = text;
    vec_push(p->a, &ret->list, n);
}

static void count_lines(struct parser *p, size_t to)
{
    for (; p->at < to; p->at++)
        p->line += p->src.p[p->at] == '\n';
}

/* After {% raw %}: all up to {% endraw %} is text. */
static int raw_text(struct parser *p, struct nodes *ret)
{
    int line = p->tok.line;
    if (next_token(p) < 0 || end_of_tag(p) < 0)
        return -1;
    for (size_t i = p->at; i + 1 < p->src.n; i++) {
        if (p->src.p[i] != '{' || p->src.p[i + 1] != '%')
            continue;
        bool trim = i + 2 < p->src.n && p->src.p[i + 2] == '-';
        Str rest = str_sub(p->src, i + 2 + trim, p->src.n);
        Str word = rest;
        while (word.n && strchr(" \t\n", word.p[0]) && word.p[0])
            word = str_sub(word, 1, word.n);
        if (!str_starts(word, STR("endraw")))
            continue;
        word = str_sub(word, 6, word.n);
        while (word.n && strchr(" \t\n", word.p[0]) && word.p[0])
            word = str_sub(word, 1, word.n);
        bool trim_after = word.n && word.p[0] == '-';
        word = str_sub(word, trim_after, word.n);
        if (!str_starts(word, STR("%}")))
            continue;
        add_text(p, ret, str_sub(p->src, p->at, i - p->at), trim);
        count_lines(p, p->src.n - word.n + 2);
        p->trim_next = trim_after;
        return 0;
    }
    return fail(p, line, "'raw' is not closed by 'endraw'");
}

static int statement(struct parser *p, struct nodes *ret)
{
    const struct node *n;
    if (is_word(p, "if")) {
        n = if_statement(p);
    } else if (is_word(p, "for")) {
        n = for_statement(p);
    } else if (is_word(p, "set")) {
        n = set_statement(p);
    } else if (is_word(p, "raw")) {
        return raw_text(p, ret);
    } else {
        return fail(p, p->tok.line, "unknown tag '%.*s'", (int)MIN(p->tok.text.n, 60), p->tok.text.p);
    }
    if (!n)
        return -1;
    vec_push(p->a, &ret->list, n);
    return 0;
}

/* Opens a tag: the text before it is added, its first token read. 0 at the end of the template. */
static int next_tag(struct parser *p, struct nodes *ret)
{
    for (;;) {
        size_t i = p->at;
        while (i + 1 < p->src.n && !(p->src.p[i] == '{' && strchr("{%#", p->src.p[i + 1]) && p->src.p[i + 1]))
            i++;
        bool tag = i + 1 < p->src.n;
        char kind = tag ? p->src.p[i + 1] : 0;
        char sign = tag && i + 2 < p->src.n ? p->src.p[i + 2] : 0;
        add_text(p, ret, str_sub(p->src, p->at, tag ? i - p->at : p->src.n), sign == '-');
        if (!tag)
            return 0;
        count_lines(p, i);
        int line = p->line;
        p->at += 2;
        if (kind == '#') {
            ptrdiff_t close = str_find(str_sub(p->src, p->at, p->src.n), STR("#}"));
            if (close < 0)
                return fail(p, line, "a comment is not closed");
            size_t end = p->at + (size_t)close;
            p->trim_next = close > 0 && p->src.p[end - 1] == '-';
            count_lines(p, end);
            p->at += 2;
            continue;
        }
        if (sign == '-' || sign == '+')
            p->at++;
        p->closing = kind == '{' ? '}' : '%';
        p->brackets = 0;
        return next_token(p) < 0 ? -1 : 1;
    }
}

static int block(struct parser *p, struct nodes *ret, const char *const *ends, const char *opened,
                 int opened_line)
{
    if (++p->depth > JINJA_DEPTH_MAX)
        return fail(p, p->tok.line, "blocks are nested too deeply");
    int rc;
    while ((rc = next_tag(p, ret)) > 0) {
        if (p->closing == '}') {
            struct node *n = node_new(p, NODE_PRINT);
            if (!(n->x = expression(p)) || end_of_tag(p) < 0)
                return -1;
            vec_push(p->a, &ret->list, n);
            continue;
        }
        if (p->tok.kind != TOKEN_NAME)
            return unexpected(p, "the name of a tag");
        for (size_t i = 0; ends[i]; i++) {
            if (is_word(p, ends[i])) {
                p->depth--;
                return 0;
            }
        }
        if (statement(p, ret) < 0)
            return -1;
    }
    if (rc < 0)
        return -1;
    p->depth--;
    return opened ? fail(p, opened_line, "'%s' is not closed by 'end%s'", opened, opened) : 0;
}

/* Line ends of any kind become '\n'; one at the very end is dropped, as the language has it. */
static Str plain_lines(struct arena *a, Str text)
{
    char *out = arena_alloc(a, text.n + 1);
    size_t n = 0;
    for (size_t i = 0; i < text.n; i++) {
        out[n++] = text.p[i] == '\r' ? '\n' : text.p[i];
        if (text.p[i] == '\r' && i + 1 < text.n && text.p[i + 1] == '\n')
            i++;
    }
    if (n && out[n - 1] == '\n')
        n--;
    return (Str){out, n};
}

const struct nodes *jinja_parse(struct arena *a, Str text, int *ret_line, struct err *err)
{
    static const char *const none[] = {NULL};
    struct nodes *nodes = arena_new(a, struct nodes);
    struct parser p = {.a = a, .line = 1, .err = err, .error_line = 1};
    int rc;
    if (text.n > JINJA_TEXT_MAX)
        rc = fail(&p, 1, "the template is longer than %zu bytes", JINJA_TEXT_MAX);
    else if (!str_utf8_valid(text))
        rc = fail(&p, 1, "the template is not UTF-8");
    else {
        p.src = plain_lines(a, text);
        rc = block(&p, nodes, none, NULL, 0);
    }
    *ret_line = p.error_line;
    return rc < 0 ? NULL : nodes;
}
