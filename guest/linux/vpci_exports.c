// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
/* What other modules call of code in common: buffer sharing, that is devices and
 * where everything is in their memory.
 */

#include <linux/export.h>

#include <errno.h>
#include "projection-private.h"
#include "steer-private.h"
#include "vpci/layout.h"
#include "vpci_bus.h"

int vpci_errno;
EXPORT_SYMBOL_GPL(vpci_errno);

EXPORT_SYMBOL_GPL(vpci_device_again);
EXPORT_SYMBOL_GPL(vpci_device_close);
EXPORT_SYMBOL_GPL(vpci_device_fd);
EXPORT_SYMBOL_GPL(vpci_device_id);
EXPORT_SYMBOL_GPL(vpci_device_is_open);
EXPORT_SYMBOL_GPL(vpci_device_n_signals);
EXPORT_SYMBOL_GPL(vpci_device_name);
EXPORT_SYMBOL_GPL(vpci_device_open);
EXPORT_SYMBOL_GPL(vpci_device_peer);
EXPORT_SYMBOL_GPL(vpci_device_peer_signal);
EXPORT_SYMBOL_GPL(vpci_device_reason);
EXPORT_SYMBOL_GPL(vpci_device_ref);
EXPORT_SYMBOL_GPL(vpci_device_release);
EXPORT_SYMBOL_GPL(vpci_device_run);
EXPORT_SYMBOL_GPL(vpci_device_set_answer);
EXPORT_SYMBOL_GPL(vpci_device_set_peer);
EXPORT_SYMBOL_GPL(vpci_device_shm);
EXPORT_SYMBOL_GPL(vpci_device_signal);
EXPORT_SYMBOL_GPL(vpci_layout_acceptances);
EXPORT_SYMBOL_GPL(vpci_layout_agrees);
EXPORT_SYMBOL_GPL(vpci_layout_control_vector);
EXPORT_SYMBOL_GPL(vpci_layout_edits);
EXPORT_SYMBOL_GPL(vpci_layout_flow_count);
EXPORT_SYMBOL_GPL(vpci_layout_format);
EXPORT_SYMBOL_GPL(vpci_layout_get_shape);
EXPORT_SYMBOL_GPL(vpci_layout_has_control);
EXPORT_SYMBOL_GPL(vpci_layout_hints);
EXPORT_SYMBOL_GPL(vpci_layout_init);
EXPORT_SYMBOL_GPL(vpci_layout_link);
EXPORT_SYMBOL_GPL(vpci_layout_link_count);
EXPORT_SYMBOL_GPL(vpci_layout_peer);
EXPORT_SYMBOL_GPL(vpci_layout_peer_words);
EXPORT_SYMBOL_GPL(vpci_layout_port);
EXPORT_SYMBOL_GPL(vpci_layout_projection_bytes);
EXPORT_SYMBOL_GPL(vpci_layout_put_shape);
EXPORT_SYMBOL_GPL(vpci_layout_queue);
EXPORT_SYMBOL_GPL(vpci_layout_read);
EXPORT_SYMBOL_GPL(vpci_layout_ring);
EXPORT_SYMBOL_GPL(vpci_layout_state);
EXPORT_SYMBOL_GPL(vpci_layout_vector);
EXPORT_SYMBOL_GPL(vpci_layout_write);
EXPORT_SYMBOL_GPL(vpci_projection_bytes);
EXPORT_SYMBOL_GPL(vpci_steer_copy);
EXPORT_SYMBOL_GPL(vpci_steer_copy_bytes);
EXPORT_SYMBOL_GPL(vpci_steer_copy_header);
EXPORT_SYMBOL_GPL(vpci_steer_entries_ofs);
EXPORT_SYMBOL_GPL(vpci_steer_max_log2);
