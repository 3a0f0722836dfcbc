/* Calls of the API, and what its objects hold. */
#include "cli/cli.h"

#include "cli/commands.h"
#include "cli/guess.h"
#include "cli/progress.h"

#include <math.h>

#define PAGE 200

static Str header_lines(struct cli *x)
{
    struct err ignored;
    const struct json *v = json_parse(x->a, settings_text(x->settings, "client.custom_headers"), &ignored);
    AUTO(buf_free) struct buf b = BUF((size_t)64 << 10);
    for (size_t i = 0; json_is(v, JSON_OBJECT) && i < v->object.n; i++) {
        Str key = v->object.members[i].key, value = json_str(&v->object.members[i].value);
        if (value.p && !str_ieq(key, STR("user-agent")) && !str_starts(str_lower(x->a, key), STR("prefect-csrf-")))
            buf_fmt(&b, "%.*s: %.*s\n", STR_ARG(key), STR_ARG(value));
    }
    return str_dup(x->a, buf_view(&b));
}

struct client_options cli_client_options(struct cli *x)
{
    double timeout = settings_number(x->settings, "api.request_timeout");
    int64_t retries = settings_int(x->settings, "client.max_retries");
    return (struct client_options){
        .base_url = settings_api_url(x->settings),
        .auth_string = settings_text(x->settings, "api.auth_string"),
        .api_key = settings_text(x->settings, "api.key"),
        .user_agent = x->as_prefect ? STR("prefect/" PREFECT_VERSION " (API 0.8.4)") : STR_NONE,
        .headers = header_lines(x),
        .ca_file = settings_text(x->settings, "api.ssl_cert_file"),
        .tls_insecure = settings_bool(x->settings, "api.tls_insecure_skip_verify"),
        .timeout = isnan(timeout) || timeout <= 0 || timeout > 86400 ? 0 : (Dur)(timeout * 1e6),
        .retries = retries < 0 || retries > 100 ? -1 : (int)retries,
        .connect_retries = 2, /* a server that restarts is back in that time; one that is not there is told at once */
        .backoff = 100 * MSEC,
    };
}

/* What is wrong with an address as one of an API, and what may have been meant; NULL: nothing. */
static const char *url_fault(struct arena *a, Str url)
{
    static const Str schemes[] = {{"http://", 7}, {"https://", 8}, {"unix:", 5}};
    Str rest = STR_NONE, host, port;
    int64_t n;
    if (str_starts(url, schemes[2]))
        return url.n > schemes[2].n && url.p[5] == '/' ? NULL : "after \"unix:\" stands a path that begins with /";
    for (size_t i = 0; i < 2; i++)
        if (str_ieq(str_sub(url, 0, schemes[i].n), schemes[i]))
            rest = str_sub(url, schemes[i].n, SIZE_MAX);
    if (!rest.p) {
        ptrdiff_t at = str_find(url, STR("://"));
        if (at >= 0)
            return str_fmt(a, "\"%.*s\" is no scheme of an API's address: http or https is", (int)at, url.p).p;
        bool dotted = memchr(url.p, ':', url.n) || memchr(url.p, '.', url.n);
        return dotted ? str_fmt(a, "it lacks http:// or https:// in front: did you mean http://%.*s%s?", STR_ARG(url),
                                str_find(url, STR("/api")) < 0 ? "/api" : "").p
                      : "it lacks http:// or https:// in front";
    }
    for (size_t i = 0; i < url.n; i++)
        if ((uint8_t)url.p[i] <= ' ' || url.p[i] == 0x7f)
            return "there is white space in it";
    (void)str_cut(&rest, '/', &host);
    const char *user = memrchr(host.p, '@', host.n);
    if (user)
        host = str_sub(host, (size_t)(user - host.p) + 1, SIZE_MAX);
    const char *bracket = memrchr(host.p, ']', host.n), *colon = memrchr(host.p, ':', host.n);
    if (colon && (!bracket || colon > bracket)) {
        port = str_sub(host, (size_t)(colon - host.p) + 1, SIZE_MAX);
        host.n = (size_t)(colon - host.p);
        if (!str_int(port, &n) || n < 1 || n > 65535)
            return str_fmt(a, "\"%.*s\" is no port: 1 to 65535 is", STR_ARG(port)).p;
    }
    return host.n ? NULL : "it names no host";
}

int cli_check_url(struct cli *x, struct err *err)
{
    Str url = settings_api_url(x->settings), origin = settings_origin(x->settings, "api.url");
    if (x->url_checked)
        return 0;
    const char *fault = url_fault(x->a, url);
    if (fault)
        return err_set(err, ERR_INVALID, "%.*s is \"%.*s\", which is no address of an API: %s", STR_ARG(origin), STR_ARG(url), fault);
    bool quiet = settings_bool(x->settings, "silence_api_url_misconfiguration") || str_starts(url, STR("unix:"));
    if (!quiet && str_find(url, STR("/api")) < 0)
        fprintf(stderr, "%s: %.*s is \"%.*s\": an API's address mostly ends in /api\n", x->program, STR_ARG(origin), STR_ARG(url));
    x->url_checked = true;
    return 0;
}

struct client *cli_client(struct cli *x)
{
    if (!x->client) {
        struct client_options o = cli_client_options(x);
        o.waiting = progress_waiting;
        o.user = x;
        x->client = client_create(&o);
    }
    return x->client;
}

int api_no_server(struct cli *x, struct err *err)
{
    Str url = settings_api_url(x->settings);
    return err_set(err, ERR_IO, "no server answers at %.*s: start one with \"%s server start\", or give its address in %s_API_URL", STR_ARG(url), x->program,
                   settings_prefix(x->settings));
}

static int call(struct cli *x, const char *method, Str path, Str body, const struct json **ret, struct err *err)
{
    const struct json *v = NULL;
    if (cli_check_url(x, err) < 0)
        return -1;
    int rc = client_json(cli_client(x), x->a, method, path, body, &v, err);
    progress_answered(x);
    if (rc < 0) {
        if (err->code == ERR_AUTH)
            return err_set(err, ERR_AUTH, "%s %.*s%.*s: the server wants other credentials: set %s_API_AUTH_STRING or %s_API_KEY", method,
                           STR_ARG(client_base_url(x->client)), STR_ARG(path), settings_prefix(x->settings), settings_prefix(x->settings));
        if (err->code == ERR_IO && str_find(str_of(err->text), STR("no server answers")) == 0)
            return api_no_server(x, err);
        if (err->code == ERR_NOT_FOUND && !strcmp(err->text, "Not Found")) /* the path, not the object: another server, or an older one */
            return err_set(err, ERR_NOT_FOUND, "%s %.*s%.*s: Not Found", method, STR_ARG(client_base_url(x->client)), STR_ARG(path));
        if (err->code == ERR_IO && (strstr(err->text, "resolve host") || strstr(err->text, "host's name has no address"))) {
            Str origin = settings_origin(x->settings, "api.url");
            return err_set(err, ERR_IO, "no server answers at %.*s: the name of its host is not known here; the address stands in %.*s",
                           STR_ARG(client_base_url(x->client)), STR_ARG(origin));
        }
        return -1;
    }
    if (ret && !v)
        return err_set(err, ERR_IO, "%s %.*s: the answer is empty", method, STR_ARG(path));
    if (ret)
        *ret = v;
    return 0;
}

int api_get(struct cli *x, Str path, const struct json **ret, struct err *err)
{
    return call(x, "GET", path, STR_NONE, ret, err);
}

int api_post(struct cli *x, Str path, Str body, const struct json **ret, struct err *err)
{
    return call(x, "POST", path, body, ret, err);
}

int api_patch(struct cli *x, Str path, Str body, struct err *err)
{
    return call(x, "PATCH", path, body, NULL, err);
}

int api_delete(struct cli *x, Str path, struct err *err)
{
    return call(x, "DELETE", path, STR_NONE, NULL, err);
}

int api_list(struct cli *x, Str path, Str members, int64_t limit, struct items *ret, struct err *err)
{
    struct items items = {0};
    int64_t wanted = limit == INT_NONE ? INT64_MAX : limit;
    bool learn = false; /* the server's pages are smaller than ours: it says how large by the first */
    while ((int64_t)items.n < wanted) {
        int64_t page = MIN(wanted - (int64_t)items.n, (int64_t)PAGE);
        Str size = learn ? STR("null") : str_fmt(x->a, "%lld", (long long)page);
        Str body = str_fmt(x->a, "{%.*s%s\"limit\":%.*s,\"offset\":%zu}", STR_ARG(members), members.n ? "," : "", STR_ARG(size), items.n);
        const struct json *v;
        if (api_post(x, path, body, &v, err) < 0) {
            if (err->code != ERR_UNPROCESSABLE || learn || !strstr(err->text, "limit"))
                return -1;
            learn = true;
            continue;
        }
        if (!json_is(v, JSON_ARRAY))
            return err_set(err, ERR_IO, "POST %.*s: the answer is no list", STR_ARG(path));
        for (size_t i = 0; i < v->array.n && (int64_t)items.n < wanted; i++)
            vec_push(x->a, &items, &v->array.items[i]);
        if (learn ? !v->array.n : (int64_t)v->array.n < page)
            break;
    }
    *ret = items;
    return 0;
}

Str api_nearest(struct cli *x, Str path, Str name)
{
    struct items items;
    struct guesses g = {.word = name};
    struct err ignored;
    if (api_list(x, path, STR(""), INT_NONE, &items, &ignored) < 0)
        return STR("");
    for (size_t i = 0; i < items.n; i++)
        guess_try(&g, field(items.v[i], "name"));
    Str near = guess_text(x->a, &g);
    return near.n ? str_fmt(x->a, " Did you mean %.*s?", STR_ARG(near)) : near;
}

void cli_show_items(struct cli *x, const struct items *items)
{
    struct jw w = jw_on(&x->out);
    w.indent = 2;
    jw_array(&w);
    for (size_t i = 0; i < items->n; i++)
        jw_value(&w, items->v[i]);
    jw_end(&w);
    buf_char(&x->out, '\n');
}

Str field(const struct json *v, const char *key)
{
    Str s = json_get_str(v, str_of(key));
    return s.p ? s : STR("");
}

Time field_time(const struct json *v, const char *key)
{
    Time t;
    return time_parse(field(v, key), &t) ? t : TIME_NONE;
}

int64_t field_int(const struct json *v, const char *key)
{
    int64_t n;
    return json_int(json_get(v, str_of(key)), &n) ? n : INT_NONE;
}

bool field_bool(const struct json *v, const char *key)
{
    const struct json *b = json_get(v, str_of(key));
    return json_is(b, JSON_BOOL) && b->boolean;
}

Str field_ids(struct arena *a, const struct items *items, const char *key)
{
    AUTO(buf_free) struct buf b = BUF((size_t)16 << 20);
    struct map seen = {0};
    for (size_t i = 0; i < items->n; i++) {
        Str id = field(items->v[i], key);
        void **slot = id.n ? map_at(a, &seen, id) : NULL;
        if (!slot || *slot)
            continue;
        *slot = &seen;
        Str quoted = json_quote(a, id);
        buf_fmt(&b, "%s%.*s", b.n ? "," : "", STR_ARG(quoted));
    }
    return str_dup(a, buf_view(&b));
}

const struct json *items_find(const struct items *items, const char *key, Str value)
{
    for (size_t i = 0; i < items->n; i++)
        if (str_eq(field(items->v[i], key), value))
            return items->v[i];
    return NULL;
}

void items_sort(struct items *items, int (*order)(const struct json *x, const struct json *y))
{
    /* Merging keeps equal ones in the server's order. */
    const struct json **from = items->v, **to = calloc(items->n + 1, sizeof *to), **other = to;
    if (!to)
        die("out of memory");
    for (size_t run = 1; run < items->n; run *= 2) {
        for (size_t at = 0; at < items->n; at += 2 * run) {
            size_t i = at, mid = MIN(at + run, items->n), k = mid, end = MIN(at + 2 * run, items->n);
            for (size_t n = at; n < end; n++)
                to[n] = k >= end || (i < mid && order(from[i], from[k]) <= 0) ? from[i++] : from[k++];
        }
        const struct json **swap = from;
        from = to;
        to = swap;
    }
    if (from != items->v && items->n)
        memcpy(items->v, from, items->n * sizeof *from);
    free(other);
}

Str ui_page(struct cli *x, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    Str page = str_vfmt(x->a, fmt, ap), ui = settings_ui_url(x->settings);
    va_end(ap);
    return str_fmt(x->a, "%.*s%.*s", STR_ARG(ui), STR_ARG(page));
}

Str json_quote(struct arena *a, Str s)
{
    return json_new_str(a, s)->raw;
}

Str json_strings(struct arena *a, struct strs list)
{
    Str all = STR("");
    for (size_t i = 0; i < list.n; i++) {
        Str quoted = json_quote(a, list.v[i]);
        all = str_fmt(a, "%.*s%s%.*s", STR_ARG(all), i ? "," : "", STR_ARG(quoted));
    }
    return all;
}

const struct json *loose_json(struct arena *a, Str text, struct err *err)
{
    const struct json *v = json_parse(a, text, err);
    if (v)
        return v;
    if (memchr(text.p, '"', text.n)) {
        err_wrap(err, "'%.*s' is no JSON", STR_ARG(text));
        return NULL;
    }
    return json_new_str(a, text);
}

int pairs_json(struct arena *a, struct strs pairs, const char *option, struct map *ret, struct err *err)
{
    for (size_t i = 0; i < pairs.n; i++) {
        Str rest = pairs.v[i], key;
        if (!memchr(rest.p, '=', rest.n) || !str_cut(&rest, '=', &key) || !key.n)
            return err_set(err, ERR_INVALID, "--%s: \"%.*s\" is not KEY=VALUE", option, STR_ARG(pairs.v[i]));
        const struct json *v = loose_json(a, rest.p ? rest : STR(""), err);
        if (!v)
            return err_wrap(err, "--%s", option);
        AUTO(buf_free) struct buf b = BUF(LIMIT_BODY);
        struct jw w = jw_on(&b);
        jw_value(&w, v);
        Str *text = arena_new(a, Str);
        *text = str_dup(a, buf_view(&b));
        *map_at(a, ret, key) = text;
    }
    return 0;
}
