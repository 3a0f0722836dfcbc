#include "store/seal.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* What a sealed text starts with: the form's version. */
#define FORM "s1:"
/* The known text of seal_key_check, and its row of `configuration`. */
#define CHECK "millpond's sealing key"

struct seal_key {
    unsigned char bytes[crypto_secretbox_KEYBYTES];
    char source[512];
};

static int key_from_hex(struct seal_key *k, Str hex, struct err *err)
{
    size_t n;
    if (sodium_hex2bin(k->bytes, sizeof k->bytes, hex.p, hex.n, "\n", &n, NULL) != 0 || n != sizeof k->bytes)
        return err_set(err, ERR_INVALID, "a sealing key is %zu hex digits", 2 * sizeof k->bytes);
    return 0;
}

static int key_read(struct seal_key *k, const char *path, struct err *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return err_errno(err, "sealing key %s", path);
    struct stat st;
    char text[2 * sizeof k->bytes + 1];
    ssize_t n = fstat(fd, &st) < 0 ? -1 : read(fd, text, sizeof text);
    close(fd);
    if (n < 0)
        return err_errno(err, "sealing key %s", path);
    if (st.st_mode & 077)
        return err_set(err, ERR_FORBIDDEN, "sealing key %s may be read by others: run chmod 600 on it", path);
    int rc = key_from_hex(k, (Str){text, (size_t)n}, err);
    sodium_memzero(text, sizeof text);
    return rc < 0 ? err_wrap(err, "%s", path) : 0;
}

/* Written whole under another name, then linked: of two servers that start at once one key wins. */
static int key_make(const char *path, struct err *err)
{
    unsigned char bytes[crypto_secretbox_KEYBYTES];
    char hex[2 * sizeof bytes + 1], temp[4096];
    randombytes_buf(bytes, sizeof bytes);
    sodium_bin2hex(hex, sizeof hex, bytes, sizeof bytes);
    snprintf(temp, sizeof temp, "%s.%d", path, (int)getpid());
    int fd = open(temp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return err_errno(err, "sealing key %s", temp);
    bool ok = write(fd, hex, sizeof hex - 1) == (ssize_t)sizeof hex - 1 && fsync(fd) == 0;
    sodium_memzero(hex, sizeof hex), sodium_memzero(bytes, sizeof bytes);
    int rc = ok && (link(temp, path) == 0 || errno == EEXIST) ? 0 : err_errno(err, "sealing key %s", path);
    close(fd);
    unlink(temp);
    return rc;
}

struct seal_key *seal_key_open(Str path, struct err *err)
{
    AUTO(arena_freep) struct arena *a = arena_create();
    const char *file = str_z(a, path), *given = getenv("MILLPOND_SEAL_KEY");
    struct seal_key *k = sodium_malloc(sizeof *k);
    if (!k)
        die("out of memory");
    int rc = given ? key_from_hex(k, str_of(given), err)
             : access(file, F_OK) < 0 && key_make(file, err) < 0 ? -1
                                                                 : key_read(k, file, err);
    if (rc < 0) {
        sodium_free(k);
        return NULL;
    }
    snprintf(k->source, sizeof k->source, "%s", given ? "MILLPOND_SEAL_KEY" : file);
    return k;
}

const char *seal_key_source(const struct seal_key *k)
{
    return k->source;
}

void seal_key_free(const struct seal_key *k)
{
    if (k)
        sodium_free((void *)(uintptr_t)k);
}

Str seal(struct arena *a, const struct seal_key *k, Str plain)
{
    size_t n = crypto_secretbox_NONCEBYTES + crypto_secretbox_MACBYTES + plain.n;
    unsigned char *box = arena_alloc(a, n);
    randombytes_buf(box, crypto_secretbox_NONCEBYTES);
    crypto_secretbox_easy(box + crypto_secretbox_NONCEBYTES, (const unsigned char *)plain.p, plain.n, box, k->bytes);
    size_t len = sodium_base64_encoded_len(n, sodium_base64_VARIANT_ORIGINAL);
    char *text = arena_alloc(a, sizeof FORM + len);
    memcpy(text, FORM, sizeof FORM - 1);
    sodium_bin2base64(text + sizeof FORM - 1, len, box, n, sodium_base64_VARIANT_ORIGINAL);
    return str_of(text);
}

int unseal(struct arena *a, const struct seal_key *k, Str sealed, Str *ret, struct err *err)
{
    Str b64 = str_sub(sealed, sizeof FORM - 1, sealed.n);
    unsigned char *box = arena_alloc(a, sealed.n + 1);
    size_t n;
    if (!str_starts(sealed, STR(FORM)) || sodium_base642bin(box, sealed.n, b64.p, b64.n, NULL, &n, NULL, sodium_base64_VARIANT_ORIGINAL) != 0 ||
        n < crypto_secretbox_NONCEBYTES + crypto_secretbox_MACBYTES)
        return err_set(err, ERR_INTERNAL, "a stored secret is damaged");
    size_t plain = n - crypto_secretbox_NONCEBYTES - crypto_secretbox_MACBYTES;
    unsigned char *out = arena_alloc(a, plain + 1);
    if (crypto_secretbox_open_easy(out, box + crypto_secretbox_NONCEBYTES, n - crypto_secretbox_NONCEBYTES, box, k->bytes) != 0)
        return err_set(err, ERR_INTERNAL, "a stored secret was sealed with another key");
    *ret = (Str){(const char *)out, plain};
    return 0;
}

/* ---- is it the right one? ---- */

/* 1: the row's text was sealed with this key; 0: with another; INT_NONE: no row; -1. */
static int64_t fits(struct conn *c, struct arena *a, const struct seal_key *k, const char *sql, struct err *err)
{
    AUTO(stmt_finish) struct stmt *q = db_query(c, err, sql, "");
    int rc = q ? stmt_step(q, err) : -1;
    if (rc <= 0)
        return rc < 0 ? -1 : INT_NONE;
    Str plain;
    struct err ignored;
    return unseal(a, k, stmt_str(q, 0), &plain, &ignored) == 0;
}

int seal_key_check(struct conn *c, const struct seal_key *k, Time now, bool forget, int64_t *ret_forgotten, struct err *err)
{
    AUTO(arena_freep) struct arena *a = arena_create();
    *ret_forgotten = 0;
    /* A database from before there was such a row: a document tells. */
    int64_t good = fits(c, a, k, "SELECT sealed FROM block_document WHERE NOT EXISTS (SELECT 1 FROM configuration WHERE key = '" SEAL_CHECK_ROW "') LIMIT 1", err);
    if (good == -1)
        return -1;
    /* Of two servers that start at once one puts its own there, and the other finds that. */
    if (good && db_exec(c, err, "INSERT INTO configuration (key, updated, value) VALUES ('" SEAL_CHECK_ROW "', $1, $2) ON CONFLICT (key) DO NOTHING", "ts", now,
                        seal(a, k, STR(CHECK))) < 0)
        return -1;
    if (good)
        good = fits(c, a, k, "SELECT value FROM configuration WHERE key = '" SEAL_CHECK_ROW "'", err);
    if (good)
        return good == 1 ? 0 : -1;
    if (!forget)
        return err_set(err, ERR_LOCKED,
                       "%s is not the key that this database's secrets are sealed with: give it that one (the seal.key of the server that used the"
                       " database first), or, where it is lost, start once with --forget-secrets, which deletes the block documents that only it opens",
                       k->source);
    *ret_forgotten = db_exec(c, err, "DELETE FROM block_document", "");
    if (*ret_forgotten < 0 || db_exec(c, err, "DELETE FROM configuration WHERE key = 'default_result_storage'", "") < 0)
        return -1;
    return db_exec(c, err, "INSERT INTO configuration (key, updated, value) VALUES ('" SEAL_CHECK_ROW "', $1, $2)"
                           " ON CONFLICT (key) DO UPDATE SET value = excluded.value, updated = excluded.updated",
                   "ts", now, seal(a, k, STR(CHECK))) < 0
               ? -1
               : 0;
}
