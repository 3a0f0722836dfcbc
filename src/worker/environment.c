#include "worker/environment.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <nettle/sha2.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "assets/assets.h"
#include "worker/run_dir.h"

#define CLIENT_DEFAULT "prefect==3.8.8"
#define PACKAGES_MAX 200
#define REQUIREMENT_MAX 512

int requirement_check(Str r, struct err *err)
{
    if (!str_trim(r).n)
        return err_set(err, ERR_INVALID, "pip_packages has an empty entry");
    if (r.n > REQUIREMENT_MAX)
        return err_set(err, ERR_INVALID, "pip_packages has an entry of %zu characters", r.n);
    char first = str_trim(r).p[0];
    if (!isalnum((unsigned char)first) && first != '_')
        return err_set(err, ERR_INVALID, "pip_packages: '%.*s' is no requirement", STR_ARG(r));
    for (size_t i = 0; i < r.n; i++)
        if ((unsigned char)r.p[i] < 0x20 || r.p[i] == 0x7f)
            return err_set(err, ERR_INVALID, "pip_packages has an entry with control characters");
    /* pip reads options in a requirement's line, too: only those that choose hashes and the like are harmless. */
    if (str_find(r, STR(" --")) >= 0)
        return err_set(err, ERR_INVALID, "pip_packages: '%.*s' has an option", STR_ARG(r));
    return 0;
}

/* "<prefix>/bin/python" → prefix */
static Str prefix_of(Str interpreter)
{
    for (int cut = 0; cut < 2; cut++) {
        while (interpreter.n && interpreter.p[interpreter.n - 1] != '/')
            interpreter.n--;
        while (interpreter.n > 1 && interpreter.p[interpreter.n - 1] == '/')
            interpreter.n--;
    }
    return interpreter;
}

static bool is_executable(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISREG(st.st_mode) && access(path, X_OK) == 0;
}

static Str on_path(struct arena *a, Str name)
{
    Str path = str_of(getenv("PATH"));
    if (!path.n)
        path = STR("/usr/local/bin:/usr/bin:/bin");
    for (Str dir; str_cut(&path, ':', &dir);) {
        Str full = str_fmt(a, "%.*s/%.*s", STR_ARG(dir), STR_ARG(name));
        char real[PATH_MAX];
        /* What a version manager puts there in place of Python (a script) knows nothing in a sandbox. */
        if (is_executable(full.p) && realpath(full.p, real) && str_find(str_of(real), STR("python")) >= 0 &&
            str_find(str_of(real), STR("/shims/")) < 0)
            return str_dup(a, str_of(real));
    }
    return STR_NONE;
}

/* Of a version manager's "<root>/versions/3.12.1", the highest that fits. */
static Str of_pyenv(struct arena *a, Str version)
{
    const char *root = getenv("PYENV_ROOT"), *home = getenv("HOME");
    Str dir = root ? str_fmt(a, "%s/versions", root) : str_fmt(a, "%s/.pyenv/versions", home ? home : "");
    DIR *d = opendir(dir.p);
    Str best = STR_NONE;
    int64_t best_patch = -1, patch;
    for (struct dirent *e; d && (e = readdir(d));) {
        Str name = str_of(e->d_name), rest = name;
        if (!str_eq(name, version) && !str_starts(name, str_fmt(a, "%.*s.", STR_ARG(version))))
            continue;
        rest = str_sub(name, version.n + 1, name.n);
        patch = 0;
        if (rest.n && !str_int(rest, &patch))
            continue;
        Str python = str_fmt(a, "%.*s/%.*s/bin/python3", STR_ARG(dir), STR_ARG(name));
        if (patch > best_patch && is_executable(python.p)) {
            best_patch = patch;
            best = python;
        }
    }
    if (d)
        closedir(d);
    return best;
}

static int find_python(struct arena *a, Str version, Str *ret, struct err *err)
{
    static const Str newest[] = {STR("3.12"), STR("3.13"), STR("3.11"), STR("3.10")};
    Str found = STR_NONE;
    if (version.n) {
        Str minor = version;
        Str rest = version, major, part;
        bool exact = str_cut(&rest, '.', &major) && str_cut(&rest, '.', &part) && rest.n;
        if (exact)
            minor = str_sub(version, 0, major.n + 1 + part.n);
        found = of_pyenv(a, version);
        if (!found.p && !exact)
            found = on_path(a, str_fmt(a, "python%.*s", STR_ARG(minor)));
        if (!found.p)
            return err_set(err, ERR_INVALID, "Python %.*s is not installed on this machine", STR_ARG(version));
    }
    if (!found.p)
        found = on_path(a, STR("python3"));
    for (size_t i = 0; i < COUNT_OF(newest) && !found.p; i++)
        found = of_pyenv(a, newest[i]);
    if (!found.p)
        return err_set(err, ERR_INVALID, "no Python is installed on this machine");
    *ret = found;
    return 0;
}

/* Of a virtual environment: where its Python comes from, and its version. False where it is none. */
static bool read_venv(struct arena *a, Str prefix, Str *ret_home, Str *ret_version)
{
    Str text;
    struct err err;
    if (file_read(a, str_fmt(a, "%.*s/pyvenv.cfg", STR_ARG(prefix)).p, 65536, &text, &err) < 0)
        return false;
    *ret_home = *ret_version = STR_NONE;
    for (Str line, name; str_cut(&text, '\n', &line);) {
        if (!str_cut(&line, '=', &name))
            continue;
        if (str_eqz(str_trim(name), "home"))
            *ret_home = str_trim(line);
        if (str_eqz(str_trim(name), "version") || str_eqz(str_trim(name), "version_info"))
            *ret_version = str_trim(line);
    }
    return ret_home->n && ret_version->n;
}

static Str key_of(struct arena *a, const struct environment *e)
{
    AUTO(buf_free) struct buf b = BUF((size_t)1 << 20);
    char real[PATH_MAX];
    buf_fmt(&b, "2\n%s\n%.*s\n%.*s\n", realpath(str_z(a, e->interpreter), real) ? real : "", STR_ARG(e->below), STR_ARG(e->constraints));
    /* The order of a list makes no other environment. */
    Str *sorted = arena_array(a, Str, e->packages.n + 1);
    for (size_t i = 0; i < e->packages.n; i++) {
        size_t k = i;
        for (; k && str_cmp(sorted[k - 1], e->packages.v[i]) > 0; k--)
            sorted[k] = sorted[k - 1];
        sorted[k] = e->packages.v[i];
    }
    for (size_t i = 0; i < e->packages.n; i++)
        buf_fmt(&b, "%.*s\n", STR_ARG(sorted[i]));
    struct sha256_ctx ctx;
    uint8_t digest[16];
    sha256_init(&ctx);
    sha256_update(&ctx, b.n, (const uint8_t *)b.p);
    sha256_digest(&ctx, sizeof digest, digest);
    char *text = arena_alloc(a, 2 * sizeof digest + 1);
    for (size_t i = 0; i < sizeof digest; i++)
        snprintf(text + 2 * i, 3, "%02x", digest[i]);
    return str_of(text);
}

/* Where a Python that is not the system's is seen. One that needs a library beside it must stay where it was made for. */
static void place_python(struct arena *a, struct environment *e, bool moved)
{
    char real[PATH_MAX];
    Str prefix = prefix_of(e->interpreter), name = prefix;
    if (str_eqz(prefix, "/usr") || str_eqz(prefix, "/") || str_eqz(prefix, "/usr/local"))
        return;
    for (size_t i = prefix.n; i-- && prefix.p[i] != '/';)
        name = str_sub(prefix, i, prefix.n);
    if (realpath(str_fmt(a, "%.*s/lib/libpython3.so", STR_ARG(prefix)).p, real))
        moved = false;
    e->python = prefix;
    e->python_seen = moved ? str_fmt(a, "/opt/python/%.*s", STR_ARG(name)) : prefix;
}

static void place(struct arena *a, Str home, struct environment *e)
{
    Str key = key_of(a, e);
    e->seen = str_fmt(a, "/opt/environments/%.*s", STR_ARG(key));
    e->dir = str_fmt(a, "%.*s/environments/%.*s", STR_ARG(home), STR_ARG(key));
    e->lock = str_fmt(a, "%.*s.lock", STR_ARG(e->dir));
}

/* The companions with which a client is known to work: newer ones break it. */
static Str constraints_of(struct arena *a, Str client)
{
    ptrdiff_t at = str_find(client, STR("=="));
    if (at < 0)
        return STR("");
    Str name = str_sub(client, 0, (size_t)at), version = str_sub(client, (size_t)at + 2, client.n);
    Str text = asset_find(str_fmt(a, "constraints-%.*s-%.*s.txt", STR_ARG(name), STR_ARG(version)).p);
    return text.p ? text : STR("");
}

int environment_plan(struct arena *a, Str home, const struct environment_want *want, struct environments *ret, struct err *err)
{
    *ret = (struct environments){0};
    if (want->package_count > PACKAGES_MAX)
        return err_set(err, ERR_INVALID, "pip_packages has more than %d entries", PACKAGES_MAX);
    struct environment *base = &ret->v[ret->n++];
    Str given = str_of(getenv("MILLPOND_MANAGED_PYTHON"));
    Str venv_home, version;
    bool usable = given.n && !(want->client.n && !str_eq(want->client, STR(CLIENT_DEFAULT)));
    if (usable) {
        if (!is_executable(given.p))
            return err_set(err, ERR_INVALID, "MILLPOND_MANAGED_PYTHON names %s, which cannot be executed", given.p);
        Str prefix = prefix_of(given);
        if (!read_venv(a, prefix, &venv_home, &version))
            return err_set(err, ERR_INVALID, "MILLPOND_MANAGED_PYTHON names %s, which is in no virtual environment", given.p);
        /* Another version of Python than the one that is given is one that is built. */
        usable = !want->python.n || str_eq(version, want->python) || str_starts(version, str_fmt(a, "%.*s.", STR_ARG(want->python)));
        base->dir = base->seen = prefix; /* its scripts name it */
        base->interpreter = str_fmt(a, "%.*s/python3", STR_ARG(venv_home));
        place_python(a, base, /* moved: */ false);
        base->description = str_fmt(a, "the environment in %.*s", STR_ARG(prefix));
    }
    if (!usable) {
        *base = (struct environment){0};
        Str client = want->client.n ? want->client : STR(CLIENT_DEFAULT);
        if (find_python(a, want->python, &base->interpreter, err) < 0)
            return -1;
        vec_push(a, &base->packages, client);
        base->constraints = constraints_of(a, client);
        base->description = str_fmt(a, "%.*s for %.*s", STR_ARG(client), STR_ARG(base->interpreter));
        place_python(a, base, /* moved: */ true);
        place(a, home, base);
    }
    if (!want->package_count)
        return 0;
    struct environment *layer = &ret->v[ret->n++];
    *layer = (struct environment){0};
    for (size_t i = 0; i < want->package_count; i++) {
        if (requirement_check(want->packages[i], err) < 0)
            return -1;
        vec_push(a, &layer->packages, str_trim(want->packages[i]));
    }
    layer->interpreter = base->interpreter;
    layer->python = base->python;
    layer->python_seen = base->python_seen;
    layer->below = base->seen;
    AUTO(buf_free) struct buf b = BUF(4096);
    for (size_t i = 0; i < layer->packages.n; i++)
        buf_fmt(&b, "%s%.*s", i ? ", " : "", STR_ARG(layer->packages.v[i]));
    layer->description = str_dup(a, buf_view(&b));
    place(a, home, layer);
    return 0;
}

static Str marker(struct arena *a, const struct environment *e)
{
    return str_fmt(a, "%.*s/.ready", STR_ARG(e->dir));
}

bool environment_ready(const struct environment *e)
{
    AUTO(arena_freep) struct arena *a = arena_create();
    return !e->lock.p || access(marker(a, e).p, F_OK) == 0;
}

static int lock_as(int fd, short type)
{
    struct flock l = {.l_type = type, .l_whence = SEEK_SET};
    return fcntl(fd, F_SETLK, &l);
}

int environment_take(const struct environment *e, int *ret_fd, struct err *err)
{
    *ret_fd = -1;
    if (!e->lock.p)
        return 0;
    AUTO(arena_freep) struct arena *a = arena_create();
    Str parent = prefix_of(str_fmt(a, "%.*s/x", STR_ARG(e->dir)));
    if (dir_make(str_z(a, parent), err) < 0)
        return -1;
    const char *path = str_z(a, e->lock);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return err_errno(err, "opening %s", path);
    bool shared = lock_as(fd, F_RDLCK) == 0;
    if (shared && environment_ready(e)) {
        utimensat(AT_FDCWD, marker(a, e).p, NULL, 0); /* when it was last used */
        *ret_fd = fd;
        return 0;
    }
    if (!shared || lock_as(fd, F_WRLCK) < 0) {
        close(fd);
        return err_set(err, ERR_BUSY, "the environment is being built");
    }
    *ret_fd = fd;
    return err_set(err, ERR_NOT_FOUND, "the environment is to be built");
}

/* Bytes below a directory; with `take`, everything becomes ours and unwritable by others. */
static int64_t walk(int at, const char *name, bool take, int depth)
{
    struct stat st;
    if (depth > 100 || fstatat(at, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return 0;
    if (take && st.st_uid != geteuid())
        (void)!fchownat(at, name, geteuid(), getegid(), AT_SYMLINK_NOFOLLOW);
    int64_t bytes = (int64_t)st.st_blocks * 512;
    if (!S_ISDIR(st.st_mode))
        return bytes;
    int fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    if (!d)
        return bytes;
    for (struct dirent *e; (e = readdir(d));)
        if (strcmp(e->d_name, ".") && strcmp(e->d_name, ".."))
            bytes += walk(fd, e->d_name, take, depth + 1);
    closedir(d);
    return bytes;
}

int environment_built(const struct environment *e, int fd, struct err *err)
{
    AUTO(arena_freep) struct arena *a = arena_create();
    int64_t bytes = walk(AT_FDCWD, str_z(a, e->dir), /* take: */ true, 0);
    AUTO(buf_free) struct buf b = BUF((size_t)1 << 20);
    struct jw w = jw_on(&b);
    jw_object(&w);
    jw_kint(&w, "bytes", bytes);
    jw_kstr(&w, "interpreter", e->interpreter);
    jw_kstr(&w, "below", e->below);
    jw_key(&w, STR("packages"));
    jw_array(&w);
    for (size_t i = 0; i < e->packages.n; i++)
        jw_str(&w, e->packages.v[i]);
    jw_end(&w);
    jw_end(&w);
    if (file_replace(marker(a, e).p, buf_view(&b), /* durable: */ true, err) < 0)
        return -1;
    (void)!lock_as(fd, F_RDLCK);
    return 0;
}

void environment_discard(const struct environment *e)
{
    struct err ignored;
    (void)!run_dir_remove(e->dir, &ignored);
}

void environment_build_command(struct arena *a, const struct environment *e, EnvVars *env, Str **ret_argv, size_t *ret_argc)
{
    /* $1 interpreter, $2 directory, $3 prefix below or "", the rest requirements */
    static const char script[] =
        "set -e; umask 022; python=$1; dir=$2; below=$3; shift 3\n"
        "if [ -z \"$below\" ]; then\n"
        "  \"$python\" -m venv \"$dir\"\n"
        "else\n"
        "  \"$python\" -m venv --without-pip \"$dir\"\n"
        "  for site in \"$below\"/lib/python3.*/site-packages; do\n"
        "    echo \"$site\" > \"$(echo \"$dir\"/lib/python3.*/site-packages)/below.pth\"\n"
        "  done\n"
        "fi\n"
        "{ \"$dir/bin/python\" -m pip install --no-input --no-cache-dir --progress-bar off --no-warn-script-location \\\n"
        "  -c " ENVIRONMENT_CONSTRAINTS " -- \"$@\" 2>&1 && echo built || echo failed; } | \"$dir/bin/python\" -u -c \"$TELL\"";
    /* What people want to read of it: how far it is, and what went wrong. */
    static const char tell[] =
        "import sys, time\n"
        "count, told, code = 0, 0, 1\n"
        "for line in sys.stdin:\n"
        "    line = line.rstrip()\n"
        "    if line in ('built', 'failed'):\n"
        "        code = int(line == 'failed')\n"
        "    elif line.lstrip().startswith('Collecting'):\n"
        "        count += 1\n"
        "        if time.monotonic() - told > 3:\n"
        "            told = time.monotonic()\n"
        "            print('Collecting packages:', count, 'so far, now', line.split()[1])\n"
        "    elif line.startswith('Installing collected packages'):\n"
        "        names = line.split(':')[1].split(',')\n"
        "        print('Installing', ','.join(names).strip() if len(names) < 6 else str(len(names)) + ' packages')\n"
        "    elif line and line.split()[0] not in ('Downloading', 'Looking', 'Requirement', 'Using', 'Obtaining') and len(line) < 400:\n"
        "        print(line)\n"
        "sys.exit(code)\n";
    VEC(Str) v = {0};
    vec_push(a, &v, STR("/bin/sh"));
    vec_push(a, &v, STR("-c"));
    vec_push(a, &v, ((Str){script, sizeof script - 1}));
    vec_push(a, &v, STR("build"));
    vec_push(a, &v, e->python.p ? str_fmt(a, "%.*s%.*s", STR_ARG(e->python_seen), STR_ARG(str_sub(e->interpreter, e->python.n, e->interpreter.n)))
                                : e->interpreter);
    vec_push(a, &v, e->seen);
    vec_push(a, &v, e->below.p ? e->below : STR(""));
    for (size_t i = 0; i < e->packages.n; i++)
        vec_push(a, &v, e->packages.v[i]);
    env_set(a, env, STR("PATH"), STR("/usr/local/bin:/usr/bin:/bin"));
    env_set(a, env, STR("HOME"), STR("/home/run"));
    env_set(a, env, STR("LANG"), STR("C.UTF-8"));
    env_set(a, env, STR("PYTHONDONTWRITEBYTECODE"), STR_NONE);
    env_set(a, env, STR("PIP_DISABLE_PIP_VERSION_CHECK"), STR("1"));
    env_set(a, env, STR("TELL"), (Str){tell, sizeof tell - 1});
    env_set(a, env, STR("PIP_ROOT_USER_ACTION"), STR("ignore"));
    *ret_argv = v.v;
    *ret_argc = v.n;
}

static void push_path(struct arena *a, Paths *paths, Str source, Str target)
{
    for (size_t i = 0; i < paths->n; i++)
        if (str_eq(paths->v[i].target, target))
            return;
    vec_push(a, paths, ((struct sandbox_path){source, target}));
}

void environment_paths(struct arena *a, const struct environments *e, size_t layers, Paths *ret)
{
    if (e->v[0].python.p) /* that of all layers */
        push_path(a, ret, e->v[0].python, e->v[0].python_seen);
    for (size_t i = 0; i < layers; i++)
        push_path(a, ret, e->v[i].dir, e->v[i].seen);
}

void environment_inherit(struct arena *a, bool for_pip, EnvVars *env, Paths *shown)
{
    static const char *const net[] = {"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "all_proxy", "no_proxy",
                                      "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "GIT_SSL_CAINFO"};
    for (char **e = environ; *e; e++) {
        const char *eq = strchr(*e, '=');
        Str name = eq ? (Str){*e, (size_t)(eq - *e)} : STR_NONE, value = eq ? str_of(eq + 1) : STR_NONE;
        bool take = for_pip && str_starts(name, STR("PIP_"));
        for (size_t i = 0; i < COUNT_OF(net) && !take; i++)
            take = str_eqz(name, net[i]);
        if (!take || !value.n)
            continue;
        env_set(a, env, name, value);
        /* Of the machine's files the system's are shown anyway. */
        if (value.p[0] == '/' && access(value.p, R_OK) == 0 && !str_starts(value, STR("/etc/ssl")) && !str_starts(value, STR("/usr/")))
            push_path(a, shown, value, value);
    }
    if (for_pip && access("/etc/pip.conf", R_OK) == 0)
        push_path(a, shown, STR("/etc/pip.conf"), STR("/etc/pip.conf"));
}

struct kept {
    Str dir;
    Time used;
    int64_t bytes;
};

/* Only while nobody holds it. */
static bool evict(struct arena *a, const struct kept *k)
{
    struct err ignored;
    const char *lock = str_fmt(a, "%.*s.lock", STR_ARG(k->dir)).p;
    int fd = open(lock, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return false;
    bool free_now = lock_as(fd, F_WRLCK) == 0;
    if (free_now) {
        unlink(str_fmt(a, "%.*s/.ready", STR_ARG(k->dir)).p); /* not ready from here on, whatever happens */
        free_now = run_dir_remove(k->dir, &ignored) == 0;
    }
    close(fd);
    return free_now;
}

int environment_evict(Str home, Dur age, int64_t bytes)
{
    AUTO(arena_freep) struct arena *a = arena_create();
    Str all = str_fmt(a, "%.*s/environments", STR_ARG(home));
    VEC(struct kept) kept = {0};
    DIR *d = opendir(all.p);
    for (struct dirent *e; d && (e = readdir(d));) {
        struct kept k = {.dir = str_fmt(a, "%.*s/%s", STR_ARG(all), e->d_name)};
        struct stat st;
        Str text;
        struct err err;
        const char *ready = str_fmt(a, "%.*s/.ready", STR_ARG(k.dir)).p;
        if (e->d_name[0] == '.' || stat(ready, &st) < 0 || file_read(a, ready, (size_t)1 << 20, &text, &err) < 0)
            continue;
        const struct json *size = json_getz(json_parse(a, text, &err), "bytes");
        if (!size || !json_int(size, &k.bytes))
            continue;
        k.used = (Time)st.st_mtim.tv_sec * SEC;
        vec_push(a, &kept, k);
    }
    if (d)
        closedir(d);
    int64_t total = 0;
    int removed = 0;
    for (size_t i = 0; i < kept.n; i++) {
        total += kept.v[i].bytes;
        for (size_t k = i; k && kept.v[k].used < kept.v[k - 1].used; k--) {
            struct kept t = kept.v[k];
            kept.v[k] = kept.v[k - 1];
            kept.v[k - 1] = t;
        }
    }
    Time now = time_now();
    for (size_t i = 0; i < kept.n; i++) {
        if (now - kept.v[i].used < age && total <= bytes)
            break;
        if (evict(a, &kept.v[i])) {
            total -= kept.v[i].bytes;
            removed++;
        }
    }
    return removed;
}
