fuzz_target(http_parse dataplane_http)
fuzz_target(plan dataplane)
