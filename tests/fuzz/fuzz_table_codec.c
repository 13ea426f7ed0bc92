/*
 * Properties: keys, entries, heads and acks that are accepted are written in a form that is
 * accepted, too, and is written again with the same bytes; keys with the bytes that were read.
 *
 * Input: one byte that chooses what to read, then its bytes.
 */
#include <stdint.h>
#include <stdlib.h>

#include "lib/wire/table_codec.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool holds)
{
    if (!holds)
        abort();
}

static void check_key(struct str key)
{
    char out[TABLE_KEY_MAX + 1];
    struct str namespace_name, name;
    int length;

    if (table_key_read(key, &namespace_name, &name) < 0)
        return;
    length = table_key_write(namespace_name, name, out);
    require(length >= 0 && str_equal(str_make(out, (size_t)length), key));
}

/* Each reads value and appends it to out: 0, or it was refused. */
static int copy_entry(struct str value, struct buffer *out)
{
    struct route_spec_error error;
    struct route *route;

    if (table_entry_read(STR_LIT("route.a.b"), value, &route, &error) < 0)
        return -1;
    require(table_entry_write(route, out) == 0);
    route_unref(route);
    return 0;
}

static int copy_head(struct str value, struct buffer *out)
{
    struct table_head head;

    if (table_head_read(value, &head) < 0)
        return -1;
    require(table_head_write(&head, out) == 0);
    return 0;
}

static int copy_ack(struct str value, struct buffer *out)
{
    static struct table_ack ack;

    if (table_ack_read(value, &ack) < 0)
        return -1;
    require(table_ack_write(&ack, out) == 0);
    return 0;
}

static void check_copy(int (*copy)(struct str, struct buffer *), struct str value)
{
    struct buffer once, twice;

    buffer_init(&once, ROUTE_SOURCE_MAX);
    buffer_init(&twice, ROUTE_SOURCE_MAX);
    if (copy(value, &once) == 0) {
        require(copy(buffer_view(&once), &twice) == 0);
        require(str_equal(buffer_view(&once), buffer_view(&twice)));
    }
    buffer_done(&once);
    buffer_done(&twice);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str value = str_make((const char *)data, size);

    if (size == 0)
        return 0;
    value = str_after(value, 1);
    switch (data[0] % 4) {
    case 0:
        check_key(value);
        break;
    case 1:
        check_copy(copy_entry, value);
        break;
    case 2:
        check_copy(copy_head, value);
        break;
    default:
        check_copy(copy_ack, value);
        break;
    }
    return 0;
}
