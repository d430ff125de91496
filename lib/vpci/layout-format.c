/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0 */

/* What is wrong with a region, in words. */

#include "vpci/layout.h"

#include <inttypes.h>
#include <stdio.h>

static const char *
name_of(enum vpci_layout_fault fault)
{
    switch (fault) {
    case VPCI_LAYOUT_MAGIC:
        return "magic number";
    case VPCI_LAYOUT_VERSION:
        return "version";
    case VPCI_LAYOUT_KIND:
        return "kind of region";
    case VPCI_LAYOUT_QUEUES:
        return "number of queues";
    case VPCI_LAYOUT_CLASSES:
        return "number of classes";
    case VPCI_LAYOUT_RINGS:
        return "number of queues times classes";
    case VPCI_LAYOUT_SLOTS:
        return "binary logarithm of slots";
    case VPCI_LAYOUT_DATA:
        return "binary logarithm of the data area's size";
    case VPCI_LAYOUT_LINKS:
        return "number of links";
    case VPCI_LAYOUT_ENTRIES:
        return "number of entries";
    case VPCI_LAYOUT_VECTORS:
        return "number of vectors";
    case VPCI_LAYOUT_SIZE:
        return "size";
    case VPCI_LAYOUT_REGION:
        return "number of the region";
    case VPCI_LAYOUT_OK:
    case VPCI_LAYOUT_NOT_READY:
    case VPCI_LAYOUT_SECTIONS:
    case VPCI_LAYOUT_RESERVED:
    case VPCI_LAYOUT_N_FAULTS:
    default:
        return "something unknown";
    }
}

char *
vpci_layout_format(const struct vpci_layout_report *report, char *buf,
                   size_t size)
{
    const char *name = name_of(report->fault);

    if (report->fault == VPCI_LAYOUT_NOT_READY) {
        snprintf(buf, size, "the switch has not written a header yet");
    } else if (report->fault == VPCI_LAYOUT_SECTIONS) {
        snprintf(buf, size, "shape or directory of sections is not as agreed");
    } else if (report->fault == VPCI_LAYOUT_RESERVED) {
        snprintf(buf, size, "reserved bytes of the header are not zero");
    } else if (report->min == report->max) {
        snprintf(buf, size, "%s is %"PRIu64", but should be %"PRIu64, name,
                 report->seen, report->min);
    } else {
        snprintf(buf, size,
                 "%s is %"PRIu64", but %"PRIu64" to %"PRIu64" are possible",
                 name, report->seen, report->min, report->max);
    }
    return buf;
}
