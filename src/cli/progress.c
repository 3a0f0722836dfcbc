#include "cli/progress.h"

#include <stdio.h>
#include <unistd.h>

#define AFTER SEC /* what is quicker shows nothing */
#define BAR_WIDTH 24

static const char *const frames[] = {"⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"};

struct progress {
    struct cli *x;
    Str text;
    size_t frame;
    bool moving;
    Dur drawn;
};

static void draw(struct progress *p)
{
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

/* Whether standard error is a terminal that can go back on a line. */
static bool can_draw(struct cli *x)
{
    const char *term = getenv("TERM");
    if (x->can_draw == BOOL_NONE)
        x->can_draw = isatty(2) == 1 && term && strcmp(term, "dumb");
    return x->can_draw;
}

static bool due(struct cli *x, Dur began)
{
    Dur now = time_monotonic();
    if (!can_draw(x) || now < began + AFTER || now < x->drawn_at + 80 * MSEC)
        return false;
    x->drawn_at = now;
    return true;
}

void progress_clear(struct cli *x)
{
    if (x->drawn)
        fputs("\r\033[K", stderr);
    x->drawn = x->drawn_wait = false;
}

void progress_steps(struct cli *x, const char *what, size_t done, size_t total)
{
    if (done == 0)
        x->steps_began = time_monotonic();
    if (done >= total) {
        progress_clear(x);
        return;
    }
    if (!due(x, x->steps_began))
        return;
    size_t filled = total ? done * BAR_WIDTH / total : 0;
    fprintf(stderr, "\r\033[K%s ", what);
    for (size_t i = 0; i < BAR_WIDTH; i++)
        fputs(i < filled ? "█" : "░", stderr);
    fprintf(stderr, " %zu/%zu", done, total);
    x->drawn = true;
}

void progress_waiting(void *user, Dur waited)
{
    struct cli *x = user;
    if (!due(x, time_monotonic() - waited))
        return;
    Str url = settings_api_url(x->settings);
    fprintf(stderr, "\r\033[K%s waiting for %.*s (%lld s)", frames[x->frame++ % COUNT_OF(frames)], STR_ARG(url), (long long)(waited / SEC));
    x->drawn = x->drawn_wait = true;
}

void progress_answered(struct cli *x)
{
    if (x->drawn_wait)
        progress_clear(x);
}
