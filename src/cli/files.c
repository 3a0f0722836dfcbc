#include "cli/files.h"

#include "base/limits.h"
#include "base/time.h"
#include "cli/yaml.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

static void fd_close(int *fd)
{
    if (*fd > 2)
        close(*fd);
}

int path_read(struct arena *a, Str path, Str *ret, struct err *err)
{
    AUTO(fd_close) int fd = str_eq(path, STR("-")) ? 0 : open(str_z(a, path), O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        int rc = err_errno(err, "cannot read %.*s", STR_ARG(path));
        if (errno == ENOENT || errno == ENOTDIR)
            err->code = ERR_NOT_FOUND;
        return rc;
    }
    AUTO(buf_free) struct buf b = BUF(LIMIT_BODY);
    for (;;) {
        char *room = buf_room(&b, 4096);
        if (!room)
            return err_set(err, ERR_TOO_LARGE, "%.*s is over %zu MB", STR_ARG(path), LIMIT_BODY >> 20);
        ssize_t n = read(fd, room, 4096);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_errno(err, "cannot read %.*s", STR_ARG(path));
        if (n == 0)
            break;
        b.n += (size_t)n;
    }
    *ret = str_dup(a, buf_view(&b));
    return 0;
}

int folder_make(struct arena *a, Str path, struct err *err)
{
    char *z = str_z(a, path);
    for (char *c = z + 1;; c++) {
        if (*c && *c != '/')
            continue;
        char was = *c;
        *c = '\0';
        if (mkdir(z, 0700) < 0 && errno != EEXIST)
            return err_errno(err, "cannot make the folder %s", z);
        if (!was)
            return 0;
        *c = was;
    }
}

int path_write(struct arena *a, Str path, Str text, unsigned mode, struct err *err)
{
    const char *slash = memrchr(path.p, '/', path.n);
    if (slash && slash != path.p && folder_make(a, str_sub(path, 0, (size_t)(slash - path.p)), err) < 0)
        return -1;
    struct uuid_text id = uuid_text(uuid_v4());
    const char *temporary = str_fmt(a, "%.*s.%.8s", STR_ARG(path), id.s).p;
    AUTO(fd_close) int fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
    if (fd < 0)
        return err_errno(err, "cannot write %.*s", STR_ARG(path));
    for (size_t at = 0; at < text.n;) {
        ssize_t n = write(fd, text.p + at, text.n - at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            err_errno(err, "cannot write %.*s", STR_ARG(path));
            unlink(temporary);
            return -1;
        }
        at += (size_t)n;
    }
    if (fsync(fd) < 0 || rename(temporary, str_z(a, path)) < 0) {
        err_errno(err, "cannot write %.*s", STR_ARG(path));
        unlink(temporary);
        return -1;
    }
    return 0;
}

int document_read(struct arena *a, Str path, const struct json **ret, struct err *err)
{
    Str text;
    if (path_read(a, path, &text, err) < 0)
        return -1;
    bool input = str_eq(path, STR("-")), yaml = str_ends(path, STR(".yaml")) || str_ends(path, STR(".yml"));
    const struct json *v = yaml ? yaml_parse(a, text, err) : json_parse(a, text, err);
    struct err other;
    if (!v && input && text.n && text.p[0] != '{' && text.p[0] != '[')
        v = yaml_parse(a, text, &other);
    if (!v)
        return err_wrap(err, "%.*s", input ? 14 : (int)path.n, input ? "standard input" : path.p);
    *ret = v;
    return 0;
}
