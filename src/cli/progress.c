#include "cli/progress.h"

struct progress {
    struct cli *x;
    Str text;
    size_t frame;
    bool moving;
    Dur drawn;
};

static void draw(struct progress *p)
{
    static const char *const frames[] = {"⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"};
    cli_put(p->x, "\r\033[K%s %.*s", frames[p->frame++ % COUNT_OF(frames)], STR_ARG(p->text));
    cli_flush(p->x);
    p->drawn = time_monotonic();
}

struct progress *progress_begin(struct cli *x, Str text)
{
    const char *term = getenv("TERM");
    struct progress *p = arena_new(x->a, struct progress);
    *p = (struct progress){.x = x, .text = text, .moving = x->terminal && !(term && !strcmp(term, "dumb"))};
    if (p->moving)
        draw(p);
    else
        cli_put(x, "%.*s\n", STR_ARG(text));
    cli_flush(x);
    return p;
}

void progress_tick(struct progress *p)
{
    if (p && p->moving && time_monotonic() > p->drawn + 80 * MSEC)
        draw(p);
}

void progress_text(struct progress *p, Str text)
{
    if (!p || str_eq(p->text, text))
        return;
    p->text = text;
    if (p->moving)
        draw(p);
    else
        cli_put(p->x, "%.*s\n", STR_ARG(text));
    cli_flush(p->x);
}

void progress_end(struct progress *p)
{
    if (p && p->moving)
        cli_put(p->x, "\r\033[K%.*s\n", STR_ARG(p->text));
}
