unit_test(table names dataplane_table)
unit_test(table swap dataplane_table)
unit_test(table entries dataplane_table)
unit_test(table ack dataplane_table)
unit_test(table jetstream dataplane_table)
unit_test(table feed dataplane_table ${CMAKE_DL_LIBS})
unit_test(table watch dataplane_table test_server test_certificates PkgConfig::NATS)
target_compile_definitions(test_table_watch PRIVATE
  TEST_DATA="${CMAKE_CURRENT_SOURCE_DIR}/nats/data")
