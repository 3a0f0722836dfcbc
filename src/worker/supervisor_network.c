/* A managed run's network: what its sandbox sees of names and addresses, and what leads out of it. */
#include <stdlib.h>
#include <string.h>

#include "worker/sandbox.h"
#include "worker/supervisor_int.h"

#define PROXY_PORT 3128
#define CONTROL_PORT 3126
#define NAMES_PORT 53
#define NAMES_FILE "/etc/resolv.conf"

static const char *const proxies[] = {"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"};

/* The lists of name servers and hosts as a sandbox should have them: asked for through us. */
static const char *names_file(struct arena *a)
{
    Str text = STR_NONE;
    struct err err;
    AUTO(buf_free) struct buf b = BUF((size_t)64 << 10);
    buf_z(&b, "nameserver 127.0.0.1\n");
    (void)!file_read(a, "/etc/resolv.conf", (size_t)64 << 10, &text, &err);
    for (Str line; str_cut(&text, '\n', &line);) {
        line = str_trim(line);
        if (str_starts(line, STR("search ")) || str_starts(line, STR("domain ")) || str_starts(line, STR("options ")))
            buf_fmt(&b, "%.*s\n", STR_ARG(line));
    }
    return str_z(a, buf_view(&b));
}

/* Names of the machine's own list, but for those of its loopback, which mean the inside there. */
static Str hosts_file(struct arena *a)
{
    Str text = STR_NONE;
    struct err err;
    AUTO(buf_free) struct buf b = BUF((size_t)1 << 20);
    (void)!file_read(a, "/etc/hosts", (size_t)1 << 20, &text, &err);
    for (Str line; str_cut(&text, '\n', &line);) {
        line = str_trim(line);
        if (line.n && line.p[0] != '#' && !str_starts(line, STR("127.")) && !str_starts(line, STR("::1")) && !str_starts(line, STR("fe")) &&
            !str_starts(line, STR("ff")))
            buf_fmt(&b, "%.*s\n", STR_ARG(line));
    }
    return str_dup(a, buf_view(&b));
}

/* The sandbox's network: where the API is seen, and the sockets that lead out. The same for every policy. */
int network_plan(struct supervisor *s, struct sandbox_spec *box, struct relay_options *way, struct err *err)
{
    bool tls;
    int port;
    Str host;
    if (!url_origin(s->spec.api.base_url, &host, &port, &tls))
        return err_set(err, ERR_INVALID, "the API's address %.*s cannot be reached from a sandbox", STR_ARG(s->spec.api.base_url));
    bool numeric = host.n && host.p[0] >= '0' && host.p[0] <= '9', loopback = str_starts(host, STR("127.")) || str_eqz(host, "::1");
    Str hosts = str_eqz(s->spec.network, "open") || s->building ? hosts_file(s->a) : STR("");
    box->hosts = hosts;
    if (numeric && !loopback)
        box->address = host;
    else if (!loopback && !str_eqz(host, "localhost"))
        box->hosts = str_fmt(s->a, "127.0.0.1 %.*s\n%.*s", STR_ARG(host), STR_ARG(hosts));
    const int ports[WAY_COUNT] = {[WAY_API] = port,
                                  [WAY_PROXY] = port == PROXY_PORT ? PROXY_PORT + 1 : PROXY_PORT,
                                  [WAY_CONTROL] = port == CONTROL_PORT ? CONTROL_PORT + 1 : CONTROL_PORT,
                                  [WAY_NAMES] = port == NAMES_PORT ? 0 : NAMES_PORT,
                                  [WAY_DATAGRAMS] = NAMES_PORT,
                                  [WAY_OUT] = SANDBOX_ANY_PORT,
                                  [WAY_CONNECTS] = 1};
    memcpy(box->ways, ports, sizeof ports);
    for (size_t i = 0; i < COUNT_OF(box->files); i++)
        if (!box->files[i].path) {
            box->files[i] = (struct sandbox_file){NAMES_FILE, names_file(s->a)};
            break;
        }
    *way = (struct relay_options){.host = host, .port = port, .alias = box->address};
    return 0;
}

/* Of the machine's own proxies a listed network has nothing, but ours; programs that know none of them are looked at as they connect. */
void network_proxies(struct supervisor *s, const struct relay_options *way, EnvVars *env, int port)
{
    if (str_eqz(s->spec.network, "open"))
        return;
    bool allow = str_eqz(s->spec.network, "allow");
    for (size_t i = 0; i < COUNT_OF(proxies); i++)
        env_set(s->a, env, str_of(proxies[i]),
                allow && !str_ends(str_of(proxies[i]), STR("ALL_PROXY")) && !str_ends(str_of(proxies[i]), STR("all_proxy"))
                    ? str_fmt(s->a, "http://127.0.0.1:%d", port)
                    : STR_NONE);
    Str none = str_fmt(s->a, "localhost,127.0.0.1,::1,%.*s", STR_ARG(way->host));
    env_set(s->a, env, STR("NO_PROXY"), none);
    env_set(s->a, env, STR("no_proxy"), none);
}

int network_open(struct supervisor *s, const struct relay_options *way, const int ways[WAY_COUNT], struct err *err)
{
    struct relay_options o = *way;
    memcpy(o.ways, ways, sizeof o.ways);
    s->control.listener = ways[WAY_CONTROL];
    s->relay = relay_start(&o, err);
    return s->relay ? 0 : -1;
}

/* Whether the machine's own loopback is part of an open network. */
static bool loopback_is_open(void)
{
    const char *text = getenv("MILLPOND_MANAGED_LOOPBACK");
    static const char *const no[] = {"false", "no", "0", "off", "f", "n"};
    for (size_t i = 0; text && i < COUNT_OF(no); i++)
        if (str_ieq(str_of(text), str_of(no[i])))
            return false;
    return true;
}

void network_permit(struct supervisor *s)
{
    if (s->building) /* an index, or the proxy to it, may be this machine's own */
        relay_permit(s->relay, RELAY_ALL, /* loopback: */ true, NULL, 0);
    else if (str_eqz(s->spec.network, "open"))
        relay_permit(s->relay, RELAY_ALL, loopback_is_open(), NULL, 0);
    else if (str_eqz(s->spec.network, "allow"))
        relay_permit(s->relay, RELAY_LISTED, false, s->spec.network_allow.v, s->spec.network_allow.n);
}
