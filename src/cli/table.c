#include "cli/table.h"

struct cell {
    Str text;
    const char *style; /* NULL: the column's */
    Str tail;
    const char *tail_style;
};

struct table {
    struct arena *a;
    const char *title, *caption, *caption_style;
    const struct column *columns;
    size_t n;
    bool expand, lines;
    VEC(struct cell) cells;
};

/* What a printing works with. */
struct layout {
    const struct table *t;
    struct buf *out;
    bool color;
    size_t columns; /* those shown */
    size_t *widths; /* without padding */
    size_t total;
};

struct table *table_create(struct arena *a, const char *title, const struct column *columns, size_t n)
{
    struct table *t = arena_new(a, struct table);
    t->a = a;
    t->title = title;
    t->columns = columns;
    t->n = n;
    return t;
}

void table_caption(struct table *t, const char *caption, const char *style)
{
    t->caption = caption;
    t->caption_style = style;
}

void table_expand(struct table *t)
{
    t->expand = true;
}

void table_lines(struct table *t)
{
    t->lines = true;
}

void table_styled(struct table *t, const char *style, Str s)
{
    vec_push(t->a, &t->cells, ((struct cell){.text = s.p ? s : STR(""), .style = style}));
}

void table_cell(struct table *t, Str s)
{
    table_styled(t, NULL, s);
}

void table_append(struct table *t, const char *style, Str s)
{
    struct cell *c = &t->cells.v[t->cells.n - 1];
    c->tail = s;
    c->tail_style = style;
}

void table_cellf(struct table *t, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    table_cell(t, str_vfmt(t->a, fmt, ap));
    va_end(ap);
}

static size_t content_width(const struct column *column, const struct cell *c)
{
    size_t widest = 0;
    if (!column->wrap) { /* line ends are shown as spaces */
        for (size_t i = 0; i < c->text.n; i++)
            widest += c->text.p[i] == '\n';
        return widest + text_width(c->text) + text_width(c->tail);
    }
    for (Str rest = c->text, line; str_cut(&rest, '\n', &line);)
        widest = MAX(widest, text_width(line));
    return widest + text_width(c->tail);
}

static size_t total_width(const struct layout *l)
{
    size_t sum = 1;
    for (size_t i = 0; i < l->columns; i++)
        sum += l->widths[i] + 3;
    return sum;
}

/* Takes one from the widest of the columns that may shrink: wrapping ones first, down to a readable width. */
static bool shrink_widest(struct layout *l, bool wrapping, size_t least)
{
    size_t widest = SIZE_MAX;
    for (size_t i = 0; i < l->columns; i++)
        if ((!wrapping || l->t->columns[i].wrap) && l->widths[i] > least &&
            (widest == SIZE_MAX || l->widths[i] >= l->widths[widest]))
            widest = i;
    if (widest == SIZE_MAX)
        return false;
    l->widths[widest]--;
    return true;
}

static void share_out(struct layout *l, size_t width)
{
    size_t parts = 0, borders = 3 * l->columns + 1, used = 0;
    for (size_t i = 0; i < l->columns; i++)
        parts += (size_t)MAX(l->t->columns[i].share, 1);
    if (width <= borders + l->columns)
        return;
    size_t space = width - borders;
    for (size_t i = 0; i < l->columns; i++) {
        size_t share = space * (size_t)MAX(l->t->columns[i].share, 1) / parts;
        l->widths[i] = i + 1 == l->columns ? space - used : share;
        used += share;
    }
}

static void fit(struct layout *l, size_t width)
{
    const struct table *t = l->t;
    for (size_t i = 0; i < t->n; i++)
        l->widths[i] = text_width(str_of(t->columns[i].title));
    for (size_t i = 0; i < t->cells.n; i++)
        l->widths[i % t->n] = MAX(l->widths[i % t->n], content_width(&t->columns[i % t->n], &t->cells.v[i]));
    for (size_t i = 0; i < t->n; i++)
        if (t->columns[i].most)
            l->widths[i] = MIN(l->widths[i], t->columns[i].most);
    l->columns = t->n;
    if (width) {
        while (l->columns > 1 && l->columns * 8 + 1 > width)
            l->columns--;
        if (t->expand)
            share_out(l, width);
        while (total_width(l) > width && (shrink_widest(l, true, 24) || shrink_widest(l, false, 1)))
            ;
    }
    l->total = total_width(l);
}

static void spaces(struct buf *out, size_t n)
{
    buf_fmt(out, "%*s", (int)n, "");
}

static void rule(const struct layout *l, const char *left, const char *line, const char *cross, const char *right)
{
    for (size_t i = 0; i < l->columns; i++) {
        buf_z(l->out, i ? cross : left);
        for (size_t k = 0; k < l->widths[i] + 2; k++)
            buf_z(l->out, line);
    }
    buf_z(l->out, right);
    buf_char(l->out, '\n');
}

static void centred(const struct layout *l, const char *text, const char *style)
{
    Str rest = str_of(text), line;
    while (text && text_line(&rest, l->total, &line)) {
        spaces(l->out, (l->total - MIN(text_width(line), l->total)) / 2);
        text_styled(l->out, l->color, style, line);
        buf_char(l->out, '\n');
    }
}

static void pad(const struct layout *l, size_t column, size_t used, bool before)
{
    size_t gap = l->widths[column] - MIN(used, l->widths[column]);
    if (gap && l->t->columns[column].right == before)
        spaces(l->out, gap);
}

static void header(const struct layout *l)
{
    rule(l, "┏", "━", "┳", "┓");
    for (size_t i = 0; i < l->columns; i++) {
        Str title = text_cut(l->t->a, str_of(l->t->columns[i].title), l->widths[i]);
        buf_z(l->out, "┃ ");
        pad(l, i, text_width(title), true);
        text_styled(l->out, l->color, STYLE_BOLD, title);
        pad(l, i, text_width(title), false);
        buf_char(l->out, ' ');
    }
    buf_z(l->out, "┃\n");
    rule(l, "┡", "━", "╇", "┩");
}

/* The k-th line of a wrapping cell. */
static Str wrapped_line(const struct cell *c, size_t width, size_t k)
{
    Str rest = c->text, line;
    while (text_line(&rest, width, &line))
        if (k-- == 0)
            return line;
    return STR("");
}

static size_t wrapped_height(const struct cell *c, size_t width)
{
    size_t n = 0;
    Str rest = c->text, line;
    while (text_line(&rest, width, &line))
        n++;
    return n;
}

static void row(const struct layout *l, const struct cell *cells)
{
    size_t height = 1;
    for (size_t i = 0; i < l->columns; i++)
        if (l->t->columns[i].wrap)
            height = MAX(height, wrapped_height(&cells[i], l->widths[i]));
    for (size_t k = 0; k < height; k++) {
        for (size_t i = 0; i < l->columns; i++) {
            const struct cell *c = &cells[i];
            const char *style = c->style ? c->style : l->t->columns[i].style;
            size_t tail = k == 0 ? text_width(c->tail) : 0;
            tail = tail < l->widths[i] ? tail : 0;
            Str text = STR("");
            if (l->t->columns[i].wrap)
                text = text_cut(l->t->a, wrapped_line(c, l->widths[i], k), l->widths[i]);
            else if (k == 0)
                text = text_cut(l->t->a, c->text, l->widths[i] - tail);
            size_t used = text_width(text) + tail;
            buf_z(l->out, "│ ");
            pad(l, i, used, true);
            text_styled(l->out, l->color, style, text);
            if (tail)
                text_styled(l->out, l->color, c->tail_style, c->tail);
            pad(l, i, used, false);
            buf_char(l->out, ' ');
        }
        buf_z(l->out, "│\n");
    }
}

void table_print(const struct table *t, struct buf *out, size_t width, bool color)
{
    struct layout l = {.t = t, .out = out, .color = color, .widths = arena_array(t->a, size_t, t->n)};
    fit(&l, width);
    centred(&l, t->title, STYLE_ITALIC);
    header(&l);
    size_t rows = t->cells.n / t->n;
    for (size_t i = 0; i < rows; i++) {
        if (i && t->lines)
            rule(&l, "├", "─", "┼", "┤");
        row(&l, &t->cells.v[i * t->n]);
    }
    rule(&l, "└", "─", "┴", "┘");
    centred(&l, t->caption, t->caption_style ? t->caption_style : STYLE_DIM ";" STYLE_ITALIC);
}
