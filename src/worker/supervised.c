#include "worker/supervised.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "worker/child.h"
#include "worker/warm.h"

#define GRACE (30 * SEC)
#define YOUNG (10 * SEC)

int supervised_spec(struct infra_context *cx, const struct infra_run *run, const Str *fallback, size_t fallback_n,
                    struct run_spec *ret, struct err *err)
{
    struct arena *a = cx->a;
    *ret = (struct run_spec){
        .flow_run_id = run->id,
        .claim_state = run->claim_state,
        .name = run->name,
        .pool = run->pool_name,
        .pool_type = run->pool_type,
        .worker = cx->host->worker_name,
        .cwd = json_get_str(run->config, STR("working_dir")),
        .capture = true,
        .api = cx->host->api,
        .env = run->env,
        .limits.grace = GRACE,
    };
    if (!ret->cwd.n)
        ret->cwd = STR_NONE;
    Str command = json_get_str(run->config, STR("command"));
    if (str_trim(command).n) {
        Str *v;
        size_t n;
        if (argv_split(a, command, &v, &n, err) < 0)
            return -1;
        for (size_t i = 0; i < n; i++)
            vec_push(a, &ret->argv, v[i]);
    } else {
        for (size_t i = 0; i < fallback_n; i++)
            vec_push(a, &ret->argv, fallback[i]);
    }
    int64_t seconds;
    const struct json *timeout = json_getz(run->config, "timeout");
    if (timeout && json_int(timeout, &seconds) && seconds > 0)
        ret->limits.time = (Dur)MIN(seconds, 3650 * 86400) * SEC;
    const struct json *grace = json_getz(run->config, "grace_seconds");
    if (grace && json_int(grace, &seconds) && seconds >= 0)
        ret->limits.grace = (Dur)MIN(seconds, 86400) * SEC;
    return 0;
}

/* Pids that are ours to wait for. Waiting for any child would take those away that others wait for. */
static struct {
    pthread_mutex_t lock;
    int *v;
    size_t n, cap;
} started = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void remember(int pid)
{
    pthread_mutex_lock(&started.lock);
    if (started.n == started.cap) {
        started.cap = started.cap ? started.cap * 2 : 16;
        started.v = realloc(started.v, started.cap * sizeof *started.v);
        if (!started.v)
            die("out of memory");
    }
    started.v[started.n++] = pid;
    pthread_mutex_unlock(&started.lock);
}

void supervised_reap(void)
{
    pthread_mutex_lock(&started.lock);
    for (size_t i = 0; i < started.n;) {
        if (waitpid(started.v[i], NULL, WNOHANG) == 0)
            i++;
        else
            started.v[i] = started.v[--started.n];
    }
    pthread_mutex_unlock(&started.lock);
}

/* `exe supervise [option] argument`, in its own session, with nothing of ours but standard output and error, and `fd` as 3. */
static int spawn(const struct infra_host *host, const char *option, Str argument, int fd, int *ret_pid, struct err *err)
{
    AUTO(arena_freep) struct arena *a = arena_create();
    char *exe = str_z(a, host->exe), *words[2] = {str_z(a, argument), NULL};
    static char supervise[] = "supervise";
    char *argv[] = {exe, supervise, words[0], NULL, NULL};
    if (option) {
        argv[2] = str_z(a, str_of(option));
        argv[3] = words[0];
    }
    posix_spawnattr_t attr;
    posix_spawn_file_actions_t files;
    posix_spawnattr_init(&attr);
    posix_spawn_file_actions_init(&files);
    sigset_t asked, all;
    sigemptyset(&asked); /* a wish to stop that comes before it can take one waits */
    sigaddset(&asked, SIGUSR1);
    sigaddset(&asked, SIGTERM);
    sigaddset(&asked, SIGINT);
    sigfillset(&all);
    posix_spawnattr_setsigmask(&attr, &asked);
    posix_spawnattr_setsigdefault(&attr, &all);
    posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    posix_spawn_file_actions_addopen(&files, 0, "/dev/null", O_RDONLY, 0);
    if (fd >= 0)
        posix_spawn_file_actions_adddup2(&files, fd, 3);
    posix_spawn_file_actions_addclosefrom_np(&files, fd >= 0 ? 4 : 3);
    pid_t pid;
    int rc = posix_spawn(&pid, exe, &files, &attr, argv, environ);
    posix_spawnattr_destroy(&attr);
    posix_spawn_file_actions_destroy(&files);
    if (rc) {
        errno = rc;
        return err_errno(err, "starting a supervisor (%s)", exe);
    }
    remember((int)pid);
    *ret_pid = (int)pid;
    return 0;
}

int supervised_start(struct infra_context *cx, const struct run_spec *spec, Str *ret_identifier, struct err *err)
{
    Str dir;
    int pid;
    if (run_dir_create(cx->a, cx->host->home, spec, &dir, err) < 0)
        return -1;
    if (!(pid = warm_take(cx->a, spec, dir)) && spawn(cx->host, NULL, dir, /* fd: */ -1, &pid, err) < 0) {
        struct err ignored;
        (void)!run_dir_remove(dir, &ignored);
        return -1;
    }
    *ret_identifier = str_fmt(cx->a, "%.*s:%d", STR_ARG(cx->host->host_name), pid);
    return 0;
}

int supervised_report(const struct infra_host *host, Str dir, int *ret_pid, struct err *err)
{
    return spawn(host, "--report", dir, /* fd: */ -1, ret_pid, err);
}

int supervised_spare(const struct infra_host *host, int fd, int *ret_pid, struct err *err)
{
    return spawn(host, "--spare", host->home, fd, ret_pid, err);
}

bool identifier_parse(Str identifier, Str *ret_host, int *ret_pid)
{
    Str host, rest = identifier;
    int64_t pid;
    if (!str_cut(&rest, ':', &host) || !host.n || !str_int(rest, &pid) || pid < 2 || pid > INT32_MAX)
        return false;
    *ret_host = host;
    *ret_pid = (int)pid;
    return true;
}

int supervised_cancel(struct infra_context *cx, Uuid flow_run_id, Str identifier, Dur grace, struct err *err)
{
    UNUSED(grace); /* the supervisor has its own, from the run's specification */
    Str host = STR_NONE;
    int named = 0;
    if (identifier.n && identifier_parse(identifier, &host, &named) && !str_eq(host, cx->host->host_name))
        return err_set(err, ERR_FORBIDDEN, "the run lives on '%.*s', not here", STR_ARG(host));
    RunDirs dirs = {0};
    run_dir_list(cx->a, cx->host->home, flow_run_id, &dirs);
    bool told = false;
    for (size_t i = 0; i < dirs.n; i++) {
        int pid = run_dir_holder(dirs.v[i].path);
        if (!pid && named && run_dir_age(dirs.v[i].path) < YOUNG)
            pid = named; /* it has only just begun; the signal waits for it */
        told |= pid && kill(pid, SIGUSR1) == 0;
    }
    return told ? 0 : err_set(err, ERR_NOT_FOUND, "no process of the run is left on this machine");
}
