#include "worker/engine.h"

#include "base/limits.h"

#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#define CALL_WITHIN (60 * SEC)

int engine_open(struct engine *e, Str address, struct err *err)
{
    *e = (struct engine){.plain.fd = -1};
    const char *variable = getenv("DOCKER_HOST"), *tls = getenv("DOCKER_TLS_VERIFY");
    if (!address.n)
        address = variable && *variable ? str_of(variable) : STR("unix:///var/run/docker.sock");
    snprintf(e->shown, sizeof e->shown, "%.*s", STR_ARG(address));
    bool fine;
    if (str_starts(address, STR("unix://"))) {
        Str path = str_sub(address, 7, SIZE_MAX);
        fine = path.n && snprintf(e->socket, sizeof e->socket, "%.*s", STR_ARG(path)) < (int)sizeof e->socket && plain_init(&e->plain, STR("http://localhost"), e->socket);
    } else {
        char url[300];
        fine = str_starts(address, STR("tcp://")) && !(tls && *tls) &&
               snprintf(url, sizeof url, "http://%.*s", STR_ARG(str_sub(address, 6, SIZE_MAX))) < (int)sizeof url && plain_init(&e->plain, str_of(url), NULL);
    }
    if (!fine)
        return err_set(err, ERR_INVALID, "DOCKER_HOST '%s' is no address that is served here: unix:///path or tcp://host:port, without TLS", e->shown);
    return 0;
}

void engine_close(struct engine *e)
{
    if (e->plain.in.max)
        plain_clear(&e->plain);
}

int engine_call(struct engine *e, struct arena *a, const char *method, Str path, Str headers, Str body, Dur timeout, int *ret_status,
                Str *ret_body, struct err *err)
{
    struct plain_answer answer = {0};
    const char *why = "";
    AUTO(buf_free) struct buf text = BUF(LIMIT_REPLY);
    Str lines = str_fmt(a, "%.*s%s", STR_ARG(headers), body.n ? "Content-Type: application/json\r\n" : "");
    if (plain_call(&e->plain, method, path, lines, body, timeout, NULL, NULL, &text, &answer, &why) != PLAIN_OK)
        return err_set(err, ERR_IO, "the container engine at %s does not answer (%s): is it running, and may this user speak with it?", e->shown, why);
    *ret_status = answer.status;
    *ret_body = str_dup(a, buf_view(&text));
    return 0;
}

int engine_json(struct engine *e, struct arena *a, const char *method, Str path, Str body, const struct json **ret, struct err *err)
{
    int status;
    Str text;
    struct err ignored;
    if (engine_call(e, a, method, path, STR(""), body, CALL_WITHIN, &status, &text, err) < 0)
        return -1;
    const struct json *v = str_trim(text).n ? json_parse(a, text, &ignored) : NULL;
    if (status >= 400) {
        Str said = json_get_str(v, STR("message"));
        enum err_code code = status == 404 ? ERR_NOT_FOUND : status == 409 ? ERR_CONFLICT : status < 500 ? ERR_INVALID : ERR_IO;
        return err_set(err, code, "the container engine says: %.*s (%d)", STR_ARG(said.n ? said : str_sub(text, 0, 150)), status);
    }
    if (ret)
        *ret = v;
    return 0;
}

int engine_probe(Str address, struct err *err)
{
    AUTO(engine_close) struct engine e;
    AUTO(arena_freep) struct arena *a = arena_create();
    if (engine_open(&e, address, err) < 0)
        return -1;
    return engine_json(&e, a, "GET", STR("/_ping"), STR_NONE, NULL, err);
}
