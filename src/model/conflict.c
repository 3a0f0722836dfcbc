/* A broken constraint in words: what exists already, and under which name. */
#include "model/record.h"

#include <string.h>

/* "work_queue" → "work queue". */
static void put_words(struct buf *b, Str name)
{
    if (str_ends(name, STR("_v2")))
        name = str_sub(name, 0, name.n - 3);
    for (size_t i = 0; i < name.n; i++)
        buf_char(b, name.p[i] == '_' ? ' ' : name.p[i]);
}

static void put_a(struct buf *b, const char *article, Str name)
{
    buf_z(b, article);
    buf_z(b, name.n && strchr("aeio", name.p[0]) ? "n " : " ");
    put_words(b, name);
}

static const struct field *column(const struct resource *r, Str name)
{
    return r ? resource_field(r, str_trim(name)) : NULL;
}

/* A reference to the object that the name is unique in. */
static bool is_owner(Str name)
{
    return str_ends(name, STR("_id"));
}

static void put_value(struct buf *b, const struct field *f, const void *rec)
{
    const void *p = (const char *)rec + f->offset;
    if (f->type == F_UUID)
        buf_fmt(b, " %s", uuid_text(*(const Uuid *)p).s);
    else if (f->type == F_STR || f->type == F_ENUM)
        buf_fmt(b, " '%.*s'", STR_ARG(str_sub(*(const Str *)p, 0, 150)));
}

/* "a work queue with the name 'q' exists already in the same work pool" */
static void unique(struct buf *b, const struct resource *r, const void *rec, const struct db_conflict *k)
{
    Str rest = k->columns, name;
    put_a(b, "A", r ? str_of(r->name) : k->table);
    for (const char *join = " with the "; k->columns.n && str_cut(&rest, ',', &name);) {
        name = str_trim(name);
        if (is_owner(name))
            continue;
        const struct field *f = column(r, name);
        buf_z(b, join);
        put_words(b, name);
        if (f)
            put_value(b, f, rec);
        join = " and the ";
    }
    buf_z(b, " exists already");
    rest = k->columns;
    for (const char *join = " in the same "; k->columns.n && str_cut(&rest, ',', &name);) {
        name = str_trim(name);
        if (!is_owner(name))
            continue;
        buf_z(b, join);
        put_words(b, str_sub(name, 0, name.n - 3));
        join = " and ";
    }
    buf_char(b, '.');
}

void conflict_explain(const struct resource *r, const void *rec, struct err *err)
{
    struct db_conflict k;
    if (!db_conflict_read(err, &k))
        return;
    AUTO(buf_free) struct buf b = BUF(sizeof err->text);
    bool same = r && r->table && str_eqz(k.table, r->table);
    Str name = same ? str_of(r->name) : k.table;
    switch (k.kind) {
    case DB_UNIQUE:
        unique(&b, same ? r : NULL, rec, &k);
        break;
    case DB_FOREIGN_KEY:
        put_a(&b, "What a", name);
        buf_z(&b, " refers to does not exist.");
        break;
    case DB_CHECK:
        put_a(&b, "A", name);
        buf_z(&b, " cannot have these values.");
        break;
    case DB_CONSTRAINT_COUNT:
        break;
    }
    err_set(err, ERR_CONFLICT, "%.*s", STR_ARG(buf_view(&b)));
}
