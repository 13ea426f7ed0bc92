/*
 * Properties: a path that is accepted has no segment that a request may not have; encoding its
 * segments and splitting the result gives the same segments, and encoding those the same bytes. A
 * query parameter that is found is no longer than its query.
 *
 * Input: a raw path; what follows the first "?" is a query, its name looked for is the path.
 */
#include <stdint.h>
#include <stdlib.h>

#include "lib/base/utf8.h"
#include "lib/wire/path.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MAX = 64 };

static void require(bool holds)
{
    if (!holds)
        abort();
}

static void check_segment(struct str segment)
{
    for (size_t i = 0; i < segment.len; i++)
        require((unsigned char)segment.ptr[i] >= 0x20 && segment.ptr[i] != 0x7F);
    require(utf8_valid(segment));
    require(!str_equal(segment, STR_LIT(".")) && !str_equal(segment, STR_LIT("..")));
}

static void check_path(struct str raw)
{
    struct str segments[MAX], again[MAX];
    char *room = malloc(raw.len + 1), *room_again;
    struct buffer once, twice;
    int count = path_split(raw, room, segments, MAX);

    if (count > 0) {
        buffer_init(&once, 3 * raw.len + 1);
        buffer_init(&twice, 3 * raw.len + 1);
        require(path_encode(segments, (size_t)count, &once) == 0);
        room_again = malloc(buffer_length(&once));
        require(path_split(buffer_view(&once), room_again, again, MAX) == count);
        for (int i = 0; i < count; i++) {
            check_segment(segments[i]);
            require(str_equal(segments[i], again[i]));
        }
        require(path_encode(again, (size_t)count, &twice) == 0);
        require(str_equal(buffer_view(&once), buffer_view(&twice)));
        buffer_done(&once);
        buffer_done(&twice);
        free(room_again);
    }
    free(room);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str text = str_make((const char *)data, size), path = text, query, value;
    const char *mark = size ? memchr(data, '?', size) : NULL;

    if (mark) {
        path.len = (size_t)(mark - text.ptr);
        query = str_after(text, path.len + 1);
        char *room = malloc(query.len + 1);

        if (path_query_find(query, path, room, &value))
            require(value.len <= query.len);
        free(room);
    }
    check_path(path);
    return 0;
}
