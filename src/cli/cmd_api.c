#include "cli/cli.h"
#include "cli/commands.h"
#include "cli/files.h"

#include <unistd.h>

/* Exit statuses of this command alone. */
enum { EXIT_AUTH = 3, EXIT_CLIENT = 4, EXIT_SERVER = 5, EXIT_NETWORK = 7 };

static const char *reason(int status)
{
    static const struct {
        int status;
        const char *text;
    } reasons[] = {
        {400, "Bad Request"}, {401, "Unauthorized"}, {403, "Forbidden"}, {404, "Not Found"}, {405, "Method Not Allowed"},
        {409, "Conflict"},    {410, "Gone"},         {422, "Unprocessable Entity"}, {423, "Locked"}, {429, "Too Many Requests"},
        {500, "Internal Server Error"}, {502, "Bad Gateway"}, {503, "Service Unavailable"},
    };
    for (size_t i = 0; i < COUNT_OF(reasons); i++)
        if (reasons[i].status == status)
            return reasons[i].text;
    return status >= 500 ? "Server Error" : "Client Error";
}

/* --data, else what is piped in, else {} where a body is usual. */
static int read_body(struct cli *x, const char *method, Str *ret, struct err *err)
{
    Str data = args_text(&x->args, "data");
    bool writes = !strcmp(method, "POST") || !strcmp(method, "PUT") || !strcmp(method, "PATCH");
    *ret = STR_NONE;
    if (data.p && data.n > 1 && data.p[0] == '@')
        return path_read(x->a, str_sub(data, 1, SIZE_MAX), ret, err);
    if (data.p) {
        *ret = data;
        return 0;
    }
    if (writes && !isatty(0) && path_read(x->a, STR("-"), ret, err) < 0)
        return -1;
    if (writes && !str_trim(ret->p ? *ret : STR("")).n)
        *ret = STR("{}");
    return 0;
}

static int run(struct cli *x, struct err *err)
{
    static const char *const methods[] = {"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"};
    Str given = args_text(&x->args, "method"), path = args_text(&x->args, "path"), body;
    const char *method = NULL;
    for (size_t i = 0; i < COUNT_OF(methods); i++)
        if (str_ieq(given, str_of(methods[i])))
            method = methods[i];
    if (!method)
        return err_set(err, ERR_INVALID, "\"%.*s\" is no HTTP method", STR_ARG(given));
    if (cli_check_url(x, err) < 0 || read_body(x, method, &body, err) < 0)
        return -1;
    if (!str_starts(path, STR("/")))
        path = str_fmt(x->a, "/%.*s", STR_ARG(path));

    struct client_options o = cli_client_options(x);
    struct strs headers = args_list(&x->args, "header");
    for (size_t i = 0; i < headers.n; i++)
        o.headers = str_fmt(x->a, "%.*s%.*s\n", STR_ARG(o.headers), STR_ARG(headers.v[i]));
    AUTO(client_freep) struct client *c = client_create(&o);
    struct response r;
    bool verbose = args_flag(&x->args, "verbose", false);
    Str base = client_base_url(c);
    if (verbose)
        fprintf(stderr, "> %s %.*s%.*s\n", method, STR_ARG(base), STR_ARG(path));
    if (client_call(c, x->a, method, path, body, &r, err) < 0) {
        fprintf(stderr, "Error: %s\n", err->text);
        return EXIT_NETWORK;
    }
    if (verbose)
        fprintf(stderr, "< %d\n", r.status);
    AUTO(buf_free) struct buf out = BUF(LIMIT_REPLY * 2);
    if (r.json && (x->terminal || r.status >= 400))
        text_json(&out, r.json);
    else if (r.body.n)
        buf_fmt(&out, "%.*s\n", STR_ARG(r.body));
    if (r.status < 400) {
        buf_str(&x->out, buf_view(&out));
        return 0;
    }
    fprintf(stderr, "Error: %d %s\n%.*s", r.status, reason(r.status), (int)out.n, out.n ? out.p : "");
    return r.status == 401 || r.status == 403 ? EXIT_AUTH : r.status < 500 ? EXIT_CLIENT : EXIT_SERVER;
}

const struct command command_api = {
    .name = "api", .summary = "Call the API directly", .run = run,
    .details = "Ends with 0, 3 (refused credentials), 4 (refused request), 5 (failed server), 7 (no server).",
    .args = ARGS({"method", "GET, POST, PUT, PATCH, DELETE, HEAD or OPTIONS"}, {"path", "Below the API's address: /flows/filter"}),
    .options = OPTIONS({"data", NULL, VALUE_TEXT, OPTION_DASH, "The body, or @FILE; else standard input, or {}"},
                       {"header", "H", VALUE_TEXT, OPTION_LIST, "\"Name: value\""}, {"verbose", "v", VALUE_FLAG, 0, "Say what is sent and answered"}),
};
