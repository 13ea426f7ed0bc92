fuzz_target(route_match route)
