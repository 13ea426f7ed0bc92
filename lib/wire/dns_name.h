/*
 * dns_name: names as Kubernetes and DNS have them (RFC 1123), in lower case. Pure.
 */
#ifndef LIB_WIRE_DNS_NAME_H
#define LIB_WIRE_DNS_NAME_H

#include "lib/base/str.h"

enum { DNS_LABEL_MAX = 63, DNS_NAME_MAX = 253 };

/* Letters, digits and "-", the last not at an end; 1 to 63 bytes. */
bool dns_label_valid(struct str text);
/* Labels with a dot between them, each of at most label_max bytes; 1 to 253 bytes. */
bool dns_name_valid(struct str text, size_t label_max);

#endif
