unit_test(route route route)
unit_test(route hash_trie route)
unit_test(route match route)
unit_test(route table route)
# test_table.c counts the allocations and makes them fail.
target_link_options(test_route_table PRIVATE -Wl,--wrap=malloc,--wrap=calloc,--wrap=realloc)
