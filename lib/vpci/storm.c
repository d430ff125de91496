/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0 */

#include "storm.h"

/* Masks for twice as long as last time, if that was not long ago. */
static void
mask(struct vpci_storm *s, int64_t now_us)
{
    if (!s->mask_us || now_us - s->until > VPCI_STORM_MAX_MASK_US) {
        s->mask_us = VPCI_STORM_MIN_MASK_US;
    } else if (s->mask_us < VPCI_STORM_MAX_MASK_US) {
        s->mask_us *= 2;
    }
    s->until = now_us + s->mask_us;
    s->n = 0;
}

bool
vpci_storm_note(struct vpci_storm *s, int64_t now_us, bool useful)
{
    if (now_us >= s->window_end) {
        s->window_end = now_us + VPCI_STORM_WINDOW_US;
        s->n = 0;
    }
    if (useful) {
        s->n -= s->n < VPCI_STORM_WORTH ? s->n : VPCI_STORM_WORTH;
        return false;
    }
    if (++s->n <= VPCI_STORM_MAX) {
        return false;
    }
    mask(s, now_us);
    return true;
}
