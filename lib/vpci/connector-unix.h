/* SPDX-License-Identifier: Apache-2.0 */

#ifndef VPCI_CONNECTOR_UNIX_H
#define VPCI_CONNECTOR_UNIX_H 1

#include "vpci/device.h"

/* Makes a device 'name' that is served at the UNIX socket 'path', and is not
 * open yet.  Returns null, with errno set, if there is no memory or the path is
 * too long. */
struct vpci_device *unix_device_create(const char *path, const char *name);

#endif /* lib/vpci/connector-unix.h */
