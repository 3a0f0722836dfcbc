/* Slots, leases, and what time does to them. */
#include "tests/unit/dbtest.h"

#include "store/concurrency.h"

#include <math.h>

static int add(struct world *w, const char *name, int64_t limit, int64_t active_slots, double decay, struct concurrency_limit *ret, struct err *err)
{
    *ret = (struct concurrency_limit){.id = uuid_v7(),
                                      .created = w->now,
                                      .updated = w->now,
                                      .active = 1,
                                      .name = str_fmt(w->a, "%s-%s", name, uuid_text(uuid_v4()).s),
                                      .limit = limit,
                                      .active_slots = active_slots,
                                      .slot_decay_per_second = decay,
                                      .avg_slot_occupancy_seconds = 2};
    return record_insert(w->c, &concurrency_limit_resource, ret, "", err) < 0 ? -1 : 0;
}

static int reread(struct world *w, struct concurrency_limit *l, struct err *err)
{
    int rc = record_by_id(w->c, w->a, &concurrency_limit_resource, l->id, l, err);
    return rc == 1 ? 0 : rc < 0 ? -1 : err_set(err, ERR_INTERNAL, "the limit is gone");
}

/* One limit by name: the outcome. */
static int take(struct world *w, const struct concurrency_limit *l, int64_t slots, bool rate, struct slots_result *ret, struct err *err)
{
    struct slots_wanted want = {.names = &l->name, .n = 1, .slots = slots, .rate_limit = rate};
    return slots_take(w->c, w->a, &want, 30 * SEC, w->now, ret, err);
}

static int give(struct world *w, const struct concurrency_limit *l, int64_t slots, double occupancy, struct err *err)
{
    struct slots_wanted want = {.ids = &l->id, .n = 1, .slots = slots};
    struct slots_result ignored;
    return slots_give(w->c, w->a, &want, occupancy, w->now, &ignored, &w->out, err);
}

/* ---- slots ---- */

static int counting(struct world *w, struct err *err)
{
    struct concurrency_limit l;
    struct slots_result r;
    TRY(add(w, "count", 3, 0, 0, &l, err));
    TRY(take(w, &l, 2, false, &r, err));
    EXPECT(r.taken && r.limits.n == 1);
    TRY(take(w, &l, 2, false, &r, err));
    EXPECT(!r.taken && r.retry_after > 0);
    TRY(take(w, &l, 1, false, &r, err));
    EXPECT(r.taken);
    TRY(reread(w, &l, err));
    EXPECT_INT(l.active_slots, 3);
    EXPECT_INT(l.updated, w->now);
    TRY(give(w, &l, 2, NAN, err));
    TRY(reread(w, &l, err));
    EXPECT_INT(l.active_slots, 1);
    TRY(give(w, &l, 5, NAN, err)); /* never below none */
    TRY(reread(w, &l, err));
    EXPECT_INT(l.active_slots, 0);
    EXPECT(l.avg_slot_occupancy_seconds == 2);
    return 0;
}

static int impossible(struct world *w, struct err *err)
{
    struct concurrency_limit l, decaying;
    struct slots_result r;
    struct err why;
    TRY(add(w, "impossible", 3, 0, 0, &l, err));
    TRY(add(w, "decaying", 3, 0, 1, &decaying, err));
    EXPECT(take(w, &l, 4, false, &r, &why) < 0 && why.code == ERR_UNPROCESSABLE);
    EXPECT(take(w, &l, 1, true, &r, &why) < 0 && why.code == ERR_UNPROCESSABLE);
    TRY(take(w, &decaying, 1, true, &r, err));
    EXPECT(r.taken);
    EXPECT(take(w, &decaying, INT64_MAX, true, &r, &why) < 0 && why.code == ERR_UNPROCESSABLE);
    return 0;
}

static int all_or_nothing(struct world *w, struct err *err)
{
    struct concurrency_limit a, b, off;
    struct slots_result r;
    TRY(add(w, "a", 2, 0, 0, &a, err));
    TRY(add(w, "b", 2, 2, 0, &b, err));
    TRY(add(w, "off", 1, 1, 0, &off, err));
    TRY(db_exec(w->c, err, "UPDATE concurrency_limit_v2 SET active = 0 WHERE id = $1", "u", off.id));
    struct slots_wanted want = {.names = (Str[]){b.name, STR("nobody"), a.name, off.name, a.name}, .n = 5, .slots = 1};
    TRY(slots_take(w->c, w->a, &want, 30 * SEC, w->now, &r, err));
    EXPECT(!r.taken);
    EXPECT_INT((int64_t)r.limits.n, 3); /* unknown ones are passed over, and each counts once */
    EXPECT(str_eq(r.limits.v[0].name, a.name) && str_eq(r.limits.v[1].name, b.name));
    TRY(reread(w, &a, err));
    EXPECT_INT(a.active_slots, 0);
    TRY(give(w, &b, 1, NAN, err));
    TRY(slots_take(w->c, w->a, &want, 30 * SEC, w->now, &r, err));
    EXPECT(r.taken);
    TRY(reread(w, &a, err));
    TRY(reread(w, &b, err));
    TRY(reread(w, &off, err));
    EXPECT(a.active_slots == 1 && b.active_slots == 2 && off.active_slots == 1); /* one that is off counts nobody */
    TRY(give(w, &off, 1, NAN, err));
    TRY(reread(w, &off, err));
    EXPECT_INT(off.active_slots, 1);
    /* Nothing there to be counted: taken. */
    want = (struct slots_wanted){.names = (Str[]){STR("nobody")}, .n = 1, .slots = 9};
    TRY(slots_take(w->c, w->a, &want, 30 * SEC, w->now, &r, err));
    EXPECT(r.taken && r.limits.n == 0);
    want.n = 0;
    TRY(slots_take(w->c, w->a, &want, 30 * SEC, w->now, &r, err));
    EXPECT(r.taken && r.limits.n == 0);
    return 0;
}

static int occupancy(struct world *w, struct err *err)
{
    static const struct {
        int64_t limit, slots;
        double seconds, expect;
    } cases[] = {
        {2, 1, 10, 4.0},       /* 2 + 10/4 - 2/4, as a 3.8.8 server has it */
        {1, 1, 10, 6.0},
        {4, 2, 10, 2.375},     /* each slot 5 s */
        {1, 1, 0.001, 1.05},   /* no less than a tenth of a second counts */
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct concurrency_limit l;
        TRY(add(w, "occupancy", cases[i].limit, cases[i].slots, 0, &l, err));
        TRY(give(w, &l, cases[i].slots, cases[i].seconds, err));
        TRY(reread(w, &l, err));
        EXPECT(fabs(l.avg_slot_occupancy_seconds - cases[i].expect) < 1e-9);
    }
    return 0;
}

/* ---- decay ---- */

static int decay(struct world *w, struct err *err)
{
    static const struct {
        int64_t active, denied;
        double rate, avg;
        const char *name;
        Dur later;
        int64_t expect_active, expect_denied;
        Dur updated; /* after the beginning */
    } cases[] = {
        {5, 0, 0.5, 2, "x", 0, 5, 0, 0},
        {5, 0, 0.5, 2, "x", 1999 * MSEC, 5, 0, 0},
        {5, 0, 0.5, 2, "x", 2 * SEC, 4, 0, 2 * SEC},
        {5, 3, 0.5, 2, "x", 5 * SEC, 3, 1, 4 * SEC},       /* half a slot's time is kept */
        {5, 3, 0.5, 2, "x", HOUR, 0, 0, HOUR},
        {5, 3, 0, 2, "x", 3 * SEC, 5, 2, 3 * SEC},         /* refusals of a limit without decay: by its average */
        {5, 3, 0, 0.01, "x", 150 * MSEC, 5, 2, 150 * MSEC}, /* … of a tenth of a second at least */
        {5, 3, 0, 500, "x", 29 * SEC, 5, 3, 29 * SEC},     /* … 30 s at most */
        {5, 3, 0, 500, "x", 30 * SEC, 5, 2, 30 * SEC},
        {5, 3, 0, 500, "tag:x", 10 * SEC, 5, 2, 10 * SEC}, /* … 10 s for tags */
        {5, 3, 1e300, 2, "x", SEC, 0, 0, SEC},
        {5, 3, 0.5, 2, "x", -SEC, 5, 3, 0},                /* a clock that was put back */
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct concurrency_limit l = {.active = 1, .name = str_of(cases[i].name), .limit = 5, .active_slots = cases[i].active, .denied_slots = cases[i].denied,
                                      .slot_decay_per_second = cases[i].rate, .avg_slot_occupancy_seconds = cases[i].avg, .updated = w->now};
        limit_decay(&l, w->now + cases[i].later);
        if (l.active_slots != cases[i].expect_active || l.denied_slots != cases[i].expect_denied || l.updated != w->now + cases[i].updated)
            return err_set(err, ERR_INTERNAL, "case %zu: %lld active, %lld denied, %lld us", i, (long long)l.active_slots, (long long)l.denied_slots,
                           (long long)(l.updated - w->now));
    }
    return 0;
}

/* A rate holds, however often one asks: 0.5 slots a second in a bucket of 2 are 32 in a minute, asked for every 100 ms. */
static int rate(struct world *w, struct err *err)
{
    struct concurrency_limit l;
    struct slots_result r;
    int taken = 0;
    TRY(add(w, "rate", 2, 0, 0.5, &l, err));
    for (int i = 0; i <= 600; i++, w->now += 100 * MSEC) {
        TRY(take(w, &l, 1, true, &r, err));
        taken += r.taken;
    }
    EXPECT_INT(taken, 2 + 30);
    return 0;
}

/* ---- waiting ---- */

static double low_of(double mean)
{
    double two_k = exp2(1.3);
    return mean * log2(two_k / (two_k - 1));
}

static int waits(struct world *w, struct err *err)
{
    static const struct {
        int64_t slots, limit, active, denied;
        double decay, avg;
        const char *name;
        double mean;
    } cases[] = {
        {1, 1, 1, 0, 0, 2, "x", 2},
        {2, 4, 4, 6, 0, 3, "x", 6},       /* (2 + 6) / 4 times 3 s */
        {3, 4, 4, 6, 0, 3, "x", 6.75},
        {1, 10, 10, 6, 0, 3, "x", 2.1},
        {1, 1, 1, 100, 0, 20, "x", 30},   /* not longer than 30 s */
        {1, 1, 1, 0, 0, 20, "tag:x", 10}, /* 10 s for tags */
        {1, 2, 2, 0, 0.5, 2, "x", 2},     /* a slot comes back in 2 s */
        {1, 2, 2, 3, 0.5, 2, "x", 8},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct concurrency_limit l;
        TRY(add(w, cases[i].name, cases[i].limit, cases[i].active, cases[i].decay, &l, err));
        TRY(db_exec(w->c, err, "UPDATE concurrency_limit_v2 SET denied_slots = $1, avg_slot_occupancy_seconds = $2 WHERE id = $3", "idu", cases[i].denied,
                    cases[i].avg, l.id));
        for (int k = 0; k < 20; k++) {
            struct slots_result r;
            TRY(take(w, &l, cases[i].slots, false, &r, err));
            EXPECT(!r.taken);
            if (r.retry_after < low_of(cases[i].mean) - 1e-6 || r.retry_after > cases[i].mean * 1.3 + 1e-6)
                return err_set(err, ERR_INTERNAL, "case %zu: %f s", i, r.retry_after);
        }
        int64_t denied = cases[i].denied;
        TRY(reread(w, &l, err));
        EXPECT_INT(l.denied_slots, denied); /* to ask writes nothing */
    }
    /* Of several limits the one that most wait for counts. */
    struct concurrency_limit a, b;
    struct slots_result r;
    TRY(add(w, "a", 1, 1, 0, &a, err));
    TRY(add(w, "b", 1, 1, 0, &b, err));
    TRY(db_exec(w->c, err, "UPDATE concurrency_limit_v2 SET denied_slots = 4 WHERE id = $1", "u", b.id));
    struct slots_wanted want = {.names = (Str[]){a.name, b.name}, .n = 2, .slots = 1};
    TRY(slots_take(w->c, w->a, &want, 30 * SEC, w->now, &r, err));
    EXPECT(r.retry_after >= low_of(10) && r.retry_after <= 13);
    return 0;
}

static int poisson(struct world *w, struct err *err)
{
    static const double factors[] = {0, 0.3, 0.5, 1, 3};
    for (size_t i = 0; i < COUNT_OF(factors); i++) {
        double k = 1 + factors[i], low = 5 * log2(exp2(k) / (exp2(k) - 1)), high = 5 * k, sum = 0, least = INFINITY, most = 0;
        for (int n = 0; n < 4000; n++) {
            double x = clamped_poisson(5, factors[i]);
            EXPECT(x >= low - 1e-9 && x <= high + 1e-9);
            sum += x;
            least = fmin(least, x);
            most = fmax(most, x);
        }
        EXPECT(fabs(least - low) <= 0.05 * (high - low) + 1e-9 && fabs(most - high) <= 0.05 * (high - low) + 1e-9);
        EXPECT(factors[i] > 0 ? sum / 4000 > low && sum / 4000 < high : sum / 4000 == 5);
    }
    EXPECT(clamped_poisson(0, 0.3) == 0 && clamped_poisson(-1, 0.3) == 0 && clamped_poisson(NAN, 0.3) == 0);
    return 0;
}

/* ---- leases ---- */

static int leases(struct world *w, struct err *err)
{
    struct concurrency_limit l;
    struct slots_result r;
    struct lease lease;
    Uuid id, holder = uuid_v7();
    TRY(add(w, "lease", 5, 0, 0, &l, err));
    TRY(take(w, &l, 2, false, &r, err));
    TRY(lease_create(w->c, w->a, &l.id, 1, 2, 60 * SEC, STR("task_run"), holder, w->now, &w->out, &id, err));
    EXPECT_INT(w->out.alarm[ALARM_LEASE], w->now + 60 * SEC);
    EXPECT_INT(lease_find(w->c, w->a, id, w->now, &lease, err), 1);
    EXPECT(uuid_eq(lease.id, id) && lease.created == w->now && lease.expires == w->now + 60 * SEC && lease.slots == 2 && uuid_eq(lease.holder_id, holder));
    EXPECT_STR(lease.holder_type, "task_run");
    const struct json *ids = json_parse(w->a, lease.limit_ids, err);
    EXPECT(json_is(ids, JSON_ARRAY) && ids->array.n == 1);
    EXPECT_INT(lease_find(w->c, w->a, id, w->now + 60 * SEC, &lease, err), 0);
    EXPECT_INT(lease_find(w->c, w->a, uuid_v4(), w->now, &lease, err), 0);

    /* Renewed while it lasts. */
    outbox_init(&w->out, w->a);
    w->now += 59 * SEC;
    EXPECT_INT(lease_renew(w->c, id, 100 * SEC, w->now, &w->out, err), 1);
    EXPECT_INT(w->out.alarm[ALARM_LEASE], w->now + 100 * SEC);
    EXPECT_INT(lease_find(w->c, w->a, id, w->now + 99 * SEC, &lease, err), 1);
    w->now += 100 * SEC;
    EXPECT_INT(lease_renew(w->c, id, 100 * SEC, w->now, &w->out, err), 1); /* run out, not taken back */
    EXPECT_INT(lease_renew(w->c, uuid_v4(), 100 * SEC, w->now, &w->out, err), 0);
    /* Its holder may, until it is swept. */
    EXPECT_INT(lease_renew_held(w->c, id, uuid_v4(), 10 * SEC, w->now, &w->out, err), 0);
    EXPECT_INT(lease_renew_held(w->c, id, holder, 10 * SEC, w->now, &w->out, err), 1);

    /* Given back once, with its age as occupancy: 2 s + (159 s / 2) / 10 - 2 s / 10. */
    EXPECT_INT(lease_release(w->c, w->a, id, w->now, &w->out, err), 1);
    TRY(reread(w, &l, err));
    EXPECT_INT(l.active_slots, 0);
    EXPECT(fabs(l.avg_slot_occupancy_seconds - (2 + 79.5 / 10 - 0.2)) < 1e-9);
    TRY(take(w, &l, 5, false, &r, err));
    EXPECT_INT(lease_release(w->c, w->a, id, w->now, &w->out, err), 0);
    TRY(reread(w, &l, err));
    EXPECT_INT(l.active_slots, 5);
    return 0;
}

static int lease_kinds(struct world *w, struct err *err)
{
    struct concurrency_limit l, m;
    struct slots_result r;
    Uuid run = uuid_v7(), named, forced, shared, other, none;
    TRY(add(w, "one", 9, 0, 0, &l, err));
    TRY(add(w, "two", 9, 0, 0, &m, err));
    TRY(take(w, &l, 4, false, &r, err));
    TRY(take(w, &m, 1, false, &r, err));
    Uuid both[] = {l.id, m.id};
    TRY(lease_create(w->c, w->a, &l.id, 1, 1, 60 * SEC, STR("flow_run"), run, w->now, &w->out, &named, err));
    TRY(lease_create(w->c, w->a, &l.id, 1, 1, 60 * SEC, STR("flow_run"), run, w->now, &w->out, &forced, err));
    TRY(lease_create(w->c, w->a, both, 2, 1, 60 * SEC, STR("flow_run"), run, w->now, &w->out, &shared, err));
    TRY(lease_create(w->c, w->a, &l.id, 1, 1, 60 * SEC, STR("flow_run"), uuid_v7(), w->now, &w->out, &other, err));
    TRY(lease_create(w->c, w->a, NULL, 0, 1, 60 * SEC, STR_NONE, UUID_NIL, w->now, &w->out, &none, err)); /* of nothing */
    EXPECT_INT(lease_release_run(w->c, w->a, uuid_v7(), named, UUID_NIL, w->now, &w->out, err), 0);
    EXPECT_INT(lease_release_run(w->c, w->a, run, other, UUID_NIL, w->now, &w->out, err), 0);
    EXPECT_INT(lease_release_run(w->c, w->a, run, UUID_NIL, UUID_NIL, w->now, &w->out, err), 0);
    EXPECT_INT(lease_release_run(w->c, w->a, run, named, UUID_NIL, w->now, &w->out, err), 1);
    EXPECT_INT(lease_release_run(w->c, w->a, run, UUID_NIL, l.id, w->now, &w->out, err), 1); /* not what the flow itself has taken of more */
    TRY(reread(w, &l, err));
    EXPECT_INT(l.active_slots, 2);
    EXPECT_INT(leases_release(w->c, w->a, STR("task_run"), run, w->now, &w->out, err), 0);
    EXPECT_INT(leases_release(w->c, w->a, STR("flow_run"), run, w->now, &w->out, err), 1);
    TRY(reread(w, &l, err));
    TRY(reread(w, &m, err));
    EXPECT(l.active_slots == 1 && m.active_slots == 0);
    double avg = l.avg_slot_occupancy_seconds;
    EXPECT_INT(lease_undo(w->c, w->a, other, w->now + 50 * SEC, &w->out, err), 1); /* as if it had never been */
    TRY(reread(w, &l, err));
    EXPECT(l.active_slots == 0 && l.avg_slot_occupancy_seconds == avg);
    EXPECT_INT(lease_release(w->c, w->a, none, w->now, &w->out, err), 1);
    return 0;
}

static int expiry(struct world *w, struct err *err)
{
    struct concurrency_limit l;
    struct slots_result r;
    Uuid id;
    Time next, first = w->now;
    TRY(db_exec(w->c, err, "DELETE FROM concurrency_lease", ""));
    TRY(leases_expire(w->c, w->a, w->now, &next, &w->out, err));
    EXPECT(next == TIME_NEVER);
    TRY(add(w, "expiry", 2000, 0, 0, &l, err));
    TRY(take(w, &l, 1203, false, &r, err));
    for (int i = 0; i < 1203; i++)
        TRY(lease_create(w->c, w->a, &l.id, 1, 1, (60 + i) * SEC, STR("task_run"), uuid_v7(), w->now, &w->out, &id, err));
    TRY(leases_expire(w->c, w->a, first + 59 * SEC, &next, &w->out, err));
    EXPECT_INT(next, first + 60 * SEC);
    TRY(reread(w, &l, err));
    EXPECT_INT(l.active_slots, 1203);
    TRY(leases_expire(w->c, w->a, first + 61 * SEC, &next, &w->out, err));
    EXPECT_INT(next, first + 62 * SEC);
    TRY(reread(w, &l, err));
    EXPECT_INT(l.active_slots, 1201);
    /* Many at once: in bounded bites, oldest first, until none is left that has expired. */
    int ticks = 0;
    for (next = first; next <= first + 1259 * SEC; ticks++)
        TRY(leases_expire(w->c, w->a, first + 1259 * SEC, &next, &w->out, err));
    EXPECT_INT(ticks, 3);
    EXPECT_INT(next, first + 1260 * SEC);
    TRY(reread(w, &l, err));
    EXPECT_INT(l.active_slots, 3);
    return 0;
}

static const struct db_case cases[] = {
    {"counting", counting},
    {"impossible requests", impossible},
    {"all or nothing", all_or_nothing},
    {"occupancy", occupancy},
    {"decay", decay},
    {"a rate", rate},
    {"waiting", waits},
    {"clamped Poisson", poisson},
    {"leases", leases},
    {"leases of runs", lease_kinds},
    {"expiry", expiry},
};

int main(void)
{
    return dbtest_main("concurrency", cases, COUNT_OF(cases));
}
