#include "schema/decimal.h"

#include <string.h>

/* Digits without zeros at either end, and the power of ten of the last one. `n` is 0 for zero. A digit's
 * place in the text steps over the decimal point. */
struct decimal {
    const char *p;
    size_t from, n; /* of the digits counted without the point */
    size_t point;   /* index in p of the point, SIZE_MAX for none */
    int64_t exponent;
    bool negative;
};

static char digit_at(const struct decimal *d, size_t i)
{
    i += d->from;
    return d->p[i >= d->point ? i + 1 : i];
}

static struct decimal decimal_of(Str s)
{
    struct decimal d = {.point = SIZE_MAX};
    if (s.n && s.p[0] == '-') {
        d.negative = true;
        s = str_sub(s, 1, s.n);
    }
    size_t end = 0;
    while (end < s.n && s.p[end] != 'e' && s.p[end] != 'E') {
        if (s.p[end] == '.')
            d.point = end;
        end++;
    }
    if (end < s.n) {
        Str e = str_sub(s, end + 1, s.n);
        if (e.n && e.p[0] == '+')
            e = str_sub(e, 1, e.n);
        /* Past these bounds the digits of no number that fits a body matter. */
        int64_t exponent;
        if (!str_int(e, &exponent))
            exponent = e.n && e.p[0] == '-' ? INT64_MIN : INT64_MAX;
        d.exponent = MAX(MIN(exponent, 1000000000000), -1000000000000);
    }
    d.p = s.p;
    size_t digits = d.point < end ? end - 1 : end;
    if (d.point < end)
        d.exponent -= (int64_t)(end - 1 - d.point);
    d.n = digits;
    while (d.n && digit_at(&d, 0) == '0') {
        d.from++;
        d.n--;
    }
    while (d.n && digit_at(&d, d.n - 1) == '0') {
        d.n--;
        d.exponent++;
    }
    if (!d.n) {
        d.exponent = 0;
        d.negative = false;
    }
    return d;
}

/* Most numbers are plain integers. */
static bool plain(Str s, int64_t *ret)
{
    return s.n <= 18 && str_int(s, ret);
}

static int magnitude_cmp(const struct decimal *x, const struct decimal *y)
{
    int64_t top[2] = {(int64_t)x->n + x->exponent, (int64_t)y->n + y->exponent};
    if (!x->n || !y->n)
        return (x->n > 0) - (y->n > 0);
    if (top[0] != top[1])
        return top[0] < top[1] ? -1 : 1;
    for (size_t i = 0; i < x->n && i < y->n; i++)
        if (digit_at(x, i) != digit_at(y, i))
            return digit_at(x, i) < digit_at(y, i) ? -1 : 1;
    return (x->n > y->n) - (x->n < y->n);
}

int decimal_cmp(Str x, Str y)
{
    int64_t i, j;
    if (plain(x, &i) && plain(y, &j))
        return (i > j) - (i < j);
    struct decimal d = decimal_of(x), e = decimal_of(y);
    if (d.negative != e.negative)
        return d.negative ? -1 : 1;
    return d.negative ? magnitude_cmp(&e, &d) : magnitude_cmp(&d, &e);
}

bool decimal_is_integer(Str x)
{
    int64_t i;
    return plain(x, &i) || decimal_of(x).exponent >= 0;
}

uint64_t decimal_hash(Str x)
{
    struct decimal d = decimal_of(x);
    uint64_t h = 14695981039346656037u ^ (uint64_t)d.exponent ^ (d.negative ? 0x5555 : 0);
    for (size_t i = 0; i < d.n; i++)
        h = (h ^ (uint8_t)digit_at(&d, i)) * 1099511628211u;
    return h ^ h >> 31;
}

/* r = (r * 10 + digit) mod m, where both are little-endian numbers in base 10^9 of `n` limbs, r < m. */
static void shift_mod(uint32_t *r, const uint32_t *m, size_t n, uint32_t digit)
{
    uint64_t carry = digit;
    for (size_t i = 0; i < n; i++) {
        uint64_t v = (uint64_t)r[i] * 10 + carry;
        r[i] = (uint32_t)(v % 1000000000);
        carry = v / 1000000000;
    }
    /* r is below 10 m now: at most nine subtractions; `carry` is the limb above. */
    for (;;) {
        bool less = false;
        if (!carry) {
            for (size_t i = n; i-- > 0;) {
                if (r[i] != m[i]) {
                    less = r[i] < m[i];
                    break;
                }
            }
            if (less)
                return;
        }
        int64_t borrow = 0;
        for (size_t i = 0; i < n; i++) {
            int64_t v = (int64_t)r[i] - m[i] - borrow;
            borrow = v < 0;
            r[i] = (uint32_t)(v + (borrow ? 1000000000 : 0));
        }
        carry -= (uint64_t)borrow;
    }
}

int decimal_is_multiple(struct arena *a, Str x, Str y, size_t max_work)
{
    int64_t i, j;
    if (plain(x, &i) && plain(y, &j))
        return i % j == 0;
    struct decimal d = decimal_of(x), e = decimal_of(y);
    if (!d.n)
        return 1;
    /* Is D * 10^zeros / E whole? D does not end in 0, so with zeros < 0 it cannot be. */
    int64_t zeros = d.exponent - e.exponent;
    if (zeros < 0)
        return 0;
    /* More zeros than E has factors of 2 or 5 change nothing: below 3.33 a digit. */
    size_t tail = (size_t)MIN(zeros, (int64_t)e.n * 4);
    size_t limbs = (e.n + 8) / 9;
    if (d.n + e.n + tail > max_work / limbs)
        return -1;
    uint32_t *m = arena_array(a, uint32_t, limbs), *r = arena_array(a, uint32_t, limbs);
    for (size_t k = 0; k < e.n; k++) {
        uint64_t carry = (uint64_t)(digit_at(&e, k) - '0');
        for (size_t l = 0; l < limbs; l++) {
            uint64_t v = (uint64_t)m[l] * 10 + carry;
            m[l] = (uint32_t)(v % 1000000000);
            carry = v / 1000000000;
        }
    }
    for (size_t k = 0; k < d.n; k++)
        shift_mod(r, m, limbs, (uint32_t)(digit_at(&d, k) - '0'));
    for (size_t k = 0; k < tail; k++)
        shift_mod(r, m, limbs, 0);
    for (size_t l = 0; l < limbs; l++)
        if (r[l])
            return 0;
    return 1;
}
