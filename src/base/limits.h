/* base/limits.h: every cap on what a client can make us hold, with its reason. */
#pragma once

#define LIMIT_BODY ((size_t)16 << 20)          /* clients send log batches of up to 4 MB; twice that and room */
#define LIMIT_REPLY ((size_t)256 << 20)        /* 200 rows of the largest parameters (512 KB) and room */
#define LIMIT_JSON_DEPTH 200                   /* nesting; a C stack frame each when walked */
#define LIMIT_HEADERS ((size_t)16 << 10)       /* request line and headers of one request; a connection's memory */
#define LIMIT_URL ((size_t)8 << 10)
#define LIMIT_PAGE 200                         /* the API's largest page */
#define LIMIT_EVENTS_PAGE 50
#define LIMIT_PARAMETERS ((size_t)512 << 10)   /* the published limit of a run's parameters */
#define LIMIT_FRAME ((size_t)4 << 20)          /* a WebSocket message; task-run events may hold 1.5 MB */
#define LIMIT_CONNECTIONS 20000
#define LIMIT_SUBSCRIBER_QUEUE 256             /* events waiting for one reader; past it they are dropped */
#define LIMIT_WRITE_QUEUE 20000                /* writes waiting for the writer; past it 503 */
#define LIMIT_BATCH 1024                       /* writes in one commit */
#define LIMIT_SQL ((size_t)256 << 10)          /* one built statement */
#define LIMIT_FILTER_TERMS 2000                /* bound values in one filter */
#define LIMIT_CRON 4096                        /* characters; every value of every field listed is below 1500 */
#define LIMIT_RRULE 6500                       /* characters; published: a year of dates */
#define LIMIT_RRULE_COUNT_STEPS 1000000        /* instants and days walked for a COUNT when it is read: 30 ms */
#define LIMIT_SCHEDULE_STEPS 200000            /* days or periods of a rule looked at for its next instants: 10 ms */
#define LIMIT_SCHEDULE_RUNS 1000               /* instants asked for at once; published */
#define LIMIT_SCHEDULE_AHEAD 50                /* a schedule's own max_scheduled_runs; published */
#define LIMIT_AUTOMATION ((size_t)512 << 10)    /* trigger and actions of one; told as an event at each change, which has 1.5 MB */
