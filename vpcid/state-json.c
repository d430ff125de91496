/* SPDX-License-Identifier: Apache-2.0 */

#include <config.h>
#include "state-json.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "openvswitch/shash.h"
#include "util.h"

void
reader_fail(struct reader *reader, const char *format, ...)
{
    va_list args;

    if (!reader->error) {
        va_start(args, format);
        reader->error = xvasprintf(format, args);
        va_end(args);
    }
}

static const struct json *
find_member(const struct json *json, const char *name)
{
    return (json->type == JSON_OBJECT
            ? shash_find_data(json_object(json), name) : NULL);
}

bool
has_member(const struct json *json, const char *name)
{
    return find_member(json, name) != NULL;
}

/* Returns member 'name' of 'json', or null after noting that it is missing or
 * not of 'type'. */
static const struct json *
read_member(struct reader *reader, const struct json *json, const char *name,
            enum json_type type)
{
    const struct json *member = find_member(json, name);

    if (!member || member->type != type) {
        reader_fail(reader, "member '%s' is %s", name,
                    member ? "of another type" : "missing");
        return NULL;
    }
    return member;
}

const struct json *
read_object(struct reader *reader, const struct json *json, const char *name)
{
    static struct shash no_members = SHASH_INITIALIZER(&no_members);
    static const struct json empty = {
        .type = JSON_OBJECT, .count = 1, .object = &no_members
    };
    const struct json *member = read_member(reader, json, name, JSON_OBJECT);

    return member ? member : &empty;
}

const struct json *
read_array(struct reader *reader, const struct json *json, const char *name)
{
    static const struct json empty = { .type = JSON_ARRAY, .count = 1 };
    const struct json *member = read_member(reader, json, name, JSON_ARRAY);

    return member ? member : &empty;
}

int64_t
read_integer(struct reader *reader, const struct json *json, const char *name,
             int64_t min, int64_t max)
{
    const struct json *member = read_member(reader, json, name, JSON_INTEGER);
    int64_t value = member ? json_integer(member) : min;

    if (value < min || value > max) {
        reader_fail(reader, "member '%s' is %"PRId64", not from %"PRId64" to "
                    "%"PRId64, name, value, min, max);
        value = min;
    }
    return value;
}

bool
read_bool(struct reader *reader, const struct json *json, const char *name)
{
    const struct json *member = find_member(json, name);

    if (!member
        || (member->type != JSON_TRUE && member->type != JSON_FALSE)) {
        reader_fail(reader, "member '%s' is neither true nor false", name);
        return false;
    }
    return json_boolean(member);
}

const char *
read_string(struct reader *reader, const struct json *json, const char *name)
{
    const struct json *member = read_member(reader, json, name, JSON_STRING);

    return member ? json_string(member) : "";
}

void
write_integer(struct json *json, const char *name, int64_t value)
{
    json_object_put(json, name, json_integer_create(value));
}

void
write_bool(struct json *json, const char *name, bool value)
{
    json_object_put(json, name, json_boolean_create(value));
}

void
write_bytes(struct json *json, const char *name, const void *bytes_,
            size_t size)
{
    const uint8_t *bytes = bytes_;
    char *string = xmalloc(2 * size + 1);

    string[0] = '\0';
    for (size_t i = 0; i < size; i++) {
        snprintf(&string[2 * i], 3, "%02x", bytes[i]);
    }
    json_object_put(json, name, json_string_create_nocopy(string));
}

size_t
read_bytes(struct reader *reader, const struct json *json, const char *name,
           void *bytes_, size_t size)
{
    const char *string = read_string(reader, json, name);
    size_t n = strlen(string) / 2;
    uint8_t *bytes = bytes_;
    bool ok = strlen(string) == 2 * n && n <= size;

    for (size_t i = 0; ok && i < n; i++) {
        bytes[i] = hexits_value(&string[2 * i], 2, &ok);
    }
    if (!ok) {
        reader_fail(reader, "member '%s' is not up to %"PRIuSIZE" bytes",
                    name, size);
        return 0;
    }
    return n;
}
