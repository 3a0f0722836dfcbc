#include "worker/child.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

char **env_block(struct arena *a, const EnvVars *env)
{
    char **v = arena_array(a, char *, env->n + 1);
    size_t n = 0;
    for (size_t i = 0; i < env->n; i++)
        if (env->v[i].value.p && !memchr(env->v[i].value.p, 0, env->v[i].value.n))
            v[n++] = str_z(a, str_fmt(a, "%.*s=%.*s", STR_ARG(env->v[i].name), STR_ARG(env->v[i].value)));
    return v;
}

char **argv_block(struct arena *a, const Str *v, size_t n)
{
    char **out = arena_array(a, char *, n + 1);
    for (size_t i = 0; i < n; i++)
        out[i] = str_z(a, v[i]);
    return out;
}

void child_reset_signals(void)
{
    for (int sig = 1; sig < NSIG; sig++)
        if (sig != SIGKILL && sig != SIGSTOP)
            signal(sig, SIG_DFL);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

/* In the child: never comes back. */
static _Noreturn void become(const struct child_plain *p, char **argv, char **env, const char *cwd, int go_fd, int fail_fd)
{
    char go;
    setpgid(0, 0);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (read(go_fd, &go, 1) != 1) /* until we are in our control groups, or the parent is dead */
        _exit(127);
    child_reset_signals();
    int null = open("/dev/null", O_RDONLY);
    if (null < 0 || dup2(null, 0) < 0 || dup2(p->out_fd, 1) < 0 || dup2(p->err_fd, 2) < 0)
        goto fail;
    if (chdir(cwd) < 0)
        goto fail;
    environ = env;
    syscall(SYS_close_range, 3, ~0U, 4 /* CLOSE_RANGE_CLOEXEC */);
    execvp(argv[0], argv);
fail:;
    int e = errno;
    ssize_t done = write(fail_fd, &e, sizeof e);
    UNUSED(done);
    _exit(127);
}

int child_start(const struct child_plain *p, struct child *c, struct err *err)
{
    AUTO(arena_freep) struct arena *a = arena_create();
    char **argv = argv_block(a, p->argv, p->argc), **env = env_block(a, p->env);
    const char *cwd = str_z(a, p->cwd);
    int go[2], failed[2];
    if (pipe2(go, O_CLOEXEC) < 0 || pipe2(failed, O_CLOEXEC) < 0)
        return err_errno(err, "making a pipe");
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    int pid = fork();
    if (pid < 0)
        return err_errno(err, "starting a process");
    if (!pid) {
        close(go[1]);
        become(p, argv, env, cwd, go[0], failed[1]);
    }
    close(go[0]);
    close(failed[1]);
    struct err ignored;
    if (cgroup_enter(&c->group, pid, &ignored) < 0)
        cgroup_remove(&c->group); /* killing by ancestry will do */
    ssize_t done = write(go[1], "g", 1);
    UNUSED(done);
    close(go[1]);
    int e = 0;
    ssize_t got;
    do
        got = read(failed[0], &e, sizeof e);
    while (got < 0 && errno == EINTR);
    close(failed[0]);
    if (got == sizeof e) {
        waitpid(pid, NULL, 0);
        errno = e;
        if (access(cwd, X_OK) < 0)
            return err_errno(err, "the working directory %s cannot be entered", cwd);
        return err_errno(err, "the command '%s' cannot be executed", argv[0]);
    }
    c->pid = pid;
    c->pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
    if (c->pidfd < 0) {
        err_errno(err, "opening the process");
        child_kill_tree(c);
        return -1;
    }
    return 0;
}

void child_signal(const struct child *c, int sig)
{
    if (c->pid > 0)
        kill(c->pid, sig);
}

/* "pid (comm) state ppid …"; comm may hold anything but is the last thing in parentheses. */
static int parent_of(int pid)
{
    char path[40], text[512];
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    ssize_t n = read(fd, text, sizeof text - 1);
    close(fd);
    if (n <= 0)
        return -1;
    text[n] = '\0';
    char *p = strrchr(text, ')'), state;
    int ppid;
    return p && sscanf(p + 1, " %c %d", &state, &ppid) == 2 && state != 'Z' ? ppid : -1;
}

/* Kills what descends from us; the number of processes found alive. */
static int kill_descendants(void)
{
    enum { MOST = 4096 };
    struct {
        int pid, ppid;
        bool ours;
    } *all = malloc(MOST * sizeof *all);
    int n = 0, found = 0, me = (int)getpid();
    DIR *d = opendir("/proc");
    if (!all || !d)
        die("out of memory");
    for (struct dirent *e; n < MOST && (e = readdir(d));) {
        int64_t pid;
        if (!str_int(str_of(e->d_name), &pid))
            continue;
        int ppid = parent_of((int)pid);
        if (ppid < 0)
            continue;
        all[n].pid = (int)pid;
        all[n].ppid = ppid;
        all[n++].ours = ppid == me;
    }
    closedir(d);
    for (bool more = true; more;) {
        more = false;
        for (int i = 0; i < n; i++)
            for (int k = 0; !all[i].ours && k < n; k++)
                if (all[k].ours && all[k].pid == all[i].ppid)
                    more = all[i].ours = true;
    }
    for (int i = 0; i < n; i++)
        if (all[i].ours && kill(all[i].pid, SIGKILL) == 0)
            found++;
    free(all);
    return found;
}

static void collect(const struct child *c)
{
    /* Not the child itself: its status is child_reap's. */
    siginfo_t info;
    for (;;) {
        info.si_pid = 0;
        if (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) < 0 || !info.si_pid || info.si_pid == c->pid)
            return;
        waitpid(info.si_pid, NULL, WNOHANG);
    }
}

void child_kill_tree(struct child *c)
{
    if (c->pid > 0)
        kill(c->pid, SIGKILL);
    if (c->init)
        return; /* the kernel kills the whole namespace with it */
    for (int i = 0; i < 500; i++) {
        bool whole = cgroup_kill(&c->group);
        int left = kill_descendants();
        collect(c);
        if (!left || (whole && i > 100))
            return;
        usleep(10000);
    }
}

bool child_reap(struct child *c, int *ret_code)
{
    bool ended = false;
    for (int status, pid; (pid = waitpid(-1, &status, WNOHANG)) > 0;) {
        if (pid != c->pid)
            continue;
        ended = true;
        *ret_code = WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
        c->pid = 0;
    }
    return ended;
}

void child_clear(struct child *c)
{
    if (c->pidfd > 0)
        close(c->pidfd);
    c->pidfd = 0;
    cgroup_remove(&c->group);
}
