/* Slots and tokens: who may answer what. */
#include "dataplane/nats/inbox.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct str reply_subject(const struct inbox *inbox, int slot, char *text)
{
    int len = sprintf(text, STR_FMT STR_FMT, STR_ARG(inbox_prefix(inbox)),
                      STR_ARG(inbox_token(inbox, slot)));

    return str_make(text, (size_t)len);
}

static void a_reply_finds_its_request_once(void **state)
{
    enum { COUNT = 5000 };
    static char texts[COUNT][256];
    struct inbox inbox;
    struct str subject;

    (void)state;
    assert_int_equal(inbox_init(&inbox, STR_LIT("_METROPOLIS"), COUNT), 0);
    for (int i = 0; i < COUNT; i++) {
        int slot = inbox_take(&inbox, texts[i]);

        assert_true(slot >= 0 && inbox.slots[slot].owner == texts[i]);
        reply_subject(&inbox, slot, texts[i]);
    }
    assert_int_equal(inbox_take(&inbox, NULL), -EBUSY);
    for (int i = 0; i < COUNT; i++) {
        int slot = inbox_find(&inbox, str_from(texts[i]));

        assert_true(slot >= 0 && inbox.slots[slot].owner == texts[i]);
        inbox_give(&inbox, slot);
        assert_int_equal(inbox_find(&inbox, str_from(texts[i])), -ENOENT);
        /* The slot's next request has another token. */
        assert_int_equal(inbox_take(&inbox, NULL), slot);
        assert_int_equal(inbox_find(&inbox, str_from(texts[i])), -ENOENT);
    }
    subject = inbox_prefix(&inbox);
    assert_true(str_starts_with(subject, STR_LIT("_METROPOLIS.")));
    assert_int_equal(subject.ptr[subject.len - 1], '.');
    inbox_done(&inbox);
}

/* Any one character changed, cut or added: nobody's. */
static void a_subject_that_is_nearly_right_is_nobodys(void **state)
{
    struct inbox inbox;
    char text[256], changed[256];
    struct str subject;
    int slot;

    (void)state;
    assert_int_equal(inbox_init(&inbox, STR_LIT("_M"), 70000), 0);
    for (int i = 0; i < 69999; i++)
        slot = inbox_take(&inbox, NULL);
    subject = reply_subject(&inbox, slot, text);
    assert_int_equal(inbox_find(&inbox, subject), slot);
    for (size_t i = 0; i < subject.len; i++)
        for (int c = 0; c < 256; c++) {
            memcpy(changed, text, subject.len);
            changed[i] = (char)c;
            if (changed[i] != text[i])
                assert_int_equal(inbox_find(&inbox, str_make(changed, subject.len)), -ENOENT);
        }
    for (size_t len = 0; len < subject.len; len++)
        assert_int_equal(inbox_find(&inbox, str_make(text, len)), -ENOENT);
    text[subject.len] = '0';
    assert_int_equal(inbox_find(&inbox, str_make(text, subject.len + 1)), -ENOENT);
    inbox_done(&inbox);
}

static void two_inboxes_of_one_prefix_do_not_meet(void **state)
{
    struct inbox a, b;
    char text[256];

    (void)state;
    assert_int_equal(inbox_init(&a, STR_LIT("_M"), 1), 0);
    assert_int_equal(inbox_init(&b, STR_LIT("_M"), 1), 0);
    inbox_take(&a, NULL);
    inbox_take(&b, NULL);
    assert_int_equal(inbox_find(&b, reply_subject(&a, 0, text)), -ENOENT);
    inbox_done(&a);
    inbox_done(&b);
}

static void a_prefix_must_be_a_subject(void **state)
{
    static const char *const bad[] = {"", ".", "a.", ".a", "a..b", "a b", "a.*", ">", "a\r\nPUB"};
    struct inbox inbox;

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(inbox_init(&inbox, str_from(bad[i]), 1), -EINVAL);
}

static void equal_subjects_have_equal_hashes_and_others_differ(void **state)
{
    static const char *const subjects[] = {
        "",         "a",        "b", "aa", "orders.1.get", "orders.2.get", "orders.1.get.",
        "12345678", "123456789"};
    struct inbox inbox;

    (void)state;
    assert_int_equal(inbox_init(&inbox, STR_LIT("_M"), 1), 0);
    for (size_t i = 0; i < sizeof(subjects) / sizeof(subjects[0]); i++)
        for (size_t j = 0; j < sizeof(subjects) / sizeof(subjects[0]); j++) {
            char copy[32];

            strcpy(copy, subjects[j]);
            assert_int_equal(inbox_hash(&inbox, str_from(subjects[i])) ==
                                 inbox_hash(&inbox, str_from(copy)),
                             i == j);
        }
    inbox_done(&inbox);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_reply_finds_its_request_once),
        cmocka_unit_test(a_subject_that_is_nearly_right_is_nobodys),
        cmocka_unit_test(two_inboxes_of_one_prefix_do_not_meet),
        cmocka_unit_test(a_prefix_must_be_a_subject),
        cmocka_unit_test(equal_subjects_have_equal_hashes_and_others_differ),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
