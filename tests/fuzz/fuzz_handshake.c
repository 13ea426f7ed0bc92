/*
 * Properties: whatever a server says in its INFO is read or refused; the servers that it names are
 * taken or passed over, and go round; and the CONNECT to each is one line of JSON.
 *
 * Input: the first byte says whether the list is believed and TLS is spoken; the rest is the INFO.
 */
#include <stdint.h>
#include <stdlib.h>
#include <yyjson.h>

#include "dataplane/nats/handshake.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { CONNECT_MAX = 8192 };

static void require(bool holds)
{
    if (!holds)
        abort();
}

static void check_connect(const struct server *server, const struct handshake_info *info,
                          bool secure)
{
    struct buffer out;
    struct str line;
    yyjson_doc *doc;

    buffer_init(&out, CONNECT_MAX);
    if (handshake_write_connect(&out, server, info, NULL, STR_LIT("a \"name\""), secure) == 0) {
        line = buffer_view(&out);
        require(str_starts_with(line, STR_LIT("CONNECT {")));
        require(memchr(line.ptr, '\r', line.len) == line.ptr + line.len - 2);
        doc = yyjson_read(line.ptr + 8, line.len - 10, 0);
        require(yyjson_is_obj(yyjson_doc_get_root(doc)));
        yyjson_doc_free(doc);
    }
    buffer_done(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct random_source random;
    static bool seeded;
    struct handshake_info info;
    struct servers servers;
    const struct server *server;
    bool last = false, around = false;
    char error[256];

    if (!seeded)
        random_init(&random);
    seeded = true;
    if (size == 0 || handshake_read_info(str_make((const char *)data + 1, size - 1), &info))
        return 0;
    require(info.connect_url_count <= SERVERS_MAX);
    if (servers_init(&servers, STR_LIT("nats://u:p%22w@teller:4222"), &random, error,
                     sizeof(error)))
        abort();
    server = servers_next(&servers, &last);
    servers_discover(&servers, &(struct server){.tls = data[0] & 1}, data[0] & 2, info.connect_urls,
                     info.connect_url_count, &random);
    require(server && servers.count >= 1 && servers.count <= SERVERS_MAX);
    for (size_t i = 0; i < servers.count; i++) {
        server = servers_next(&servers, &last);
        around |= last;
        check_connect(server, &info, data[0] & 1);
    }
    require(around);
    servers_done(&servers);
    handshake_info_done(&info);
    return 0;
}
