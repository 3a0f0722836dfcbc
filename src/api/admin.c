/* The server's own: settings, default result storage, CSRF tokens, catalogues. */
#include "api/handlers.h"
#include "api/server.h"
#include "assets/assets.h"
#include "base/log.h"
#include "services/reset.h"

#include <pthread.h>
#include <sodium.h>


/* The settings that clients and pages read, in the API's tree. */
int admin_settings(struct call *c, struct err *err)
{
    UNUSED(err);
    struct jw *w = &c->w;
    const struct server_options *o = c->server->options;
    jw_object(w);
    jw_kstr(w, "home", o->home);
    jw_key(w, STR("server"));
    jw_object(w);
    jw_kbool(w, "analytics_enabled", false);
    jw_key(w, STR("api"));
    jw_object(w);
    jw_kstr(w, "host", o->host);
    jw_kint(w, "port", http_server_port(c->server->http));
    jw_kint(w, "default_limit", 200);
    jw_kbool(w, "csrf_protection_enabled", o->csrf);
    jw_kstr(w, "auth_string", o->auth_string.n ? STR("**********") : STR_NONE);
    jw_end(w);
    jw_end(w);
    jw_end(w);
    return 0;
}

/* ---- default result storage ---- */

static int storage_print(struct call *c, struct err *err)
{
    Uuid id = UUID_NIL;
    AUTO(stmt_finish) struct stmt *q = db_query(c->conn, err, "SELECT value FROM configuration WHERE key = 'default_result_storage'", "");
    int rc = q ? stmt_step(q, err) : -1;
    if (rc < 0)
        return -1;
    if (rc)
        (void)uuid_parse(stmt_str(q, 0), &id);
    jw_object(&c->w);
    jw_kuuid(&c->w, "default_result_storage_block_id", id);
    jw_end(&c->w);
    return 0;
}

int admin_storage_read(struct call *c, struct err *err)
{
    return storage_print(c, err);
}

int admin_storage_update(struct call *c, struct err *err)
{
    Uuid id = call_uuid(c, "default_result_storage_block_id");
    Str capabilities;
    {
        AUTO(stmt_finish) struct stmt *q = db_query(c->conn, err,
            "SELECT block_schema.capabilities FROM block_document JOIN block_schema ON block_schema.id = block_document.block_schema_id WHERE block_document.id = $1", "u", id);
        int rc = q ? stmt_step(q, err) : -1;
        if (rc <= 0)
            return rc < 0 ? -1 : call_not_found(err, "Block document");
        capabilities = str_dup(c->a, stmt_str(q, 0));
    }
    if (str_find(capabilities, STR("\"write-path\"")) < 0)
        return err_set(err, ERR_UNPROCESSABLE, "Results can be stored only with a block that can write paths.");
    if (db_exec(c->conn, err, "INSERT INTO configuration (key, updated, value) VALUES ('default_result_storage', $1, $2)"
                " ON CONFLICT (key) DO UPDATE SET value = excluded.value, updated = excluded.updated", "tz", c->now, uuid_text(id).s) < 0)
        return -1;
    return storage_print(c, err);
}

int admin_storage_delete(struct call *c, struct err *err)
{
    return db_exec(c->conn, err, "DELETE FROM configuration WHERE key = 'default_result_storage'", "") < 0 ? -1 : call_empty(c, 204);
}

/* ---- the database as a whole (2.x) ---- */

static int confirmed(struct call *c, struct err *err)
{
    const struct json *sent = call_json(c, "confirm");
    if (sent && sent->kind != JSON_BOOL) { /* "yes" would do elsewhere; nothing is deleted by a near miss */
        violation_add(&c->violations, "bool_type", STR("confirm"), sent, "must be true or false");
        return call_invalid(c, err);
    }
    return call_bool(c, "confirm") ? 0 : err_set(err, ERR_INVALID, "This is done only where it is confirmed: {\"confirm\": true}.");
}

static void reset_done(void *arg, const struct err *err)
{
    struct call *c = arg;
    if (!err)
        log_at(LOG_WARN, "server", "all records, events and logs were deleted, as asked", "path=%s", c->route->path);
    call_finish(c, err);
}

/* One request by mistake would delete everything: whoever runs the server has to have allowed it. */
static int reset(struct call *c, struct err *err)
{
    if (confirmed(c, err) < 0)
        return -1;
    if (!c->server->options->allow_reset)
        return err_set(err, ERR_FORBIDDEN, "This would delete all that the server has, and is not allowed here. MILLPOND_SERVER_DATABASE_ALLOW_RESET=true"
                                           " in the server's environment allows it.");
    return workspace_reset(c->ws, reset_done, c, err);
}

int admin_database_clear(struct call *c, struct err *err)
{
    return reset(c, err);
}

/* The tables of a server that runs stay: without them nothing could be answered. */
int admin_database_drop(struct call *c, struct err *err)
{
    return reset(c, err);
}

/* The tables are there; what a new workspace has is put in where it is missing. */
int admin_database_create(struct call *c, struct err *err)
{
    return confirmed(c, err) < 0 ? -1 : workspace_complete(c->conn, c->a, c->now, err);
}

/* ---- CSRF ---- */

/* Tokens are made from a key of this process and checked without the database: HMAC(client, period). */
static Dur csrf_life(const struct call *c)
{
    return MAX(c->server->options->csrf_life, SEC);
}

static const unsigned char *csrf_key(void)
{
    static unsigned char key[crypto_auth_KEYBYTES];
    static bool made; /* first used on one of the HTTP threads; the lock below orders it */
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    pthread_mutex_lock(&lock);
    if (!made)
        crypto_auth_keygen(key);
    made = true;
    pthread_mutex_unlock(&lock);
    return key;
}

static Str csrf_token(struct arena *a, Str client, int64_t period)
{
    Str text = str_fmt(a, "%.*s\n%lld", STR_ARG(client), (long long)period);
    unsigned char mac[crypto_auth_BYTES];
    char hex[2 * sizeof mac + 1];
    crypto_auth(mac, (const unsigned char *)text.p, text.n, csrf_key());
    sodium_bin2hex(hex, sizeof hex, mac, sizeof mac);
    return str_dup(a, str_of(hex));
}

int csrf_token_read(struct call *c, struct err *err)
{
    Str client = call_str(c, "client");
    if (!c->server->options->csrf)
        return err_set(err, ERR_UNPROCESSABLE, "CSRF protection is disabled."); /* clients look for these words */
    if (!client.n || client.n > 200) {
        c->violations.prefix = STR("[\"query\"");
        violation_add(&c->violations, "value_error", STR("client"), NULL, "must be 1 to 200 bytes long");
        return call_invalid(c, err);
    }
    int64_t period = c->now / csrf_life(c);
    jw_object(&c->w);
    jw_kuuid(&c->w, "id", uuid_v4());
    jw_ktime(&c->w, "created", c->now);
    jw_ktime(&c->w, "updated", c->now);
    jw_kstr(&c->w, "token", csrf_token(c->a, client, period));
    jw_kstr(&c->w, "client", client);
    jw_ktime(&c->w, "expiration", (period + 2) * csrf_life(c));
    jw_end(&c->w);
    return 0;
}

bool csrf_refused(struct call *c);
bool csrf_refused(struct call *c)
{
    Str token = exchange_header(c->x, "Prefect-Csrf-Token"), client = exchange_header(c->x, "Prefect-Csrf-Client");
    const char *why = !token.n ? "Missing CSRF token." : !client.n ? "Missing client identifier." : NULL;
    int64_t period = time_now() / csrf_life(c);
    if (!why) {
        bool fits = false;
        for (int64_t p = period - 1; p <= period; p++) {
            Str want = csrf_token(c->a, client, p);
            fits |= token.n == want.n && sodium_memcmp(token.p, want.p, want.n) == 0;
        }
        if (!fits)
            why = "Invalid CSRF token or client identifier."; /* clients look for these words */
    }
    if (!why)
        return false;
    struct buf b = BUF((size_t)4096);
    buf_fmt(&b, "{\"detail\":\"%s\"}", why);
    exchange_reply(c->x, 403, "application/json", &b);
    return true;
}

/* ---- catalogues ---- */

/* {package: {slug: {…block type…}}} of the built-in block types. */
int collections_view(struct call *c, struct err *err)
{
    static const struct {
        const char *view, *asset;
    } views[] = {
        {"aggregate-worker-metadata", "worker-metadata.json"},
        {"aggregate-block-metadata", "block-types.json"},
    };
    for (size_t i = 0; i < COUNT_OF(views); i++) {
        if (!str_eqz(c->params[0], views[i].view))
            continue;
        buf_str(&c->out, asset_find(views[i].asset));
        return 0;
    }
    /* no flows are shipped */
    if (str_eqz(c->params[0], "aggregate-flow-metadata") || str_eqz(c->params[0], "demo-flows")) {
        buf_z(&c->out, "{}");
        return 0;
    }
    return err_set(err, ERR_NOT_FOUND, "View %.*s not found in collection", STR_ARG(str_sub(c->params[0], 0, 100)));
}
