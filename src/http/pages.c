/* What libmicrohttpd answers by itself (a head that is too large, a request that is none, broken chunks) is a page in
 * HTML, and nothing of its interface can change that. It makes them as anybody would, by MHD_create_response_from_buffer;
 * those here stand before its own, as a program's malloc stands before the C library's, and put the page's sentence into the
 * API's error shape. Where the library was built so that its own calls stay inside it, its pages stay as they are. */
#include "http/pages.h"

#include "base/str.h"

#include <dlfcn.h>
#include <microhttpd.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#define HAS_TWO_HEADS "Content-Length"

typedef struct MHD_Response *maker(size_t n, void *p, enum MHD_ResponseMemoryMode mode);
typedef enum MHD_Result queuer(struct MHD_Connection *connection, unsigned status, struct MHD_Response *response);

static maker *make;
static queuer *queue;
/* The page that this thread's libmicrohttpd has made and not queued yet. */
static _Thread_local struct MHD_Response *page_made;
static _Thread_local char page_text[1024];

/* Those of the object that follows this program's own. */
static void find(void)
{
    *(void **)&make = dlsym(RTLD_NEXT, "MHD_create_response_from_buffer");
    *(void **)&queue = dlsym(RTLD_NEXT, "MHD_queue_response");
    if (!make || !queue)
        die("libmicrohttpd lacks what stands in its header");
}

static void find_once(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, find);
}

/* The sentence of a page: what stands in its body, without tags; `to` has room for `n`. */
static size_t sentence(Str page, char *to)
{
    ptrdiff_t from = str_find(page, STR("<body>"));
    Str body = str_sub(page, from < 0 ? page.n : (size_t)from + 6, page.n);
    size_t n = 0;
    bool tag = false;
    for (size_t i = 0; i < body.n; i++) {
        char c = body.p[i];
        if (c == '<' || c == '>') {
            tag = c == '<';
        } else if (str_starts(str_sub(body, i, 6), STR("&quot;"))) {
            to[n++] = '\'';
            i += 5;
        }
        else if (!tag)
            to[n++] = c == '"' || c == '\\' || (unsigned char)c < ' ' ? '\'' : c;
    }
    return n;
}

struct MHD_Response *MHD_create_response_from_buffer(size_t n, void *p, enum MHD_ResponseMemoryMode mode)
{
    find_once();
    Str page = {p, n};
    static const char before[] = "{\"exception_message\":\"", after[] = "\"}";
    if (mode != MHD_RESPMEM_PERSISTENT || !str_starts(page, STR("<html>")) || n + sizeof before + sizeof after > sizeof page_text)
        return make(n, p, mode);
    size_t at = sizeof before - 1;
    memcpy(page_text, before, at);
    at += sentence(page, page_text + at);
    memcpy(page_text + at, after, sizeof after);
    page_made = make(at + sizeof after - 1, page_text, MHD_RESPMEM_MUST_COPY);
    if (page_made)
        MHD_add_response_header(page_made, MHD_HTTP_HEADER_CONTENT_TYPE, "application/json");
    return page_made;
}

/* What it finds wrong with a length it answers with two heads before one body: those are sent here, and it is told that it could
 * not, upon which it closes the connection. (There is nothing to wait for: the socket has sent all that it was given before.) */
enum MHD_Result MHD_queue_response(struct MHD_Connection *connection, unsigned status, struct MHD_Response *response)
{
    find_once();
    bool page = response && response == TAKE(page_made);
    if (!page || !strstr(page_text, HAS_TWO_HEADS))
        return queue(connection, status, response);
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    char text[sizeof page_text + 256];
    int n = snprintf(text, sizeof text, "HTTP/1.1 %u %s\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s", status,
                     MHD_get_reason_phrase_for(status), strlen(page_text), page_text);
    if (info && n > 0 && send(info->connect_fd, text, (size_t)n, MSG_DONTWAIT | MSG_NOSIGNAL) == n)
        shutdown(info->connect_fd, SHUT_WR);
    return MHD_NO;
}

void pages_link(void)
{
}
