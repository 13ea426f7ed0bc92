unit_test(route route route)
unit_test(route hash_trie route)
unit_test(route match route)
unit_test(route table route)
# test_table.c counts the allocations and makes them fail.
target_link_options(test_route_table PRIVATE -Wl,--wrap=malloc,--wrap=calloc,--wrap=realloc)

# Not a test: prints what matching, changing and keeping many Routes costs.
add_executable(bench_route_table ${PROJECT_SOURCE_DIR}/tests/bench/route_table.c)
target_link_libraries(bench_route_table PRIVATE route)
