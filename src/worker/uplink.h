/* worker/uplink.h: the supervisor's way to the API: where the run lives, what it prints, how it ended.
 *
 * One thread with a client of its own, so that a slow or dead server never holds up the run. Log records wait in a queue of
 * bounded size: while the API takes them, the reader of the output is asked to wait (uplink_room); while it does
 * not, or once a run has printed more than its share, records are dropped, counted, and one line says so. The end is
 * reported again and again until it is heard or the run is no more. */
#pragma once
#include "worker/run_dir.h"

#define UPLINK_QUEUE ((size_t)4 << 20)    /* bytes of log text that may wait */
#define UPLINK_TOTAL ((size_t)64 << 20)   /* bytes of output that one run may put into its log */

enum { UPLINK_DEBUG = 10, UPLINK_INFO = 20, UPLINK_WARNING = 30, UPLINK_ERROR = 40 };

struct uplink;

struct uplink_options {
    const struct client_options *api;
    Uuid flow_run_id, claim_state;
    Str identifier;  /* kept with the run as its infrastructure_pid; STR_NONE: not */
    size_t total;    /* 0: UPLINK_TOTAL */
};

/* Starts the thread. Texts of the options must outlive it. */
struct uplink *uplink_start(const struct uplink_options *o);
/* One record; `logger` is a literal. Output counts against the total, our own notes do not. */
void uplink_log(struct uplink *u, const char *logger, int level, Str text, bool is_output);
/* False while the reader should leave the output in its pipe. */
bool uplink_room(struct uplink *u);
/* The last call but for uplink_free: what waits is shipped, then the end is reported. */
void uplink_end(struct uplink *u, const struct run_end *end);
/* Readable once the end has been heard (or concerns nobody any more). */
int uplink_fd(const struct uplink *u);
/* Ends the thread, heard or not. */
void uplink_free(struct uplink *u);
