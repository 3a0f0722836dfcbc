/* Times in words: how long ago, and what a person means by "tomorrow 5pm". */
#include "cli/text.h"

Str text_relative(struct arena *a, Time t, Time now)
{
    static const struct {
        Dur length;
        const char *name;
    } units[] = {{365 * DAY, "year"}, {30 * DAY, "month"}, {7 * DAY, "week"}, {DAY, "day"},
                 {HOUR, "hour"},      {MINUTE, "minute"},  {SEC, "second"}};
    if (t == TIME_NONE)
        return STR("");
    bool future = t > now;
    Dur d = future ? t - now : now - t;
    if (d < 10 * SEC)
        return future ? STR("in a few seconds") : STR("a few seconds ago");
    size_t i = 0;
    while (d < units[i].length)
        i++;
    int64_t n = d / units[i].length;
    return str_fmt(a, "%s%lld %s%s%s", future ? "in " : "", (long long)n, units[i].name, n == 1 ? "" : "s",
                   future ? "" : " ago");
}

Str text_time(struct arena *a, Time t)
{
    if (t == TIME_NONE)
        return STR("");
    struct time_text iso = time_iso(t);
    iso.s[10] = ' ';
    return str_fmt(a, "%.*s+00:00", (int)strlen(iso.s) - 1, iso.s);
}

Str text_clock(struct arena *a, Time t)
{
    Dur day = ((t % DAY) + DAY) % DAY;
    return str_fmt(a, "%02d:%02d:%02d.%03d", (int)(day / HOUR), (int)(day / MINUTE % 60), (int)(day / SEC % 60),
                   (int)(day / MSEC % 1000));
}

Str text_duration(struct arena *a, Dur d)
{
    int64_t s = MAX(d, (Dur)0) / SEC;
    if (s < 60)
        return str_fmt(a, "%llds", (long long)s);
    if (s < 3600)
        return str_fmt(a, "%lldm %llds", (long long)(s / 60), (long long)(s % 60));
    return str_fmt(a, "%lldh %lldm", (long long)(s / 3600), (long long)(s / 60 % 60));
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/* The longest run of digits and '.', or of letters, or one other character; spaces and commas before it are dropped. */
static bool next_word(Str *s, Str *ret)
{
    while (s->n && (s->p[0] == ' ' || s->p[0] == ',' || s->p[0] == '\t'))
        *s = str_sub(*s, 1, SIZE_MAX);
    if (!s->n)
        return false;
    size_t n = 0;
    if (is_digit(s->p[0]))
        while (n < s->n && (is_digit(s->p[n]) || (s->p[n] == '.' && n + 1 < s->n && is_digit(s->p[n + 1]))))
            n++;
    else if (is_letter(s->p[0]))
        while (n < s->n && is_letter(s->p[n]))
            n++;
    else
        n = 1;
    *ret = str_sub(*s, 0, n);
    *s = str_sub(*s, n, SIZE_MAX);
    return true;
}

static bool unit_of(Str w, Dur *ret)
{
    static const struct {
        const char *names; /* in "|" each */
        Dur length;
    } units[] = {
        {"|ms|msec|msecs|millisecond|milliseconds|", MSEC}, {"|s|sec|secs|second|seconds|", SEC},
        {"|m|min|mins|minute|minutes|", MINUTE},            {"|h|hr|hrs|hour|hours|", HOUR},
        {"|d|day|days|", DAY},                              {"|w|wk|week|weeks|", 7 * DAY},
    };
    char key[24];
    if (w.n + 3 > sizeof key)
        return false;
    snprintf(key, sizeof key, "|%.*s|", STR_ARG(w));
    for (size_t i = 0; i < COUNT_OF(units); i++)
        if (strcasestr(units[i].names, key)) {
            *ret = units[i].length;
            return true;
        }
    return false;
}

bool text_span(Str s, Dur *ret)
{
    s = str_trim(s);
    if (s.n > 1 && (s.p[0] == 'P' || s.p[0] == 'p'))
        return dur_parse(s, ret) && *ret >= 0;
    double sum = 0;
    bool any = false;
    for (Str w, unit; next_word(&s, &w);) {
        double n;
        Dur length = SEC;
        if (str_ieq(w, STR("and")) && any)
            continue;
        if (str_ieq(w, STR("a")) || str_ieq(w, STR("an")))
            n = 1;
        else if (!is_digit(w.p[0]) || !str_double(w, &n))
            return false;
        if (next_word(&s, &unit)) {
            if (!unit_of(unit, &length))
                return false;
        } else if (any) {
            return false; /* "2 hours 3": of what? */
        }
        sum += n * (double)length;
        any = true;
        if (sum > 1e17)
            return false;
    }
    if (any)
        *ret = (Dur)(sum + 0.5);
    return any;
}

/* "5pm", "5:30 pm", "17:30", "17:30:05", "noon", "midnight" off the front of *s. */
static bool take_clock(Str *s, Dur *ret)
{
    Str rest = *s, w;
    int64_t h, min = 0, sec = 0;
    if (!next_word(&rest, &w))
        return false;
    if (str_ieq(w, STR("noon")) || str_ieq(w, STR("midnight"))) {
        *ret = str_ieq(w, STR("noon")) ? 12 * HOUR : 0;
        *s = rest;
        return true;
    }
    if (!str_int(w, &h) || h < 0 || w.n > 2)
        return false;
    bool colon = false;
    int64_t *parts[] = {&min, &sec};
    for (size_t i = 0; i < 2 && rest.n && rest.p[0] == ':'; i++) {
        rest = str_sub(rest, 1, SIZE_MAX);
        if (!next_word(&rest, &w) || w.n != 2 || !str_int(w, parts[i]) || *parts[i] > 59)
            return false;
        colon = true;
    }
    Str after = rest;
    bool half = next_word(&after, &w) && (str_ieq(w, STR("am")) || str_ieq(w, STR("pm")));
    if (half) {
        if (h < 1 || h > 12)
            return false;
        h = h % 12 + (str_ieq(w, STR("pm")) ? 12 : 0);
        rest = after;
    }
    if ((!half && !colon) || h > 23)
        return false;
    *ret = h * HOUR + min * MINUTE + sec * SEC;
    *s = rest;
    return true;
}

static int weekday_of(Str w)
{
    static const char *const names[] = {"monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"};
    for (int i = 0; i < 7; i++)
        if (str_ieq(w, str_of(names[i])) || str_ieq(w, str_sub(str_of(names[i]), 0, 3)))
            return i;
    return -1;
}

bool text_when(Str s, Time now, Time *ret)
{
    s = str_trim(s);
    Str rest = s, w;
    Dur span;
    if (str_ieq(s, STR("now"))) {
        *ret = now;
        return true;
    }
    if (time_parse(s, ret))
        return true;
    if (next_word(&rest, &w) && str_ieq(w, STR("in"))) {
        if (!text_span(rest, &span))
            return false;
        *ret = now + span;
        return true;
    }
    if (str_ends(s, STR(" from now")) && text_span(str_sub(s, 0, s.n - 9), &span)) {
        *ret = now + span;
        return true;
    }

    /* A day, a time of day, or both, in either order. */
    Time today = now - ((now % DAY) + DAY) % DAY;
    Time day = TIME_NONE;
    Dur clock = -1;
    bool weekday = false;
    for (rest = s; str_trim(rest).n;) {
        if (clock < 0 && take_clock(&rest, &clock))
            continue;
        if (!next_word(&rest, &w))
            return false;
        if (str_ieq(w, STR("at")) || str_ieq(w, STR("on")) || str_ieq(w, STR("next")) || str_ieq(w, STR("utc")))
            continue;
        int wanted = weekday_of(w);
        if (day != TIME_NONE)
            return false;
        if (str_ieq(w, STR("today"))) {
            day = today;
        } else if (str_ieq(w, STR("tomorrow"))) {
            day = today + DAY;
        } else if (wanted >= 0) {
            int is = (int)((today / DAY + 3) % 7); /* 1970-01-01 was a Thursday */
            day = today + ((wanted - is + 7) % 7) * DAY;
            weekday = true;
        } else {
            return false;
        }
    }
    if (day == TIME_NONE && clock < 0)
        return false;
    /* A day alone means the same time of it. */
    Time t = (day == TIME_NONE ? today : day) + (clock >= 0 ? clock : now - today);
    if (t <= now && day == TIME_NONE)
        t += DAY;
    if (t <= now && weekday)
        t += 7 * DAY;
    *ret = t;
    return true;
}
