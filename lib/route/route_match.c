/*
 * route_match: finds the rule that serves a request.
 *
 * For each hostname that covers the request's host, most specific first, walk() follows the path's
 * segments through the host's nodes, breadth first: a level holds every node that so many segments
 * lead to. As a literal child goes before the parameter child, a level is sorted from the left,
 * literal before parameter. Then choose_on_host() asks the lists of the visited nodes in order of
 * precedence (docs/ROUTE.md): the Exact path, regular expressions, and from the deepest level to
 * the first what ends there. The first entry whose method and conditions hold is the winner. If no
 * host has one, the methods of the entries where all but the method held make the answer.
 *
 * The walk visits only nodes that exist and match, so neither the number of Routes nor a long path
 * costs anything by itself. A segment is hashed once, whatever the number of hosts and nodes.
 *
 * Routes can be written so that one request costs much all the same: patterns that overlap (n
 * literal-or-parameter segments lead to 2^n nodes), thousands of conditions on one path, regular
 * expressions that backtrack. What a search does is therefore counted, and one that has done much
 * looks at its thread's clock; past TIME_MAX_US it gives up, and so does one without memory. It
 * never answers by half: a rule not reached might be the one that should have gone first.
 *
 * Regular expressions are interpreted. The limit on steps binds only there: compiled code does not
 * count what look-aheads do, and a pattern of 1 KiB took 6 s for one path.
 *
 * Thread: any; one call shares nothing with another. It writes to the caller's scratch arena only.
 */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "lib/route/route_match.h"

#include <assert.h>
#include <pcre2.h>
#include <time.h>

#include "lib/route/route_node.h"

/* What one regular expression may spend on one path; patterns for paths need a few dozen steps. A
 * step may look at all of the path, so a long path leaves fewer. */
enum {
    REGEX_STEPS_MAX = 5000,
    REGEX_STEPS_MIN = 50,
    REGEX_BYTES_MAX = 200000, /* steps times bytes of the path */
    REGEX_DEPTH_MAX = 1000,
    REGEX_HEAP_MAX_KIB = 256,
};

/* What one search may spend. Units of some 10 ns; usual requests end before the first look. */
enum {
    WORK_PER_LOOK = 8192,
    WORK_NODE = 8,
    WORK_ENTRY = 4,
    WORK_CONDITION = 64,
    WORK_REGEX = 512,
    TIME_MAX_US = 1000, /* after the first look, of the thread's own time */
};

struct level {
    const struct route_node **nodes;
    size_t count; /* at least one */
};

/* One call. */
struct search {
    const struct route_table *table;
    const struct route_request *request;
    struct arena *scratch;
    const struct route_node *root;               /* of the host being searched */
    struct level levels[ROUTE_SEGMENTS_MAX + 1]; /* index: segments before the node */
    size_t depth;                                /* index of the last level */
    uint32_t hashes[ROUTE_SEGMENTS_MAX];         /* of the first segments */
    size_t hashed;
    struct str regex_path; /* all three are made for the first regular expression */
    pcre2_match_context *regex_context;
    pcre2_match_data *regex_data;
    uint32_t allowed; /* methods that would have been served, 1 << method */
    uint32_t work;    /* since the last look at the clock */
    int64_t end_us;   /* 0: not looked yet */
    bool gave_up, trouble;
};

static int64_t thread_us(void)
{
    struct timespec now;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static void give_up(struct search *search)
{
    search->gave_up = search->trouble = true;
}

static void spend(struct search *search, uint32_t work)
{
    int64_t now_us;

    search->work += work;
    if (search->work < WORK_PER_LOOK)
        return;
    search->work = 0;
    now_us = thread_us();
    if (!search->end_us)
        search->end_us = now_us + TIME_MAX_US;
    else if (now_us > search->end_us)
        give_up(search);
}

static uint32_t segment_hash(struct search *search, size_t index)
{
    for (; search->hashed <= index; search->hashed++)
        search->hashes[search->hashed] =
            hash_bytes(&search->table->seed, search->request->segments[search->hashed]);
    return search->hashes[index];
}

/* The nodes one segment further; false: there are none, or no memory for them. */
static bool walk_level(struct search *search, const struct level *level, size_t index,
                       struct level *ret_next)
{
    struct str segment = search->request->segments[index];
    uint32_t hash = segment_hash(search, index);
    const struct hash_item *literal;

    ret_next->count = 0;
    ret_next->nodes = arena_take_array(search->scratch, 2 * level->count, sizeof(level->nodes[0]));
    if (!ret_next->nodes) {
        give_up(search);
        return false;
    }
    for (size_t i = 0; i < level->count && !search->gave_up; i++) {
        spend(search, WORK_NODE);
        literal = hash_trie_find(&level->nodes[i]->literals, hash, segment);
        if (literal)
            ret_next->nodes[ret_next->count++] = route_node_of(literal);
        if (level->nodes[i]->param)
            ret_next->nodes[ret_next->count++] = level->nodes[i]->param;
    }
    return ret_next->count > 0 && !search->gave_up;
}

static void walk(struct search *search)
{
    search->levels[0] = (struct level){&search->root, 1};
    search->depth = 0;
    while (search->depth < search->request->segment_count && search->depth < ROUTE_SEGMENTS_MAX &&
           walk_level(search, &search->levels[search->depth], search->depth,
                      &search->levels[search->depth + 1]))
        search->depth++;
}

static void *regex_take(PCRE2_SIZE size, void *arena)
{
    return arena_take(arena, size);
}

static void regex_give(void *memory, void *arena)
{
    (void)memory, (void)arena; /* the arena gives all of it back */
}

static bool regex_prepare(struct search *search)
{
    const struct route_request *request = search->request;
    size_t steps;
    pcre2_general_context *general =
        pcre2_general_context_create(regex_take, regex_give, search->scratch);

    if (!general || !request->canonical_path(request->context, &search->regex_path))
        return false;
    search->regex_context = pcre2_match_context_create(general);
    search->regex_data = pcre2_match_data_create(1, general);
    if (!search->regex_context || !search->regex_data)
        return false;
    steps = REGEX_BYTES_MAX / (search->regex_path.len + 1);
    steps = steps > REGEX_STEPS_MAX ? REGEX_STEPS_MAX : steps;
    steps = steps < REGEX_STEPS_MIN ? REGEX_STEPS_MIN : steps;
    pcre2_set_match_limit(search->regex_context, (uint32_t)steps);
    pcre2_set_depth_limit(search->regex_context, REGEX_DEPTH_MAX);
    pcre2_set_heap_limit(search->regex_context, REGEX_HEAP_MAX_KIB);
    return true;
}

static bool regex_holds(struct search *search, const pcre2_code *regex)
{
    struct str path;
    int rc;

    if (!search->regex_data && !regex_prepare(search)) {
        search->regex_data = NULL;
        give_up(search);
        return false;
    }
    path = search->regex_path; /* ASCII */
    rc = pcre2_match(regex, (PCRE2_SPTR)path.ptr, path.len, 0, PCRE2_NO_JIT | PCRE2_NO_UTF_CHECK,
                     search->regex_data, search->regex_context);
    if (rc < 0 && rc != PCRE2_ERROR_NOMATCH) {
        search->trouble = true;
        spend(search, WORK_PER_LOOK);
    }
    spend(search, WORK_REGEX + (uint32_t)path.len);
    return rc >= 0;
}

static bool conditions_hold(const struct search *search, const struct route_match *match)
{
    const struct route_request *request = search->request;
    struct str value;

    for (size_t i = 0; i < match->header_count; i++)
        if (!request->header(request->context, match->headers[i].name, &value) ||
            !str_equal(value, match->headers[i].value))
            return false;
    for (size_t i = 0; i < match->param_count; i++)
        if (!request->param(request->context, match->params[i].name, &value) ||
            !str_equal(value, match->params[i].value))
            return false;
    return true;
}

static bool method_holds(const struct search *search, enum route_method method)
{
    enum route_method asked = search->request->method;

    return method == ROUTE_METHOD_ANY || method == asked ||
           (method == ROUTE_METHOD_GET && asked == ROUTE_METHOD_HEAD);
}

/* Whether all that the match asks for holds, its path given. Remembers what only the method kept
 * from holding; a method that is remembered already is not worth another look. */
static bool match_holds(struct search *search, const struct route_match *match)
{
    bool method = method_holds(search, match->method);
    uint32_t bit = (uint32_t)1 << match->method;

    if (!method && search->allowed & bit)
        return false;
    spend(search, (uint32_t)(match->header_count + match->param_count) * WORK_CONDITION);
    if (!conditions_hold(search, match))
        return false;
    if (match->path_type == ROUTE_PATH_REGEX && !regex_holds(search, match->regex))
        return false;
    if (!method)
        search->allowed |= bit;
    return method;
}

/* The first entry of the node with this ending that holds. For HEAD one that names HEAD goes before
 * one that does not, as far as both have the same path (of regular expressions: equally long). */
static const struct route_entry *choose(struct search *search, const struct route_node *node,
                                        enum route_ending ending)
{
    const struct route_entry *entry, *second_best = NULL;
    uint32_t i, end;

    if (!node->list)
        return NULL;
    for (i = route_list_range(node->list, ending, &end); i < end && !search->gave_up; i++) {
        entry = &node->list->entries[i];
        spend(search, WORK_ENTRY);
        if (second_best) {
            if (ending == ROUTE_ENDING_REGEX &&
                entry->match->path.len != second_best->match->path.len)
                break;
            if (entry->match->method != ROUTE_METHOD_HEAD)
                continue;
        }
        if (!match_holds(search, entry->match))
            continue;
        if (search->request->method != ROUTE_METHOD_HEAD ||
            entry->match->method == ROUTE_METHOD_HEAD)
            return entry;
        second_best = entry;
    }
    return second_best;
}

static const struct route_entry *choose_on_level(struct search *search, size_t depth)
{
    const struct level *level = &search->levels[depth];
    bool whole = depth == search->request->segment_count;
    const struct route_entry *entry;

    for (size_t i = 0; i < level->count && !search->gave_up; i++) {
        spend(search, WORK_NODE);
        entry = choose(search, level->nodes[i], whole ? ROUTE_ENDING_TEMPLATE : ROUTE_ENDING_REST);
        if (!entry)
            entry = choose(search, level->nodes[i], ROUTE_ENDING_PREFIX);
        if (entry)
            return entry;
    }
    return NULL;
}

/* Only the node that literals alone lead to has Exact entries, and it is the first of its level. */
static const struct route_entry *choose_on_host(struct search *search)
{
    const struct route_entry *entry = NULL;

    if (search->depth == search->request->segment_count)
        entry = choose(search, search->levels[search->depth].nodes[0], ROUTE_ENDING_EXACT);
    if (!entry)
        entry = choose(search, search->root, ROUTE_ENDING_REGEX);
    for (size_t left = search->depth + 1; !entry && left > 0; left--)
        entry = choose_on_level(search, left - 1);
    return entry;
}

/* host: a key of the table's hosts; see route_node.h. */
static const struct route_entry *search_host(struct search *search, struct str host)
{
    search->root = route_node_of(
        hash_trie_find(&search->table->hosts, hash_bytes(&search->table->seed, host), host));
    if (!search->root)
        return NULL;
    walk(search);
    return search->gave_up ? NULL : choose_on_host(search);
}

static const struct route_entry *search_hosts(struct search *search)
{
    struct str host = search->request->host;
    const struct route_entry *entry = NULL;

    /* A leading dot would find the wildcard that does not cover it. */
    if (host.len && host.ptr[0] != '.')
        entry = search_host(search, host);
    for (size_t i = 1; !entry && i < host.len; i++)
        if (host.ptr[i] == '.')
            entry = search_host(search, str_after(host, i));
    return entry ? entry : search_host(search, STR_LIT(""));
}

enum route_outcome route_table_match(const struct route_table *table,
                                     const struct route_request *request, struct arena *scratch,
                                     struct route_hit *ret_hit, bool *ret_trouble)
{
    struct search search = {.table = table, .request = request, .scratch = scratch};
    const struct route_entry *entry;

    assert(request->segment_count > 0);
    assert(request->method > ROUTE_METHOD_ANY && request->method < ROUTE_METHOD_COUNT);
    entry = search_hosts(&search);
    *ret_trouble = search.trouble;
    *ret_hit = (struct route_hit){.allowed = search.allowed};
    if (search.gave_up)
        return ROUTE_GAVE_UP;
    if (!entry && !search.allowed)
        return ROUTE_NOT_FOUND;
    if (!entry) {
        if (search.allowed & 1u << ROUTE_METHOD_GET)
            ret_hit->allowed |= 1u << ROUTE_METHOD_HEAD;
        return ROUTE_METHOD_NOT_ALLOWED;
    }
    *ret_hit = (struct route_hit){
        .route = entry->route,
        .rule = route_entry_rule(entry),
        .match = entry->match,
        .method = request->method,
    };
    if (request->method == ROUTE_METHOD_HEAD && entry->match->method != ROUTE_METHOD_HEAD)
        ret_hit->method = ROUTE_METHOD_GET;
    return ROUTE_FOUND;
}
