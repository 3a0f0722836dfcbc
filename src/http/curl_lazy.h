/* http/curl_lazy.h: libcurl, loaded at the first call. Inside http/ only, instead of <curl/curl.h>.
 *
 * Linked in the ordinary way it draws thirty libraries into every process: 3.5 ms and 4 MB that `--help`, the
 * server and a run's supervisor have no use for. A call of any function of the list goes through a table that
 * curl_lazy_load fills; a new function is a row here. */
#pragma once
#define CURL_DISABLE_TYPECHECK
#include <curl/curl.h>
#undef curl_easy_setopt
#undef curl_easy_getinfo

#define CURL_FUNCTIONS(X)                                                                                              \
    X(curl_global_init)                                                                                                \
    X(curl_easy_init)                                                                                                  \
    X(curl_easy_cleanup)                                                                                               \
    X(curl_easy_reset)                                                                                                 \
    X(curl_easy_setopt)                                                                                                \
    X(curl_easy_perform)                                                                                               \
    X(curl_easy_getinfo)                                                                                               \
    X(curl_easy_strerror)                                                                                              \
    X(curl_slist_append)                                                                                               \
    X(curl_slist_free_all)

struct curl_lazy {
#define X(fn) __typeof__(&fn) fn##_;
    CURL_FUNCTIONS(X)
#undef X
};
extern struct curl_lazy curl_lazy;

/* Loads the library and starts it; later calls do nothing. Any thread. Ends the program with a line where it is not
 * installed. */
void curl_lazy_load(void);

#define curl_global_init curl_lazy.curl_global_init_
#define curl_easy_init curl_lazy.curl_easy_init_
#define curl_easy_cleanup curl_lazy.curl_easy_cleanup_
#define curl_easy_reset curl_lazy.curl_easy_reset_
#define curl_easy_setopt curl_lazy.curl_easy_setopt_
#define curl_easy_perform curl_lazy.curl_easy_perform_
#define curl_easy_getinfo curl_lazy.curl_easy_getinfo_
#define curl_easy_strerror curl_lazy.curl_easy_strerror_
#define curl_slist_append curl_lazy.curl_slist_append_
#define curl_slist_free_all curl_lazy.curl_slist_free_all_
