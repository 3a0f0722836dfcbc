/* Keywords that look at a value and say yes or no. */
#include "schema/apply.h"

#include "schema/decimal.h"

static bool is_type(const struct json *v, Str type, bool *ret)
{
    bool fits;
    if (str_eqz(type, "string"))
        fits = v->kind == JSON_STRING;
    else if (str_eqz(type, "integer"))
        fits = v->kind == JSON_NUMBER && decimal_is_integer(v->raw);
    else if (str_eqz(type, "number"))
        fits = v->kind == JSON_NUMBER;
    else if (str_eqz(type, "boolean"))
        fits = v->kind == JSON_BOOL;
    else if (str_eqz(type, "null"))
        fits = v->kind == JSON_NULL;
    else if (str_eqz(type, "array"))
        fits = v->kind == JSON_ARRAY;
    else if (str_eqz(type, "object"))
        fits = v->kind == JSON_OBJECT;
    else
        return false;
    *ret = fits;
    return true;
}

enum fit kw_type(struct run *r, const struct frame *f, const struct json *arg)
{
    const struct json *types = arg->kind == JSON_ARRAY ? arg->array.items : arg;
    size_t n = arg->kind == JSON_ARRAY ? arg->array.n : 1;
    bool any = false;
    for (size_t i = 0; i < n && !any; i++)
        if (types[i].kind != JSON_STRING || !is_type(f->value, types[i].string, &any))
            return bad_keyword(r, KW_TYPE);
    if (any)
        return FIT;
    if (!f->faults)
        return UNFIT;
    AUTO(buf_free) struct buf b = MESSAGE;
    say_value(&b, f->value);
    buf_z(&b, " is not of type ");
    for (size_t i = 0; i < n; i++) {
        if (i)
            buf_z(&b, ", ");
        say_name(&b, types[i].string);
    }
    return unfit(r, f, KW_TYPE, STR_NONE, NULL, &b);
}

/* "<value> <words> <argument>" */
static enum fit unfit_words(struct run *r, const struct frame *f, enum keyword_id id, const char *words,
                            const struct json *arg)
{
    if (!f->faults)
        return UNFIT;
    AUTO(buf_free) struct buf b = MESSAGE;
    say_value(&b, f->value);
    buf_z(&b, words);
    if (arg)
        say_value(&b, arg);
    return unfit(r, f, id, STR_NONE, NULL, &b);
}

enum fit kw_enum(struct run *r, const struct frame *f, const struct json *arg)
{
    if (arg->kind != JSON_ARRAY)
        return bad_keyword(r, KW_ENUM);
    if (charge(r, arg->array.n / 8) == BROKEN)
        return BROKEN;
    for (size_t i = 0; i < arg->array.n; i++) {
        enum fit fit = same_value(r, &arg->array.items[i], f->value);
        if (fit != UNFIT)
            return fit;
    }
    return unfit_words(r, f, KW_ENUM, " is not one of ", arg);
}

enum fit kw_const(struct run *r, const struct frame *f, const struct json *arg)
{
    enum fit fit = same_value(r, arg, f->value);
    return fit == UNFIT ? unfit_words(r, f, KW_CONST, " is not the expected ", arg) : fit;
}

/* ---- numbers ---- */

/* True where both are numbers; BROKEN in *ret where the keyword's is none. */
static bool numbers(struct run *r, const struct frame *f, const struct json *arg, enum keyword_id id,
                    enum fit *ret)
{
    *ret = FIT;
    if (arg->kind != JSON_NUMBER)
        *ret = bad_keyword(r, id);
    else if (f->value->kind == JSON_NUMBER)
        *ret = charge(r, (arg->raw.n + f->value->raw.n) / 64);
    return *ret == FIT && f->value->kind == JSON_NUMBER;
}

enum fit kw_minimum(struct run *r, const struct frame *f, const struct json *arg)
{
    enum fit fit;
    if (!numbers(r, f, arg, KW_MINIMUM, &fit) || decimal_cmp(f->value->raw, arg->raw) >= 0)
        return fit;
    return unfit_words(r, f, KW_MINIMUM, " is less than the minimum of ", arg);
}

enum fit kw_maximum(struct run *r, const struct frame *f, const struct json *arg)
{
    enum fit fit;
    if (!numbers(r, f, arg, KW_MAXIMUM, &fit) || decimal_cmp(f->value->raw, arg->raw) <= 0)
        return fit;
    return unfit_words(r, f, KW_MAXIMUM, " is greater than the maximum of ", arg);
}

enum fit kw_exclusive_minimum(struct run *r, const struct frame *f, const struct json *arg)
{
    enum fit fit;
    if (!numbers(r, f, arg, KW_EXCLUSIVE_MINIMUM, &fit) || decimal_cmp(f->value->raw, arg->raw) > 0)
        return fit;
    return unfit_words(r, f, KW_EXCLUSIVE_MINIMUM, " is not greater than ", arg);
}

enum fit kw_exclusive_maximum(struct run *r, const struct frame *f, const struct json *arg)
{
    enum fit fit;
    if (!numbers(r, f, arg, KW_EXCLUSIVE_MAXIMUM, &fit) || decimal_cmp(f->value->raw, arg->raw) < 0)
        return fit;
    return unfit_words(r, f, KW_EXCLUSIVE_MAXIMUM, " is not less than ", arg);
}

enum fit kw_multiple_of(struct run *r, const struct frame *f, const struct json *arg)
{
    enum fit fit;
    if (!numbers(r, f, arg, KW_MULTIPLE_OF, &fit))
        return fit;
    if (decimal_cmp(arg->raw, STR("0")) <= 0)
        return bad_keyword(r, KW_MULTIPLE_OF);
    size_t work = 200000;
    int is = decimal_is_multiple(r->a, f->value->raw, arg->raw, work);
    if (is < 0) {
        err_set(r->err, ERR_UNPROCESSABLE, "a number has too many digits to be checked by multipleOf");
        return BROKEN;
    }
    if (f->value->raw.n + arg->raw.n > 64 && charge(r, work / 100) == BROKEN)
        return BROKEN;
    return is ? FIT : unfit_words(r, f, KW_MULTIPLE_OF, " is not a multiple of ", arg);
}

/* ---- sizes ---- */

/* `n` against a whole number, which may be written 2.0 or have thirty digits: -1, 0, 1; or BROKEN by *fit. */
static int size_cmp(struct run *r, size_t n, const struct json *arg, enum keyword_id id, enum fit *fit)
{
    *fit = FIT;
    if (arg->kind != JSON_NUMBER || !decimal_is_integer(arg->raw) || decimal_cmp(arg->raw, STR("0")) < 0) {
        *fit = bad_keyword(r, id);
        return 0;
    }
    char text[24];
    int length = snprintf(text, sizeof text, "%zu", n);
    return decimal_cmp((Str){text, (size_t)length}, arg->raw);
}

/* "<value> <words> <bound> <unit>" where the size is on the wrong side (`sign`: -1 too small, 1 too large).
 */
static enum fit size_fits(struct run *r, const struct frame *f, const struct json *arg, enum keyword_id id,
                          size_t n, int sign, const char *unit)
{
    enum fit fit;
    if (size_cmp(r, n, arg, id, &fit) != sign || fit == BROKEN)
        return fit;
    if (!f->faults)
        return UNFIT;
    AUTO(buf_free) struct buf b = MESSAGE;
    say_value(&b, f->value);
    buf_z(&b, sign < 0 ? " is too short: at least " : " is too long: at most ");
    if (id == KW_MIN_PROPERTIES || id == KW_MAX_PROPERTIES) {
        b.n = 0;
        say_value(&b, f->value);
        buf_z(&b, sign < 0 ? " has too few properties: at least " : " has too many properties: at most ");
        unit = "";
    }
    say_value(&b, arg);
    buf_z(&b, unit);
    return unfit(r, f, id, STR_NONE, NULL, &b);
}

static enum fit length_fits(struct run *r, const struct frame *f, const struct json *arg, enum keyword_id id,
                            int sign)
{
    if (f->value->kind != JSON_STRING)
        return FIT;
    if (charge(r, f->value->string.n / 256) == BROKEN)
        return BROKEN;
    return size_fits(r, f, arg, id, str_codepoints(f->value->string), sign, " characters");
}

enum fit kw_min_length(struct run *r, const struct frame *f, const struct json *arg)
{
    return length_fits(r, f, arg, KW_MIN_LENGTH, -1);
}

enum fit kw_max_length(struct run *r, const struct frame *f, const struct json *arg)
{
    return length_fits(r, f, arg, KW_MAX_LENGTH, 1);
}

enum fit kw_min_items(struct run *r, const struct frame *f, const struct json *arg)
{
    return f->value->kind == JSON_ARRAY ? size_fits(r, f, arg, KW_MIN_ITEMS, f->value->array.n, -1, " items")
                                        : FIT;
}

enum fit kw_max_items(struct run *r, const struct frame *f, const struct json *arg)
{
    return f->value->kind == JSON_ARRAY ? size_fits(r, f, arg, KW_MAX_ITEMS, f->value->array.n, 1, " items")
                                        : FIT;
}

enum fit kw_min_properties(struct run *r, const struct frame *f, const struct json *arg)
{
    return f->value->kind == JSON_OBJECT
               ? size_fits(r, f, arg, KW_MIN_PROPERTIES, member_count(r, f->value), -1, "")
               : FIT;
}

enum fit kw_max_properties(struct run *r, const struct frame *f, const struct json *arg)
{
    return f->value->kind == JSON_OBJECT
               ? size_fits(r, f, arg, KW_MAX_PROPERTIES, member_count(r, f->value), 1, "")
               : FIT;
}

/* ---- strings ---- */

enum fit kw_pattern(struct run *r, const struct frame *f, const struct json *arg)
{
    if (arg->kind != JSON_STRING)
        return bad_keyword(r, KW_PATTERN);
    if (f->value->kind != JSON_STRING)
        return FIT;
    int match = pattern_match(&r->patterns, arg->string, f->value->string, r->err);
    if (match < 0)
        return BROKEN;
    return match ? FIT : unfit_words(r, f, KW_PATTERN, " does not match ", arg);
}

/* ---- members and items ---- */

enum fit kw_required(struct run *r, const struct frame *f, const struct json *arg)
{
    if (arg->kind != JSON_ARRAY)
        return bad_keyword(r, KW_REQUIRED);
    if (r->flags & SCHEMA_IGNORE_REQUIRED || f->value->kind != JSON_OBJECT)
        return FIT;
    enum fit result = FIT;
    for (size_t i = 0; i < arg->array.n; i++) {
        if (arg->array.items[i].kind != JSON_STRING)
            return bad_keyword(r, KW_REQUIRED);
        if (charge(r, i % 8 == 7) == BROKEN)
            return BROKEN;
        Str key = arg->array.items[i].string;
        if (member(r, f->value, key))
            continue;
        if (!f->faults)
            return UNFIT;
        AUTO(buf_free) struct buf b = MESSAGE;
        say_name(&b, key);
        buf_z(&b, " is a required property");
        result = unfit(r, f, KW_REQUIRED, key, NULL, &b);
    }
    return result;
}

enum fit kw_dependent_required(struct run *r, const struct frame *f, const struct json *arg)
{
    if (arg->kind != JSON_OBJECT)
        return bad_keyword(r, KW_DEPENDENT_REQUIRED);
    if (f->value->kind != JSON_OBJECT)
        return FIT;
    enum fit result = FIT;
    for (size_t i = 0; i < arg->object.n; i++) {
        const struct json_member *m = &arg->object.members[i];
        if (m->value.kind != JSON_ARRAY)
            return bad_keyword(r, KW_DEPENDENT_REQUIRED);
        if (charge(r, 1) == BROKEN)
            return BROKEN;
        if (!member(r, f->value, m->key) || !member_counts(r, arg, i))
            continue;
        for (size_t k = 0; k < m->value.array.n; k++) {
            Str key = json_str(&m->value.array.items[k]);
            if (!key.p)
                return bad_keyword(r, KW_DEPENDENT_REQUIRED);
            if (charge(r, 1) == BROKEN)
                return BROKEN;
            if (member(r, f->value, key))
                continue;
            if (!f->faults)
                return UNFIT;
            AUTO(buf_free) struct buf b = MESSAGE;
            say_name(&b, key);
            buf_z(&b, " is a required property beside ");
            say_name(&b, m->key);
            result = unfit(r, f, KW_DEPENDENT_REQUIRED, key, NULL, &b);
        }
    }
    return result;
}

/* Equal values have equal hashes. */
static enum fit hash_value(struct run *r, const struct json *v, uint64_t *ret)
{
    static const uint64_t mix = 0x9e3779b97f4a7c15u;
    uint64_t h = (uint64_t)v->kind * mix, inner;
    if (charge(r, 1) == BROKEN)
        return BROKEN;
    switch (v->kind) {
    case JSON_NULL:
        break;
    case JSON_BOOL:
        h += v->boolean;
        break;
    case JSON_NUMBER:
        if (charge(r, v->raw.n / 64) == BROKEN)
            return BROKEN;
        h ^= decimal_hash(v->raw);
        break;
    case JSON_STRING:
        if (charge(r, v->string.n / 64) == BROKEN)
            return BROKEN;
        h ^= str_hash(v->string);
        break;
    case JSON_ARRAY:
        for (size_t i = 0; i < v->array.n; i++) {
            if (hash_value(r, &v->array.items[i], &inner) == BROKEN)
                return BROKEN;
            h = (h ^ inner) * mix;
        }
        break;
    case JSON_OBJECT:
        for (size_t i = 0; i < v->object.n; i++) {
            if (!member_counts(r, v, i))
                continue;
            if (hash_value(r, &v->object.members[i].value, &inner) == BROKEN)
                return BROKEN;
            h += (str_hash(v->object.members[i].key) ^ inner * mix) * mix; /* in any order */
        }
        break;
    }
    *ret = h ^ h >> 32;
    return FIT;
}

enum fit kw_unique_items(struct run *r, const struct frame *f, const struct json *arg)
{
    if (arg->kind != JSON_BOOL)
        return bad_keyword(r, KW_UNIQUE_ITEMS);
    if (!arg->boolean || f->value->kind != JSON_ARRAY || f->value->array.n < 2)
        return FIT;
    size_t n = f->value->array.n, size = 4;
    while (size < n * 2)
        size *= 2;
    uint64_t *hashes = arena_array(r->a, uint64_t, n);
    uint32_t *slots = arena_array(r->a, uint32_t, size);
    for (size_t i = 0; i < n; i++) {
        const struct json *items = f->value->array.items;
        if (hash_value(r, &items[i], &hashes[i]) == BROKEN)
            return BROKEN;
        size_t at = hashes[i] & (size - 1);
        for (; slots[at]; at = (at + 1) & (size - 1)) {
            size_t other = slots[at] - 1;
            enum fit fit = charge(r, 1);
            if (fit == FIT)
                fit = hashes[other] == hashes[i] ? same_value(r, &items[other], &items[i]) : UNFIT;
            if (fit == FIT)
                return unfit_words(r, f, KW_UNIQUE_ITEMS, " has items that are not unique", NULL);
            if (fit == BROKEN)
                return BROKEN;
        }
        slots[at] = (uint32_t)i + 1;
    }
    return FIT;
}
