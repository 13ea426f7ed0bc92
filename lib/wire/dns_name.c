/*
 * dns_name: one rule for labels, used for names of namespaces, gateways and rules (one label), of
 * objects (labels of any length, as the API server takes them) and of hosts (labels as in DNS).
 */
#include "lib/wire/dns_name.h"

static bool lower_or_digit(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

static bool label_valid(struct str text, size_t max)
{
    if (text.len == 0 || text.len > max || !lower_or_digit(text.ptr[0]) ||
        !lower_or_digit(text.ptr[text.len - 1]))
        return false;
    for (size_t i = 0; i < text.len; i++)
        if (!lower_or_digit(text.ptr[i]) && text.ptr[i] != '-')
            return false;
    return true;
}

bool dns_label_valid(struct str text)
{
    return label_valid(text, DNS_LABEL_MAX);
}

bool dns_name_valid(struct str text, size_t label_max)
{
    if (text.len > DNS_NAME_MAX)
        return false;
    for (bool more = true; more;) {
        const char *dot = text.len ? memchr(text.ptr, '.', text.len) : NULL;
        struct str label = str_make(text.ptr, dot ? (size_t)(dot - text.ptr) : text.len);

        if (!label_valid(label, label_max))
            return false;
        more = dot != NULL;
        text = str_after(text, label.len + more);
    }
    return true;
}
