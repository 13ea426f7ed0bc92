/*
 * hash_trie against the plainest map there is, an array; maps that share with others stay as they
 * were; keys whose hashes are equal are still different keys.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "lib/route/hash_trie.h"

enum { KEYS = 3000, SNAPSHOTS = 8, STEPS = 40000 };

static const struct hash_seed seed; /* zero, so that hashes are known */

struct number {
    struct hash_item item;
    int value;
    char key[16];
};

static int live; /* numbers allocated */

static void number_free(struct hash_item *item)
{
    live--;
    free(item);
}

static struct hash_item *number_new(const char *key, int value)
{
    struct number *number = calloc(1, sizeof(*number));

    assert_non_null(number);
    live++;
    number->item.references = 1;
    number->item.key_offset = offsetof(struct number, key);
    number->item.key_length = (uint16_t)strlen(key);
    number->value = value;
    memcpy(number->key, key, number->item.key_length);
    return &number->item;
}

static void put(struct hash_trie *trie, const char *key, int value)
{
    assert_int_equal(hash_trie_put(trie, &seed, number_new(key, value), number_free), 0);
}

static void drop(struct hash_trie *trie, const char *key)
{
    assert_int_equal(hash_trie_remove(trie, &seed, str_from(key), number_free), 0);
}

/* 0: not there. */
static int get(const struct hash_trie *trie, const char *key)
{
    struct str text = str_from(key);
    struct hash_item *item = hash_trie_find(trie, hash_bytes(&seed, text), text);

    return item ? ((struct number *)item)->value : 0;
}

/* Reference values from CPython 3.11, whose hash of bytes is SipHash-1-3, with PYTHONHASHSEED=0. */
static void the_hash_is_siphash_1_3_folded(void **state)
{
    static const struct {
        const char *key;
        uint64_t hash;
    } known[] = {
        {"orders", 0x52adb308ec5c4bb4},
        {"12345678", 0x3489982430560a87},
        {"api.example.com", 0x63754676590f1922},
        {"1234567890abcdef", 0x17bb2ae9d0367280},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
        assert_int_equal(hash_bytes(&seed, str_from(known[i].key)),
                         (uint32_t)(known[i].hash ^ known[i].hash >> 32));
}

static void another_seed_gives_other_hashes(void **state)
{
    const struct hash_seed other = {{0, 1}};

    (void)state;
    assert_int_not_equal(hash_bytes(&seed, STR_LIT("orders")),
                         hash_bytes(&other, STR_LIT("orders")));
}

static void the_empty_key_is_a_key(void **state)
{
    struct hash_trie trie = {0};

    (void)state;
    assert_int_equal(get(&trie, ""), 0);
    put(&trie, "", 1);
    put(&trie, "a", 2);
    assert_int_equal(get(&trie, ""), 1);
    drop(&trie, "");
    assert_int_equal(get(&trie, ""), 0);
    assert_int_equal(get(&trie, "a"), 2);
    hash_trie_done(&trie, number_free);
    assert_int_equal(live, 0);
}

/* Keys found by trying: each row has one 32-bit hash. */
static void keys_with_equal_hashes_are_told_apart(void **state)
{
    static const char *const rows[][3] = {
        {"5bcd8d", "cd6660", "d106ca"},
        {"577a99", "895570", "bb0c2b"},
    };
    struct hash_trie trie = {0}, before;

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        const char *const *key = rows[i];
        uint32_t hash = hash_bytes(&seed, str_from(key[0]));

        assert_int_equal(hash_bytes(&seed, str_from(key[1])), hash);
        assert_int_equal(hash_bytes(&seed, str_from(key[2])), hash);
        put(&trie, key[0], 1);
        assert_int_equal(get(&trie, key[1]), 0);
        put(&trie, key[1], 2);
        assert_int_equal(get(&trie, key[2]), 0);
        put(&trie, key[2], 3);
        before = hash_trie_share(&trie);
        drop(&trie, key[1]);
        assert_int_equal(get(&trie, key[0]), 1);
        assert_int_equal(get(&trie, key[1]), 0);
        assert_int_equal(get(&trie, key[2]), 3);
        put(&trie, key[2], 4);
        drop(&trie, key[0]);
        assert_int_equal(get(&trie, key[0]), 0);
        assert_int_equal(get(&trie, key[2]), 4);
        for (int j = 0; j < 3; j++)
            assert_int_equal(get(&before, key[j]), j + 1);
        hash_trie_done(&before, number_free);
    }
    hash_trie_done(&trie, number_free);
    assert_int_equal(live, 0);
}

static void only_what_nobody_shares_is_owned(void **state)
{
    struct hash_trie trie = {0}, other;
    struct str key = STR_LIT("a");
    uint32_t hash = hash_bytes(&seed, key);
    bool owned;

    (void)state;
    put(&trie, "a", 1);
    put(&trie, "b", 2);
    assert_non_null(hash_trie_find_owned(&trie, hash, key, &owned));
    assert_true(owned);
    assert_null(hash_trie_find_owned(&trie, hash, STR_LIT("c"), &owned));
    assert_false(owned);
    other = hash_trie_share(&trie);
    assert_non_null(hash_trie_find_owned(&trie, hash, key, &owned));
    assert_false(owned);
    /* The change copies the node; "a" is shared still, now as an item of two nodes. */
    put(&other, "b", 3);
    assert_non_null(hash_trie_find_owned(&trie, hash, key, &owned));
    assert_false(owned);
    hash_trie_done(&other, number_free);
    assert_non_null(hash_trie_find_owned(&trie, hash, key, &owned));
    assert_true(owned);
    hash_trie_done(&trie, number_free);
    assert_int_equal(live, 0);
}

struct snapshot {
    struct hash_trie trie;
    int values[KEYS];
};

static void check_snapshot(const struct snapshot *snapshot, char (*keys)[16])
{
    for (int i = 0; i < KEYS; i++)
        assert_int_equal(get(&snapshot->trie, keys[i]), snapshot->values[i]);
}

/* Many puts and removes; now and then a copy is kept, or the map goes back to a kept one. */
static void maps_hold_what_was_put_whatever_others_that_share_with_them_did(void **state)
{
    static char keys[KEYS][16];
    struct snapshot *kept = calloc(SNAPSHOTS, sizeof(*kept)), *now = calloc(1, sizeof(*now));
    unsigned random = 1;

    (void)state;
    assert_true(kept && now);
    for (int i = 0; i < KEYS; i++)
        snprintf(keys[i], sizeof(keys[i]), "%x", i * i);
    for (int step = 1; step <= STEPS; step++) {
        random = random * 1103515245 + 12345;
        int key = (int)(random >> 12) % (step % 10000 < 5000 ? KEYS : KEYS / 100);
        struct snapshot *chosen = &kept[random >> 8 & (SNAPSHOTS - 1)];

        if (!now->values[key] || random & 16) {
            put(&now->trie, keys[key], step);
            now->values[key] = step;
        } else {
            drop(&now->trie, keys[key]);
            now->values[key] = 0;
        }
        if (step % 1000)
            continue;
        check_snapshot(now, keys);
        check_snapshot(chosen, keys);
        struct snapshot *from = step % 3000 ? now : chosen, *to = step % 3000 ? chosen : now;

        hash_trie_done(&to->trie, number_free);
        memcpy(to->values, from->values, sizeof(to->values));
        to->trie = hash_trie_share(&from->trie);
    }
    hash_trie_done(&now->trie, number_free);
    for (int i = 0; i < SNAPSHOTS; i++) {
        check_snapshot(&kept[i], keys);
        hash_trie_done(&kept[i].trie, number_free);
    }
    assert_int_equal(live, 0);
    free(kept);
    free(now);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_hash_is_siphash_1_3_folded),
        cmocka_unit_test(another_seed_gives_other_hashes),
        cmocka_unit_test(the_empty_key_is_a_key),
        cmocka_unit_test(keys_with_equal_hashes_are_told_apart),
        cmocka_unit_test(only_what_nobody_shares_is_owned),
        cmocka_unit_test(maps_hold_what_was_put_whatever_others_that_share_with_them_did),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
