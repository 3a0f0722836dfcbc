#include "schema/apply.h"

#include "schema/pyrepr.h"

#include <string.h>

static bool plain_key(Str key)
{
    for (size_t i = 0; i < key.n; i++) {
        char c = key.p[i];
        bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        if (!letter && (i == 0 || !((c >= '0' && c <= '9') || c == '_')))
            return false;
    }
    return key.n > 0;
}

Str steps_text(struct arena *a, const struct schema_step *steps, size_t n)
{
    AUTO(buf_free) struct buf b = BUF(16000);
    for (size_t i = 0; i < n; i++) {
        Str key = steps[i].key;
        if (!key.p) {
            buf_fmt(&b, "[%zu]", steps[i].index);
        } else if (plain_key(key)) {
            if (b.n)
                buf_char(&b, '.');
            buf_str(&b, key);
        } else {
            buf_z(&b, "['");
            for (size_t k = 0; k < key.n; k++) {
                if (key.p[k] == '\\' || key.p[k] == '\'')
                    buf_char(&b, '\\');
                buf_char(&b, key.p[k]);
            }
            buf_z(&b, "']");
        }
    }
    return str_dup(a, buf_view(&b));
}

static int step_cmp(const struct schema_step *x, const struct schema_step *y)
{
    if (x->key.p && y->key.p)
        return str_cmp(x->key, y->key);
    if (x->key.p || y->key.p)
        return x->key.p ? 1 : -1;
    return (x->index > y->index) - (x->index < y->index);
}

/* How much a fault says, next to others about the same value: shallow ones more than deep ones; of those the
 * last in the order of names; any other keyword more than anyOf and oneOf; and last, one whose schema names a
 * type that the value is not of. The order of Python's jsonschema, whose choice users are used to. */
static int fault_cmp(const struct fault *x, const struct fault *y)
{
    size_t nx = x->error.step_count - x->base, ny = y->error.step_count - y->base;
    if (nx != ny)
        return nx < ny ? 1 : -1;
    for (size_t i = 0; i < nx; i++) {
        int c = step_cmp(&x->error.steps[x->base + i], &y->error.steps[y->base + i]);
        if (c)
            return c;
    }
    if (x->weak != y->weak)
        return x->weak ? -1 : 1;
    if (x->type_fits != y->type_fits)
        return x->type_fits ? -1 : 1;
    return 0;
}

const struct schema_error *faults_best(const struct faults *faults)
{
    const struct fault *best = NULL;
    for (size_t i = 0; i < faults->list.n; i++)
        if (!best || fault_cmp(faults->list.v[i], best) > 0)
            best = faults->list.v[i];
    /* Of failed branches, the one that came furthest is meant; where two did, none is. */
    while (best && best->context.list.n) {
        const struct fault *least = best->context.list.v[0];
        bool shared = false;
        for (size_t i = 1; i < best->context.list.n; i++) {
            int c = fault_cmp(best->context.list.v[i], least);
            if (c < 0)
                least = best->context.list.v[i];
            shared = c < 0 ? false : shared || c == 0;
        }
        if (shared)
            break;
        best = least;
    }
    return best ? &best->error : NULL;
}

Str schema_error_text(struct arena *a, const struct schema_errors *errors)
{
    const struct schema_error *e = errors->best;
    if (!e)
        return STR_NONE;
    AUTO(buf_free) struct buf b = BUF(32000);
    buf_z(&b, "Validation failed");
    if (e->path.n) {
        buf_z(&b, " for field ");
        py_repr_str(&b, e->path.p[0] == '[' ? str_fmt(a, "$%.*s", STR_ARG(e->path)) : e->path);
    }
    buf_z(&b, ". Failure reason: ");
    buf_str(&b, e->message);
    return str_dup(a, buf_view(&b));
}

/* ---- the nested form ---- */

/* Where a form shows the error: a missing property is shown at that property. */
static size_t place_count(const struct schema_error *e)
{
    return e->step_count + (str_eqz(e->keyword, "required") && e->property.p ? 1 : 0);
}

static struct schema_step place_step(const struct schema_error *e, size_t i)
{
    return i < e->step_count ? e->steps[i] : (struct schema_step){.key = e->property};
}

/* Two levels of JSON each; what lies deeper is told at this depth. */
#define PRINT_DEPTH_MAX 80

static void open_entry(struct jw *w, struct schema_step step)
{
    jw_object(w);
    if (step.key.p) {
        jw_kstr(w, "property", step.key);
    } else {
        jw_kint(w, "index", (int64_t)step.index);
    }
    jw_key(w, STR("errors"));
    jw_array(w);
}

/* The errors `group`, all of which go through the same first `depth` steps: an entry for each error that ends
 * at the next step, one for all that go on through the same step; these stand in the first entry of that
 * step. */
static void print_level(struct arena *a, struct jw *w, const struct schema_error *const *group, size_t n,
                        size_t depth)
{
    bool *done = arena_array(a, bool, n);
    const struct schema_error **inner = arena_array(a, const struct schema_error *, n);
    for (size_t i = 0; i < n; i++) {
        if (done[i])
            continue;
        size_t count = place_count(group[i]);
        if (count == depth || depth >= PRINT_DEPTH_MAX) {
            jw_str(w, group[i]->message);
            continue;
        }
        struct schema_step step = place_step(group[i], depth);
        bool ends = count == depth + 1;
        open_entry(w, step);
        if (ends)
            jw_str(w, group[i]->message);
        size_t inner_n = 0;
        for (size_t k = i; k < n; k++) {
            struct schema_step other;
            if (done[k] || place_count(group[k]) <= depth + 1)
                continue;
            other = place_step(group[k], depth);
            if (step_cmp(&other, &step) == 0) {
                done[k] = true;
                inner[inner_n++] = group[k];
            }
        }
        if (inner_n)
            print_level(a, w, inner, inner_n, depth + 1);
        jw_end(w);
        jw_end(w);
    }
}

void schema_errors_print(const struct schema_errors *errors, struct jw *w)
{
    AUTO(arena_freep) struct arena *a = arena_create();
    size_t n = errors->list.n;
    const struct schema_error **group = arena_array(a, const struct schema_error *, n);
    for (size_t i = 0; i < n; i++)
        group[i] = &errors->list.v[i];
    jw_array(w);
    print_level(a, w, group, n, 0);
    jw_end(w);
}
