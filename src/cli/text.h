/* cli/text.h: text for terminals: widths, cutting, wrapping, styles, times in words. */
#pragma once
#include "json/json.h"

/* Columns that UTF-8 text takes on a terminal: wide East Asian characters and emoji two, combining ones none. */
size_t text_width(Str s);
/* At most `width` columns, the last one "…" where it was cut. Line ends become spaces. */
Str text_cut(struct arena *a, Str s, size_t width);
/* The first line of at most `width` columns, broken at a space where there is one; takes it off *rest. False when
 * *rest is used up. */
bool text_line(Str *rest, size_t width, Str *ret_line);

/* A style is an ANSI sequence's parameters ("1;32"); NULL: plain. */
#define STYLE_BOLD "1"
#define STYLE_DIM "2"
#define STYLE_ITALIC "3"
#define STYLE_RED "31"
#define STYLE_GREEN "32"
#define STYLE_YELLOW "33"
#define STYLE_BLUE "34"
#define STYLE_MAGENTA "35"
#define STYLE_CYAN "36"
void text_styled(struct buf *out, bool color, const char *style, Str s);

/* "32 seconds ago", "in 2 hours", "a few seconds ago": the largest whole unit. STR_NONE's own: "" for TIME_NONE. */
Str text_relative(struct arena *a, Time t, Time now);
/* "2026-11-23 18:31:09.926996+00:00", no fraction where it is zero. */
Str text_time(struct arena *a, Time t);
/* "18:31:09.926" of the day in UTC. */
Str text_clock(struct arena *a, Time t);
/* "45s", "2m 5s", "1h 2m". */
Str text_duration(struct arena *a, Dur d);

/* A name in quotes as messages show it: single quotes, or double ones where it holds a single one. */
Str text_quoted(struct arena *a, Str s);
/* A JSON value as a Python literal ({'n': 5, 'ok': True, 'x': None}). */
void text_python(struct buf *out, const struct json *v);
/* A JSON value as YAML block lines ("key: value", lists with "- "), for people. */
void text_yaml(struct buf *out, const struct json *v, int indent);
/* Indented JSON with a line end. */
void text_json(struct buf *out, const struct json *v);

/* When a person says when: ISO 8601, "now", "in 5 minutes", "tomorrow 5pm", "17:30", "monday 9am"; UTC, the future preferred.
 * False where it is none of these. */
bool text_when(Str s, Time now, Time *ret);
/* "5 minutes", "1h30m", "90", "2 days 3 hours", "PT5M". A bare number is seconds. False where it is none. */
bool text_span(Str s, Dur *ret);
