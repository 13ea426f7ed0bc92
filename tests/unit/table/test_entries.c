/* From keys and values to what changes in the table. */
#include "dataplane/table/entries.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct fixture {
    struct entries *entries;
    struct route_table *table;
    uint64_t sequence;
    size_t retired; /* by the last commit */
};

static struct fixture set_up(void)
{
    struct fixture fixture = {.entries = entries_new(STR_LIT("default"))};

    assert_non_null(fixture.entries);
    entries_begin(fixture.entries);
    return fixture;
}

static void tear_down(struct fixture *fixture)
{
    route_table_unref(fixture->table);
    entries_free(fixture->entries);
}

static void put_value(struct fixture *fixture, const char *key, const char *value)
{
    assert_int_equal(
        entries_put(fixture->entries, str_from(key), ++fixture->sequence, str_from(value)), 0);
}

static void put(struct fixture *fixture, const char *name, const char *uid, int generation)
{
    char key[64], value[512];

    snprintf(key, sizeof(key), "route.ns.%s", name);
    snprintf(value, sizeof(value),
             "{\"format\":1,\"uid\":\"%s\",\"generation\":%d,\"created\":1,\"spec\":{\"rules\":"
             "[{\"matches\":[{\"path\":{\"type\":\"Exact\",\"value\":\"/%s\"}}],"
             "\"backends\":[{\"subject\":\"s.v%d\"}]}]}}",
             uid, generation, name, generation);
    put_value(fixture, key, value);
}

/* What the watcher and the loops do together; keep: retired Routes stay alive. */
static void commit(struct fixture *fixture, struct route **keep)
{
    struct route *const *retired;
    struct route_table *table;

    assert_int_equal(
        entries_commit(fixture->entries, fixture->table, &table, &retired, &fixture->retired), 0);
    for (size_t i = 0; i < fixture->retired && keep; i++)
        keep[i] = retired[i];
    for (size_t i = 0; i < fixture->retired && !keep; i++) {
        entries_route_freed(fixture->entries, retired[i]);
        route_unref(retired[i]);
    }
    entries_settle(fixture->entries);
    route_table_unref(fixture->table);
    fixture->table = table;
    assert_int_equal(route_table_count(table), entries_served(fixture->entries));
}

static bool dump_has(struct fixture *fixture, const char *text)
{
    struct buffer out;
    bool found;

    buffer_init(&out, 1 << 20);
    assert_int_equal(entries_dump(fixture->entries, &out), 0);
    found = memmem(buffer_view(&out).ptr, buffer_length(&out), text, strlen(text)) != NULL;
    buffer_done(&out);
    return found;
}

static void a_replay_changes_only_what_differs(void **state)
{
    struct fixture fixture = set_up();

    (void)state;
    put(&fixture, "same", "u1", 1);
    put(&fixture, "changed", "u2", 1);
    put(&fixture, "gone", "u3", 1);
    commit(&fixture, NULL);
    assert_int_equal(entries_served(fixture.entries), 3);

    entries_begin(fixture.entries);
    put(&fixture, "same", "u1", 1);
    put(&fixture, "changed", "u2", 2);
    put(&fixture, "new", "u4", 1);
    assert_true(dump_has(&fixture, "route.ns.gone")); /* until the end of the replay */
    assert_false(dump_has(&fixture, "route.ns.new"));
    entries_sweep(fixture.entries);
    commit(&fixture, NULL);
    assert_int_equal(fixture.retired, 2); /* of "changed" and "gone"; "same" is the same */
    assert_int_equal(entries_served(fixture.entries), 3);
    assert_true(dump_has(&fixture, "s.v2"));
    assert_false(dump_has(&fixture, "route.ns.gone"));
    tear_down(&fixture);
}

static void a_replay_that_is_broken_off_leaves_no_trace(void **state)
{
    struct fixture fixture = set_up();

    (void)state;
    put(&fixture, "a", "u1", 1);
    put(&fixture, "b", "u2", 1);
    commit(&fixture, NULL);
    entries_begin(fixture.entries);
    put(&fixture, "a", "u1", 7);
    put(&fixture, "phantom", "u3", 1);
    put_value(&fixture, "route.ns.b", "not JSON");
    entries_begin(fixture.entries);
    put(&fixture, "a", "u1", 1);
    put(&fixture, "b", "u2", 1);
    entries_sweep(fixture.entries);
    commit(&fixture, NULL);
    assert_int_equal(entries_served(fixture.entries), 2);
    assert_int_equal(entries_rejected_total(fixture.entries), 0);
    assert_false(dump_has(&fixture, "phantom"));
    assert_false(dump_has(&fixture, "v7"));
    tear_down(&fixture);
}

static void several_changes_of_a_key_are_one(void **state)
{
    struct fixture fixture = set_up();

    (void)state;
    put(&fixture, "a", "u1", 1);
    put(&fixture, "a", "u1", 2);
    entries_delete(fixture.entries, STR_LIT("route.ns.a"));
    commit(&fixture, NULL);
    assert_int_equal(entries_served(fixture.entries), 0);
    put(&fixture, "a", "u1", 3);
    commit(&fixture, NULL);
    for (int i = 4; i < 10; i++)
        put(&fixture, "a", "u1", i);
    entries_delete(fixture.entries, STR_LIT("route.ns.a"));
    put(&fixture, "a", "u5", 1);
    commit(&fixture, NULL);
    assert_int_equal(fixture.retired, 1);
    assert_true(dump_has(&fixture, "\"uid\":\"u5\""));
    entries_delete(fixture.entries, STR_LIT("route.ns.unknown"));
    commit(&fixture, NULL);
    assert_int_equal(fixture.retired, 0);
    tear_down(&fixture);
}

/* The slots in use are all different, and small. */
static uint32_t slot_of(struct route *const *routes, size_t count, size_t index)
{
    for (size_t i = 0; i < count; i++)
        if (i != index)
            assert_int_not_equal(routes[i]->slot, routes[index]->slot);
    return routes[index]->slot;
}

static void slots_stay_with_their_key_and_return_when_the_route_is_freed(void **state)
{
    struct fixture fixture = set_up();
    struct route *old[4], *later[4];
    uint32_t slot_a, slot_b;

    (void)state;
    put(&fixture, "a", "u1", 1);
    put(&fixture, "b", "u2", 1);
    commit(&fixture, NULL);
    put(&fixture, "a", "u1", 2);
    put(&fixture, "b", "u2", 2);
    commit(&fixture, old);
    assert_int_equal(fixture.retired, 2);
    slot_a = slot_of(old, 2, 0);
    slot_b = slot_of(old, 2, 1);
    assert_in_range(slot_a, 0, 1);
    assert_in_range(slot_b, 0, 1);

    /* Both keys go while the Routes of before still live: their slots are taken. */
    entries_delete(fixture.entries, STR_LIT("route.ns.a"));
    entries_delete(fixture.entries, STR_LIT("route.ns.b"));
    put(&fixture, "c", "u3", 1);
    commit(&fixture, later);
    assert_int_equal(fixture.retired, 2);
    assert_true((later[0]->slot == slot_a && later[1]->slot == slot_b) ||
                (later[0]->slot == slot_b && later[1]->slot == slot_a));
    for (int i = 0; i < 2; i++) {
        entries_route_freed(fixture.entries, later[i]);
        route_unref(later[i]);
    }
    put(&fixture, "d", "u4", 1);
    commit(&fixture, NULL);
    put(&fixture, "c", "u3", 2);
    put(&fixture, "d", "u4", 2);
    commit(&fixture, later);
    assert_in_range(slot_of(later, 2, 0), 2, 3);
    assert_in_range(slot_of(later, 2, 1), 2, 3);
    for (int i = 0; i < 2; i++) {
        entries_route_freed(fixture.entries, old[i]);
        route_unref(old[i]);
        entries_route_freed(fixture.entries, later[i]);
        route_unref(later[i]);
    }
    put(&fixture, "e", "u5", 1);
    commit(&fixture, NULL);
    entries_delete(fixture.entries, STR_LIT("route.ns.e"));
    commit(&fixture, later);
    assert_in_range(later[0]->slot, 0, 1); /* one of the first two, used again */
    entries_route_freed(fixture.entries, later[0]);
    route_unref(later[0]);
    tear_down(&fixture);
}

static void rejections_are_listed_newest_first_and_bounded(void **state)
{
    struct fixture fixture = set_up();
    struct table_rejection list[TABLE_ACK_REJECTED_MAX];
    uint64_t version;
    char key[64];

    (void)state;
    for (int i = 0; i < 50; i++) {
        snprintf(key, sizeof(key), "route.ns.bad%d", i);
        put_value(&fixture, key, i % 2 ? "{}" : "");
    }
    put_value(&fixture, "no-route", "{}");
    commit(&fixture, NULL);
    assert_int_equal(entries_rejected_total(fixture.entries), 51);
    assert_int_equal(entries_rejected(fixture.entries, list, TABLE_ACK_REJECTED_MAX),
                     TABLE_ACK_REJECTED_MAX);
    assert_string_equal(list[0].key, "no-route");
    assert_string_equal(list[1].key, "route.ns.bad49");
    assert_int_equal(list[1].sequence, 50);
    assert_true(strlen(list[1].reason) > 0);

    version = entries_rejected_version(fixture.entries);
    put(&fixture, "bad49", "u", 1);
    assert_int_not_equal(entries_rejected_version(fixture.entries), version);
    assert_int_equal(entries_rejected_total(fixture.entries), 50);
    entries_begin(fixture.entries);
    entries_sweep(fixture.entries);
    commit(&fixture, NULL);
    assert_int_equal(entries_rejected_total(fixture.entries), 0);
    assert_int_equal(entries_served(fixture.entries), 0);
    tear_down(&fixture);
}

static void a_good_value_written_again_ends_the_rejection(void **state)
{
    struct fixture fixture = set_up();

    (void)state;
    put(&fixture, "a", "u1", 1);
    commit(&fixture, NULL);
    put_value(&fixture, "route.ns.a", "{\"format\":1,\"uid\":\"u1\",\"generation\":2}");
    commit(&fixture, NULL);
    assert_int_equal(entries_rejected_total(fixture.entries), 1);
    assert_int_equal(entries_served(fixture.entries), 1);
    put(&fixture, "a", "u1", 1);
    commit(&fixture, NULL);
    assert_int_equal(entries_rejected_total(fixture.entries), 0);
    assert_int_equal(fixture.retired, 0);
    tear_down(&fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_replay_changes_only_what_differs),
        cmocka_unit_test(a_replay_that_is_broken_off_leaves_no_trace),
        cmocka_unit_test(several_changes_of_a_key_are_one),
        cmocka_unit_test(slots_stay_with_their_key_and_return_when_the_route_is_freed),
        cmocka_unit_test(rejections_are_listed_newest_first_and_bounded),
        cmocka_unit_test(a_good_value_written_again_ends_the_rejection),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
