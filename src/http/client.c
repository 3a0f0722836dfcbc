#include "http/client.h"

#include "base/limits.h"
#include "http/curl_lazy.h"
#include "http/plain.h"

#include <errno.h>
#include <time.h>

#define API_VERSION "0.8.4"
#define PAUSE_MAX (30 * SEC)
#define RETRY_AFTER_MAX (120 * SEC) /* a server that asks for longer is answered by giving up */

struct client {
    struct arena *arena; /* the options' texts */
    struct plain plain;
    bool by_plain;       /* http:// without a proxy: libcurl is not needed unless it redirects */
    CURL *curl;
    Str shown_url;       /* as given, for messages */
    Str base_url;        /* what curl gets */
    const char *socket;  /* path of a Unix socket or NULL */
    bool local;          /* loopback: proxies are not asked */
    Str auth_header;     /* "Authorization: …" or STR_NONE */
    Str user_agent;
    Str ws_token;
    Str extra_headers; /* of the options */
    Str csrf_token, csrf_client; /* STR_NONE until one is asked for */
    const char *ca_file;
    bool tls_insecure, repeat_posts;
    Dur timeout, backoff;
    int retries, connect_retries;
    void (*waiting)(void *user, Dur waited);
    void *user;
    Dur begun; /* of the call under way */
};

/* What one transfer leaves. */
struct transfer {
    struct buf body;
    Dur retry_after;
    int status;
    bool json;       /* by its Content-Type */
    const char *why; /* where there is no answer */
};
#define TRANSFER ((struct transfer){.body = BUF(LIMIT_REPLY), .retry_after = -1})

static void transfer_clear(struct transfer *t)
{
    buf_free(&t->body);
}

static const char base64_digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

static Str base64(struct arena *a, Str s)
{
    char *out = arena_alloc(a, (s.n + 2) / 3 * 4 + 1), *p = out;
    for (size_t i = 0; i < s.n; i += 3) {
        uint32_t left = (uint32_t)MIN(s.n - i, (size_t)3), v = 0;
        for (uint32_t k = 0; k < 3; k++)
            v = v << 8 | (k < left ? (uint8_t)s.p[i + k] : 0);
        for (uint32_t k = 0; k < 4; k++)
            *p++ = k <= left ? base64_digits[v >> (18 - 6 * k) & 63] : '=';
    }
    *p = 0;
    return (Str){out, (size_t)(p - out)};
}

/* A value that would end its header line is no value. */
static bool header_safe(Str s)
{
    for (size_t i = 0; i < s.n; i++)
        if ((uint8_t)s.p[i] < 0x20 && s.p[i] != '\t')
            return false;
    return true;
}

/* The lines of a call, each ending in "\r\n". */
static Str header_lines(const struct client *c, struct buf *b, bool with_body)
{
    buf_z(b, "X-PREFECT-API-VERSION: " API_VERSION "\r\nAccept: application/json, */*;q=0.5\r\n");
    buf_fmt(b, "User-Agent: %.*s\r\n", STR_ARG(c->user_agent));
    if (with_body)
        buf_z(b, "Content-Type: application/json\r\n");
    if (c->auth_header.p)
        buf_fmt(b, "%.*s\r\n", STR_ARG(c->auth_header));
    Str extra = c->extra_headers;
    for (Str line; str_cut(&extra, '\n', &line);) {
        line = str_trim(line);
        if (line.n && header_safe(line) && memchr(line.p, ':', line.n))
            buf_fmt(b, "%.*s\r\n", STR_ARG(line));
    }
    if (c->csrf_token.p)
        buf_fmt(b, "Prefect-Csrf-Token: %.*s\r\nPrefect-Csrf-Client: %.*s\r\n", STR_ARG(c->csrf_token), STR_ARG(c->csrf_client));
    return buf_view(b);
}

/* Whether the host of an http URL is this machine. */
static bool is_loopback(Str url)
{
    ptrdiff_t at = str_find(url, STR("://"));
    Str host = at < 0 ? url : str_sub(url, (size_t)at + 3, SIZE_MAX);
    size_t end = 0;
    while (end < host.n && !strchr("/?#", host.p[end]))
        end++;
    host.n = end;
    for (size_t i = host.n; i-- > 0;)
        if (host.p[i] == '@') {
            host = str_sub(host, i + 1, SIZE_MAX);
            break;
        }
    return str_starts(host, STR("127.")) || str_starts(host, STR("[::1]")) || str_eq(host, STR("localhost")) ||
           str_starts(host, STR("localhost:"));
}

static Str without_slash(Str s)
{
    while (s.n && s.p[s.n - 1] == '/')
        s.n--;
    return s;
}

static Str copy(struct arena *a, Str s)
{
    return s.p ? str_dup(a, s) : STR_NONE;
}

static size_t on_body(char *p, size_t size, size_t n, void *user)
{
    struct transfer *t = user;
    buf_put(&t->body, p, size * n);
    return t->body.overflow ? 0 : size * n;
}

/* Seconds, or a date; -1 where it is neither. */
static Dur retry_after_of(Str value)
{
    double seconds;
    if (str_double(value, &seconds))
        return seconds >= 0 && seconds < 1e9 ? (Dur)(seconds * 1e6) : -1;
    char text[64];
    struct tm tm = {0};
    snprintf(text, sizeof text, "%.*s", STR_ARG(value));
    if (!strptime(text, "%a, %d %b %Y %H:%M:%S GMT", &tm))
        return -1;
    return MAX((Dur)0, (Dur)timegm(&tm) * SEC - time_now());
}

static size_t on_header(char *p, size_t size, size_t n, void *user)
{
    struct transfer *t = user;
    Str line = {p, size * n}, name;
    if (str_starts(line, STR("HTTP/")))
        t->retry_after = -1; /* of the last answer only */
    if (str_cut(&line, ':', &name) && str_ieq(name, STR("retry-after")))
        t->retry_after = retry_after_of(str_trim(line));
    return size * n;
}

static bool names_proxy(void)
{
    static const char *const names[] = {"http_proxy", "all_proxy", "ALL_PROXY"};
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        const char *v = getenv(names[i]);
        if (v && *v)
            return true;
    }
    return false;
}

struct client *client_create(const struct client_options *o)
{
    struct arena *a = arena_create();
    struct client *c = arena_new(a, struct client);
    c->arena = a;
    c->shown_url = without_slash(copy(a, o->base_url));
    if (str_starts(c->shown_url, STR("unix:"))) {
        Str rest = str_sub(c->shown_url, 5, SIZE_MAX), path;
        (void)str_cut(&rest, ':', &path);
        c->socket = str_z(a, path);
        c->base_url = str_fmt(a, "http://localhost%.*s", STR_ARG(rest));
    } else {
        c->base_url = c->shown_url;
    }
    c->local = c->socket || is_loopback(c->base_url);
    if (o->auth_string.p) {
        c->auth_header = str_fmt(a, "Authorization: Basic %.*s", STR_ARG(base64(a, o->auth_string)));
    } else if (o->api_key.p && header_safe(o->api_key)) {
        c->auth_header = str_fmt(a, "Authorization: Bearer %.*s", STR_ARG(o->api_key));
    }
    Str token = o->auth_string.p ? o->auth_string : o->api_key;
    c->ws_token = token.p ? json_new_str(a, str_dup(a, token))->raw : STR("null");
    c->user_agent =
        o->user_agent.p ? copy(a, o->user_agent) : STR("millpond/" MILLPOND_VERSION " (API " API_VERSION ")");
    c->ca_file = o->ca_file.p ? str_z(a, o->ca_file) : NULL;
    c->tls_insecure = o->tls_insecure;
    c->repeat_posts = o->repeat_posts;
    c->timeout = o->timeout ? o->timeout : 60 * SEC;
    c->backoff = o->backoff ? o->backoff : 200 * MSEC;
    c->retries = o->retries < 0 ? 5 : o->retries;
    c->connect_retries = o->connect_retries < 0 ? c->retries : MIN(o->connect_retries, c->retries);
    c->waiting = o->waiting;
    c->user = o->user;
    c->extra_headers = o->headers.p ? copy(a, o->headers) : STR("");
    c->by_plain = plain_init(&c->plain, c->base_url, c->socket) && (c->local || !names_proxy());
    return c;
}

void client_free(struct client *c)
{
    if (!c)
        return;
    if (c->curl)
        curl_easy_cleanup(c->curl);
    plain_clear(&c->plain);
    arena_free(c->arena);
}

void client_freep(struct client **c)
{
    client_free(*c);
}

Str client_base_url(const struct client *c)
{
    return c->shown_url;
}

static int on_waiting(void *user, curl_off_t down_all, curl_off_t down, curl_off_t up_all, curl_off_t up)
{
    struct client *c = user;
    UNUSED(down_all), UNUSED(down), UNUSED(up_all), UNUSED(up);
    c->waiting(c->user, time_monotonic() - c->begun);
    return 0;
}

enum outcome { ANSWERED, NO_HOST, NO_CONNECTION, BROKE, FAILED };

/* The easy handle is reset but keeps its connection, DNS and TLS caches. */
static enum outcome by_curl(struct client *c, const char *method, const char *url, Str body, struct transfer *t)
{
    curl_lazy_load();
    if (!c->curl && !(c->curl = curl_easy_init()))
        die("out of memory");
    CURL *h = c->curl;
    curl_easy_reset(h);
    curl_easy_setopt(h, CURLOPT_URL, url);
    curl_easy_setopt(h, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(h, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(h, CURLOPT_REDIR_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(h, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(h, CURLOPT_FOLLOWLOCATION, 1L);
    curl_easy_setopt(h, CURLOPT_MAXREDIRS, 5L);
    curl_easy_setopt(h, CURLOPT_POSTREDIR, (long)CURL_REDIR_POST_ALL);
    curl_easy_setopt(h, CURLOPT_TIMEOUT_MS, (long)(c->timeout / MSEC));
    curl_easy_setopt(h, CURLOPT_CONNECTTIMEOUT_MS, (long)(MIN(c->timeout, 10 * SEC) / MSEC));
    curl_easy_setopt(h, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(h, CURLOPT_WRITEDATA, t);
    curl_easy_setopt(h, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(h, CURLOPT_HEADERDATA, t);
    if (c->socket)
        curl_easy_setopt(h, CURLOPT_UNIX_SOCKET_PATH, c->socket);
    if (c->local)
        curl_easy_setopt(h, CURLOPT_PROXY, "");
    if (c->ca_file)
        curl_easy_setopt(h, CURLOPT_CAINFO, c->ca_file);
    if (c->tls_insecure) {
        curl_easy_setopt(h, CURLOPT_SSL_VERIFYPEER, 0L);
        curl_easy_setopt(h, CURLOPT_SSL_VERIFYHOST, 0L);
    }
    bool get = !strcmp(method, "GET"), post = !strcmp(method, "POST");
    if (body.p || post) {
        curl_easy_setopt(h, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)body.n);
        curl_easy_setopt(h, CURLOPT_POSTFIELDS, body.p ? body.p : "");
    } else if (!strcmp(method, "HEAD")) {
        curl_easy_setopt(h, CURLOPT_NOBODY, 1L);
    }
    if ((get && body.p) || (!get && !post))
        curl_easy_setopt(h, CURLOPT_CUSTOMREQUEST, method);
    AUTO(buf_free) struct buf lines = BUF((size_t)1 << 20);
    Str rest = header_lines(c, &lines, body.p != NULL);
    struct curl_slist *headers = curl_slist_append(NULL, "Expect:");
    AUTO(arena_freep) struct arena *a = arena_create();
    for (Str line; headers && str_cut(&rest, '\n', &line);)
        if (str_trim(line).n)
            headers = curl_slist_append(headers, str_z(a, str_trim(line)));
    if (!headers)
        die("out of memory");
    curl_easy_setopt(h, CURLOPT_HTTPHEADER, headers);
    if (c->waiting) {
        curl_easy_setopt(h, CURLOPT_NOPROGRESS, 0L);
        curl_easy_setopt(h, CURLOPT_XFERINFOFUNCTION, on_waiting);
        curl_easy_setopt(h, CURLOPT_XFERINFODATA, c);
    }
    buf_reset(&t->body);
    t->retry_after = -1;
    CURLcode code = curl_easy_perform(h);
    curl_slist_free_all(headers);
    if (code == CURLE_OK) {
        long status = 0;
        const char *type = NULL;
        curl_easy_getinfo(h, CURLINFO_RESPONSE_CODE, &status);
        curl_easy_getinfo(h, CURLINFO_CONTENT_TYPE, &type);
        t->status = (int)status;
        t->json = type && strstr(type, "json");
        return ANSWERED;
    }
    t->why = curl_easy_strerror(code);
    switch ((int)code) {
    case CURLE_COULDNT_CONNECT:
        return NO_CONNECTION;
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_RESOLVE_PROXY:
        return NO_HOST;
    case CURLE_GOT_NOTHING:
    case CURLE_RECV_ERROR:
    case CURLE_SEND_ERROR:
    case CURLE_PARTIAL_FILE:
    case CURLE_OPERATION_TIMEDOUT:
        return BROKE;
    default:
        return FAILED;
    }
}

static void on_plain_waiting(void *user)
{
    struct client *c = user;
    c->waiting(c->user, time_monotonic() - c->begun);
}

/* One try. */
static enum outcome transfer_run(struct client *c, const char *method, const char *url, Str body, struct transfer *t)
{
    if (!c->by_plain)
        return by_curl(c, method, url, body, t);
    static const enum outcome outcomes[] = {
        [PLAIN_OK] = ANSWERED, [PLAIN_NO_HOST] = NO_HOST, [PLAIN_NO_CONNECT] = NO_CONNECTION, [PLAIN_BROKE] = BROKE, [PLAIN_BAD] = FAILED};
    Str target = str_sub(str_of(url), sizeof "http://" - 1, SIZE_MAX);
    size_t n = 0;
    while (n < target.n && !strchr("/?", target.p[n]))
        n++;
    AUTO(buf_free) struct buf lines = BUF((size_t)1 << 20);
    struct plain_answer answer = {0};
    enum plain_result r = plain_call(&c->plain, method, str_sub(target, n, SIZE_MAX), header_lines(c, &lines, body.p != NULL), body, c->timeout,
                                     c->waiting ? on_plain_waiting : NULL, c, &t->body, &answer, &t->why);
    if (r == PLAIN_OK && (answer.status / 100 == 3 && answer.status != 304))
        return by_curl(c, method, url, body, t); /* it knows how to follow */
    t->status = answer.status;
    t->json = strstr(answer.type, "json");
    t->retry_after = answer.retry_after[0] ? retry_after_of(str_of(answer.retry_after)) : -1;
    return outcomes[r];
}


static void pause_for(struct client *c, Dur d)
{
    for (Dur until = time_monotonic() + d, now; (now = time_monotonic()) < until;) {
        Dur step = c->waiting ? MIN(until - now, 250 * MSEC) : until - now;
        struct timespec left = {step / SEC, step % SEC * 1000};
        (void)nanosleep(&left, NULL);
        if (c->waiting)
            c->waiting(c->user, time_monotonic() - c->begun);
    }
}

/* Before try number n + 2: doubled each time, a fifth up or down. */
static Dur backoff(const struct client *c, int n)
{
    Dur d = c->backoff;
    while (n-- > 0 && d < PAUSE_MAX)
        d *= 2;
    return (Dur)((double)MIN(d, PAUSE_MAX) * (0.8 + 0.4 * random_double()));
}

/* Whether sending it twice does no more than sending it once. */
static bool repeatable(const struct client *c, const char *method, Str path)
{
    if (strcmp(method, "POST"))
        return true;
    path = str_sub(path, 0, path.n - (size_t)(path.n && path.p[path.n - 1] == '/'));
    return c->repeat_posts || str_ends(path, STR("/filter")) || str_ends(path, STR("/count"));
}

/* Tries until there is an answer that is not "later", or the tries are used up. */
static int call_with_retries(struct client *c, const char *method, const char *url, Str path, Str body,
                             struct transfer *t, struct err *err)
{
    c->begun = time_monotonic();
    for (int n = 0;; n++) {
        enum outcome got = transfer_run(c, method, url, body, t);
        Dur pause = backoff(c, n);
        if (got == ANSWERED) {
            bool later = t->status == 408 || t->status == 429 || t->status == 502 || t->status == 503;
            if (!later || n >= c->retries || t->retry_after > RETRY_AFTER_MAX)
                return 0;
            if (t->retry_after >= 0)
                pause = (Dur)((double)t->retry_after * (1 + 0.2 * random_double()));
        } else {
            bool again = got == NO_HOST || got == NO_CONNECTION ? n < c->connect_retries
                                                                : got == BROKE && repeatable(c, method, path) && n < c->retries;
            if (!again) {
                if (t->body.overflow)
                    return err_set(err, ERR_TOO_LARGE, "%s %.*s%.*s: the answer is over %zu MB", method,
                                   STR_ARG(c->shown_url), STR_ARG(path), LIMIT_REPLY >> 20);
                if (got == NO_CONNECTION)
                    return err_set(err, ERR_IO, "no server answers at %.*s: is it running, and is this its address?",
                                   STR_ARG(c->shown_url));
                return err_set(err, ERR_IO, "%s %.*s%.*s: %s", method, STR_ARG(c->shown_url), STR_ARG(path), t->why);
            }
        }
        pause_for(c, pause);
    }
}

/* Asks for the token that a 403 said is missing, and makes the header lists that carry it. */
static int csrf_fetch(struct client *c, struct arena *a, struct err *err)
{
    struct uuid_text id = uuid_text(uuid_v4());
    Str path = str_fmt(a, "/csrf-token?client=%s", id.s);
    Str url = str_fmt(a, "%.*s%.*s", STR_ARG(c->base_url), STR_ARG(path));
    AUTO(transfer_clear) struct transfer t = TRANSFER;
    if (call_with_retries(c, "GET", url.p, path, STR_NONE, &t, err) < 0)
        return -1;
    struct err ignored;
    const struct json *v = json_parse(a, buf_view(&t.body), &ignored);
    Str token = json_get_str(v, STR("token"));
    if (t.status != 200 || !token.n || !header_safe(token))
        return err_set(err, ERR_FORBIDDEN, "the server wants a CSRF token, but gives none (it answered %d)", t.status);
    c->csrf_token = str_dup(c->arena, token);
    c->csrf_client = str_dup(c->arena, str_of(id.s));
    return 0;
}

int client_call(struct client *c, struct arena *a, const char *method, Str path, Str body, struct response *ret,
                struct err *err)
{
    Str url = str_fmt(a, "%.*s%.*s", STR_ARG(c->base_url), STR_ARG(path));
    AUTO(transfer_clear) struct transfer t = TRANSFER;
    if (call_with_retries(c, method, url.p, path, body, &t, err) < 0)
        return -1;
    if (t.status == 403 && str_find(buf_view(&t.body), STR("CSRF")) >= 0) {
        if (csrf_fetch(c, a, err) < 0 || call_with_retries(c, method, url.p, path, body, &t, err) < 0)
            return -1;
    }
    struct response r = {.status = t.status, .body = str_dup(a, buf_view(&t.body)), .retry_after = t.retry_after};
    if (r.body.n && t.json) {
        r.json = json_parse(a, r.body, err);
        if (!r.json)
            return err_wrap(err, "%s %.*s%.*s: the answer says it is JSON, but is not", method,
                            STR_ARG(c->shown_url), STR_ARG(path));
    }
    *ret = r;
    return 0;
}

/* "body.name: Field required" for the first few violations of a list. */
static Str violations_text(struct arena *a, const struct json *list)
{
    AUTO(buf_free) struct buf b = BUF(4096);
    for (size_t i = 0; i < list->array.n; i++) {
        if (i == 3) {
            buf_fmt(&b, "; and %zu more", list->array.n - i);
            break;
        }
        const struct json *row = &list->array.items[i], *loc = json_getz(row, "loc");
        if (i)
            buf_z(&b, "; ");
        for (size_t k = 0; json_is(loc, JSON_ARRAY) && k < loc->array.n; k++) {
            Str part = loc->array.items[k].kind == JSON_STRING ? loc->array.items[k].string : loc->array.items[k].raw;
            buf_fmt(&b, "%s%.*s", k ? "." : "", STR_ARG(part));
        }
        Str msg = json_getz(row, "msg") ? json_str(json_getz(row, "msg")) : row->raw;
        buf_fmt(&b, "%s%.*s", json_is(loc, JSON_ARRAY) && loc->array.n ? ": " : "", STR_ARG(msg));
    }
    return str_dup(a, buf_view(&b));
}

Str response_error_text(struct arena *a, const struct response *r)
{
    const struct json *detail = json_getz(r->json, "detail");
    const struct json *violations = json_getz(r->json, "exception_detail");
    if (json_is(violations, JSON_ARRAY) && violations->array.n)
        return violations_text(a, violations);
    if (json_is(detail, JSON_ARRAY) && detail->array.n)
        return violations_text(a, detail);
    if (json_is(detail, JSON_STRING) && detail->string.n)
        return detail->string;
    Str message = json_get_str(r->json, STR("exception_message"));
    if (message.n)
        return message;
    if (!json_is_null(detail))
        return json_text(a, detail);
    return str_fmt(a, "the server answered %d", r->status);
}

static enum err_code code_of_status(int status)
{
    switch (status) {
    case 401:
        return ERR_AUTH;
    case 403:
        return ERR_FORBIDDEN;
    case 404:
        return ERR_NOT_FOUND;
    case 405:
        return ERR_METHOD;
    case 409:
        return ERR_CONFLICT;
    case 410:
        return ERR_GONE;
    case 413:
        return ERR_TOO_LARGE;
    case 422:
        return ERR_UNPROCESSABLE;
    case 423:
        return ERR_LOCKED;
    case 429:
    case 502:
    case 503:
    case 504:
        return ERR_BUSY;
    }
    return status >= 500 ? ERR_INTERNAL : ERR_INVALID;
}

int response_error(struct arena *a, const struct response *r, struct err *err)
{
    Str text = response_error_text(a, r);
    return err_set(err, code_of_status(r->status), "%.*s", STR_ARG(text));
}

int client_json(struct client *c, struct arena *a, const char *method, Str path, Str body, const struct json **ret,
                struct err *err)
{
    struct response r;
    if (client_call(c, a, method, path, body, &r, err) < 0)
        return -1;
    if (r.status >= 400)
        return response_error(a, &r, err);
    if (r.body.n && !r.json)
        return err_set(err, ERR_IO, "%s %.*s%.*s: the answer is not JSON: is this the address of the API (it ends in "
                                    "/api)?",
                       method, STR_ARG(c->shown_url), STR_ARG(path));
    *ret = r.json;
    return 0;
}

Str url_segment(struct arena *a, Str s)
{
    static const char hex[] = "0123456789ABCDEF";
    char *out = arena_alloc(a, s.n * 3 + 1), *p = out;
    for (size_t i = 0; i < s.n; i++) {
        uint8_t ch = (uint8_t)s.p[i];
        bool plain = (ch >= 'a' && ch <= 'z') || (ch >= 'A' && ch <= 'Z') || (ch >= '0' && ch <= '9') ||
                     (ch && strchr("-._~", ch));
        if (plain) {
            *p++ = (char)ch;
        } else {
            *p++ = '%';
            *p++ = hex[ch >> 4];
            *p++ = hex[ch & 15];
        }
    }
    *p = 0;
    return (Str){out, (size_t)(p - out)};
}

Str client_ws_url(const struct client *c, struct arena *a, Str path)
{
    if (c->socket)
        return STR_NONE;
    bool tls = str_starts(c->base_url, STR("https://"));
    ptrdiff_t at = str_find(c->base_url, STR("://"));
    Str rest = at < 0 ? c->base_url : str_sub(c->base_url, (size_t)at + 3, SIZE_MAX);
    return str_fmt(a, "%s://%.*s%.*s", tls ? "wss" : "ws", STR_ARG(rest), STR_ARG(path));
}

Str client_auth_headers(const struct client *c, struct arena *a)
{
    return c->auth_header.p ? str_fmt(a, "%.*s\r\n", STR_ARG(c->auth_header)) : STR("");
}

Str client_ws_token(const struct client *c)
{
    return c->ws_token;
}
