/*
 * target: what the request line aims at, and for whom. llhttp judges neither, so this file does.
 *
 * A host whose last label is a number must be a dotted-quad address in canonical form: others read
 * "0x7f.1" or "127.01.0.1" as addresses (WHATWG URL 3.5), so no name may look like one.
 */
#include "dataplane/http/target.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdint.h>

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_label_byte(char c)
{
    char lower = str_lower_byte(c);

    return (lower >= 'a' && lower <= 'z') || is_digit(c) || c == '-' || c == '_';
}

/* Visible ASCII without "#": a fragment never travels (RFC 9112 3.2). */
static bool is_target_text(struct str text)
{
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.ptr[i];

        if (c <= 0x20 || c >= 0x7F || c == '#')
            return false;
    }
    return true;
}

static void split_query(struct str raw, struct target *target)
{
    const char *mark = memchr(raw.ptr, '?', raw.len);
    size_t length = mark ? (size_t)(mark - raw.ptr) : raw.len;

    target->path = str_make(raw.ptr, length);
    target->query = mark ? str_after(raw, length + 1) : (struct str){0};
}

static int split_absolute(struct str raw, struct target *target)
{
    size_t scheme, end;

    if (raw.len > 7 && str_equal_nocase(str_make(raw.ptr, 7), STR_LIT("http://")))
        scheme = 7;
    else if (raw.len > 8 && str_equal_nocase(str_make(raw.ptr, 8), STR_LIT("https://")))
        scheme = 8;
    else
        return -EINVAL;
    for (end = scheme; end < raw.len && raw.ptr[end] != '/' && raw.ptr[end] != '?'; end++)
        ;
    target->authority = str_make(raw.ptr + scheme, end - scheme);
    split_query(str_after(raw, end), target);
    if (target->path.len == 0)
        target->path = STR_LIT("/");
    return 0;
}

int target_split(struct str raw, struct target *ret_target)
{
    struct target target = {0};

    if (raw.len == 0 || !is_target_text(raw))
        return -EINVAL;
    if (raw.ptr[0] == '/') {
        split_query(raw, &target);
    } else if (str_equal(raw, STR_LIT("*"))) {
        target.path = raw;
        target.asterisk = true;
    } else if (split_absolute(raw, &target) < 0) {
        return -EINVAL;
    }
    *ret_target = target;
    return 0;
}

static bool is_port(struct str port)
{
    uint32_t value = 0;

    for (size_t i = 0; i < port.len; i++) {
        if (!is_digit(port.ptr[i]) || i >= 5)
            return false;
        value = value * 10 + (uint32_t)(port.ptr[i] - '0');
    }
    return value <= 65535; /* an empty port is the scheme's default (RFC 3986 3.2.3) */
}

static bool is_address(int family, struct str text)
{
    char copy[INET6_ADDRSTRLEN + 1];
    unsigned char address[16];

    if (text.len == 0 || text.len >= sizeof(copy))
        return false;
    memcpy(copy, text.ptr, text.len);
    copy[text.len] = '\0';
    return inet_pton(family, copy, address) == 1;
}

static bool is_number_like(struct str label)
{
    size_t i = 0;

    if (label.len >= 2 && label.ptr[0] == '0' && str_lower_byte(label.ptr[1]) == 'x')
        return true;
    while (i < label.len && is_digit(label.ptr[i]))
        i++;
    return i == label.len;
}

/* Labels of a name; the trailing dot is already off. */
static bool is_name(struct str host)
{
    struct str label = {host.ptr, 0};

    if (host.len == 0 || host.len > HOST_NAME_MAX_BYTES)
        return false;
    for (size_t i = 0; i <= host.len; i++) {
        if (i < host.len && host.ptr[i] != '.') {
            if (!is_label_byte(host.ptr[i]))
                return false;
            label.len++;
            continue;
        }
        if (label.len == 0 || label.len > 63 || label.ptr[0] == '-' ||
            label.ptr[label.len - 1] == '-')
            return false;
        if (i < host.len)
            label = str_make(host.ptr + i + 1, 0);
    }
    return !is_number_like(label) || is_address(AF_INET, host);
}

int target_split_authority(struct str authority, struct str *ret_host)
{
    struct str host = authority, port = {0};

    if (authority.len && authority.ptr[0] == '[') {
        const char *close = memchr(authority.ptr, ']', authority.len);
        size_t length = close ? (size_t)(close - authority.ptr) + 1 : 0;

        if (!close || !is_address(AF_INET6, str_make(authority.ptr + 1, length - 2)))
            return -EINVAL;
        host.len = length;
    } else {
        const char *colon = memchr(authority.ptr, ':', authority.len);

        if (colon)
            host.len = (size_t)(colon - authority.ptr);
    }
    if (host.len < authority.len) {
        if (authority.ptr[host.len] != ':')
            return -EINVAL;
        port = str_after(authority, host.len + 1);
    }
    if (host.len && host.ptr[0] != '[') {
        if (host.ptr[host.len - 1] == '.')
            host.len--;
        if (!is_name(host))
            return -EINVAL;
    }
    if (host.len == 0 || !is_port(port))
        return -EINVAL;
    *ret_host = host;
    return 0;
}
