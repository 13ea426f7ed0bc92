add_library(test_server STATIC nats/server.c)
target_link_libraries(test_server PUBLIC PkgConfig::CMOCKA)
add_library(test_nats_fixture STATIC nats/fixture.c)
target_link_libraries(test_nats_fixture PUBLIC dataplane_nats test_server PkgConfig::NATS)
add_library(test_certificates STATIC nats/certificates.c)
target_link_libraries(test_certificates PUBLIC PkgConfig::CMOCKA PkgConfig::OPENSSL)

unit_test(nats proto dataplane_nats)
unit_test(nats inbox dataplane_nats)
unit_test(nats servers dataplane_nats)
unit_test(nats creds dataplane_nats)
unit_test(nats client test_nats_fixture)
unit_test(nats peer test_nats_fixture)
unit_test(nats tls test_nats_fixture test_certificates Threads::Threads)
foreach(noun creds client)
  target_compile_definitions(test_nats_${noun} PRIVATE
    TEST_DATA="${CMAKE_CURRENT_SOURCE_DIR}/nats/data")
endforeach()

# Not a test: prints what a request costs in the client.
add_executable(bench_nats_client ${PROJECT_SOURCE_DIR}/tests/bench/nats_client.c)
target_link_libraries(bench_nats_client PRIVATE dataplane_nats)
