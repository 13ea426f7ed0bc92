/*
 * servers: reading NATS URLs and going round them.
 */
#include "dataplane/nats/servers.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Copies text with %XX decoded and a NUL at the end; -EINVAL: too long, a bad escape, a NUL. */
static int decode(struct str text, char *out, size_t size)
{
    size_t len = 0;

    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i];

        if (c == '%') {
            int high = i + 2 < text.len ? str_hex_value(text.ptr[i + 1]) : -1;
            int low = high >= 0 ? str_hex_value(text.ptr[i + 2]) : -1;

            if (low < 0)
                return -EINVAL;
            c = (char)(high << 4 | low);
            i += 2;
        }
        if (c == '\0' || len + 1 >= size)
            return -EINVAL;
        out[len++] = c;
    }
    out[len] = '\0';
    return 0;
}

static bool split_at(struct str text, char c, struct str *ret_before, struct str *ret_after)
{
    const char *at = text.len ? memchr(text.ptr, c, text.len) : NULL;

    if (!at)
        return false;
    *ret_before = str_make(text.ptr, (size_t)(at - text.ptr));
    *ret_after = str_after(text, ret_before->len + 1);
    return true;
}

static bool is_port(struct str text)
{
    unsigned long number = 0;

    if (text.len == 0 || text.len > 5)
        return false;
    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] < '0' || text.ptr[i] > '9')
            return false;
        number = number * 10 + (unsigned long)(text.ptr[i] - '0');
    }
    return number >= 1 && number <= 65535;
}

/* host, host:port, [v6], [v6]:port. */
static int read_address(struct str text, struct server *server)
{
    struct str host = text, port = STR_LIT("4222"), rest = STR_LIT("");

    if (text.len && text.ptr[0] == '[') {
        if (!split_at(str_after(text, 1), ']', &host, &rest) || (rest.len && rest.ptr[0] != ':'))
            return -EINVAL;
        if (rest.len)
            port = str_after(rest, 1);
    } else if (split_at(text, ':', &host, &rest)) {
        port = rest;
    }
    if (host.len == 0 || host.len >= sizeof(server->host) || !is_port(port))
        return -EINVAL;
    for (size_t i = 0; i < host.len; i++)
        if (host.ptr[i] <= ' ' || host.ptr[i] > '~' || host.ptr[i] == '/')
            return -EINVAL;
    memcpy(server->host, host.ptr, host.len);
    server->host[host.len] = '\0';
    memcpy(server->port, port.ptr, port.len);
    server->port[port.len] = '\0';
    return 0;
}

static struct str after_last(struct str text, char c, struct str *ret_before)
{
    for (size_t i = text.len; i > 0; i--) {
        if (text.ptr[i - 1] != c)
            continue;
        *ret_before = str_make(text.ptr, i - 1);
        return str_after(text, i);
    }
    *ret_before = STR_LIT("");
    return text;
}

/* NULL, or what is wrong with it. */
static const char *read_url(struct str url, struct server *server)
{
    struct str userinfo, address, user, password = {0};

    *server = (struct server){0};
    server->tls = str_starts_with(url, STR_LIT("tls://"));
    if (server->tls)
        url = str_after(url, strlen("tls://"));
    else if (str_starts_with(url, STR_LIT("nats://")))
        url = str_after(url, strlen("nats://"));
    if (memmem(url.ptr, url.len, "://", 3))
        return "the scheme must be nats:// or tls://";
    if (url.len && url.ptr[url.len - 1] == '/')
        url.len--;
    address = after_last(url, '@', &userinfo);
    user = userinfo;
    server->has_password = split_at(userinfo, ':', &user, &password);
    if (decode(user, server->user, sizeof(server->user)) ||
        (server->has_password && decode(password, server->password, sizeof(server->password))))
        return "bad escape in user or password, or too long";
    if (read_address(address, server))
        return "expected nats://[user:password@]host[:port]";
    memcpy(server->name, server->host, sizeof(server->name));
    return NULL;
}

static bool same_address(const struct server *a, const struct server *b)
{
    return strcmp(a->host, b->host) == 0 && strcmp(a->port, b->port) == 0;
}

static bool known(const struct servers *servers, const struct server *server)
{
    for (size_t i = 0; i < servers->count; i++)
        if (same_address(&servers->list[i], server))
            return true;
    return false;
}

static void shuffle(struct servers *servers, size_t from, struct random_source *random)
{
    for (size_t i = servers->count; i > from + 1; i--) {
        size_t j = from + random_u64(random) % (i - from);
        struct server swapped = servers->list[i - 1];

        servers->list[i - 1] = servers->list[j];
        servers->list[j] = swapped;
    }
}

static struct str trim(struct str text)
{
    while (text.len && text.ptr[0] == ' ')
        text = str_after(text, 1);
    while (text.len && text.ptr[text.len - 1] == ' ')
        text.len--;
    return text;
}

static int fail(char *ret_error, size_t error_size, struct str url, const char *what)
{
    struct str userinfo, shown = after_last(url, '@', &userinfo);

    snprintf(ret_error, error_size, "NATS server \"" STR_FMT "\": %s", STR_ARG(shown), what);
    return -EINVAL;
}

int servers_init(struct servers *servers, struct str urls, struct random_source *random,
                 char *ret_error, size_t error_size)
{
    struct str rest = urls, url;

    *servers = (struct servers){.list = calloc(SERVERS_MAX, sizeof(struct server))};
    if (!servers->list) {
        snprintf(ret_error, error_size, "out of memory");
        return -ENOMEM;
    }
    for (bool more = true; more;) {
        struct server server;
        const char *what;

        more = split_at(rest, ',', &url, &rest);
        if (!more)
            url = rest;
        url = trim(url);
        what = servers->count == SERVERS_MAX ? "too many servers" : read_url(url, &server);
        if (what) {
            servers_done(servers);
            return fail(ret_error, error_size, url, what);
        }
        if (!known(servers, &server))
            servers->list[servers->count++] = server;
    }
    shuffle(servers, 0, random);
    return 0;
}

void servers_done(struct servers *servers)
{
    if (servers->list)
        explicit_bzero(servers->list, SERVERS_MAX * sizeof(struct server));
    free(servers->list);
    *servers = (struct servers){0};
}

static bool is_ip(const char *host)
{
    unsigned char address[sizeof(struct in6_addr)];

    return inet_pton(AF_INET, host, address) == 1 || inet_pton(AF_INET6, host, address) == 1;
}

void servers_discover(struct servers *servers, const struct server *teller, bool believed,
                      const struct str *urls, size_t count, struct random_source *random)
{
    struct server credentials = *teller;
    size_t given = 0;

    for (size_t i = 0; i < servers->count; i++)
        if (!servers->list[i].discovered)
            servers->list[given++] = servers->list[i];
    servers->count = given;
    for (size_t i = 0; i < count && servers->count < SERVERS_MAX; i++) {
        struct server server = credentials;

        server.discovered = true;
        if (read_address(urls[i], &server) || known(servers, &server))
            continue;
        if (is_ip(server.host) ? is_ip(teller->name) : believed)
            memcpy(server.name, server.host, sizeof(server.name));
        servers->list[servers->count++] = server;
    }
    shuffle(servers, given, random);
}

const struct server *servers_next(struct servers *servers, bool *ret_around)
{
    const struct server *server;

    if (servers->next >= servers->count)
        servers->next = 0;
    server = &servers->list[servers->next++];
    *ret_around = servers->next >= servers->count;
    return server;
}
