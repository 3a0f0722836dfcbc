#include "cli/profiles.h"

#include "cli/files.h"
#include "cli/toml.h"

static void on_value(void *user, Str path, Str value)
{
    struct profiles *p = user;
    Str first, name;
    if (str_eq(path, STR("active"))) {
        p->active = value.n ? value : STR_NONE;
        return;
    }
    if (!str_cut(&path, TOML_SEP, &first) || !str_eq(first, STR("profiles")) || !str_cut(&path, TOML_SEP, &name))
        return;
    struct profile *f = profiles_find(p, name);
    if (!f)
        f = profiles_add(p, name);
    if (path.n && value.p)
        profile_set(p, f, path, value);
}

int profiles_load(struct arena *a, Str path, struct profiles *ret, struct err *err)
{
    struct profiles p = {.a = a, .path = path};
    Str text;
    if (path_read(a, path, &text, err) < 0) {
        if (err->code != ERR_NOT_FOUND)
            return -1;
        *ret = p;
        return 0;
    }
    if (toml_read(a, text, on_value, &p, err) < 0)
        return err_wrap(err, "%.*s", STR_ARG(path));
    *ret = p;
    return 0;
}

int profiles_save(const struct profiles *p, struct err *err)
{
    AUTO(buf_free) struct buf out = BUF((size_t)4 << 20);
    if (p->active.p) {
        buf_z(&out, "active = ");
        toml_put_string(&out, p->active);
        buf_char(&out, '\n');
    }
    for (size_t i = 0; i < p->list.n; i++) {
        const struct profile *f = &p->list.v[i];
        buf_z(&out, "\n[profiles.");
        toml_put_key(&out, f->name);
        buf_z(&out, "]\n");
        for (size_t k = 0; k < f->settings.n; k++) {
            toml_put_key(&out, f->settings.v[k].key);
            buf_z(&out, " = ");
            toml_put_string(&out, f->settings.v[k].value);
            buf_char(&out, '\n');
        }
    }
    if (out.overflow)
        return err_set(err, ERR_TOO_LARGE, "the profiles do not fit into a file of 4 MB");
    return path_write(p->a, p->path, buf_view(&out), 0600, err);
}

struct profile *profiles_find(const struct profiles *p, Str name)
{
    for (size_t i = 0; i < p->list.n; i++)
        if (str_eq(p->list.v[i].name, name))
            return &p->list.v[i];
    return NULL;
}

struct profile *profiles_add(struct profiles *p, Str name)
{
    vec_push(p->a, &p->list, ((struct profile){.name = str_dup(p->a, name)}));
    return &p->list.v[p->list.n - 1];
}

void profiles_remove(struct profiles *p, Str name)
{
    size_t n = 0;
    for (size_t i = 0; i < p->list.n; i++)
        if (!str_eq(p->list.v[i].name, name))
            p->list.v[n++] = p->list.v[i];
    p->list.n = n;
}

void profile_set(struct profiles *p, struct profile *f, Str key, Str value)
{
    for (size_t i = 0; i < f->settings.n; i++)
        if (str_eq(f->settings.v[i].key, key)) {
            f->settings.v[i].value = str_dup(p->a, value);
            return;
        }
    vec_push(p->a, &f->settings, ((struct pair){str_dup(p->a, key), str_dup(p->a, value)}));
}

bool profile_unset(struct profile *f, Str key)
{
    size_t n = 0, before = f->settings.n;
    for (size_t i = 0; i < f->settings.n; i++)
        if (!str_eq(f->settings.v[i].key, key))
            f->settings.v[n++] = f->settings.v[i];
    f->settings.n = n;
    return n < before;
}
