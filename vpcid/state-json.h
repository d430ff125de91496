/* SPDX-License-Identifier: Apache-2.0 */

#ifndef VPCID_STATE_JSON_H
#define VPCID_STATE_JSON_H 1

#include <stdbool.h>
#include <stdint.h>

#include "openvswitch/json.h"

/* Members of JSON objects.
 *
 * Readers go on after an error with values that do no harm; the first error is
 * what counts. */

struct reader {
    char *error;                /* Null as long as all is well. */
};

/* Notes that something is wrong, unless something was before. */
void reader_fail(struct reader *, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Return member 'name' of 'json', which must be an object.  If it is missing
 * or of another type, they fail and return an empty one, 'min', false or "".
 * What they return belongs to 'json'. */
const struct json *read_object(struct reader *, const struct json *json,
                               const char *name);
const struct json *read_array(struct reader *, const struct json *json,
                              const char *name);
int64_t read_integer(struct reader *, const struct json *json,
                     const char *name, int64_t min, int64_t max);
bool read_bool(struct reader *, const struct json *json, const char *name);
const char *read_string(struct reader *, const struct json *json,
                        const char *name);

/* True if object 'json' has member 'name'. */
bool has_member(const struct json *json, const char *name);

void write_integer(struct json *, const char *name, int64_t);
void write_bool(struct json *, const char *name, bool);

/* Bytes as a string of hexadecimal digits. */
void write_bytes(struct json *, const char *name, const void *, size_t size);

/* Reads up to 'size' bytes.  Returns how many there are. */
size_t read_bytes(struct reader *, const struct json *, const char *name,
                  void *, size_t size);

#endif /* vpcid/state-json.h */
