/* cli/cli.h: what a command works with: its arguments, the settings, the API, and the ways to speak to a person.
 *
 * One per process. Output gathers in a buffer that is written when the command ends, or by cli_flush. */
#pragma once
#include "cli/command.h"
#include "cli/settings.h"
#include "cli/table.h"
#include "http/client.h"

struct cli {
    struct arena *a;
    struct args args;
    const char *program; /* "millpond" or "prefect" */
    bool as_prefect;
    struct settings *settings;
    struct client *client; /* made at the first call */
    struct buf out;
    bool color;      /* on standard output */
    bool terminal;   /* standard output is one */
    size_t width;    /* of the space; 0: no bound */
    bool json;       /* -o json */
    bool url_checked;
    bool flushed;    /* some output is out */
    /* of progress.c */
    int8_t can_draw;
    bool drawn, drawn_wait;
    size_t frame;
    Dur drawn_at, steps_began;
    Time now;
};

/* Runs what argv asks for; the exit status. */
int cli_main(int argc, char *const *argv);

void cli_flush(struct cli *x);
void cli_put(struct cli *x, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* A line of its own: green, of a success; and yellow, worth knowing. With -o json the first is left out and the second goes to standard
 * error: standard output is for the value. */
void cli_ok(struct cli *x, const char *fmt, ...) PRINTF_LIKE(2, 3);
void cli_note(struct cli *x, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* As cli_put, but nothing with -o json. */
void cli_say(struct cli *x, const char *fmt, ...) PRINTF_LIKE(2, 3);
void cli_styled(struct cli *x, const char *style, const char *fmt, ...) PRINTF_LIKE(3, 4);
void cli_table(struct cli *x, const struct table *t);
/* A value as indented JSON, or as YAML lines, by -o. */
void cli_show(struct cli *x, const struct json *v);
/* What a command that changes something prints with -o json, and only then: the object, as it was sent or read; the one at a
 * path of the API as it is now; several, as a list. Of what was deleted, as it was. */
void cli_result(struct cli *x, const struct json *v);
NODISCARD int cli_result_at(struct cli *x, Str path, struct err *err);

/* Whether questions may be asked. */
bool cli_interactive(const struct cli *x);
/* 1 yes, 0 no, -1 with *err at the end of input. Asks again until it is y or n; `otherwise` ('y', 'n' or 0) is Enter. */
NODISCARD int cli_ask(struct cli *x, const char *question, char otherwise, struct err *err);
/* Before something that cannot be undone: as cli_ask with the default no, but yes where --yes was given or nobody can be asked. Says
 * `refused` and gives 0 where the answer is no. */
NODISCARD int cli_confirm(struct cli *x, const char *question, const char *refused, struct err *err);
/* A line of text; STR_NONE with *err at the end of input. */
Str cli_ask_text(struct cli *x, const char *question, struct err *err);
/* Numbered rows to choose from; the index, or -1. */
NODISCARD int cli_choose(struct cli *x, const char *question, const Str *rows, size_t n, struct err *err);

/* Settings of the API as client options. */
struct client_options cli_client_options(struct cli *x);
struct client *cli_client(struct cli *x);
/* Whether the API's address can be one: ERR_INVALID with what is wrong with it and where it was said. Every call begins with this. */
NODISCARD int cli_check_url(struct cli *x, struct err *err);
/* "no server answers at …", and what to do. */
int api_no_server(struct cli *x, struct err *err);
/* One call. *ret may be NULL where nobody wants the answer; where somebody does, an answer without body is an error. */
NODISCARD int api_get(struct cli *x, Str path, const struct json **ret, struct err *err);
NODISCARD int api_post(struct cli *x, Str path, Str body, const struct json **ret, struct err *err);
NODISCARD int api_patch(struct cli *x, Str path, Str body, struct err *err);
NODISCARD int api_delete(struct cli *x, Str path, struct err *err);

struct items {
    const struct json **v;
    size_t n, cap;
};
/* All objects of a POST …/filter, page after page, at most `limit` (INT_NONE: all). `members` are the body's
 * other members ("\"sort\":\"NAME_ASC\"") or "". */
NODISCARD int api_list(struct cli *x, Str path, Str members, int64_t limit, struct items *ret, struct err *err);
/* The items as a JSON array by -o json. */
/* " Did you mean 'a' or 'b'?" by the names of what a POST …/filter lists; "" where none is near, or the list cannot be had. */
Str api_nearest(struct cli *x, Str path, Str name);
void cli_show_items(struct cli *x, const struct items *items);
void cli_result_items(struct cli *x, const struct items *items);

/* Fields of API objects, for tables. */
Str field(const struct json *v, const char *key);           /* a string; "" where it is null or absent */
Time field_time(const struct json *v, const char *key);     /* TIME_NONE */
int64_t field_int(const struct json *v, const char *key);   /* INT_NONE */
bool field_bool(const struct json *v, const char *key);
/* Ids of objects, each once, as JSON strings with commas: what goes into {"id":{"any_":[…]}}. */
Str field_ids(struct arena *a, const struct items *items, const char *key);
/* The item whose `key` is `value`; NULL. */
const struct json *items_find(const struct items *items, const char *key, Str value);
void items_sort(struct items *items, int (*order)(const struct json *x, const struct json *y));

/* Prints an address, and on a terminal opens it in a browser. */
NODISCARD int cli_open_page(struct cli *x, Str url, struct err *err);
/* {ui}/path of a page. */
Str ui_page(struct cli *x, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* Text as a JSON string, quotes and all. */
Str json_quote(struct arena *a, Str s);
/* Texts as the items of a JSON array, without its brackets; "" where there are none. */
Str json_strings(struct arena *a, struct strs list);
/* A JSON value, or where the text is none and has no quotation marks a string of it: how --param reads values. */
NODISCARD const struct json *loose_json(struct arena *a, Str text, struct err *err);
/* KEY=VALUE pairs, values read by loose_json, as the members of a JSON object; a later key wins. */
NODISCARD int pairs_json(struct arena *a, struct strs pairs, const char *option, struct map *ret, struct err *err);
