/* cli/table.h: rows and columns in a box, fitted to the terminal.
 *
 * Cells are set row by row, left to right. A table is as wide as its content, at most as the space; what does not
 * fit is cut ("…") or wrapped, and in a very narrow space the last columns are left out. */
#pragma once
#include "cli/text.h"

struct column {
    const char *title;
    const char *style; /* of its cells; NULL: plain */
    bool right;        /* flush right */
    bool wrap;         /* breaks over lines instead of being cut */
    int share;         /* of a full-width table's columns: parts of the whole; 0: by content */
    size_t most;       /* widest content; 0: no bound */
};

struct table;

/* Texts of columns and of title and caption must live as long as the table; both may be NULL. */
struct table *table_create(struct arena *a, const char *title, const struct column *columns, size_t n);
void table_caption(struct table *t, const char *caption, const char *style);
/* Fills the whole space, columns by their shares. */
void table_expand(struct table *t);
/* Lines between rows. */
void table_lines(struct table *t);

void table_cell(struct table *t, Str s);
void table_styled(struct table *t, const char *style, Str s); /* instead of the column's style */
/* Adds a styled end to the last cell (the "(**)" behind a paused pool's name). */
void table_append(struct table *t, const char *style, Str s);
void table_cellf(struct table *t, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* Width 0: as wide as the content wants. */
void table_print(const struct table *t, struct buf *out, size_t width, bool color);
